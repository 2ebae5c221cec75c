"""The feature operators against plain Python integers, their bounds against what really happens, and what a front end must hold to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from random_features import broad_counts, random_features

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.features import (
    FeatureOp,
    Features,
    Imu,
    block_sums,
    check_features,
    imu_features,
    memory_after,
    prove_features,
    run_features,
)
from edge_lstm.features.operators import average, compand, difference, magnitude, remember

CHANNELS = FeatureOp("channels", (), (0, 1, 2))


def features_of(*ops: FeatureOp) -> Features:
    return Features(3, (CHANNELS, *ops), (len(ops),))


def test_an_average_is_the_rounded_memory_of_a_leaky_sum() -> None:
    a = np.random.default_rng(0).integers(-70000, 70000, (50, 2))
    for shift in (1, 3, 7):
        op = FeatureOp("average", (0,), (shift,))
        found, trace = average(op, a, remember(op, a[0]))
        for channel in range(2):
            memory = int(a[0, channel]) * 2**shift
            for t, value in enumerate(a[:, channel].tolist()):
                memory += value - math.floor(memory / 2**shift + 0.5)
                assert found[t, channel] == math.floor(memory / 2**shift + 0.5)
                assert trace[t, channel] == memory


def test_an_average_follows_the_exact_one_and_keeps_a_constant() -> None:
    a = np.random.default_rng(1).integers(-30000, 30000, (400, 1))
    op = FeatureOp("average", (0,), (4,))
    found, _ = average(op, a, remember(op, a[0]))
    exact = float(a[0, 0])
    for t in range(len(a)):
        exact += (a[t, 0] - exact) / 16
        assert abs(found[t, 0] - exact) <= 1
    for constant in (-32768, -3, 1, 32767):
        values, _ = average(op, np.full((100, 1), constant), remember(op, np.array([constant])))
        assert (values == constant).all()


def test_a_difference_begins_with_zero() -> None:
    a = np.array([[5], [7], [-1]])
    found, trace = difference(FeatureOp("difference", (0,)), a, remember(FeatureOp("difference", (0,)), a[0]))
    assert found.ravel().tolist() == [0, 2, -8]
    assert trace is a


def test_a_magnitude_is_near_the_length_of_the_vector() -> None:
    v = np.random.default_rng(2).normal(0, 5000, (200000, 3)).round().astype(np.int64)
    v = v[np.linalg.norm(v, axis=1) > 500]
    ratio = magnitude(FeatureOp("magnitude", (0,)), v)[:, 0] / np.linalg.norm(v, axis=1)
    assert ratio.min() >= 0.943
    assert ratio.max() <= 1.019
    by_hand = []
    for x in v[:500].tolist():
        m = abs(x[0])
        for other in x[1:]:
            p, q = max(m, abs(other)), min(m, abs(other))
            m = max(p, p - p // 8 + q // 2)
        by_hand.append(m)
    assert magnitude(FeatureOp("magnitude", (0,)), v[:500])[:, 0].tolist() == by_hand


def test_companding_is_what_its_page_says() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        bits, octaves = int(rng.integers(0, 4)), int(rng.integers(1, 9))
        knee = int(rng.integers(bits, 12))
        knots = np.concatenate([[0], np.cumsum(rng.integers(0, 32767 // (octaves << bits), octaves << bits))]).tolist()
        values = rng.integers(-(2 ** (knee + octaves + 1)), 2 ** (knee + octaves + 1), 300)
        found = compand(FeatureOp("compand", (0,), (knee, bits, *knots)), values)
        for value, came in zip(values.tolist(), found.tolist(), strict=True):
            u = min(abs(value), 2 ** (knee + octaves) - 2**knee - 1) + 2**knee
            e = u.bit_length() - 1
            s = e - bits
            k = (e - knee) * 2**bits + (u >> s) - 2**bits
            wanted = knots[k] + math.floor((knots[k + 1] - knots[k]) * (u % 2**s) / 2**s + 0.5)
            assert came == (-wanted if value < 0 else wanted)


def test_the_curve_of_an_imu_is_asinh() -> None:
    curve = imu_features(Imu(), [1 / 720] * 3 + [3e-4] * 3, 4, 50.0).ops[3]
    knee = 2 ** curve.numbers[0]
    assert knee / (4 * 720) == pytest.approx(0.02, rel=0.42)
    v = np.arange(-255 * knee, 255 * knee)
    found = compand(curve, v) / 2**11
    assert np.abs(found - np.arcsinh(v / knee)).max() < 0.034
    assert (np.diff(found) >= 0).all()
    assert np.array_equal(found[1:], -found[1:][::-1])  # odd


def test_streamed_features_equal_whole_ones() -> None:
    """Guarantee G6: one step at a time with the memory kept gives what the whole sequence gives; without memory, a reset."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features = random_features(rng, 3)
        sums = block_sums(broad_counts(rng, 4, 36, 3), 3)
        whole, traces = run_features(features, sums)
        memory = None
        for t in range(sums.shape[1]):
            one, after = run_features(features, sums[:, t : t + 1], memory)
            assert np.array_equal(one[:, 0], whole[:, t])
            memory = memory_after(after, 0)
            assert all(np.array_equal(memory[k], traces[k][:, t]) for k in traces)
        part, _ = run_features(features, sums[:, 5:], memory_after(traces, 4))
        assert np.array_equal(part, whole[:, 5:])


