"""The front end of an inertial sensor: gravity, companded body acceleration, companded turning rate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.features.operators import prove_features
from edge_lstm.features.program import MAX_SHIFT, FeatureOp, Features, check_features

STANDARD_GRAVITY = 9.80665  # m/s^2
IN_G = {"g": 1.0, "mg": 1e-3, "m/s^2": 1 / STANDARD_GRAVITY, "m/s²": 1 / STANDARD_GRAVITY, "m/s2": 1 / STANDARD_GRAVITY}
IN_RADIANS = {"rad/s": 1.0, "deg/s": math.radians(1), "degrees/s": math.radians(1), "°/s": math.radians(1), "dps": math.radians(1)}
GRAVITY_SECONDS = 0.64  # time constant of the average: 32 samples at 50 Hz
ACCELERATION_KNEE, TURNING_KNEE = 0.02, 0.05  # g, rad/s: below, a companded value is proportional; above, logarithmic
OCTAVES, SEGMENT_BITS, UNIT = 8, 1, 2**11  # the table reaches asinh(255) = 6.2; two segments an octave err by at most 0.02


@dataclass(frozen=True)
class Imu:
    """Which channels are what. acceleration, turning: channel numbers, three each or none; *_unit: keys of IN_G and IN_RADIANS."""

    acceleration: tuple[int, ...] = (0, 1, 2)
    turning: tuple[int, ...] = (3, 4, 5)
    acceleration_unit: str = "g"
    turning_unit: str = "rad/s"

    @property
    def vectors(self) -> tuple[tuple[int, ...], ...]:
        """Channels that form one vector each, and turn together when the sensor is turned."""
        return tuple(v for v in (self.acceleration, self.turning) if v)


def imu_of(text: Sequence[str], channels: int, units: Sequence[str]) -> Imu:
    """The sensor that parts like "acc=0,1,2", "gyro=3,4,5", "acc=0,1,2:m/s^2" describe.

    channels, units: of the recordings. Without parts: six channels are an accelerometer and a gyroscope, three an accelerometer. Units
    that neither the parts nor the recordings name are g and rad/s. Raises UsageError for anything else.
    """
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for part in text:
        match = re.fullmatch(r"(acc|gyro)=(\d+),(\d+),(\d+)(?::(.+))?", part.strip())
        if match is None:
            raise UsageError(f"sensor {part!r}: expected acc=0,1,2 or gyro=3,4,5, with a unit if you like: acc=0,1,2:m/s^2")
        found[match[1]] = tuple(int(n) for n in match.group(2, 3, 4)), match[5] or ""
    if not found:
        if channels not in (3, 6):
            raise UsageError(f"which of the {channels} channels are the accelerometer, which the gyroscope? Say acc=0,1,2 and gyro=3,4,5")
        found = {"acc": ((0, 1, 2), ""), **({"gyro": ((3, 4, 5), "")} if channels == 6 else {})}
    named = [channel for vector, _ in found.values() for channel in vector]
    if max(named) >= channels:
        raise UsageError(f"the sensor names channel {max(named)}, but the recordings have {channels}, numbered from 0")
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
        raise UsageError(f"the unit {unit!r} of channels {list(vector)} is none of {', '.join(known)}; say acc=0,1,2:g")
    return unit


def imu_features(imu: Imu, units_per_count: Sequence[float] | npt.NDArray[np.floating], decimation: int, rate_hz: float) -> Features:
    """gravity, asinh((acceleration - gravity) / 0.02 g), asinh(turning / 0.05 rad/s), as integers; three features each.

    units_per_count: [channels] physical units (those of `imu`) of one count; decimation: counts summed to one step; rate_hz: of samples.
    The knees are the nearest powers of two of a block sum, within a factor 1.42 of those named, so that all sensors share one table.

    Raises UsageError for channels that do not exist or are named twice, and for unknown units; EdgeLstmError where 32 bits do not suffice.
    """
    channels = len(units_per_count)
    named = [*imu.acceleration, *imu.turning]
    if len(set(named)) < len(named) or not named or any(not 0 <= k < channels for k in named):
        raise UsageError(f"channels {named} of accelerometer and gyroscope do not fit the {channels} channels of the recordings")
    if any(len(vector) not in (0, 3) for vector in (imu.acceleration, imu.turning)):
        raise UsageError("an accelerometer and a gyroscope have three channels each")
    for unit, known in ((imu.acceleration_unit, IN_G), (imu.turning_unit, IN_RADIANS)):
        if unit not in known:
            raise UsageError(f"unknown unit {unit!r}; known are {', '.join(known)}")
    units = np.asarray(units_per_count, np.float64)
    ops: list[FeatureOp] = []
    outputs: list[int] = []
    if imu.acceleration:
        shift = min(max(round(math.log2(GRAVITY_SECONDS * rate_hz / decimation)), 1), MAX_SHIFT)
        count = _common(units, imu.acceleration, "accelerometer") * IN_G[imu.acceleration_unit]
        body = _asinh(2, ACCELERATION_KNEE * decimation / count, "accelerometer")
        ops += [FeatureOp("channels", (), imu.acceleration), FeatureOp("average", (0,), (shift,)), FeatureOp("subtract", (0, 1)), body]
        outputs += [1, 3]
    if imu.turning:
        count = _common(units, imu.turning, "gyroscope") * IN_RADIANS[imu.turning_unit]
        turning = _asinh(len(ops), TURNING_KNEE * decimation / count, "gyroscope")
        ops += [FeatureOp("channels", (), imu.turning), turning]
        outputs.append(len(ops) - 1)
    features = Features(channels, tuple(ops), tuple(outputs))
    check_features(features)
    prove_features(features, decimation)
    return features


def _common(units: npt.NDArray[np.float64], channels: tuple[int, ...], sensor: str) -> float:
    """Units of one count, which must be the same on all three axes."""
    found = units[list(channels)]
    if not np.allclose(found, found[0], rtol=0.02):
        raise EdgeLstmError(f"the axes of the {sensor} count in different units ({', '.join(f'{u:.3g}' for u in found)} a count)")
    return float(found[0])


def _asinh(argument: int, knee: float, sensor: str) -> FeatureOp:
    """asinh(v / 2^k) with 2^k the power of two nearest to `knee`."""
    power = max(round(math.log2(knee)), SEGMENT_BITS)
    if power + OCTAVES > 30:
        raise EdgeLstmError(f"the counts of the {sensor} are too fine: {knee:.3g} of them make the knee of the companding curve")
    segments = 2**SEGMENT_BITS
    starts = [2.0**octave * (1 + part / segments) - 1 for octave in range(OCTAVES) for part in range(segments)]
    knots = [math.floor(UNIT * math.asinh(start) + 0.5) for start in (*starts, 2.0**OCTAVES - 1)]
    return FeatureOp("compand", (argument,), (power, SEGMENT_BITS, *knots))
