"""The reference engine: the integer network in plain NumPy, one step at a time, written to be read. Every other engine must give its bits.

All values are int64 here, so that a value that left 32 bits would be seen: `Step` asserts that none does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut, IntegerRecurrent, IntOp, Normalize
from edge_lstm.fixed_point.operators import VALUE, rescale

Int64Array = npt.NDArray[np.int64]


def normalize(front: Normalize, raw: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
    """x: int8 [..., blocks, channels] from counts raw: [..., samples, channels]; an unfinished last block is dropped."""
    blocks = raw.shape[-2] // front.decimation
    whole = raw[..., : blocks * front.decimation, :].astype(np.int64)
    sums = whole.reshape(*raw.shape[:-2], blocks, front.decimation, raw.shape[-1]).sum(-2)
    return np.clip(rescale(sums - front.offset, front.limit, front.multiplier, front.shift), -127, 127).astype(np.int8)


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
            state = initial_state(layer, len(v))
            outputs = np.empty((*v.shape[:2], layer.units), np.int64)
            trace = {s.name: np.empty((*v.shape[:2], layer.units), np.int32) for s in layer.states}
            for t in range(v.shape[1]):
                state, outputs[:, t], _ = step(layer, v[:, t], state)
                for name, value in state.items():
                    trace[name][:, t] = value
            kept.append(trace)
            v = outputs
        elif isinstance(layer, IntegerReadOut):
            steps = v.shape[1] if layer.kind == "mean" else 1
            v = {"last": lambda v: v[:, -1], "mean": lambda v: v.sum(1), "every": lambda v: v}[layer.kind](v)
        else:
            v, steps = dense(layer, v, steps), 1
    return Run(v.astype(np.int32), tuple(kept) if states else ())


def check_steps(network: IntegerNetwork, steps: int) -> None:
    """Refuses sequences without a whole step, and those longer than the window of a mean."""
    if steps < 1:
        raise EdgeLstmError(f"the input has fewer samples than one block of {network.normalize.decimation}")
    if network.read_out.kind == "mean" and steps > network.read_out.window:
        raise EdgeLstmError(
            f"{steps} steps are longer than the window of {network.read_out.window} steps that the mean was proved for; cut the input"
        )
