"""What the estimators make of float arrays: padding and lengths, and the front end that is learned on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.data import standardize
from edge_lstm.engine.physical import to_counts
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.features import Imu, imu_features, imu_of
from edge_lstm.float_inference import preprocess
from edge_lstm.network import Preprocess

Array = npt.NDArray[Any]
COUNT_RANGE = 8.0  # standard deviations that int16 counts span on either side of the mean; the network itself clips at 4
FEATURES = ("raw", "imu")


@dataclass(frozen=True)
class Sensor:
    """What the estimators' parameters say of the sensor; see `LSTMClassifier`."""

    features: str = "raw"
    imu: Sequence[str] | Imu = ()
    rate: float | None = None
    decimation: int = 1

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise UsageError(f"unknown features {self.features!r}: choose one of {', '.join(FEATURES)}")
        if self.decimation < 1:
            raise UsageError(f"decimation must be at least 1, got {self.decimation}")
        if self.features == "imu" and not self.rate:
            raise UsageError("the features of an IMU need the sampling rate: give rate, in samples a second")

    def described(self, channels: int) -> Imu:
        """Which of the channels are what. Raises UsageError where they do not fit."""
        return self.imu if isinstance(self.imu, Imu) else imu_of(self.imu, channels, ())

    def front(self, v: Array, lengths: npt.NDArray[np.int64]) -> Preprocess:
        """Standardization learned on the valid samples, and counts whose int16 range spans COUNT_RANGE standard deviations around the mean.

        v: [sequences, samples, channels] float64; lengths: valid samples of each.
        """
        inside = np.arange(v.shape[1]) < lengths[:, None]
        found = standardize(v[inside][None], 1)
        # A channel far from zero needs coarser counts, since counts have no offset of their own.
        units = (np.abs(found.offset) + COUNT_RANGE * found.scale) / 32767
        if self.features == "raw" and self.decimation == 1:
            return Preprocess(1, found.offset / units, units / found.scale, units)
        front = Preprocess(self.decimation, np.zeros(v.shape[2]), np.ones(v.shape[2]), units)
        if self.features == "imu":
            assert self.rate is not None
            imu = self.described(v.shape[2])
            for vector in imu.vectors:  # the axes of one sensor must count alike
                units[list(vector)] = units[list(vector)].max()
            features = imu_features(imu, units, self.decimation, self.rate)
            front = replace(front, offset=np.zeros(features.count), scale=np.ones(features.count), features=features)
        values = preprocess(front, to_counts(v, units))
        learned = standardize(values[np.arange(values.shape[1]) < (lengths // self.decimation)[:, None]][None], 1)
        return replace(front, offset=learned.offset, scale=1 / learned.scale)


def padded(x: Array | Sequence[Array]) -> tuple[Array, npt.NDArray[np.int64]]:
    """x as float64 [sequences, longest, inputs], zeros behind each sequence's end, and the lengths. Refuses NaN and wrong shapes."""
    if isinstance(x, np.ndarray) and x.dtype != object:
        sequences = x
        if x.ndim != 3 or 0 in x.shape:
            raise EdgeLstmError(f"x has shape {x.shape}, expected [sequences, time, inputs], none of them 0")
        lengths = np.full(len(x), x.shape[1])
    else:
        parts = [np.asarray(part) for part in x]
        inputs = parts[0].shape[-1] if parts else 0
        for k, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != inputs or 0 in part.shape:
                raise EdgeLstmError(f"sequence {k} has shape {part.shape}, expected [time, {inputs}], none of them 0")
        if not parts:
            raise EdgeLstmError("x is empty")
        lengths = np.array([len(part) for part in parts])
        sequences = np.zeros((len(parts), lengths.max(), inputs))
        for k, part in enumerate(parts):
            sequences[k, : len(part)] = part
    if sequences.dtype.kind not in "fiu":
        raise EdgeLstmError(f"x has type {sequences.dtype}, expected numbers")
    v = sequences.astype(np.float64)
    if not np.isfinite(v).all():
        raise EdgeLstmError(f"x has a NaN or an infinity at [sequence, step, input] = {np.argwhere(~np.isfinite(v))[0].tolist()}")
    return v, lengths.astype(np.int64)


def in_counts(front: Preprocess, v: Array) -> npt.NDArray[np.int16]:
    """int16 counts of floats [..., channels]."""
    assert front.units_per_count is not None
    return to_counts(v, np.asarray(front.units_per_count, np.float64))
