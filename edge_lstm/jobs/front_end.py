"""Which front end a training gets: raw counts, or the integer features of an inertial sensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm import data
from edge_lstm.errors import UsageError
from edge_lstm.features import Features, Imu, Memory, imu_features, memories

ADVICE = "put units_per_count into the .npz, or give --units-per-count"


def program(imu: Imu, dataset: data.Dataset, units_per_count: npt.NDArray[np.float64], decimation: int) -> Features:
    """The features of these recordings. Raises UsageError where their rate is not known."""
    if not dataset.rate_hz:
        raise UsageError(f"{dataset.name}: the features of an IMU need the sampling rate of the recordings; give --rate")
    if dataset.is_integer and (units_per_count == 1).all():
        raise UsageError(f"{dataset.name}: how many {imu.acceleration_unit} or {imu.turning_unit} one count is, is not known; {ADVICE}")
    return imu_features(imu, units_per_count, decimation, dataset.rate_hz)


def remembered(
    features: Features, dataset: data.Dataset, windows: data.Windows, units_per_count: npt.NDArray[np.float64], decimation: int
) -> Memory | None:
    """What the front end remembers before each window, when it runs through the recordings without a reset."""
    counts = [in_counts(recording.samples, units_per_count) for recording in dataset.recordings]
    return memories(features, decimation, counts, windows.recording, windows.start)


def in_counts(samples: npt.NDArray[np.generic], units_per_count: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """int16 counts [..., channels] of counts or of floats in physical units."""
    if samples.dtype == np.int16:
        return np.asarray(samples, np.int16)
    from edge_lstm.engine.physical import to_counts

    return to_counts(np.asarray(samples, np.float64), units_per_count)


def with_rate(dataset: data.Dataset, rate_hz: float | None) -> data.Dataset:
    """The dataset with its rate, where it knows none. Raises UsageError for another rate than its own."""
    if rate_hz is None:
        return dataset
    if dataset.rate_hz and abs(dataset.rate_hz - rate_hz) > 1e-6 * rate_hz:
        raise UsageError(f"{dataset.name} is sampled at {dataset.rate_hz:g} Hz, not at {rate_hz:g}")
    return replace(dataset, rate_hz=rate_hz)
