"""What a model does over one recording, as plain data for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.report.holding import LayerHolding

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Signal:
    """values: [steps, channels] in physical units; channels, units: a name and a unit for each (units may be empty)."""

    values: Float64Array
    channels: Sequence[str]
    units: Sequence[str] = ()

    @property
    def is_binary(self) -> bool:
        """Whether every value is 0 or 1: symbols and flags, not measurements."""
        return bool(np.isin(self.values, (0.0, 1.0)).all())

    def groups(self) -> list[tuple[str, list[int]]]:
        """(unit, channels measured in it), in the order of the channels; one group where no unit is known."""
        if not self.units:
            return [("", list(range(len(self.channels))))]
        return [(unit, [k for k, other in enumerate(self.units) if other == unit]) for unit in dict.fromkeys(self.units)]


@dataclass(frozen=True, eq=False)
class Decisions:
    """values: [steps, outputs] probabilities (`softmax`) or outputs after each step, NaN where there are none; classes: names of the
    outputs; due: the steps with which a decision is due."""

    values: Float64Array
    classes: Sequence[str]
    softmax: bool
    due: Sequence[int]


@dataclass(frozen=True, eq=False)
class RecordingCourse:
    """One model over one recording. numbers: "integers" or "floats"; first_step: number of the first step in the recording; step_seconds:
    None where no rate is known; truth: [steps] class, -1 where unlabelled."""

    title: str
    numbers: str
    first_step: int
    step_seconds: float | None
    signal: Signal
    layers: tuple[LayerHolding, ...]
    decisions: Decisions
    truth: npt.NDArray[np.int64]

    @property
    def steps(self) -> int:
        return len(self.signal.values)

    @property
    def edges(self) -> Float64Array:
        """[steps + 1] where each step begins and ends on the time axis, in seconds or steps."""
        return np.asarray((self.first_step + np.arange(self.steps + 1)) * (self.step_seconds or 1.0), np.float64)