def test_a_reset_is_as_if_the_first_step_had_always_been_there() -> None:
    rng = np.random.default_rng(4)
    features = random_features(rng, 4)
    sums = block_sums(broad_counts(rng, 2, 20, 4), 1)
    long, _ = run_features(features, np.concatenate([np.repeat(sums[:, :1], 500, 1), sums], 1))
    short, _ = run_features(features, sums)
    assert np.array_equal(long[:, 500:], short)


def test_bounds_hold_for_extreme_counts_and_are_reached() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        features, decimation = random_features(rng, 3), int(rng.integers(1, 9))
        _, (low, high) = prove_features(features, decimation)
        for raw in (broad_counts(rng, 8, 30 * decimation, 3, extremes=k > 0) for k in range(3)):
            found, _ = run_features(features, block_sums(raw, decimation))
            assert (found >= low).all()
            assert (found <= high).all()
    ends = np.repeat(np.array([-32768, 32767, -32768], np.int16), 800)[:, None].repeat(3, 1)
    for op in (FeatureOp("average", (0,), (5,)), FeatureOp("difference", (0,))):
        features = features_of(op)
        (_, (low, high)), (found, _) = prove_features(features, 1), run_features(features, block_sums(ends, 1))
        assert (found.min(), found.max()) == (low.min(), high.max())


def test_memories_stay_within_their_proof() -> None:
    rng = np.random.default_rng(5)
    for shift in (1, 4, 10):
        features = features_of(FeatureOp("average", (0,), (shift,)))
        bounds, _ = prove_features(features, 2)
        raw = rng.choice(np.array([-32768, 32767], np.int16), (16, 4000, 3), p=[0.2, 0.8])
        raw[0] = -32768
        _, traces = run_features(features, block_sums(raw, 2))
        assert np.abs(traces[1]).max() + 2 ** (shift - 1) <= bounds[1].widest
        assert -traces[1].min() == 2 * 32768 << shift  # reached


def test_what_leaves_32_bits_is_refused() -> None:
    with pytest.raises(EdgeLstmError, match=r"v1 average may reach \d+, beyond 32 bits"):
        prove_features(features_of(FeatureOp("average", (0,), (16,))), 4)
    with pytest.raises(EdgeLstmError, match="v1 compand may reach"):
        prove_features(features_of(FeatureOp("compand", (0,), (20, 0, 0, 16000, 32000))), 4)


@pytest.mark.parametrize(
    ("op", "complaint"),
    [
        (FeatureOp("median", (0,)), "unknown"),
        (FeatureOp("average", (0,), (0,)), "shift 0"),
        (FeatureOp("average", (1,), (3,)), "comes later"),
        (FeatureOp("channels", (), (3,)), "channel that does not exist"),
        (FeatureOp("subtract", (0,)), "wrong number of arguments"),
        (FeatureOp("compand", (0,), (3, 1, 0, 5)), "no table|do not fit"),
        (FeatureOp("compand", (0,), (3, 0, 0, 5, 4)), "does not rise"),
        (FeatureOp("compand", (0,), (0, 1, 0, 5, 6)), "do not fit"),
    ],
)
def test_what_is_no_program_is_refused(op: FeatureOp, complaint: str) -> None:
    with pytest.raises(EdgeLstmError, match=complaint):
        check_features(features_of(op))


def test_the_front_end_does_not_depend_on_the_unit() -> None:
    counts = [1 / 720] * 3 + [0.001] * 3
    in_g = imu_features(Imu(), counts, 4, 50.0)
    metric = [u * 9.80665 for u in counts[:3]] + [math.degrees(u) for u in counts[3:]]
    assert imu_features(Imu(acceleration_unit="m/s^2", turning_unit="deg/s"), metric, 4, 50.0) == in_g
    finer = imu_features(Imu(), [u / 4 for u in counts], 4, 50.0)
    assert [op.numbers[0] for op in finer.ops if op.code == "compand"] == [
        2 + op.numbers[0] for op in in_g.ops if op.code == "compand"
    ]  # four times as many counts a unit: two octaves higher
    assert in_g.ops[1].numbers == (3,)  # 0.64 s in steps of 0.08 s
    assert in_g.count == 9
    assert imu_features(Imu(turning=()), counts, 4, 50.0).count == 6
    assert imu_features(Imu(acceleration=(), turning=(0, 1, 2)), counts, 4, 50.0).count == 3


@pytest.mark.parametrize(
    ("imu", "complaint"),
    [
        (Imu(turning=(3, 4, 6)), "do not fit the 6 channels"),
        (Imu(turning=(2, 3, 4)), "do not fit"),
        (Imu(turning=(3, 4)), "three channels each"),
        (Imu(acceleration_unit="furlong"), "unknown unit 'furlong'"),
    ],
)
def test_channels_and_units_are_checked(imu: Imu, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        imu_features(imu, [0.001] * 6, 1, 50.0)


def test_axes_that_count_differently_are_refused() -> None:
    with pytest.raises(EdgeLstmError, match="axes of the accelerometer count in different units"):
        imu_features(replace(Imu(), turning=()), [0.001, 0.001, 0.002], 1, 50.0)
