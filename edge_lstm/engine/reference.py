"""The reference engine: the integer network in plain NumPy, one step at a time, written to be read. Every other engine must give its bits.

All values are int64 here, so that a value that left 32 bits would be seen: `Step` asserts that none does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Memory, block_sums, run_features
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
    IntOp,
    Normalize,
)
from edge_lstm.fixed_point.operators import VALUE, rescale, round_shift

Int64Array = npt.NDArray[np.int64]


def normalize(front: Normalize, raw: npt.NDArray[np.integer], memory: Memory | None = None) -> npt.NDArray[np.int8]:
    """x: int8 [..., blocks, outputs] from counts raw: [..., samples, channels]; an unfinished last block is dropped.

    memory: of the features before the first sample (see `features.run_features`), None after a reset.
    """
    values = block_sums(raw, front.decimation)
    if front.features is not None:
        values, _ = run_features(front.features, values, memory)
    return np.clip(rescale(values - front.offset, front.limit, front.multiplier, front.shift), -127, 127).astype(np.int8)


def initial_state(layer: IntegerRecurrent, batch: int) -> dict[str, Int64Array]:
    """State -> int64 [batch, units] after a reset."""
    return {s.name: np.tile(s.initial.astype(np.int64), (batch, 1)) for s in layer.states}


def step(
    layer: IntegerRecurrent, x: Int64Array, state: dict[str, Int64Array]
) -> tuple[dict[str, Int64Array], Int64Array, list[Int64Array]]:
    """One step. x: [batch, inputs]. Returns the new state, the output [batch, units], and the value of every operator."""
    values: list[Int64Array] = []
    for op in layer.ops:
        value = _value(layer, op, [values[a] for a in op.args], x, state)
        assert np.abs(value).max(initial=0) < 2**31, f"{op.code} {op.name} left 32 bits"
        values.append(value)
    return {s.name: values[s.update] for s in layer.states}, values[layer.output], values


def _value(layer: IntegerRecurrent, op: IntOp, arguments: list[Int64Array], x: Int64Array, state: dict[str, Int64Array]) -> Int64Array:
    if op.code == "row":
        row = layer.rows[op.name]
        accumulator = np.tile(row.bias.astype(np.int64), (len(x), 1))
        if row.W is not None:
            accumulator += (x @ row.W.astype(np.int64).T) << row.input_shift
        for source, R in zip(arguments, row.R, strict=True):
            accumulator += source @ R.astype(np.int64).T
        return accumulator
    if op.code == "state":
        return state[op.name]
    if op.code == "vector":
        return np.tile(layer.vectors[op.name].astype(np.int64), (len(x), 1))
    return VALUE[op.code](op, layer, arguments)


def dense(layer: IntegerDense, v: Int64Array, steps: int) -> Int64Array:
    """W v + bias * steps over the last axis of v, requantized to int8 where the layer says so."""
    accumulator = v @ layer.W.astype(np.int64).T + layer.bias.astype(np.int64) * steps
    if layer.limit is None or layer.multiplier is None:
        return np.asarray(accumulator)
    return np.clip(rescale(accumulator, layer.limit, layer.multiplier, layer.shift), layer.low, layer.high)


def recurrent(layer: IntegerRecurrent, v: Int64Array) -> tuple[Int64Array, dict[str, npt.NDArray[np.int32]]]:
    """Outputs [batch, time, units] and the trace of each state [batch, time, units], in the order of the input."""
    state = initial_state(layer, len(v))
    outputs = np.empty((*v.shape[:2], layer.units), np.int64)
    trace = {s.name: np.empty((*v.shape[:2], layer.units), np.int32) for s in layer.states}
    order = range(v.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, outputs[:, t], _ = step(layer, v[:, t], state)
        for name, value in state.items():
            trace[name][:, t] = value
    return outputs, trace


def convolve(layer: IntegerConv1d, v: Int64Array) -> Int64Array:
    """Convolution over time of v: [batch, time, inputs]."""
    v = np.pad(v, ((0, 0), layer.padding, (0, 0)))
    steps = (v.shape[1] - layer.reach) // layer.stride + 1
    accumulator = np.tile(layer.bias.astype(np.int64), (len(v), steps, 1))
    for k in range(layer.W.shape[2]):
        first = k * layer.dilation
        accumulator += v[:, first : first + (steps - 1) * layer.stride + 1 : layer.stride] @ layer.W[:, :, k].astype(np.int64).T
    return np.clip(rescale(accumulator, layer.limit, layer.multiplier, layer.shift), layer.low, layer.high)


def pool(layer: IntegerPool, v: Int64Array) -> Int64Array:
    """Pooling over time of v: [batch, time, channels]."""
    steps = (v.shape[1] - layer.size) // layer.stride + 1
    parts = np.stack([v[:, k : k + (steps - 1) * layer.stride + 1 : layer.stride] for k in range(layer.size)])
    return parts.max(0) if layer.kind == "max" else round_shift(parts.sum(0) * layer.multiplier, layer.shift)


def backward_units(network: IntegerNetwork) -> int:
    """How many of the last units that the read-out sees were read in reverse."""
    layers = network.layers
    below = layers[layers.index(network.read_out) - 1]
    if isinstance(below, IntegerBidirectional):
        return below.backward.units
    return below.units if isinstance(below, IntegerRecurrent) and below.reverse else 0


def read_out(layer: IntegerReadOut, v: Int64Array, backward: int) -> Int64Array:
    """[batch, time, units] -> [batch, units] (a sum for a mean), or unchanged for every step."""
    if layer.kind == "every":
        return v
    if layer.kind == "mean":
        return v.sum(1)
    if layer.kind == "last" or not backward:
        return v[:, -1]
    return np.concatenate([v[:, -1, :-backward], v[:, 0, -backward:]], 1)


@dataclass(frozen=True)
class Run:
    """What a run over whole sequences leaves.

    scores: int32 [batch, outputs], or [batch, time, outputs] when every step is read out;
    states: one dict per recurrent layer, state -> int32 [batch, time, units], filled on request.
    """

    scores: npt.NDArray[np.int32]
    states: tuple[dict[str, npt.NDArray[np.int32]], ...] = ()


def run(network: IntegerNetwork, raw: npt.NDArray[np.integer], *, states: bool = False) -> Run:
    """Runs whole sequences of int16 counts raw: [batch, samples, channels] from reset states."""
    return run_normalized(network, normalize(network.normalize, raw), states=states)


def run_normalized(network: IntegerNetwork, x: npt.NDArray[np.int8], *, states: bool = False) -> Run:
    """The same for int8 x: [batch, time, channels] that is normalized already."""
    v: Int64Array = x.astype(np.int64)
    steps, kept = 1, []
    check_steps(network, x.shape[1])
    for layer in network.layers:
        if isinstance(layer, IntegerRecurrent):
            v, trace = recurrent(layer, v)
            kept.append(trace)
        elif isinstance(layer, IntegerBidirectional):
            (ahead, trace), (back, back_trace) = recurrent(layer.forward, v), recurrent(layer.backward, v)
            kept += [trace, back_trace]
            v = np.concatenate([ahead, back], 2)
        elif isinstance(layer, IntegerConv1d):
            v = convolve(layer, v)
        elif isinstance(layer, IntegerPool):
            v = pool(layer, v)
        elif isinstance(layer, IntegerReadOut):
            steps = v.shape[1] if layer.kind == "mean" else 1
            v = read_out(layer, v, backward_units(network))
        else:
            v, steps = dense(layer, v, steps), 1
    return Run(v.astype(np.int32), tuple(kept) if states else ())


def check_steps(network: IntegerNetwork, steps: int) -> int:
    """Number of steps that reach the read-out when `steps` enter the network.

    Refuses sequences that are too short for a block, a convolution or a pooling, and those longer than the window of a mean.
    """
    if steps < 1:
        raise EdgeLstmError(f"the input has fewer samples than one block of {network.normalize.decimation}")
    for layer in network.layers:
        if isinstance(layer, IntegerReadOut):
            break
        if isinstance(layer, (IntegerConv1d, IntegerPool)):
            span, extra = (layer.reach, sum(layer.padding)) if isinstance(layer, IntegerConv1d) else (layer.size, 0)
            if steps + extra < span:
                raise EdgeLstmError(f"the sequence is shorter than the {span} steps that a convolution or pooling spans")
            steps = (steps + extra - span) // layer.stride + 1
    if network.read_out.kind == "mean" and steps > network.read_out.window:
        raise EdgeLstmError(
            f"{steps} steps are longer than the window of {network.read_out.window} steps that the mean was proved for; cut the input"
        )
    return steps
