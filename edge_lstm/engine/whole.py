"""Whole sequences in batches: the same bits as `edge_lstm.engine.reference`, many times faster.

Sequences are sorted by length, longest first, and cut into pieces; a thread takes a piece, normalizes its counts, and runs it. So what a
run needs beside its results is a few megabytes for each thread, however large the input: that may be a memory-mapped file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import around, front, reference
from edge_lstm.engine.batch import Batch, Int64Array, Steps, all_rows, checked, first_rows, pieces, together
from edge_lstm.engine.gates import gate_operators
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.reference import Run
from edge_lstm.engine.replay import gates_of
from edge_lstm.engine.stages import JoinedStage, StackStage, Stages, prepare
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)

ENOUGH_FOR_A_THREAD = 1 << 22  # multiply-accumulates, some tenths of a millisecond: below, starting a thread costs more than it saves
MOST_BYTES = 1 << 21  # input of a part
Layers = list[dict[str, npt.NDArray[Any]]]  # for each recurrent layer: state or gate -> [rows, units]


def run(
    network: IntegerNetwork, raw: npt.ArrayLike, lengths: npt.ArrayLike | None = None, *,
    states: bool = False, gates: bool = False, kernel: str | None = None, threads: int | None = None,
) -> Run:  # fmt: skip
    """Runs whole sequences of int16 counts from reset states; the result holds scores, labels, and states and gates if asked for.

    raw: [batch, samples, channels]; with lengths [batch], samples of each sequence, what lies behind its end is ignored. Or, with lengths,
    the sequences packed one after the other: [sum of lengths, channels]. Any strides and byte order; may be a memory-mapped file.
    states, gates: keep the states after each step, and how open each gate was in it; kernel: name of a kernel instead of the machine's
    fastest; threads: how many at most (None: as many as the process may use). Nothing of the result depends on the number of threads or
    on what else is in the batch.

    Raises EdgeLstmError for another type or shape, lengths that do not fit, and sequences that do not fit the network.
    """
    batch = checked(raw, lengths, network.inputs, np.int16, "counts", "samples")
    return _run(network, batch, True, states, gates, kernel, threads)


def run_normalized(
    network: IntegerNetwork, x: npt.ArrayLike, lengths: npt.ArrayLike | None = None, *,
    states: bool = False, gates: bool = False, kernel: str | None = None, threads: int | None = None,
) -> Run:  # fmt: skip
    """The same for int8 x: [batch, time, inputs], or packed [sum of lengths, inputs], that is normalized already."""
    batch = checked(x, lengths, network.normalize.width, np.int8, "inputs", "time")
    return _run(network, batch, False, states, gates, kernel, threads)


def _run(network: IntegerNetwork, batch: Batch, raw: bool, states: bool, gates: bool, kernel: str | None, threads: int | None) -> Run:
    stages = prepare(network, kernel)
    if batch.given is None and stages.whole is not None and not (states or gates or (raw and network.normalize.features)):
        count, time = batch.values.shape[:2]
        steps = time // network.normalize.decimation if raw else time
        size = batch.values.nbytes
        few = count * steps * stages.weights < ENOUGH_FOR_A_THREAD and size < front.ENOUGH_FOR_A_KERNEL
        if few or (not raw and size <= MOST_BYTES and (threads or available_threads()) == 1):
            return _in_one(network, stages.whole, batch, steps, raw)
    return _Job(network, stages, batch, raw, states, gates).run(threads)


def _in_one(network: IntegerNetwork, stack: Prepared, batch: Batch, steps: int, raw: bool) -> Run:
    """A batch of equal sequences in one call, where there is nothing to share out, or sharing takes longer than the kernel."""
    made = reference.check_steps(network, steps)
    count, values = len(batch.values), batch.values
    x = front.of_few(network.normalize, values) if raw else np.ascontiguousarray(values, np.int8)
    scores = stack.run_equal(x.reshape(count * steps, -1), count, steps)
    return Run(scores.reshape(count, steps, -1) if stack.every_step else scores, steps=np.full(count, made))


def available_threads() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Part:
    """What some sequences leave, one after the other. scores: [sequences, outputs], or one row a step; states, gates: one row a step."""

    scores: npt.NDArray[np.integer]
    states: Layers
    gates: Layers


class _Job:
    """One run of one batch."""

    def __init__(self, network: IntegerNetwork, stages: Stages, batch: Batch, raw: bool, states: bool, gates: bool):
        self.network, self.batch, self.raw, self.states, self.gates = network, batch, raw, states, gates
        self.steps = batch.lengths // network.normalize.decimation if raw else batch.lengths
        if batch.equal:
            made = np.full(len(batch), reference.check_steps(network, int(self.steps[0])), np.int64)
        else:
            checked_steps = {count: reference.check_steps(network, count) for count in np.unique(self.steps).tolist()}
            made = np.array([checked_steps[count] for count in self.steps.tolist()], np.int64)
        self.made = Steps(made, batch.packed)
        self.layer_steps = [Steps(steps, batch.packed) for steps in _steps_of_layers(network, self.steps)] if states or gates else []
        self.every_step = network.read_out.kind == "every"
        self.stages = stages

    def run(self, threads: int | None) -> Run:
        parts, count = self._parts(threads)
        if len(parts) == 1 and self.batch.equal and not (self.states or self.gates):  # the results are in order as they come
            scores = self._run(parts[0]).scores
            return Run(np.asarray(self.made.shaped(scores) if self.every_step else scores, np.int32), steps=self.made.steps)
        room = self._room()
        self._share(parts, count, room)
        scores = self.made.shaped(room.scores) if self.every_step else room.scores
        return Run(np.asarray(scores, np.int32), self._shaped(room.states), self._shaped(room.gates), self.made.steps)

    def _share(self, parts: Sequence[Int64Array], count: int, room: _Part) -> None:
        """Runs all parts by so many threads, of which the caller's is one; each takes the next part when it is done with one."""
        waiting = deque(parts)

        def work() -> None:
            try:
                while True:
                    try:
                        part = waiting.popleft()
                    except IndexError:
                        return
                    self._put(part, self._run(part), room)
            except BaseException:
                waiting.clear()  # the others stop after what they are at
                raise

        if count == 1:
            return work()
        with ThreadPoolExecutor(count - 1) as pool:
            others = [pool.submit(work) for _ in range(count - 1)]
            work()
        for other in others:
            other.result()

    def _shaped(self, layers: Layers) -> tuple[dict[str, npt.NDArray[Any]], ...]:
        """Results with one row a step as the caller gets them; `layers` is empty where they were not asked for."""
        pairs = zip(self.layer_steps, layers, strict=False)
        return tuple({name: steps.shaped(rows) for name, rows in layer.items()} for steps, layer in pairs)

    def _parts(self, threads: int | None) -> tuple[list[Int64Array], int]:
        """The sequences in parts, longest first, and the number of threads that share them."""
        order = np.arange(len(self.steps)) if self.batch.equal else np.argsort(-self.steps, kind="stable")
        total = int(self.steps.sum())
        count = min(threads or available_threads(), len(order), max(1, total * self.stages.weights // ENOUGH_FOR_A_THREAD))
        most = MOST_BYTES // (self.batch.values.shape[-1] * (2 * self.network.normalize.decimation if self.raw else 1))
        if self.batch.equal and count == 1 and total <= most:
            return [order], 1
        block = min(self.stages.block, -(-len(order) // count))
        return list(pieces(self.steps, order, most, block, count)), count

    def _room(self) -> _Part:
        """Where the results of all sequences go."""
        if self.every_step:
            scores = self.made.empty(self.network.outputs, np.int32)
        else:
            scores = np.empty((len(self.batch), self.network.outputs), np.int32)
        states: Layers = []
        gates: Layers = []
        for layer, steps in zip(self.network.recurrent, self.layer_steps, strict=False):
            if self.states:
                states.append({state.name: steps.empty(layer.units, np.int32) for state in layer.states})
            if self.gates:
                gates.append({gate: steps.empty(layer.units, np.float32) for gate in gate_operators(layer)})
        return _Part(scores, states, gates)

    def _put(self, part: Int64Array, came: _Part, room: _Part) -> None:
        room.scores[self.made.places(part) if self.every_step else part] = came.scores
        for ours, theirs in ((room.states, came.states), (room.gates, came.gates)):
            for steps, mine, found in zip(self.layer_steps, ours, theirs, strict=False):
                places = steps.places(part)
                for name, rows in mine.items():
                    rows[places] = found[name]

    def _run(self, part: Int64Array) -> _Part:
        if self.raw:
            x, firsts = front.normalize(self.network.normalize, self.batch, part)
        else:
            counts, firsts = self.batch.rows(part)
            x = counts.astype(np.int8, copy=False)
        trace = self.states or self.gates
        course = _Part(x, [], [])
        steps = self.steps[part]
        if self.stages.whole is not None:
            scores = self._stack(self.stages.whole, self.network.recurrent, x, firsts, steps, trace, course)
            return _Part(scores, course.states, course.gates)
        rows = x[firsts[0] : firsts[0] + steps.sum()] if together(firsts, steps) else x[all_rows(firsts, steps)]
        return _Part(self._chain(rows, steps, trace, course), course.states, course.gates)

    def _stack(
        self, prepared: Prepared, layers: Sequence[IntegerRecurrent], x: npt.NDArray[np.integer], firsts: Int64Array, steps: Int64Array,
        trace: bool, course: _Part,
    ) -> npt.NDArray[np.int32]:  # fmt: skip
        """Scores of a stack for sequences that begin at rows `firsts` of x, longest first; adds its states and gates to `course`."""
        inputs = np.ascontiguousarray(x, np.int8)
        results = prepared.run(inputs, firsts, steps, trace)
        if results.traces is None:
            return results.scores
        states = prepared.named(results.traces)
        course.states.extend(states)
        if self.gates:
            v: npt.NDArray[np.integer] = x if together(firsts, steps) and firsts[0] == 0 else x[all_rows(firsts, steps)]
            for layer, trace_of in zip(layers, states, strict=True):
                v, gates = gates_of(layer, v, first_rows(steps), trace_of)
                course.gates.append(gates)
        return results.scores

    def _chain(self, v: npt.NDArray[np.integer], steps: Int64Array, trace: bool, course: _Part) -> npt.NDArray[np.integer]:
        """Scores of a network of several stages for sequences in v: [rows, inputs], one after the other, the longest first."""
        times: int | Int64Array = 1
        recurrent = list(self.network.recurrent)
        for stage in self.stages.stages:
            if isinstance(stage, StackStage):
                v = self._way(stage, recurrent, v, steps, trace, course)
            elif isinstance(stage, JoinedStage):
                v = np.concatenate([self._way(way, recurrent, v, steps, trace, course) for way in (stage.forward, stage.backward)], 1)
            elif isinstance(stage, IntegerReadOut):
                times = steps[:, None] if stage.sums else 1
                v = around.read_out(stage, v, steps, reference.backward_units(self.network))
            elif isinstance(stage, IntegerDense):
                v, times = around.dense(stage, v, times), 1
            else:
                v, steps = around.over_sequences(stage, v, steps)
        return v

    def _way(
        self, stage: StackStage, recurrent: list[IntegerRecurrent], v: npt.NDArray[np.integer], steps: Int64Array, trace: bool,
        course: _Part,
    ) -> npt.NDArray[np.int32]:  # fmt: skip
        """Scores of a stack in a chain, in the order of its input; takes its layers off `recurrent`."""
        layers = [recurrent.pop(0) for _ in range(stage.prepared.layers)]
        firsts, before = first_rows(steps), len(course.states)
        if not stage.reverse:
            return self._stack(stage.prepared, layers, v, firsts, steps, trace, course)
        turned = np.repeat(2 * firsts + steps - 1, steps) - np.arange(len(v))  # each sequence from its last row to its first
        scores = self._stack(stage.prepared, layers, v[turned], firsts, steps, trace, course)
        for found in (course.states, course.gates):
            for layer in found[before:]:
                layer.update({name: rows[turned] for name, rows in layer.items()})
        return scores[turned]


def _steps_of_layers(network: IntegerNetwork, steps: Int64Array) -> list[Int64Array]:
    """For each recurrent layer the number of its steps in each sequence."""
    found: list[Int64Array] = []
    for layer in network.layers:
        if isinstance(layer, IntegerConv1d):
            steps = (steps + sum(layer.padding) - layer.reach) // layer.stride + 1
        elif isinstance(layer, IntegerPool):
            steps = (steps - layer.size) // layer.stride + 1
        elif isinstance(layer, (IntegerRecurrent, IntegerBidirectional)):
            found += [steps] * (2 if isinstance(layer, IntegerBidirectional) else 1)
    return found
