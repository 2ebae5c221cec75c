"""Floats in physical units on the way in, real-valued outputs on the way out, around the integer network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import activation
from edge_lstm.engine.reference import check_steps
from edge_lstm.engine.whole import run
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.decisions import HOST_ACTIVATION
from edge_lstm.fixed_point.integer_network import IntegerNetwork, Normalize
from edge_lstm.float_inference import check_input, softmax

INT16 = np.iinfo(np.int16)


def counts(normalize: Normalize, x: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    """The int16 counts that a sensor would give for x: [..., channels] in physical units: clip(floor(x / units_per_count + 1/2)).

    Raises EdgeLstmError for another number of channels and for NaN.
    """
    physical = np.asarray(x, np.float64)
    if x.shape[-1:] != (normalize.inputs,):
        raise EdgeLstmError(f"input has shape {x.shape}, expected [..., {normalize.inputs}]")
    if np.isnan(physical).any():
        raise EdgeLstmError(f"input has a NaN at {np.argwhere(np.isnan(physical))[0].tolist()}")
    return to_counts(physical, normalize.units_per_count)


def to_counts(physical: npt.NDArray[np.floating], units_per_count: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """`counts` of finite values [..., channels], with the units [channels] of one count."""
    return np.clip(np.floor(physical / units_per_count + 0.5), INT16.min, INT16.max).astype(np.int16)


def outputs(network: IntegerNetwork, x: npt.NDArray[np.generic], lengths: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
    """Real-valued outputs, float32 [batch, outputs] or [batch, time, outputs], for x: [batch, time, channels].

    lengths: [batch] samples of each sequence; what lies behind its end is ignored, and outputs of every step are zero there. Or of
    sequences packed in x: [sum of lengths, channels]; outputs of every step are packed then, too.
    Floats are physical units; integers are sensor counts and must fit int16. Behind the softmax, or the function behind the last dense
    layer, where the float network had one.
    Raises EdgeLstmError for a wrong shape or type, an empty array, NaN, counts beyond int16, or lengths that do not fit.
    """
    x = np.asarray(x)
    packed = lengths is not None and x.ndim == 2
    if lengths is not None and x.ndim == 3:
        x = _without_padding(x, np.asarray(lengths))
    check_input(x[None] if packed else x, network.inputs)
    if x.dtype.kind == "f":
        raw = counts(network.normalize, x)
    else:
        if x.min() < INT16.min or x.max() > INT16.max:
            raise EdgeLstmError(f"counts range from {x.min()} to {x.max()}, beyond int16; give floats if these are physical units")
        raw = x.astype(np.int16)
    result = run(network, raw, lengths)
    real = result.scores * network.score_scale
    if network.read_out.sums:
        real = real / result.steps[:, None]
    found = np.asarray(finished(network, real), np.float32)
    if found.ndim == 3 and lengths is not None:
        found[np.arange(found.shape[1]) >= result.steps[:, None]] = 0
    return found


def _without_padding(x: npt.NDArray[np.generic], lengths: npt.NDArray[Any]) -> npt.NDArray[np.generic]:
    """x with zeros behind the ends, whatever is there; lengths that do not fit are left for `run` to refuse."""
    if lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        return x
    return np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, np.zeros(1, x.dtype))


def real_values(network: IntegerNetwork, scores: npt.NDArray[np.integer], steps: int) -> npt.NDArray[np.float64]:
    """Scores of sequences of so many steps as real numbers, before any softmax. Raises EdgeLstmError for more steps than a mean may sum."""
    real = scores * network.score_scale
    return np.asarray(real / check_steps(network, steps) if network.read_out.sums else real, np.float64)


def finished(network: IntegerNetwork, real: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The softmax, or the function behind the last dense layer, of the real values of the scores: what is left to the host."""
    if HOST_ACTIVATION in network.metadata:
        kind, *parameters = network.metadata[HOST_ACTIVATION].split()
        try:
            real = activation(kind, *map(float, parameters))(real)
        except (TypeError, ValueError) as error:
            raise EdgeLstmError(f"metadata {HOST_ACTIVATION} = {network.metadata[HOST_ACTIVATION]!r} names no activation") from error
    return softmax(real) if network.softmax else real
