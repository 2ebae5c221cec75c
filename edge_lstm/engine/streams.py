"""Many sequences at once, step by step, each with a state of its own: what a gateway that serves thousands of watches needs.

One call steps all of them, or those that are named. They share every load of the weights, as the sequences of a batch do; each has its own
unfinished block of samples, its own count of steps and its own window, and gives the bits of a `Stream` of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.around import Stepped
from edge_lstm.engine.buffer import aligned
from edge_lstm.engine.entry_points import ENTRIES, Lists
from edge_lstm.engine.feature_kernel import FeatureStreams, FeatureTables
from edge_lstm.engine.layout import STREAM_MODEL, STREAM_SAMPLES, STREAM_STEPS, STREAM_SUMS, address_bytes
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.stages import JoinedStage, StackStage, prepare
from edge_lstm.engine.whole import ENOUGH_FOR_A_THREAD, available_threads
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.decisions import decisions
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerReadOut, Normalize

Which = npt.NDArray[np.int64]
Made = npt.NDArray[np.bool_]
States = list[dict[str, npt.NDArray[np.int32]]]
SETTLED, AGAIN = 16, 256  # calls for many streams until their zeros are counted first, and from one count to the next


class Records:
    """The states of `count` sequences of one stack. steps: int64 [count], number of steps each has made."""

    def __init__(self, prepared: Prepared, count: int):
        size = len(prepared.packed.initial)
        self.prepared = prepared
        self.memory = aligned(count * size).reshape(count, size)
        self.addresses = self.memory.ctypes.data + size * np.arange(count, dtype=np.int64)
        self.address = int(self.addresses[0])
        self.steps = self.memory[:, STREAM_STEPS : STREAM_STEPS + 8].view(np.int64)[:, 0]
        self._initial = prepared.packed.initial.copy()
        self._initial[STREAM_MODEL : STREAM_MODEL + 8].view(np.int64)[0] = prepared.address
        self._scores = np.empty((count, prepared.outputs), np.int32)
        # Asked for once: an address costs as much as a short sequence.
        self._table, self._scores_address = self.addresses.ctypes.data, self._scores.ctypes.data
        self._block = prepared.target.core.block
        self._scratch: list[npt.NDArray[np.uint8]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._lists: Lists = ""
        self._until_counted = SETTLED
        self.reset(None)

    def reset(self, which: Which | None) -> None:
        self.memory[slice(None) if which is None else which] = self._initial

    def next_window(self, which: Which | None) -> None:
        """A reset that keeps the unfinished block."""
        chosen = slice(None) if which is None else which
        parts = slice(STREAM_SAMPLES, STREAM_SAMPLES + 8), slice(STREAM_SUMS, STREAM_SUMS + 4 * self.prepared.inputs)
        kept = [self.memory[chosen, part].copy() for part in parts]
        self.reset(which)
        for part, values in zip(parts, kept, strict=True):
            self.memory[chosen, part] = values

    def advance(self, values: npt.NDArray[np.integer], which: Which, threads: int | None) -> Made:
        """One step for int8 inputs, or one sample of int16 counts, [streams, channels] of the different streams `which`.

        Returns which of them have made a step. The caller has checked everything.
        """
        records, made = self.addresses[which], np.empty(len(which), np.bool_)
        values = np.ascontiguousarray(values)
        count = min(threads or available_threads(), max(1, len(which) * self.prepared.packed.model.nbytes // ENOUGH_FOR_A_THREAD))
        while len(self._scratch) < count:
            self._scratch.append(aligned(address_bytes(self.prepared.target) + self._block * self.memory.shape[1]))
        many = self.prepared.kernels[ENTRIES["many"][self._lists]]

        def part(k: int, first: int, last: int) -> None:
            many(
                values[first:].ctypes.data, values.dtype == np.int16, records[first:].ctypes.data, last - first,
                made[first:].ctypes.data, self._scratch[k].ctypes.data,
            )  # fmt: skip

        if count == 1:
            part(0, 0, len(which))
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(available_threads() if threads is None else threads)
            edges = [len(which) * k // count for k in range(count + 1)]
            for done in [self._pool.submit(part, k, first, last) for k, (first, last) in enumerate(pairwise(edges))]:
                done.result()
        if self.prepared.may_list and len(which) >= self._block:
            self._until_counted -= 1
            if self._until_counted <= 0 and len(stepped := which[made][: self._block]) == self._block:
                self._lists, self._until_counted = self.prepared.fewest(self.memory[stepped]), AGAIN
        return made

    def scores(self, which: Which | None = None) -> npt.NDArray[np.int32]:
        """int32 [streams, outputs]."""
        if which is None:
            self.prepared.kernels["decide"](self._table, len(self.memory), self._scores_address)
            return self._scores.copy()
        records, scores = self.addresses[which], np.empty((len(which), self.prepared.outputs), np.int32)
        if len(which):
            self.prepared.kernels["decide"](records.ctypes.data, len(which), scores.ctypes.data)
        return scores

    def states(self, which: Which | None = None) -> States:
        """For each layer state -> int32 [streams, units]."""
        records = self.addresses if which is None else self.addresses[which]
        values = [np.empty((len(records), place.padded), np.int32) for place in self.prepared.packed.states]
        table = np.array([value.ctypes.data for value in values], np.int64)
        if len(records):
            self.prepared.kernels["snapshot"](records.ctypes.data, len(records), table.ctypes.data)
        return self.prepared.named(values)


class Streams:
    """The states of `count` independent sequences of `network`. One thread at a time may use the object.

    kernel: name of a kernel instead of the machine's fastest; threads: how many at most share one call (None: as many as the process may
    use). The methods name streams by `which`: indices without repetition [streams], in any order, a mask [count], or None for all.

    Raises EdgeLstmError for a network that needs the end of the sequence, UsageError for a count below 1.
    """

    def __init__(self, network: IntegerNetwork, count: int, kernel: str | None = None, threads: int | None = None):
        if count < 1:
            raise UsageError(f"at least one stream is needed, got {count}")
        self.network, self.threads = network, threads
        stages = prepare(network, kernel).stages
        if obstacle := network.stream_obstacle:
            raise EdgeLstmError(f"this network cannot be fed step by step: {obstacle}")
        if isinstance(stages[-1], (IntegerReadOut, JoinedStage)):
            raise EdgeLstmError(
                "the host streams networks whose read-out follows a recurrent layer; run whole sequences, or the generated C"
            )
        links: list[Records | Stepped] = []
        for stage in stages:
            if isinstance(stage, StackStage):
                links.append(Records(stage.prepared, count))
            elif not isinstance(stage, (IntegerReadOut, JoinedStage)):
                links.append(Stepped(stage, count))
        last = links.pop()
        assert isinstance(last, Records)
        self.last: Records = last
        self._links = links
        front = network.normalize
        self._blocks: _Blocks | FeatureStreams = _Blocks(front, count)
        if front.features is not None:
            self._blocks = FeatureStreams(FeatureTables(front, front.features), count)
        self._all = np.arange(count)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def whole(self) -> Records | None:
        """The records, when one kernel runs the whole network."""
        return None if self._links or self.network.normalize.features is not None else self.last

    def reset(self, which: npt.ArrayLike | None = None) -> None:
        """Back to the state before the first step; unfinished blocks of samples are dropped."""
        chosen = None if which is None else self._which(which)
        for link in (*self._links, self.last, self._blocks):
            link.reset(chosen)

    def next_window(self, which: npt.ArrayLike | None = None) -> None:
        """The network as before its first step, while the front end runs on: features keep their memory, unfinished blocks stay."""
        chosen = None if which is None else self._which(which)
        for link in self._links:
            link.reset(chosen)
        self.last.next_window(chosen)

    def step(self, x: npt.NDArray[np.int8], which: npt.ArrayLike | None = None) -> Made:
        """One step of each stream for int8 x: [streams, inputs of the first layer], normalized already.

        Returns bool [streams]: True where a step reached the read-out, False where none was due or the window of a mean is full. Raises
        EdgeLstmError for another type or shape and for streams that are not there; then no stream has changed.
        """
        chosen = self._which(which)
        return self._step(np.asarray(self._checked(x, np.int8, len(chosen)), np.int8), chosen)

    def push(self, raw: npt.NDArray[np.int16], which: npt.ArrayLike | None = None) -> Made:
        """One sample of int16 counts raw: [streams, channels] for each stream; True where it completed a block and a step was made."""
        chosen = self._which(which)
        counts = self._checked(raw, np.int16, len(chosen))
        if self.whole is not None:
            return self.last.advance(counts, chosen, self.threads) if len(chosen) else np.zeros(0, np.bool_)
        x, due = self._blocks.add(counts.astype(np.int16, copy=False), chosen)
        made = np.zeros(len(chosen), np.bool_)
        made[due] = self._step(x, chosen[due])
        return made

    def _step(self, x: npt.NDArray[np.int8], which: Which) -> Made:
        made, waiting = np.zeros(len(which), np.bool_), np.arange(len(which))
        for link in self._links:
            if not len(waiting):
                return made
            if isinstance(link, Records):
                link.advance(x, which[waiting], self.threads)
                x = link.scores(which[waiting]).astype(np.int8)
            else:
                x, due = link.feed(x, which[waiting])
                waiting = waiting[due]
        if len(waiting):
            made[waiting] = self.last.advance(x, which[waiting], self.threads)
        return made

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """int64 [count]: number of steps that reached the read-out since the last reset."""
        return self.last.steps.copy()

    @property
    def ready(self) -> Made:
        """bool [count]: whether a decision is due: after `window` steps, or after one step when the network names no window."""
        return self.last.steps >= max(self.network.read_out.window, 1)

    def scores(self, which: npt.ArrayLike | None = None) -> npt.NDArray[np.int32]:
        """int32 [streams, outputs]: of the last step, or of the sum of all for a mean. Raises EdgeLstmError for a stream without a step."""
        chosen = self._which(which)
        if len(chosen) and self.last.steps[chosen].min() == 0:
            raise EdgeLstmError(f"stream {chosen[self.last.steps[chosen].argmin()]} has no scores before its first step")
        return self.last.scores(chosen)

    def labels(self, which: npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
        """int64 [streams]: the class of each, as `decisions`. Raises EdgeLstmError for a network that gives numbers."""
        if self.network.gives_numbers:
            raise EdgeLstmError("this network gives numbers and names no class: read its scores")
        return decisions(self.scores(which))

    def states(self, which: npt.ArrayLike | None = None) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
        """For each recurrent layer state -> int32 [streams, units], as they are now."""
        chosen = self._which(which)
        records = [link for link in (*self._links, self.last) if isinstance(link, Records)]
        return tuple(layer for one in records for layer in one.states(chosen))

    def _which(self, which: npt.ArrayLike | None) -> Which:
        if which is None:
            return self._all
        chosen, count = np.asarray(which), len(self._all)
        if chosen.dtype == np.bool_ and chosen.shape == (count,):
            return np.flatnonzero(chosen)
        if chosen.ndim == 1 and chosen.size == 0:
            return np.zeros(0, np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise EdgeLstmError(f"streams are named by integers [streams] or by a mask [{count}], got {chosen.dtype} {list(chosen.shape)}")
        if chosen.min() < 0 or chosen.max() >= count:
            raise EdgeLstmError(f"there are {count} streams, 0 to {count - 1}; {chosen.min()} to {chosen.max()} came")
        named = np.zeros(count, np.bool_)
        named[chosen] = True
        if named.sum() != len(chosen):
            raise EdgeLstmError("a stream is named twice in one call; give it one sample at a time")
        return chosen.astype(np.int64)

    def _checked(self, values: object, dtype: type[np.signedinteger[Any]], count: int) -> npt.NDArray[np.integer]:
        front = self.network.normalize
        wanted = (count, front.inputs if dtype is np.int16 else front.width)
        if not (isinstance(values, np.ndarray) and values.dtype.newbyteorder("=") == dtype and values.shape == wanted):
            came = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
            raise EdgeLstmError(f"expected {np.dtype(dtype)} {list(wanted)}, one row for each stream, got {came}")
        return values.astype(dtype, copy=False)


class _Blocks:
    """Samples of each stream on their way to a step, where no kernel collects them."""

    def __init__(self, front: Normalize, count: int):
        self.front = front
        self.sums = np.zeros((count, front.inputs), np.int64)
        self.samples = np.zeros(count, np.int64)

    def reset(self, which: Which | None) -> None:
        chosen = slice(None) if which is None else which
        self.sums[chosen] = 0
        self.samples[chosen] = 0

    def add(self, raw: npt.NDArray[np.integer], which: Which) -> tuple[npt.NDArray[np.int8], Made]:
        """Inputs int8 [due, channels] of the streams whose block is complete, and which of them those are."""
        self.sums[which] += raw
        self.samples[which] += 1
        due = self.samples[which] == self.front.decimation
        x = reference.scaled(self.front, self.sums[which[due]])
        self.reset(which[due])
        return x, due
