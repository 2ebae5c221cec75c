"""Runs an integer network in ONNX Runtime: one of the engines that must give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.onnx_io.integer_model import integer_model


@dataclass(frozen=True)
class OnnxRun:
    """scores: int32 [batch, outputs] or [batch, time, outputs]; label: int64, its shape without the last axis,
    None where the scores are numbers;
    states: one dict per recurrent layer, state -> int32 [batch, time, units], filled on request."""

    scores: npt.NDArray[np.int32]
    label: npt.NDArray[np.int64] | None
    states: tuple[dict[str, npt.NDArray[np.int32]], ...] = ()


class IntegerSession:
    """An ONNX Runtime session of the model that `save_integer` writes; with `states`, of the one that also gives every state.

    lengths: of the form for sequences of different lengths, which `run` then needs.
    """

    def __init__(self, network: IntegerNetwork, *, states: bool = False, threads: int = 1, lengths: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = integer_model(network, states=states, form="lengths" if lengths else "sequences").SerializeToString(deterministic=True)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._states = [[state.name for state in layer.states] for layer in network.recurrent] if states else []
        self._numbers = network.gives_numbers

    def run(self, raw: npt.NDArray[np.int16], lengths: npt.ArrayLike | None = None) -> OnnxRun:
        """Runs whole sequences of counts raw: int16 [batch, samples, channels] from reset states. lengths: [batch] samples of each."""
        feeds: dict[str, npt.NDArray[np.generic]] = {"raw": np.ascontiguousarray(raw)}
        if lengths is not None:
            feeds["lengths"] = np.asarray(lengths, np.int64)
        scores, *traces = self._session.run(None, feeds)
        label = None if self._numbers else traces.pop(0)
        remaining = iter(traces)
        return OnnxRun(scores, label, tuple({name: next(remaining) for name in names} for names in self._states))


class StreamSession:
    """An ONNX Runtime session of the streaming form of a model, with the memories of its sequences: fed as the firmware is.

    scores, label: as the form gives them, after a call of `push`; traces: with `every_state`, what each layer's states were after each
    step of that call, state -> int32 [batch, time, units]. Raises EdgeLstmError for a network that has no streaming form.
    """

    def __init__(self, network: IntegerNetwork, *, threads: int = 1, every_state: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # of warnings that the memories may be overridden, which is what they are for
        model = integer_model(network, form="stream", states=every_state).SerializeToString(deterministic=True)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self._states = [[state.name for state in layer.states] for layer in network.recurrent]
        self._every_state = every_state
        self.memories: dict[str, npt.NDArray[Any]] = {}
        self.scores = np.zeros((0, network.outputs), np.int32)
        self.label: npt.NDArray[np.int64] | None = None
        self.traces: tuple[dict[str, npt.NDArray[np.int32]], ...] = ()

    def push(self, raw: npt.NDArray[np.int16]) -> int:
        """The next samples raw: int16 [batch, samples, channels], one or more; returns how many steps reached the read-out."""
        found = dict(zip(self._names, self._session.run(None, {"raw": np.ascontiguousarray(raw), **self.memories}), strict=True))
        self.memories = {f"state.{name.removeprefix('next.')}": found[name] for name in self._names if name.startswith("next.")}
        self.scores, self.label = found["scores"], found.get("label")
        if self._every_state:
            self.traces = tuple({name: found[f"states.{k}.{name}"] for name in names} for k, names in enumerate(self._states))
        return int(found["steps"][0])

    def reset(self) -> None:
        """Back to the state before the first step."""
        self.memories = {}

    def next_window(self) -> None:
        """The network as before its first step, while the front end runs on: features keep their memory, an unfinished block stays."""
        front = ("state.samples", "state.block", "state.begun", "state.feature")
        self.memories = {name: value for name, value in self.memories.items() if name.startswith(front)}

    @property
    def states(self) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
        """For each recurrent layer state -> int32 [batch, units], as they are after the first call of `push`."""
        return tuple({name: self.memories[f"state.{k}.{name}"] for name in names} for k, names in enumerate(self._states))
