"""One sequence, step by step, as the firmware does it: the state stays in one record between the calls.

A call costs a few hundred nanoseconds beside the arithmetic: the kernel is given one array and one address, everything else lies in the
record and the model that it points to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.layout import STREAM_MODEL, STREAM_STEPS
from edge_lstm.engine.packing import aligned
from edge_lstm.engine.stages import prepare
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork

Call = Callable[[npt.NDArray[Any]], bool]


class Stream:
    """The state of one sequence of `network`. A stream may be used by one thread at a time.

    step(x): one step for int8 x: [channels], normalized already; True when the step was made, False when the window of a mean is full (then
    nothing changes until `reset`). push(raw): one sample of int16 counts raw: [channels]; True when it completed a block and a step was
    made. steps: number of steps made since the last reset. Both raise EdgeLstmError for another type or shape.
    kernel: name of a kernel instead of the machine's fastest.
    """

    __slots__ = ("_address", "_prepared", "_record", "_steps", "network", "push", "step")

    step: Call
    push: Call

    def __init__(self, network: IntegerNetwork, kernel: str | None = None):
        self.network = network
        prepared = prepare(network, kernel).whole
        if prepared is None:
            raise EdgeLstmError("a stream runs recurrent layers, a read-out and dense layers; this network has others: run whole sequences")
        self._prepared = prepared
        self._record = aligned(len(prepared.packed.initial))
        self._address = self._record.ctypes.data
        self._steps = self._record[STREAM_STEPS : STREAM_STEPS + 8].view(np.int64)
        self.step = _lazily(self, "step", np.int8)
        self.push = _lazily(self, "push", np.int16)
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step; an unfinished block of samples is dropped."""
        self._record[:] = self._prepared.packed.initial
        self._record[STREAM_MODEL : STREAM_MODEL + 8].view(np.int64)[0] = self._prepared.address

    def run(self, x: npt.NDArray[np.int8]) -> int:
        """All steps of int8 x: [time, channels] in one call; returns the number of steps made (fewer when the window of a mean is full)."""
        if not (isinstance(x, np.ndarray) and x.dtype == np.int8 and x.ndim == 2 and x.shape[1] == self.network.inputs):
            raise EdgeLstmError(f"inputs have {_what(x)}, expected int8 of shape [time, {self.network.inputs}]")
        if not (x.flags.c_contiguous and x.flags.writeable):
            x = x.copy()
        return int(self._prepared.kernels["sequence"](x, self._address))

    @property
    def steps(self) -> int:
        return int(self._steps[0])

    @property
    def ready(self) -> bool:
        """Whether a decision is due: after `window` steps, or after one step when the network names no window."""
        return self.steps >= max(self.network.read_out.window, 1)

    @property
    def scores(self) -> npt.NDArray[np.int32]:
        """int32 [outputs]: scores of the last step, or of the sum of all for a mean. Raises EdgeLstmError before the first step."""
        if self.steps == 0:
            raise EdgeLstmError("the stream has no scores before its first step")
        scores = np.empty(self._prepared.outputs, np.int32)
        self._prepared.kernels["decide"](self._address, scores.ctypes.data)
        return scores

    @property
    def label(self) -> int:
        """The class with the highest score, the first one on a tie."""
        return int(self.scores.argmax())

    @property
    def states(self) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
        """For each recurrent layer state -> int32 [units], as they are now."""
        values = [np.empty(place.padded, np.int32) for place in self._prepared.packed.states]
        table = np.array([value.ctypes.data for value in values], np.int64)
        self._prepared.kernels["snapshot"](self._address, table.ctypes.data)
        return tuple(self._prepared.named(values))


def _what(values: object) -> str:
    return f"type {values.dtype} and shape {values.shape}" if isinstance(values, np.ndarray) else f"type {type(values).__name__}"


def _lazily(stream: Stream, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    """A call that loads its kernel when it is first made, and then puts `_direct` in its own place."""

    def first(values: npt.NDArray[Any]) -> bool:
        direct = _direct(stream, entry, dtype)
        setattr(stream, entry, direct)
        return direct(values)

    return first


def _direct(stream: Stream, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    kernel, record, address, channels = stream._prepared.kernels[entry], stream._record, stream._address, stream.network.inputs

    def call(values: npt.NDArray[Any], record: npt.NDArray[np.uint8] = record) -> bool:
        """`record` is held here, since the kernel only knows its address."""
        try:
            made = kernel(values, address)  # Numba refuses other types, read-only and strided arrays
        except TypeError:
            made = kernel(values.copy(), address) if isinstance(values, np.ndarray) and values.dtype == dtype and values.ndim == 1 else -1
        if made < 0:
            raise EdgeLstmError(f"a {entry} takes {np.dtype(dtype)} values of shape [{channels}], got {_what(values)}") from None
        return bool(made)

    return call
