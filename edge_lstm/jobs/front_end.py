"""Which front end a training gets: raw counts, or the integer features of an inertial sensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm import data
from edge_lstm.errors import UsageError
from edge_lstm.features import Features, Imu, Memory, imu_features, memories
from edge_lstm.features.imu import IN_G, IN_RADIANS

FEATURES = ("raw", "imu")
ADVICE = "put units_per_count into the .npz, or give --units-per-count"


def imu_of(text: Sequence[str], channels: int, units: Sequence[str]) -> Imu:
    """The sensor that parts like "acc=0,1,2", "gyro=3,4,5", "acc=0,1,2:m/s^2" describe.

    channels, units: of the recordings. Without parts: six channels are an accelerometer and a gyroscope, three an accelerometer. Units
    that neither the parts nor the recordings name are g and rad/s. Raises UsageError for anything else.
    """
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for part in text:
        match = re.fullmatch(r"(acc|gyro)=(\d+),(\d+),(\d+)(?::(.+))?", part.strip())
        if match is None:
            raise UsageError(f"--imu {part!r}: expected acc=0,1,2 or gyro=3,4,5, with a unit if you like: acc=0,1,2:m/s^2")
        found[match[1]] = tuple(int(n) for n in match.group(2, 3, 4)), match[5] or ""
    if not found:
        if channels not in (3, 6):
            raise UsageError(f"which of the {channels} channels are the accelerometer, which the gyroscope? Say --imu acc=0,1,2 gyro=3,4,5")
        found = {"acc": ((0, 1, 2), ""), **({"gyro": ((3, 4, 5), "")} if channels == 6 else {})}
    named = [channel for vector, _ in found.values() for channel in vector]
    if max(named) >= channels:
        raise UsageError(f"--imu names channel {max(named)}, but the recordings have {channels}, numbered from 0")
    acceleration, acceleration_unit = found.get("acc", ((), ""))
    turning, turning_unit = found.get("gyro", ((), ""))
    return Imu(
        acceleration, turning, acceleration_unit or _unit(acceleration, units, "g", IN_G),
        turning_unit or _unit(turning, units, "rad/s", IN_RADIANS),
    )  # fmt: skip


def _unit(vector: tuple[int, ...], units: Sequence[str], default: str, known: dict[str, float]) -> str:
    given = {units[k] for k in vector if k < len(units)} - {""}
    if len(given) > 1:
        raise UsageError(f"the channels {list(vector)} of one sensor have the units {', '.join(sorted(given))}")
    unit = given.pop() if given else default
    if unit not in known:
        raise UsageError(f"the unit {unit!r} of channels {list(vector)} is none of {', '.join(known)}; say --imu acc=0,1,2:g")
    return unit


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
