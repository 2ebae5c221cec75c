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

from edge_lstm.engine.streams import Records, Streams
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork

Call = Callable[[npt.NDArray[Any]], bool]
Calls = Callable[[npt.NDArray[Any]], int]


class Stream:
    """The state of one sequence of `network`. A stream may be used by one thread at a time.

    step(x): one step for int8 x: [inputs of the first layer], normalized already; True when a step reached the read-out, False when none
    was due, or when the window of a mean is full (then nothing changes until `reset`). push(raw): one sample of int16 counts raw:
    [channels]; True when it completed a block and a step was made. Both raise EdgeLstmError for another type or shape.

    kernel: name of a kernel instead of the machine's fastest. Raises EdgeLstmError for a network that needs the end of the sequence.
    """

    __slots__ = ("_record", "_streams", "network", "push", "run", "step")

    step: Call
    push: Call
    run: Calls

    def __init__(self, network: IntegerNetwork, kernel: str | None = None):
        self.network = network
        self._streams = Streams(network, 1, kernel, threads=1)
        self._record = self._streams.whole
        self.step = _on_first_use(self, "step", np.int8)
        self.push = _on_first_use(self, "push", np.int16)
        self.run = _all_on_first_use(self)

    def reset(self) -> None:
        """Back to the state before the first step; an unfinished block of samples is dropped."""
        if self._record is not None:
            self._record.reset(None)
        else:
            self._streams.reset()

    def next_window(self) -> None:
        """The network as before its first step, while the front end runs on: features keep their memory, an unfinished block stays."""
        self._streams.next_window()

    @property
    def steps(self) -> int:
        """Number of steps that reached the read-out since the last reset."""
        return int(self._streams.last.steps[0])

    @property
    def ready(self) -> bool:
        """Whether a decision is due: after `window` steps, or after one step when the network names no window."""
        return self.steps >= max(self.network.read_out.window, 1)

    @property
    def scores(self) -> npt.NDArray[np.int32]:
        """int32 [outputs]: scores of the last step, or of the sum of all for a mean. Raises EdgeLstmError before the first step."""
        if self.steps == 0:
            raise EdgeLstmError("the stream has no scores before its first step")
        return self._streams.last.scores()[0]

    @property
    def label(self) -> int:
        """The class: the highest score, the first one on a tie; of one score, 1 above 0. Raises EdgeLstmError where these are numbers."""
        return int(self._streams.labels()[0])

    @property
    def states(self) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
        """For each recurrent layer state -> int32 [units], as they are now."""
        return tuple({state: values[0] for state, values in layer.items()} for layer in self._streams.states())


def _what(values: object) -> str:
    return f"type {values.dtype} and shape {values.shape}" if isinstance(values, np.ndarray) else f"type {type(values).__name__}"


def _vector(values: npt.NDArray[Any], dtype: type[np.signedinteger[Any]], channels: int, entry: str) -> npt.NDArray[Any]:
    """A copy of `values` that a kernel may read. Raises EdgeLstmError for anything but `channels` values of `dtype`."""
    if not (isinstance(values, np.ndarray) and values.dtype.newbyteorder("=") == dtype and values.shape == (channels,)):
        raise EdgeLstmError(f"a {entry} takes {np.dtype(dtype)} values of shape [{channels}], got {_what(values)}")
    return np.array(values, dtype, order="C")


def _on_first_use(stream: Stream, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    """A call that loads its kernel when it is first made, and then puts the direct call in its own place."""

    def first(values: npt.NDArray[Any]) -> bool:
        front = stream.network.normalize
        channels = front.inputs if entry == "push" else front.width
        if stream._record is None:
            direct = _through_layers(stream._streams, channels, entry, dtype)
        else:
            direct = _direct(stream._record, channels, entry, dtype)
        setattr(stream, entry, direct)
        return direct(values)

    return first


def _all_on_first_use(stream: Stream) -> Calls:
    def first(values: npt.NDArray[Any]) -> int:
        stream.run = _all_through_layers(stream) if stream._record is None else _all_direct(stream._record)
        return stream.run(values)

    return first


def _through_layers(streams: Streams, channels: int, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    call = getattr(streams, entry)
    return lambda values: bool(call(_vector(values, dtype, channels, entry)[None])[0])


def _direct(record: Records, channels: int, entry: str, dtype: type[np.signedinteger[Any]]) -> Call:
    kernels, address, plain = record.prepared.kernels, record.address, np.dtype(dtype)
    kernel, loaded = kernels[entry], kernels.loaded(entry)

    def slow(values: npt.NDArray[Any]) -> bool:
        return bool(kernel(_vector(values, dtype, channels, entry), address) == 1)

    if loaded is not None:
        return loaded.bind(address, slow, record)

    def call(values: npt.NDArray[Any], record: Records = record) -> bool:
        """`record` is held here, since the kernel only knows its address."""
        try:
            # Numba refuses other types, read-only and strided arrays, but takes one byte order for the other.
            made = kernel(values, address) if values.dtype is plain else -1
        except (TypeError, AttributeError):
            made = -1
        return made == 1 if made >= 0 else slow(values)  # a comparison costs half of what bool() does

    return call


def _sequence(values: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """A copy of `values` that a kernel may read. Raises EdgeLstmError for anything but int8 [time, channels]."""
    if not (isinstance(values, np.ndarray) and values.dtype == np.int8 and values.ndim == 2 and values.shape[1] == channels):
        raise EdgeLstmError(f"inputs have {_what(values)}, expected int8 of shape [time, {channels}]")
    return np.array(values, order="C")


def _all_through_layers(stream: Stream) -> Calls:
    return lambda values: sum(map(stream.step, _sequence(values, stream.network.normalize.width)))


def _all_direct(record: Records) -> Calls:
    kernels, address = record.prepared.kernels, record.address
    kernel, loaded = kernels["sequence"], kernels.loaded("sequence")

    def slow(values: npt.NDArray[Any]) -> int:
        return int(kernel(_sequence(values, record.prepared.inputs), address))

    if loaded is not None:
        return loaded.bind(address, slow, record)

    def call(values: npt.NDArray[Any]) -> int:
        try:
            made = kernel(values, address)  # Numba refuses other types, read-only and strided arrays
        except TypeError:
            made = -1
        return int(made) if made >= 0 else slow(values)

    return call
