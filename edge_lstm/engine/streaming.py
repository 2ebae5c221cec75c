"""One sequence, step by step, as the firmware does it: the state stays in records between the calls.

A network of recurrent layers, read-out and dense layers is one kernel call per step, which costs a few hundred nanoseconds beside the
arithmetic: the kernel is given one array and one address, everything else lies in the record and the model that it points to. Networks
with other layers between are fed through, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.around import Stepped
from edge_lstm.engine.feature_kernel import FeatureStream, FeatureTables
from edge_lstm.engine.layout import STREAM_MODEL, STREAM_STEPS
from edge_lstm.engine.packing import aligned
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.stages import JoinedStage, StackStage, prepare
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerReadOut

Call = Callable[[npt.NDArray[Any]], bool]


class Record:
    """The state of one sequence of one stack. steps: int64 [1], number of steps made."""

    def __init__(self, prepared: Prepared):
        self.prepared = prepared
        self.memory = aligned(len(prepared.packed.initial))
        self.address = self.memory.ctypes.data
        self.steps = self.memory[STREAM_STEPS : STREAM_STEPS + 8].view(np.int64)
        self._initial = prepared.packed.initial.copy()
        self._initial[STREAM_MODEL : STREAM_MODEL + 8].view(np.int64)[0] = prepared.address
        self._scores = np.empty(prepared.outputs, np.int32)
        self._scores_address = self._scores.ctypes.data  # asked for once: it costs as much as a short sequence
        self.reset()

    def reset(self) -> None:
        np.copyto(self.memory, self._initial)

    def step(self, x: npt.NDArray[np.int8]) -> bool:
        """One step for int8 x: [inputs], which the caller has checked."""
        return bool(self.prepared.kernels["step"](x, self.address))

    def scores(self) -> npt.NDArray[np.int32]:
        self.prepared.kernels["decide"](self.address, self._scores_address)
        return self._scores.copy()

    def states(self) -> list[dict[str, npt.NDArray[np.int32]]]:
        """For each layer state -> int32 [units]."""
        values = [np.empty(place.padded, np.int32) for place in self.prepared.packed.states]
        table = np.array([value.ctypes.data for value in values], np.int64)
        self.prepared.kernels["snapshot"](self.address, table.ctypes.data)
        return self.prepared.named(values)


class Stream:
    """The state of one sequence of `network`. A stream may be used by one thread at a time.

    step(x): one step for int8 x: [inputs of the first layer], normalized already; True when a step reached the read-out, False when none
    was due, or when the window of a mean is full (then nothing changes until `reset`). push(raw): one sample of int16 counts raw:
    [channels]; True when it completed a block and a step was made. Both raise EdgeLstmError for another type or shape.

    kernel: name of a kernel instead of the machine's fastest. Raises EdgeLstmError for a network that needs the end of the sequence.
    """

    __slots__ = ("_chain", "_last", "network", "push", "step")

    step: Call
    push: Call

    def __init__(self, network: IntegerNetwork, kernel: str | None = None):
        self.network = network
        stages = prepare(network, kernel)
        if not network.streams or isinstance(stages.stages[-1], (IntegerReadOut, JoinedStage)):
            raise EdgeLstmError("this network reads the sequence from its end and cannot be fed step by step: run whole sequences")
        links: list[Record | Stepped] = []
        for stage in stages.stages:
            if isinstance(stage, StackStage):
                links.append(Record(stage.prepared))
            elif not isinstance(stage, (IntegerReadOut, JoinedStage)):
                links.append(Stepped(stage))
        last = links.pop()
        assert isinstance(last, Record)
        self._last: Record = last
        self._chain = _Chain(network, links, last) if links or network.normalize.features is not None else None
        if self._chain is None:
            self.step = _on_first_use(self, "step", np.int8)
            self.push = _on_first_use(self, "push", np.int16)
        else:
            self.step, self.push = self._chain.step, self._chain.push

    def reset(self) -> None:
        """Back to the state before the first step; an unfinished block of samples is dropped."""
        self._last.reset()
        if self._chain is not None:
            self._chain.reset()

    def run(self, x: npt.NDArray[np.int8]) -> int:
        """All steps of int8 x: [time, channels] in one call; returns how many reached the read-out."""
        width = self.network.normalize.outputs
        if not (isinstance(x, np.ndarray) and x.dtype == np.int8 and x.ndim == 2 and x.shape[1] == width):
            raise EdgeLstmError(f"inputs have {_what(x)}, expected int8 of shape [time, {width}]")
        if self._chain is not None:
            return sum(map(self._chain.step, x))
        if not (x.flags.c_contiguous and x.flags.writeable):
            x = x.copy()
        return int(self._last.prepared.kernels["sequence"](x, self._last.address))

    @property
    def steps(self) -> int:
        """Number of steps that reached the read-out since the last reset."""
        return int(self._last.steps[0])

    @property
    def ready(self) -> bool:
        """Whether a decision is due: after `window` steps, or after one step when the network names no window."""
        return self.steps >= max(self.network.read_out.window, 1)

    @property
    def scores(self) -> npt.NDArray[np.int32]:
        """int32 [outputs]: scores of the last step, or of the sum of all for a mean. Raises EdgeLstmError before the first step."""
        if self.steps == 0:
            raise EdgeLstmError("the stream has no scores before its first step")
        return self._last.scores()

    @property
    def label(self) -> int:
        """The class with the highest score, the first one on a tie."""
        return int(self.scores.argmax())

    @property
    def states(self) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
        """For each recurrent layer state -> int32 [units], as they are now."""
        before = self._chain.records if self._chain is not None else []
        return tuple(layer for record in (*before, self._last) for layer in record.states())


class _Chain:
    """Features and layers that are fed through to the last stack, step by step."""

    def __init__(self, network: IntegerNetwork, links: list[Record | Stepped], last: Record):
        self.front, self.links, self.last = network.normalize, links, last
        self.records = [link for link in links if isinstance(link, Record)]
        self.block: list[npt.NDArray[np.int16]] = []
        features = self.front.features
        self.features = None if features is None else FeatureStream(FeatureTables(self.front, features))

    def reset(self) -> None:
        for link in self.links:
            link.reset()
        self.block = []
        if self.features is not None:
            self.features.reset()

    def step(self, x: npt.NDArray[Any]) -> bool:
        return self.feed(_vector(x, np.int8, self.front.outputs, "step"))

    def feed(self, v: npt.NDArray[Any]) -> bool:
        """One step for int8 v: [outputs of the front end], which the caller has checked."""
        for link in self.links:
            if isinstance(link, Record):
                link.step(v)
                v = link.scores().astype(np.int8)
            else:
                result = link.feed(v)
                if result is None:
                    return False
                v = result
        return self.last.step(v)

    def push(self, raw: npt.NDArray[Any]) -> bool:
        if self.features is not None:
            return self.features.push(_vector(raw, np.int16, self.front.inputs, "push")) and self.feed(self.features.x)
        self.block.append(_vector(raw, np.int16, self.front.inputs, "push"))
        if len(self.block) < self.front.decimation:
            return False
        block, self.block = self.block, []
        return self.step(reference.normalize(self.front, np.array(block))[0])


def _what(values: object) -> str:
    return f"type {values.dtype} and shape {values.shape}" if isinstance(values, np.ndarray) else f"type {type(values).__name__}"


def _vector(values: npt.NDArray[Any], dtype: type[np.signedinteger[Any]], channels: int, entry: str) -> npt.NDArray[Any]:
    """A copy of `values` that a kernel may read. Raises EdgeLstmError for anything but `channels` values of `dtype`."""
    if not (isinstance(values, np.ndarray) and values.dtype == dtype and values.shape == (channels,)):
        raise EdgeLstmError(f"a {entry} takes {np.dtype(dtype)} values of shape [{channels}], got {_what(values)}")
    return values.copy()


def _on_first_use(stream: Stream, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    """A call that loads its kernel when it is first made, and then puts `_direct` in its own place."""

    def first(values: npt.NDArray[Any]) -> bool:
        direct = _direct(stream._last, stream.network.inputs, entry, dtype)
        setattr(stream, entry, direct)
        return direct(values)

    return first


def _direct(record: Record, channels: int, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    kernel, address = record.prepared.kernels[entry], record.address

    def call(values: npt.NDArray[Any], record: Record = record) -> bool:
        """`record` is held here, since the kernel only knows its address."""
        try:
            made = kernel(values, address)  # Numba refuses other types, read-only and strided arrays
        except TypeError:
            made = -1
        if made < 0:
            made = kernel(_vector(values, dtype, channels, entry), address)
        return bool(made)

    return call
