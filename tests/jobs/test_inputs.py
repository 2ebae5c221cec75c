"""Recordings become what a model takes: channels, classes, windows, counts of its own size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_commands import CLASSES, DECIMATION, STEPS, UNITS, float_network, recordings

from edge_lstm import data, engine
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import inputs

WINDOW = DECIMATION * STEPS


@pytest.fixture(scope="module")
def integer():
    return quantize(float_network(), data.windows(recordings(), WINDOW, WINDOW).x)


def test_counts_of_the_models_own_size_pass_unchanged(integer) -> None:
    dataset = recordings()
    x = data.windows(dataset, WINDOW, WINDOW).x
    assert inputs.model_input(integer, dataset, x) is x
    assert inputs.model_input(float_network(), dataset, x) is x


def test_recordings_of_another_rate_are_refused(integer) -> None:
    """Steps of another length are other steps: nothing but the rate tells."""
    said = replace(integer, metadata={"rate_hz": "25"})
    with pytest.raises(EdgeLstmError, match=r"toy has 50 samples a second, the model learned from 25: resample it"):
        inputs.fitting(said, recordings())
    for same in (integer, replace(integer, metadata={"rate_hz": "50.2"})):
        inputs.fitting(same, recordings())
    inputs.fitting(said, replace(recordings(), rate_hz=None))
    assert inputs.fitting(said, recordings(), ignore_rate=True).rate_hz == 50
    for wrong in ("fast", "0", "nan", "-50", "1e-9", "inf"):
        with pytest.raises(EdgeLstmError, match=r"is no rate"):
            inputs.fitting(replace(integer, metadata={"rate_hz": wrong}), recordings())


def test_counts_of_another_size_meet_in_physical_units(integer) -> None:
    """A sensor with half the resolution: its counts stand for twice as much."""
    fine = recordings()
    coarse = replace(
        fine,
        recordings=tuple(replace(r, samples=(r.samples // 2).astype(np.int16)) for r in fine.recordings),
        units_per_count=np.full(3, 2 * UNITS),
    )
    x = data.windows(coarse, WINDOW, WINDOW).x
    np.testing.assert_array_equal(inputs.counts(integer, coarse, x), 2 * x)
    floats = inputs.model_input(float_network(), coarse, x)
    np.testing.assert_allclose(floats, x * 2 * UNITS, rtol=1e-6)


def test_a_model_in_counts_takes_any_counts(integer) -> None:
    in_counts = replace(integer, normalize=replace(integer.normalize, units_per_count=np.ones(3)))
    dataset = recordings()
    x = data.windows(dataset, WINDOW, WINDOW).x
    assert inputs.model_input(in_counts, dataset, x) is x


def test_floats_become_counts_as_the_engine_makes_them(integer) -> None:
    floats = np.random.default_rng(0).normal(0, 2, (5, WINDOW, 3)).astype(np.float32)
    dataset = data.Dataset(
        "f", tuple(data.Recording(x, None, "", str(k)) for k, x in enumerate(floats)), ("a", "b", "c"), (), None, None, ""
    )
    np.testing.assert_array_equal(inputs.counts(integer, dataset, floats), engine.counts(integer.normalize, floats))


def test_labels_follow_the_models_classes_by_name(integer) -> None:
    shuffled = recordings(classes=("run", "rest", "walk"))
    fitted = inputs.fitting(integer, shuffled)
    assert fitted.classes == CLASSES
    for before, after in zip(shuffled.recordings, fitted.recordings, strict=True):
        assert shuffled.classes[before.label] == CLASSES[after.label]


def test_windows_are_as_long_as_the_model_says(integer) -> None:
    assert inputs.cut(integer, recordings()).x.shape[1] == WINDOW
    assert inputs.cut(integer, recordings(), WINDOW // 2).x.shape[1] == WINDOW // 2
    with pytest.raises(EdgeLstmError, match="its running sum is proved"):
        inputs.cut(integer, recordings(), WINDOW + DECIMATION)
    with pytest.raises(EdgeLstmError, match="shorter than one step"):
        inputs.cut(integer, recordings(), 1)


def test_a_model_without_a_window_takes_recordings_of_one_length() -> None:
    network = replace(float_network(), window=0)
    assert inputs.cut(network, recordings()).x.shape[1] == 200
    uneven = recordings()
    uneven = replace(uneven, recordings=(replace(uneven.recordings[0], samples=uneven.recordings[0].samples[:100]), *uneven.recordings[1:]))
    with pytest.raises(EdgeLstmError, match="names no window"):
        inputs.cut(network, uneven)
