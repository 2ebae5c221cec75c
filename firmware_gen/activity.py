"""What a layer does on data, as far as it decides how its rows are best summed: how much is zero, how much stays, how often gates open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerNetwork,
    IntegerReadOut,
    IntegerRecurrent,
)


@dataclass(frozen=True)
class Vector:
    """Fractions of the elements of one vector over all steps. nonzero: that are not 0; changed: that differ from the step before."""

    nonzero: float
    changed: float


@dataclass(frozen=True)
class LayerActivity:
    """The activity of one recurrent layer. x: its input; vectors: operator that a row reads -> its values; open: operator that decides a
    select -> fraction of units and steps where it lets through; steps: number of steps looked at, 0 where it is assumed, not measured."""

    x: Vector
    vectors: Mapping[int, Vector]
    open: Mapping[int, float]
    steps: int


# Trained without asking for sparsity, hard gates leave 0.41 to 0.57 of the outputs non-zero, and 0.27 to 0.31 of them change in a step.
BEHIND_HARD_GATE, ALWAYS, HALF_OPEN = Vector(0.5, 0.3), Vector(1.0, 1.0), 0.5


def assumed(layer: IntegerRecurrent) -> LayerActivity:
    """What to expect of a layer without data: outputs behind a threshold gate are often zero, everything else never."""
    vectors = {index: BEHIND_HARD_GATE if _behind_gate(layer, index) else ALWAYS for index in _sources(layer)}
    return LayerActivity(ALWAYS, vectors, dict.fromkeys(_gates(layer), HALF_OPEN), 0)


def measure(network: IntegerNetwork, raw: npt.NDArray[np.int16]) -> tuple[LayerActivity, ...]:
    """The activity of every recurrent layer for counts raw: int16 [sequences, samples, channels], each sequence from a reset state.

    Raises EdgeLstmError for counts of another type or shape, and for a network that does not stream.
    """
    if raw.dtype != np.int16 or raw.ndim != 3 or raw.shape[2] != network.inputs or not len(raw):
        raise EdgeLstmError(f"expected int16 counts [sequences, samples, {network.inputs}], got {raw.dtype} {list(raw.shape)}")
    if obstacle := network.stream_obstacle:
        raise EdgeLstmError(f"activity is measured step by step, and this network cannot: {obstacle}")
    v = reference.normalize(network.normalize, raw).astype(np.int64)
    found = []
    for layer in network.layers:
        if isinstance(layer, IntegerReadOut):
            break
        if isinstance(layer, IntegerRecurrent):
            activity, v = _measure_layer(layer, v)
            found.append(activity)
        elif not isinstance(layer, IntegerBidirectional):  # which does not stream
            v = reference.feed_forward(layer, v)
    return tuple(found)


def _measure_layer(layer: IntegerRecurrent, x: npt.NDArray[np.int64]) -> tuple[LayerActivity, npt.NDArray[np.int64]]:
    state, outputs = reference.initial_state(layer, len(x)), []
    sources, gates = _sources(layer), _gates(layer)
    vectors: dict[int, list[npt.NDArray[np.int64]]] = {index: [] for index in sources}
    opened: dict[int, list[float]] = {index: [] for index in gates}
    for t in range(x.shape[1]):
        state, output, values = reference.step(layer, x[:, t], state)
        outputs.append(output)
        for index in sources:
            vectors[index].append(values[index])
        for index in gates:
            opened[index].append(float((values[index] != 0).mean()))
    found = {index: _vector(np.stack(values, axis=1)) for index, values in vectors.items()}
    activity = LayerActivity(_vector(x), found, {index: float(np.mean(o)) for index, o in opened.items()}, int(np.prod(x.shape[:2])))
    return activity, np.stack(outputs, axis=1)


def _vector(values: npt.NDArray[np.int64]) -> Vector:
    """values: [sequences, steps, elements]."""
    changed = values[:, 1:] != values[:, :-1]
    return Vector(float((values != 0).mean()), float(changed.mean()) if changed.size else 1.0)


def _sources(layer: IntegerRecurrent) -> tuple[int, ...]:
    return tuple(dict.fromkeys(a for op in layer.ops if op.code == "row" for a in op.args))


def _gates(layer: IntegerRecurrent) -> tuple[int, ...]:
    return tuple(dict.fromkeys(op.args[0] for op in layer.ops if op.code == "select"))


def _behind_gate(layer: IntegerRecurrent, index: int) -> bool:
    op = layer.ops[index]
    value = layer.ops[layer.state(op.name).update] if op.code == "state" else op
    return value.code == "select"
