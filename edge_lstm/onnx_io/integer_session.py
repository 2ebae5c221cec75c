"""Runs an integer network in ONNX Runtime: one of the engines that must give the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.onnx_io.integer_model import integer_model


@dataclass(frozen=True)
class OnnxRun:
    """scores: int32 [batch, outputs] or [batch, time, outputs]; label: int64, its shape without the last axis;
    states: one dict per recurrent layer, state -> int32 [batch, time, units], filled on request."""

    scores: npt.NDArray[np.int32]
    label: npt.NDArray[np.int64]
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

    def run(self, raw: npt.NDArray[np.int16], lengths: npt.ArrayLike | None = None) -> OnnxRun:
        """Runs whole sequences of counts raw: int16 [batch, samples, channels] from reset states. lengths: [batch] samples of each."""
        feeds: dict[str, npt.NDArray[np.generic]] = {"raw": np.ascontiguousarray(raw)}
        if lengths is not None:
            feeds["lengths"] = np.asarray(lengths, np.int64)
        scores, label, *traces = self._session.run(None, feeds)
        remaining = iter(traces)
        return OnnxRun(scores, label, tuple({name: next(remaining) for name in names} for names in self._states))
