"""The reference engine: the integer network in plain NumPy, one step at a time, written to be read. Every other engine must give its bits.

All values are int64 here, so that a value that left 32 bits would be seen: `Step` asserts that none does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.gates import Gates, gate_operators, openings
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Memory, block_sums, run_features
from edge_lstm.fixed_point.decisions import decisions
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
from edge_lstm.fixed_point.operators import VALUE, average, join, requantize, rescale, round_shift, split

Int64Array = npt.NDArray[np.int64]


def normalize(front: Normalize, raw: npt.NDArray[np.integer], memory: Memory | None = None) -> npt.NDArray[np.int8]:
    """x: int8 [..., blocks, width] from counts raw: [..., samples, channels]; an unfinished last block is dropped.

    memory: of the features before the first sample (see `features.run_features`), None after a reset.
    """
    values = block_sums(raw, front.decimation)
    if front.features is not None:
        values, _ = run_features(front.features, values, memory)
    return scaled(front, values)


def scaled(front: Normalize, values: Int64Array) -> npt.NDArray[np.int8]:
    """x: int8 [..., width] from the features, or from the sums of whole blocks where there are none."""
    limit = front.limit_of_x
    x = np.clip(rescale(values - front.offset, front.limit, front.multiplier, front.shift), -limit, limit)
    return (split(x) if front.wide else x).astype(np.int8)


def initial_state(layer: IntegerRecurrent, batch: int) -> dict[str, Int64Array]:
    """State -> int64 [batch, units] after a reset."""
    return {s.name: np.tile(s.initial.astype(np.int64), (batch, 1)) for s in layer.states}


def step(
    layer: IntegerRecurrent, x: Int64Array, state: dict[str, Int64Array]
) -> tuple[dict[str, Int64Array], Int64Array, list[Int64Array]]:
    """One step. x: [batch, inputs], of both halves where it has 16 bits.

    Returns the new state, the output [batch, units], and the value of every operator.
    """
    values: list[Int64Array] = []
    x = join(x) if layer.wide else x
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
    v = join(v) if layer.wide else v
    return requantize(layer, np.asarray(v @ layer.W.astype(np.int64).T + layer.bias.astype(np.int64) * steps))


@dataclass(frozen=True)
class Course:
    """What one recurrent layer did, in the order of the input: output and every state and gate, [batch, time, units]."""

    output: Int64Array
    states: dict[str, npt.NDArray[np.int32]]
    gates: Gates


def recurrent(layer: IntegerRecurrent, v: Int64Array, gates: bool) -> Course:
    """The course of a layer over v: [batch, time, inputs]; of its gates, if asked for."""
    state = initial_state(layer, len(v))
    operators = gate_operators(layer) if gates else {}
    shape = (*v.shape[:2], layer.units)
    states = {s.name: np.empty(shape, np.int32) for s in layer.states}
    course = Course(np.empty(shape, np.int64), states, {gate: np.empty(shape, np.float32) for gate in operators})
    order = range(v.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, course.output[:, t], values = step(layer, v[:, t], state)
        for name, value in state.items():
            course.states[name][:, t] = value
        for gate, opening in openings(operators, values).items():
            course.gates[gate][:, t] = opening
    return course


def convolve(layer: IntegerConv1d, v: Int64Array) -> Int64Array:
    """Convolution over time of v: [batch, time, inputs]."""
    v = np.pad(join(v) if layer.wide else v, ((0, 0), layer.padding, (0, 0)))
    steps = (v.shape[1] - layer.reach) // layer.stride + 1
    accumulator = np.tile(layer.bias.astype(np.int64), (len(v), steps, 1))
    for k in range(layer.W.shape[2]):
        first = k * layer.dilation
        accumulator += v[:, first : first + (steps - 1) * layer.stride + 1 : layer.stride] @ layer.W[:, :, k].astype(np.int64).T
    return requantize(layer, accumulator)


def pool(layer: IntegerPool, v: Int64Array) -> Int64Array:
    """Pooling over time of v: [batch, time, channels]."""
    steps = (v.shape[1] - layer.size) // layer.stride + 1
    parts = np.stack([v[:, k : k + (steps - 1) * layer.stride + 1 : layer.stride] for k in range(layer.size)])
    return parts.max(0) if layer.kind == "max" else round_shift(parts.sum(0) * layer.multiplier, layer.shift)


def feed_forward(layer: IntegerConv1d | IntegerPool | IntegerDense, v: Int64Array) -> Int64Array:
    """What a layer without a state makes of v: [batch, time, inputs]; [batch, its own time, outputs]."""
    if isinstance(layer, IntegerConv1d):
        return convolve(layer, v)
    return pool(layer, v) if isinstance(layer, IntegerPool) else dense(layer, v, 1)


def backward_units(network: IntegerNetwork) -> int:
    """How many of the last units that the read-out sees were read in reverse."""
    layers = network.layers
    below = layers[layers.index(network.read_out) - 1]
    if isinstance(below, IntegerBidirectional):
        return below.backward.units
    return below.units if isinstance(below, IntegerRecurrent) and below.reverse else 0


def read_out(layer: IntegerReadOut, v: Int64Array, backward: int) -> Int64Array:
    """[batch, time, units] -> [batch, units] (for a mean the sum, or the mean in 8 bits), or unchanged for every step."""
    if layer.kind == "every":
        return v
    if layer.kind == "mean":
        return v.sum(1) if layer.gain is None else average(v.sum(1), v.shape[1], layer.gain)
    if layer.kind == "last" or not backward:
        return v[:, -1]
    return np.concatenate([v[:, -1, :-backward], v[:, 0, -backward:]], 1)


@dataclass(frozen=True)
class Run:
    """What a run over whole sequences leaves.

    scores: int32 [batch, outputs], or one row a step when every step is read out; states, gates: one dict per recurrent layer, state ->
    int32 and gate -> float32 opening in [0, 1] (0 or 1 for a threshold gate), one row a step, filled on request.

    What has one row a step is [batch, longest, ...], zero behind the end of shorter sequences; [sum of steps, ...], sequence after
    sequence, where the sequences were given packed. steps: int64 [batch], how many steps of each sequence reached the read-out.
    """

    scores: npt.NDArray[np.int32]
    states: tuple[dict[str, npt.NDArray[np.int32]], ...] = ()
    gates: tuple[Gates, ...] = ()
    steps: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def labels(self) -> Int64Array:
        """The class of each sequence, as `decisions`: [batch], or one a step when every step is read out. Of numbers it says nothing."""
        return decisions(self.scores)


def run(
    network: IntegerNetwork, raw: npt.NDArray[np.integer], lengths: npt.ArrayLike | None = None, *,
    states: bool = False, gates: bool = False,
) -> Run:  # fmt: skip
    """Runs whole sequences of int16 counts raw: [batch, samples, channels] from reset states.

    lengths: [batch] samples of each sequence, the rest is padding; or of sequences that are packed in raw: [sum of lengths, channels].
    """
    if lengths is not None:
        return _one_by_one(network, raw, np.asarray(lengths), states, gates)
    return run_normalized(network, normalize(network.normalize, raw), states=states, gates=gates)


def _one_by_one(network: IntegerNetwork, raw: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer], states: bool, gates: bool) -> Run:
    """Every sequence by itself, the results padded or packed as the sequences were."""
    ends = np.cumsum(lengths)
    if raw.ndim == 2:
        runs = [run(network, raw[end - length : end][None], states=states, gates=gates) for length, end in zip(lengths, ends, strict=True)]
    else:
        runs = [run(network, raw[k : k + 1, :length], states=states, gates=gates) for k, length in enumerate(lengths)]

    def joined(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        if raw.ndim == 2:
            return np.concatenate([array[0] for array in arrays])
        longest = max(array.shape[1] for array in arrays)
        return np.concatenate([np.pad(array, ((0, 0), (0, longest - array.shape[1]), (0, 0))) for array in arrays])

    def layers(of_each: list[tuple[dict[str, npt.NDArray[Any]], ...]]) -> tuple[dict[str, npt.NDArray[Any]], ...]:
        return tuple({name: joined([of[k][name] for of in of_each]) for name in layer} for k, layer in enumerate(of_each[0]))

    scores = [one.scores for one in runs]
    return Run(
        joined(scores) if network.read_out.kind == "every" else np.concatenate(scores),
        layers([one.states for one in runs]),
        layers([one.gates for one in runs]),
        np.concatenate([one.steps for one in runs]),
    )


def run_normalized(network: IntegerNetwork, x: npt.NDArray[np.int8], *, states: bool = False, gates: bool = False) -> Run:
    """The same for int8 x: [batch, time, channels] that is normalized already."""
    v: Int64Array = x.astype(np.int64)
    times = 1
    courses: list[Course] = []
    made = check_steps(network, x.shape[1])
    for layer in network.layers:
        if isinstance(layer, IntegerRecurrent):
            courses.append(recurrent(layer, v, gates))
            v = courses[-1].output
        elif isinstance(layer, IntegerBidirectional):
            courses += [recurrent(layer.forward, v, gates), recurrent(layer.backward, v, gates)]
            v = np.concatenate([course.output for course in courses[-2:]], 2)
        elif isinstance(layer, IntegerReadOut):
            times = v.shape[1] if layer.sums else 1
            v = read_out(layer, v, backward_units(network))
        elif times > 1:
            assert isinstance(layer, IntegerDense)  # what sums reach
            v, times = dense(layer, v, times), 1
        else:
            v = feed_forward(layer, v)
    return Run(
        v.astype(np.int32),
        tuple(course.states for course in courses) if states else (),
        tuple(course.gates for course in courses) if gates else (),
        np.full(len(x), made, np.int64),
    )


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
