"""Windows are the samples they say they are; nobody is both trained and tested on; standardization sees the training part alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest

from edge_lstm import data
from edge_lstm.data import Dataset, DataWarning
from edge_lstm.errors import EdgeLstmError, UsageError


@pytest.mark.parametrize(("length", "stride"), [(8, 3), (10, 10), (1, 1), (20, 7), (7, 50)])
def test_windows_are_the_samples_they_say(dataset: Dataset, length: int, stride: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        windows = data.windows(dataset, length, stride)
    expected = []
    for index, recording in enumerate(dataset.recordings):
        if recording.step_labels is None:
            starts = range(0, len(recording.samples) - length + 1, stride)
            expected += [(index, start, recording.label) for start in starts]
        else:
            steps = recording.step_labels.tolist()
            begin = {label: steps.index(label) for label in (0, 1)}
            for label in (0, 1):
                run = steps.count(label)
                expected += [(index, begin[label] + k, label) for k in range(0, run - length + 1, stride)]
    assert list(zip(windows.recording.tolist(), windows.start.tolist(), windows.y.tolist(), strict=True)) == expected
    assert windows.x.dtype == dataset.recordings[0].samples.dtype
    for x, source, start, person in zip(windows.x, windows.recording, windows.start, windows.person, strict=True):
        np.testing.assert_array_equal(x, dataset.recordings[source].samples[start : start + length])
        assert person == dataset.recordings[source].person


def test_taking_by_mask_equals_taking_by_index(dataset: Dataset) -> None:
    windows = data.windows(dataset, 8, 4)
    mask = np.random.default_rng(0).random(len(windows)) < 0.5
    by_mask, by_index = windows.take(mask), windows.take(np.flatnonzero(mask))
    assert 0 < len(by_mask) < len(windows)
    for field in dataclasses.fields(windows):
        np.testing.assert_array_equal(getattr(by_mask, field.name), getattr(windows, field.name)[mask])
        np.testing.assert_array_equal(getattr(by_mask, field.name), getattr(by_index, field.name))


def test_a_window_longer_than_every_recording_is_refused(dataset: Dataset) -> None:
    with pytest.raises(EdgeLstmError, match=r"a window of 61 samples is longer than every recording; the longest recording take 2 has 60"):
        data.windows(dataset, 61, 10)


def test_recordings_that_are_too_short_are_warned_about(dataset: Dataset) -> None:
    with pytest.warns(DataWarning, match=r"2 of 4 recordings give no window of 40 samples: take 1, take 3"):
        windows = data.windows(dataset, 40, 10)
    assert set(windows.recording.tolist()) == {0, 2}


def test_unlabelled_recordings_give_unlabelled_windows(dataset: Dataset) -> None:
    bare = tuple(dataclasses.replace(r, label=None, step_labels=None) for r in dataset.recordings)
    assert set(data.windows(dataclasses.replace(dataset, recordings=bare), 8, 4).y.tolist()) == {data.UNLABELLED}


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (5, 0), (-1, 5)])
def test_senseless_windows_are_a_usage_error(dataset: Dataset, length: int, stride: int) -> None:
    with pytest.raises(UsageError):
        data.windows(dataset, length, stride)


@pytest.mark.parametrize(("people", "folds"), [(10, 5), (7, 3), (4, 4)])
def test_each_person_is_tested_exactly_once_and_never_trained_on(people: int, folds: int) -> None:
    person = np.random.default_rng(2).permutation(np.repeat([f"p{i}" for i in range(people)], 6))
    tested: list[int] = []
    sizes = []
    for train, test in data.person_folds(person, folds, seed=1):
        assert not set(person[train]) & set(person[test])
        assert sorted([*train, *test]) == list(range(len(person)))
        tested += test.tolist()
        sizes.append(len(set(person[test])))
    assert sorted(tested) == list(range(len(person)))
    assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_the_seed_and_on_nothing_else() -> None:
    person = np.repeat([f"p{i}" for i in range(10)], 4)
    order = np.random.default_rng(0).permutation(len(person))

    def tested(who: np.ndarray, seed: int) -> list[frozenset[str]]:
        return [frozenset(who[test].tolist()) for _, test in data.person_folds(who, 5, seed)]

    assert tested(person, 3) == tested(person[order], 3)
    assert len({tuple(tested(person, seed)) for seed in range(5)}) == 5


def test_holdout_takes_whole_people_from_the_training_part_alone() -> None:
    person = np.repeat([f"p{i}" for i in range(10)], 4)
    for train, test in data.person_folds(person, 5, seed=0):
        fit, validation = data.person_holdout(person, people=2, seed=4, within=train)
        assert sorted([*fit, *validation]) == train.tolist()
        assert len(set(person[validation])) == 2
        assert not set(person[validation]) & (set(person[fit]) | set(person[test]))
    fit, validation = data.person_holdout(person, people=9, seed=4)
    assert len(set(person[fit])) == 1


def test_splits_that_cannot_be_are_refused() -> None:
    person = np.array(["a", "b", "c"])
    with pytest.raises(EdgeLstmError, match="4 folds need at least 4 people, there are 3"):
        data.person_folds(person, 4, 0)
    with pytest.raises(UsageError):
        data.person_folds(person, 1, 0)
    with pytest.raises(EdgeLstmError, match="1 of 3 items have none"):
        data.person_folds(np.array(["a", "", "c"]), 2, 0)
    with pytest.raises(EdgeLstmError, match="leaves nobody to train on"):
        data.person_holdout(person, 3, 0)
    with pytest.raises(UsageError):
        data.person_holdout(person, 0, 0)
    with pytest.raises(EdgeLstmError, match="nothing to split"):
        data.person_folds(np.array([], dtype=str), 2, 0)


def test_every_class_must_occur_in_the_training_part() -> None:
    data.require_every_class(np.array([0, 2, 1, 1]), ["a", "b", "c"])
    with pytest.raises(EdgeLstmError, match="class never occurs in the training part: b;"):
        data.require_every_class(np.array([0, 2]), ["a", "b", "c"])
    with pytest.raises(EdgeLstmError, match="classes never occur in the training part: b, c;"):
        data.require_every_class(np.array([0, 0]), ["a", "b", "c"])
    with pytest.raises(EdgeLstmError, match="1 of 3 training items have no label"):
        data.require_every_class(np.array([0, 1, -1]), ["a", "b"])
    with pytest.raises(EdgeLstmError, match="no labels to train on"):
        data.require_every_class(np.array([-1, -1]), [])


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_decimation_is_the_mean_of_each_whole_block(factor: int) -> None:
    x = np.random.default_rng(0).integers(-32768, 32768, (2, 14, 3)).astype(np.int16)
    means = data.decimate(x, factor)
    assert means.dtype == np.float64
    assert means.shape == (2, 14 // factor, 3)
    for n, block, channel in np.ndindex(*means.shape):
        values = [int(v) for v in x[n, block * factor : (block + 1) * factor, channel]]
        assert means[n, block, channel] == pytest.approx(sum(values) / factor, rel=1e-15)
    np.testing.assert_array_equal(data.decimate(x[0], factor), means[0])


def test_decimation_refuses_less_than_a_block() -> None:
    with pytest.raises(EdgeLstmError, match="3 samples are fewer than one block of 4"):
        data.decimate(np.zeros((3, 2)), 4)
    with pytest.raises(UsageError):
        data.decimate(np.zeros((3, 2)), 0)


def test_standardized_training_data_have_zero_mean_and_unit_variance(dataset: Dataset) -> None:
    windows = data.windows(dataset, 8, 4)
    standardization = data.standardize(windows.x, decimation=4)
    offset, scale = standardization
    assert (offset.shape, scale.shape) == ((3,), (3,))
    z = standardization.apply(data.decimate(windows.x, 4))
    np.testing.assert_allclose(z.mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=(0, 1)), 1, rtol=1e-12)


def test_standardization_is_in_raw_units(dataset: Dataset) -> None:
    x = data.windows(dataset, 8, 4).x.astype(np.float64)
    one, other = data.standardize(x, 4), data.standardize(x * 5 + 100, 4)
    np.testing.assert_allclose(other.offset, one.offset * 5 + 100)
    np.testing.assert_allclose(other.scale, one.scale * 5)


@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678])
def test_a_constant_channel_gets_scale_1_and_a_warning(value: float) -> None:
    x = np.random.default_rng(0).normal(size=(7, 12, 2)).astype(np.float32)
    x[..., 1] = value
    with pytest.warns(DataWarning, match="channel wy is .* in every training window"):
        standardization = data.standardize(x, 3, channels=["wx", "wy"])
    assert standardization.scale[1] == 1.0
    assert (standardization.apply(data.decimate(x, 3))[..., 1] == 0).all()


def test_standardization_refuses_what_it_cannot_learn_from() -> None:
    x = np.zeros((2, 8, 2))
    x[1, 5, 1] = np.nan
    with pytest.raises(EdgeLstmError, match="channel 1 holds a value that is not finite"):
        data.standardize(x, 4)
    with pytest.raises(EdgeLstmError, match="not empty"):
        data.standardize(np.zeros((0, 8, 2)), 4)


def test_importing_the_readers_loads_no_other_library_than_numpy() -> None:
    code = "import sys, edge_lstm.data; print([m for m in ('pandas', 'pyarrow', 'numba', 'onnx', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
