"""Float inference: a walk over each cell's dataflow, vectorized over the batch. The dtype of the weights decides the precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_lstm.cells.dataflow import Op
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Dense, FloatArray, Network, Preprocess, ReadOut, Recurrent

_ARITHMETIC: dict[str, Callable[..., FloatArray]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "complement": lambda a: 1 - a,
}


def initial_state(layer: Recurrent, batch: int, dtype: npt.DTypeLike) -> dict[str, FloatArray]:
    """State -> [batch, units] before the first step."""
    zero = np.zeros(layer.units)
    return {s: np.broadcast_to(np.asarray(layer.initial.get(s, zero), dtype), (batch, layer.units)) for s in layer.cell.states}


def step(layer: Recurrent, x: FloatArray, state: dict[str, FloatArray]) -> tuple[dict[str, FloatArray], list[FloatArray]]:
    """One step of all sequences of a batch. x: [batch, inputs]; returns the new state and the value [batch, units] of every operator."""
    values: list[FloatArray] = []
    for op in layer.cell.ops:
        values.append(_value(layer, op, [values[a] for a in op.args], x, state))
    return {name: values[update] for name, update in layer.cell.updates}, values


def _value(layer: Recurrent, op: Op, arguments: list[FloatArray], x: FloatArray, state: dict[str, FloatArray]) -> FloatArray:
    if op.code == "row":
        weights = layer.rows[op.name]
        total = np.broadcast_to(weights.b.astype(x.dtype), (len(x), layer.units))
        if weights.W is not None:
            total = total + x @ weights.W.T
        for source, R in zip(arguments, weights.R, strict=True):
            total = total + source @ R.T
        return total
    if op.code == "state":
        return state[op.name]
    if op.code == "parameter":
        return np.broadcast_to(np.asarray(layer.parameters[op.name], x.dtype), (len(x), layer.units))
    if op.code == "activate":
        a = arguments[0]
        if layer.clip is not None and reads_row(layer, op.args[0]):
            a = np.clip(a, -layer.clip, layer.clip)
        return layer.activations[op.name](a)
    return _ARITHMETIC[op.code](*arguments)


def reads_row(layer: Recurrent, op: int) -> bool:
    """Whether operator `op` is a preactivation: a row, or a sum or product that a row enters."""
    node = layer.cell.ops[op]
    return node.code == "row" or (node.code in ("add", "multiply") and any(reads_row(layer, a) for a in node.args))


def run_recurrent(layer: Recurrent, x: FloatArray) -> FloatArray:
    """Output [batch, time, units] for x: [batch, time, inputs]."""
    state = initial_state(layer, len(x), x.dtype)
    outputs = np.empty((*x.shape[:2], layer.units), x.dtype)
    for t in range(x.shape[1]):
        state, _ = step(layer, x[:, t], state)
        outputs[:, t] = state[layer.cell.output]
    return outputs


def preprocess(front: Preprocess, x: npt.NDArray[np.generic]) -> FloatArray:
    """(block mean - offset) * scale of x: [batch, time, channels], integer counts or floats in physical units.

    Samples left over at the end, fewer than one block, are dropped, as they would be on the device.
    """
    counts = np.asarray(x, np.float64)
    if x.dtype.kind == "f" and front.units_per_count is not None:
        counts = counts / front.units_per_count
    blocks = counts.shape[1] // front.decimation
    means = counts[:, : blocks * front.decimation].reshape(len(counts), blocks, front.decimation, -1).mean(2)
    return np.asarray((means - front.offset) * front.scale)


def read_out(layer: ReadOut, h: FloatArray) -> FloatArray:
    """[batch, time, units] -> [batch, units], or unchanged for every step."""
    if layer.kind == "last":
        return h[:, -1]
    return h.mean(1) if layer.kind == "mean" else h


def dense(layer: Dense, v: FloatArray) -> FloatArray:
    """activation(W v + b) over the last axis."""
    return layer.activation(v @ layer.W.T.astype(v.dtype) + layer.b.astype(v.dtype))


def softmax(v: FloatArray) -> FloatArray:
    """Softmax over the last axis."""
    e = np.exp(v - v.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def check_input(x: npt.NDArray[np.generic], inputs: int) -> None:
    """Refuses what is no finite, non-empty [batch, time, inputs] array."""
    if x.ndim != 3 or x.shape[2] != inputs:
        raise EdgeLstmError(f"input has shape {x.shape}, expected [batch, time, {inputs}]")
    if 0 in x.shape:
        raise EdgeLstmError(f"input of shape {x.shape} is empty")
    if x.dtype.kind not in "fiu":
        raise EdgeLstmError(f"input has type {x.dtype}, expected integers or floats")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise EdgeLstmError(f"input has a NaN or an infinity at [sequence, step, channel] = {np.argwhere(~np.isfinite(x))[0].tolist()}")


def run(network: Network, x: npt.NDArray[np.generic], until: int | None = None) -> FloatArray:
    """Output of the network for x: [batch, time, inputs]; `until` stops before layer number `until` (for calibration).

    Raises EdgeLstmError for a wrong shape, an empty array, or NaN.
    """
    x = np.asarray(x)
    check_input(x, network.inputs)
    v = preprocess(network.preprocess, x) if network.preprocess is not None else x
    v = v.astype(network.recurrent[0].rows[network.recurrent[0].cell.rows[0].name].b.dtype)
    if v.shape[1] == 0:
        raise EdgeLstmError(
            f"{x.shape[1]} samples are fewer than one block of {network.preprocess.decimation if network.preprocess else 1}"
        )
    for layer in network.layers[:until]:
        if isinstance(layer, Recurrent):
            v = run_recurrent(layer, v)
        elif isinstance(layer, ReadOut):
            v = read_out(layer, v)
        else:
            v = dense(layer, v)
    return softmax(v) if network.softmax and until is None else v
