"""Float inference: a walk over each cell's dataflow, vectorized over the batch. The dtype of the weights decides the precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_lstm.cells.dataflow import Op
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Memory, block_sums, run_features
from edge_lstm.network import Bidirectional, Conv1d, Dense, FloatArray, Network, Pool, Preprocess, ReadOut, Recurrent

Lengths = npt.NDArray[np.int64] | None

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


def run_recurrent(layer: Recurrent, x: FloatArray, lengths: Lengths = None) -> FloatArray:
    """Output [batch, time, units] for x: [batch, time, inputs]; zero beyond a sequence's length, in the order of the input."""
    state = initial_state(layer, len(x), x.dtype)
    outputs = np.zeros((*x.shape[:2], layer.units), x.dtype)
    order = range(x.shape[1])
    for t in reversed(order) if layer.reverse else order:
        new, _ = step(layer, x[:, t], state)
        if lengths is not None:
            inside = (t < lengths)[:, None]
            new = {name: np.where(inside, new[name], state[name]) for name in new}
            outputs[:, t] = np.where(inside, new[layer.cell.output], 0)
        else:
            outputs[:, t] = new[layer.cell.output]
        state = new
    return outputs


def convolve(layer: Conv1d, x: FloatArray) -> FloatArray:
    """Convolution over time of x: [batch, time, inputs]."""
    x = np.pad(x, ((0, 0), layer.padding, (0, 0)))
    steps = (x.shape[1] - layer.reach) // layer.stride + 1
    if steps < 1:
        raise EdgeLstmError(f"the sequence is shorter than the {layer.reach} steps that a convolution spans")
    total = np.broadcast_to(layer.b.astype(x.dtype), (len(x), steps, layer.outputs))
    for k in range(layer.W.shape[2]):
        first = k * layer.dilation
        total = total + x[:, first : first + (steps - 1) * layer.stride + 1 : layer.stride] @ layer.W[:, :, k].T.astype(x.dtype)
    return layer.activation(total)


def pool(layer: Pool, x: FloatArray) -> FloatArray:
    """Pooling over time of x: [batch, time, channels]."""
    steps = (x.shape[1] - layer.size) // layer.stride + 1
    if steps < 1:
        raise EdgeLstmError(f"the sequence is shorter than the {layer.size} steps that a pooling spans")
    parts = np.stack([x[:, k : k + (steps - 1) * layer.stride + 1 : layer.stride] for k in range(layer.size)])
    return np.asarray(parts.mean(0) if layer.kind == "average" else parts.max(0))


def preprocess(front: Preprocess, x: npt.NDArray[np.generic], memory: Memory | None = None) -> FloatArray:
    """(block mean - offset) * scale of x: [batch, time, channels], integer counts or floats in physical units.

    With features: (feature - offset) * scale; they are computed as the integers give them, floats rounded to counts. memory: of the
    features before the first sample, None after a reset. Samples left over at the end, fewer than one block, are dropped, as they would
    be on the device.
    """
    counts = np.asarray(x, np.float64)
    if x.dtype.kind == "f" and front.units_per_count is not None:
        counts = counts / front.units_per_count
    blocks = counts.shape[1] // front.decimation
    if blocks == 0:
        raise EdgeLstmError(f"{counts.shape[1]} samples are fewer than one block of {front.decimation}")
    if front.features is not None:
        whole = np.clip(np.floor(counts + 0.5), -32768, 32767).astype(np.int64)
        features, _ = run_features(front.features, block_sums(whole, front.decimation), memory)
        return np.asarray((features - front.offset) * front.scale)
    means = counts[:, : blocks * front.decimation].reshape(len(counts), blocks, front.decimation, -1).mean(2)
    return np.asarray((means - front.offset) * front.scale)


def read_out(layer: ReadOut, h: FloatArray, lengths: Lengths = None, backward: int = 0) -> FloatArray:
    """[batch, time, units] -> [batch, units], or unchanged for every step. backward: number of last units that read in reverse."""
    if layer.kind == "every":
        return h
    if layer.kind == "mean":
        return h.mean(1) if lengths is None else np.asarray(h.sum(1) / lengths[:, None], h.dtype)
    last = h[:, -1] if lengths is None else h[np.arange(len(h)), lengths - 1]
    if layer.kind == "last" or not backward:
        return last
    return np.concatenate([last[:, :-backward], h[:, 0, -backward:]], 1)


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


def run(network: Network, x: npt.NDArray[np.generic], lengths: npt.NDArray[np.integer] | None = None) -> FloatArray:
    """Output of the network for x: [batch, time, inputs].

    lengths: [batch] number of valid samples of each sequence (before decimation), None when all are valid. Raises EdgeLstmError for a
    wrong shape, an empty array, NaN, and for lengths where the network convolves or pools over time.
    """
    x = np.asarray(x)
    check_input(x, network.inputs)
    v = preprocess(network.preprocess, x) if network.preprocess is not None else x
    v = v.astype(network.recurrent[0].rows[network.recurrent[0].cell.rows[0].name].b.dtype)
    steps = None if lengths is None else check_lengths(network, lengths, x.shape)
    for index in range(len(network.layers)):
        v = apply(network, index, v, steps)
    return softmax(v) if network.softmax else v


def apply(network: Network, index: int, v: FloatArray, lengths: Lengths = None) -> FloatArray:
    """Layer number `index` of the network applied to what the layer before gives."""
    layer = network.layers[index]
    if isinstance(layer, Recurrent):
        return run_recurrent(layer, v, lengths)
    if isinstance(layer, Bidirectional):
        return np.concatenate([run_recurrent(layer.forward, v, lengths), run_recurrent(layer.backward, v, lengths)], 2)
    if isinstance(layer, Conv1d):
        return convolve(layer, v)
    if isinstance(layer, Pool):
        return pool(layer, v)
    if isinstance(layer, Dense):
        return dense(layer, v)
    below = network.layers[index - 1] if index else None
    backward = below.backward.units if isinstance(below, Bidirectional) else 0
    if isinstance(below, Recurrent) and below.reverse:
        backward = below.units
    return read_out(layer, v, lengths, backward)


def check_lengths(network: Network, lengths: npt.NDArray[np.integer], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """`steps_of_lengths`, where the network runs sequences of different lengths at all."""
    steps = steps_of_lengths(network, lengths, shape)
    if any(isinstance(layer, (Conv1d, Pool)) for layer in network.layers):
        raise EdgeLstmError("sequences of different lengths cannot go through a convolution or a pooling in one batch; run them one by one")
    return steps


def steps_of_lengths(network: Network, lengths: npt.NDArray[np.integer], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Lengths in steps after decimation; refuses what does not fit the batch."""
    lengths = np.asarray(lengths)
    decimation = network.preprocess.decimation if network.preprocess is not None else 1
    if lengths.shape != shape[:1] or lengths.dtype.kind not in "iu" or (lengths < decimation).any() or (lengths > shape[1]).any():
        raise EdgeLstmError(f"lengths must be {shape[0]} integers between {decimation} and {shape[1]}, got {lengths.tolist()}"[:200])
    return lengths.astype(np.int64) // decimation
