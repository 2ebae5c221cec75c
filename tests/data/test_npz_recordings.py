"""Both .npz layouts are read exactly; anything else is refused in one line that names the file and the array."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import data
from edge_lstm.data import Dataset
from edge_lstm.errors import EdgeLstmError, UsageError


def assert_same(left: Dataset, right: Dataset) -> None:
    for field in ("channels", "classes", "rate_hz", "source", "units"):
        assert getattr(left, field) == getattr(right, field), field
    np.testing.assert_array_equal(left.units_per_count, right.units_per_count)  # type: ignore[arg-type]
    for a, b in zip(left.recordings, right.recordings, strict=True):
        assert (a.label, a.person, a.name, a.samples.dtype) == (b.label, b.person, b.name, b.samples.dtype)
        np.testing.assert_array_equal(a.samples, b.samples)
        assert (a.step_labels is None) == (b.step_labels is None)
        if a.step_labels is not None:
            np.testing.assert_array_equal(a.step_labels, b.step_labels)


def test_what_is_written_is_read_back(dataset: Dataset, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "r.npz")
    assert_same(data.load(tmp_path / "r.npz"), dataset)


def test_equal_datasets_give_equal_bytes(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.save(dataset, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    data.save(data.load(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_unlabelled_recordings_are_read_back(dataset: Dataset, tmp_path: Path) -> None:
    bare = tuple(dataclasses.replace(r, label=None, step_labels=None) for r in dataset.recordings)
    unlabelled = dataclasses.replace(dataset, recordings=bare, classes=(), rate_hz=None, units=())
    data.save(unlabelled, tmp_path / "r.npz")
    assert_same(data.load(tmp_path / "r.npz"), unlabelled)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32, np.float64])
def test_the_simple_layout(tmp_path: Path, dtype: type) -> None:
    x = np.random.default_rng(0).normal(0, 30, (5, 20, 2)).astype(dtype)
    np.savez(tmp_path / "r.npz", x=x, y=np.array([10, 2, 2, -1, 10]), person=np.array(["a", "b", "a", "b", "c"]))
    read = data.load(tmp_path / "r.npz")
    assert read.is_integer == np.issubdtype(dtype, np.integer)
    np.testing.assert_array_equal(np.stack([r.samples for r in read.recordings]), x.astype(read.recordings[0].samples.dtype))
    assert read.classes == ("2", "10")
    assert [r.label for r in read.recordings] == [1, 0, 0, None, 1]
    assert [r.person for r in read.recordings] == ["a", "b", "a", "b", "c"]
    assert (read.units_per_count is None) == (not read.is_integer)


def test_labels_may_be_strings_and_classes_fix_their_order(tmp_path: Path) -> None:
    x = np.zeros((3, 4, 2), np.int16)
    np.savez(tmp_path / "r.npz", x=x, y=np.array(["walk", "rest", "walk"]), classes=np.array(["walk", "run", "rest"]))
    read = data.load(tmp_path / "r.npz")
    assert read.classes == ("walk", "run", "rest")
    assert [r.label for r in read.recordings] == [0, 2, 0]


def test_the_simple_layout_needs_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=np.ones((2, 4, 3), np.int16))
    assert [r.label for r in data.load(tmp_path / "r.npz").recordings] == [None, None]


X = np.zeros((2, 4, 3), np.int16)
SAMPLES = {"samples": np.zeros((8, 3), np.int16), "lengths": np.array([4, 4])}
NAN = np.where(np.arange(24).reshape(2, 4, 3) >= 19, np.nan, 1.0)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X}, "neither 'samples' nor 'x'"),
        ({"samples": SAMPLES["samples"]}, "array 'lengths' is missing"),
        ({"x": X, "labels": np.zeros(2, int)}, "array 'labels' does not belong to the simple layout"),
        ({"x": X[0]}, r"x must be \[recordings, time, channels\]; shape \[4, 3\]"),
        ({"x": X[:0]}, "there are no recordings"),
        ({"x": X[:, :0]}, "recording 0 is empty"),
        ({"x": X + 40_000.5 > 0}, "samples must be numbers"),
        ({"x": X.astype(np.int32) + 40_000}, "must fit int16, they run from 40000 to 40000"),
        ({"x": X.astype(np.float64) + 1e39}, "channel channel0 is inf at sample 0"),
        ({"x": NAN}, "recording 1: channel channel1 is nan at sample 2"),
        ({"x": NAN, "channels": np.array(["p", "q", "r"])}, "recording 1: channel q is nan at sample 2"),
        ({"x": X, "y": np.zeros(3, int)}, r"the labels must be \[2\] integers or strings; shape \[3\]"),
        ({"x": X, "y": np.zeros(2)}, "the labels must be"),
        ({"x": X, "y": np.array([0, 5]), "classes": np.array(["a", "b"])}, "recording 1: label 5 is not one of the 2 classes"),
        ({"x": X, "y": np.array(["a", "z"]), "classes": np.array(["a", "b"])}, "labelled 'z', which is not among the classes a, b"),
        ({"x": X, "channels": np.array(["p", "q"])}, r"channels must be \[3\] strings; shape \[2\]"),
        ({"x": X, "channels": np.array(["p", "q", "p"])}, "two of its channel names are 'p'"),
        ({"x": X, "rate_hz": np.array(0.0)}, "rate_hz must be positive"),
        ({"x": X, "source": np.array(["a", "b"])}, "source must be one string"),
        ({"x": X, "rate_hz": np.array([1.0, 2.0])}, "rate_hz must be one number"),
        ({"x": X, "units_per_count": np.ones(2)}, "3 units_per_count expected"),
        ({"x": X, "units_per_count": np.array([1.0, 0.0, 1.0])}, "units_per_count must be positive"),
        ({"x": X.astype(float), "units_per_count": np.ones(3)}, "must be None for float32"),
        ({"x": X, "person": np.array([object(), object()])}, "cannot be read as .npz"),
        ({**SAMPLES, "lengths": np.array([4, 5])}, "lengths add up to 9, samples has 8 rows"),
        ({**SAMPLES, "lengths": np.array([10, -2])}, "lengths add up to 8"),
        ({**SAMPLES, "step_labels": np.zeros(8, int)}, "step_labels need the array 'classes'"),
        ({**SAMPLES, "step_labels": np.arange(8), "classes": np.array(["a"])}, "step labels run from 0 to 3, there are 1 classes"),
        ({**SAMPLES, "name": np.array(["a", "a"])}, "two of its recording names are 'a'"),
    ],
)
def test_malformed_content_is_refused_by_name(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(EdgeLstmError, match=message) as caught:
        data.load(tmp_path / "r.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04\x95 a pickle", b"ax,ay\n1,2\n"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(EdgeLstmError, match=r"r\.npz: not an \.npz file"):
        data.load(tmp_path / "r.npz")


def test_a_damaged_file_is_refused_or_read_but_never_crashes(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "r.npz"
    data.save(dataset, path)
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            data.load(path)
        except EdgeLstmError:
            refused += 1
    assert refused > 200  # the rest hit names, dates and other bytes that carry no content


def test_missing_file_and_wrong_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match="no such file or folder"):
        data.load(tmp_path / "absent.npz")
    (tmp_path / "r.txt").touch()
    with pytest.raises(UsageError, match=r"not from \.txt"):
        data.load(tmp_path / "r.txt")


def test_table_options_do_not_go_with_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "r.npz", x=X)
    with pytest.raises(UsageError, match=r"label_column is for \.csv and \.parquet"):
        data.load(tmp_path / "r.npz", label_column="activity")


def test_channels_are_picked_in_order(dataset: Dataset, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "r.npz")
    read = data.load(tmp_path / "r.npz", channels=["az", "ax"])
    assert read.channels == ("az", "ax")
    for picked, whole in zip(read.recordings, dataset.recordings, strict=True):
        np.testing.assert_array_equal(picked.samples, whole.samples[:, [2, 0]])
    if dataset.units_per_count is not None:
        np.testing.assert_array_equal(read.units_per_count, dataset.units_per_count[[2, 0]])  # type: ignore[arg-type]
    with pytest.raises(EdgeLstmError, match="no channel 'temperature'"):
        data.load(tmp_path / "r.npz", channels=["temperature"])


def test_classes_are_matched_by_name(dataset: Dataset, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "r.npz")
    read = data.load(tmp_path / "r.npz", classes=["walk", "run", "rest"])

    def named(of: Dataset) -> list[Any]:
        steps = [[] if r.step_labels is None else [(*of.classes, "")[s] for s in r.step_labels] for r in of.recordings]
        return [None if r.label is None else of.classes[r.label] for r in of.recordings] + steps

    assert named(read) == named(dataset)
    with pytest.raises(EdgeLstmError, match="is labelled 'rest', which is not among the classes walk, run"):
        data.load(tmp_path / "r.npz", classes=["walk", "run"])


def test_channels_are_required_by_name_or_number(dataset: Dataset) -> None:
    data.require_channels(dataset, 3)
    data.require_channels(dataset, ["ax", "ay", "az"])
    with pytest.raises(EdgeLstmError, match="6 channels expected, 3 came"):
        data.require_channels(dataset, 6)
    with pytest.raises(EdgeLstmError, match="channels ay, ax, az expected, ax, ay, az came"):
        data.require_channels(dataset, ["ay", "ax", "az"])
