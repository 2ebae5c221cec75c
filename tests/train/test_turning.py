"""Turning all vectors of a sensor together, before the features are computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_lstm import engine, train
from edge_lstm.engine import reference
from edge_lstm.engine.feature_kernel import ProgramTables
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Imu, block_sums, imu_features, memories, memory_after, run_features
from edge_lstm.float_inference import preprocess
from edge_lstm.network import Preprocess
from edge_lstm.train.turning import random_rotations, turned

IMU = Imu()
FEATURES = imu_features(IMU, [1 / 2048] * 3 + [0.001] * 3, 4, 50.0)
FRONT = Preprocess(4, np.array([0, 4000, 0, 0, 0, 0, 0, 0, 0.0]), np.full(9, 1 / 4000), np.array([1 / 2048] * 3 + [0.001] * 3), FEATURES)


def counts(seed: int, n: int = 6, samples: int = 64) -> np.ndarray:
    """Gravity along y, some motion."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (n, samples, 6)) * 10 ** rng.uniform(0.5, 3, (n, 1, 1))
    return np.round(x + np.array([0, 2048, 0, 0, 0, 0])).astype(np.int16)


def test_rotations_are_rotations_of_the_size_that_was_asked_for() -> None:
    R = random_rotations(np.random.default_rng(0), 4000, 0.1)
    assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(R), 1)
    angle = np.arccos(np.clip((np.trace(R, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.sqrt((angle**2).mean() / 3) == pytest.approx(0.1, rel=0.03)


def test_no_turn_gives_what_the_network_reads_without() -> None:
    raw = counts(1)
    sums = block_sums(raw, 4)
    _, traces = run_features(FEATURES, sums)
    for memory in (None, memory_after(traces, 7)):
        found = turned(FRONT, raw, memory, IMU.vectors, 0.0, np.random.default_rng(0))
        assert np.array_equal(found, preprocess(FRONT, raw, memory).astype(np.float32))


def test_a_turn_keeps_the_length_of_gravity_and_turns_all_vectors_alike() -> None:
    raw = np.broadcast_to(np.array([300, 2000, -400, 90, 600, -120], np.int16), (50, 64, 6)).copy()  # turning rate along the acceleration
    memory = {1: np.tile(np.array([300, 2000, -400]) * 4 << FEATURES.ops[1].numbers[0], (50, 1))}
    found = turned(FRONT, raw, memory, IMU.vectors, 0.3, np.random.default_rng(2)) / FRONT.scale + FRONT.offset
    gravity = found[:, :, :3]
    assert np.allclose(np.linalg.norm(gravity, axis=-1), 4 * np.linalg.norm([300, 2000, -400]), atol=3)
    assert np.abs(gravity - gravity[:, :1]).max() < 3  # the memory has turned too: gravity stands still
    assert np.std(gravity[:, 0], axis=0).min() > 100
    signs = np.sign(found[:, 0, 6:])
    assert (signs == np.sign(gravity[:, 0])).all()


def test_the_kernel_gives_the_reference_features() -> None:
    raw = counts(3)
    sums = block_sums(raw, 4)
    whole, traces = run_features(FEATURES, sums)
    assert np.array_equal(ProgramTables(FEATURES).run(sums), whole)
    assert np.array_equal(ProgramTables(FEATURES).run(sums[:, 5:], memory_after(traces, 4)), whole[:, 5:])


def test_memories_are_those_of_a_device_that_runs_on() -> None:
    rng = np.random.default_rng(4)
    recordings = [counts(k, 1, 200)[0] for k in range(2)]
    recording, start = np.repeat([0, 1], 12), np.concatenate([[0, 1, 3, 4], rng.integers(0, 136, 20)])
    found = memories(FEATURES, 4, recordings, recording, start)
    assert found is not None
    for window, (which, at) in enumerate(zip(recording, start, strict=True)):
        part = block_sums(recordings[which][at : at + 64], 4)
        came, _ = run_features(FEATURES, part, {k: v[window] for k, v in found.items()})
        running, _ = run_features(FEATURES, block_sums(recordings[which][at % 4 :], 4))
        assert np.array_equal(came, running[at // 4 : at // 4 + 16])


def test_training_with_features_reports_what_the_engine_finds() -> None:
    """The integer phase reads the integers that the front end makes, memory included."""
    x, y = counts(5, 60), np.arange(60) % 2
    x[y == 1, :, 0] += 900
    recordings = [np.concatenate([x[k], x[k]]) for k in range(60)]
    memory = memories(FEATURES, 4, recordings, np.arange(60), np.full(60, 64))
    recipe = train.Recipe(hidden=5, iterations=60, batch=16, rotation=0.2, vectors=IMU.vectors)
    result = train.fit(recipe, x, y, classes=("a", "b"), preprocess=FRONT, memory=memory, validation=(x[::3], y[::3]), lengths=None)
    assert result.integer is not None
    x8 = reference.normalize(result.integer.normalize, x, memory)
    accuracy = (engine.run_normalized(result.integer, x8).scores.argmax(1) == y).mean()
    assert result.history.training.accuracy == accuracy
    assert accuracy > 0.9
    restarted = (engine.run(result.integer, x[::3]).scores.argmax(1) == y[::3]).mean()
    assert result.history.validation is not None
    assert result.history.validation.accuracy == restarted


def test_what_cannot_be_turned_is_refused() -> None:
    x, y = counts(6, 8), np.arange(8) % 2
    recipe = train.Recipe(hidden=4, iterations=2, batch=4, rotation=0.1, vectors=IMU.vectors)
    with pytest.raises(EdgeLstmError, match="only sensor counts can be turned"):
        train.fit(recipe, x.astype(float), y, classes=("a", "b"))
    for vectors in ((), ((0, 1),), ((0, 1, 2), (2, 3, 4)), ((0, 1, 9),)):
        with pytest.raises(EdgeLstmError, match="vectors"):
            train.fit(replace(recipe, vectors=vectors), x, y, classes=("a", "b"), preprocess=FRONT)
    with pytest.raises(EdgeLstmError, match="the memory of feature average is not that of a vector"):
        train.fit(replace(recipe, vectors=((1, 0, 2),)), x, y, classes=("a", "b"), preprocess=FRONT)
