"""Recordings read piece by piece are those of `load`: the same windows, the same facts, the same refusals, wherever the pieces end."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from edge_lstm import data
from edge_lstm.data import csv_file, npz_source, parquet_file, source, table_source, window_source
from edge_lstm.errors import EdgeLstmError, UsageError


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that recordings, stretches and windows lie across the ends of pieces and batches."""
    monkeypatch.setattr(npz_source, "PIECE_BYTES", 70)
    monkeypatch.setattr(window_source, "BATCH_BYTES", 500)
    monkeypatch.setattr(parquet_file, "BLOCK_ROWS", 7)
    blocks = csv_file.read_blocks.__defaults__
    assert blocks is not None
    monkeypatch.setattr(csv_file.read_blocks, "__defaults__", (5,))


def assert_same(path: Path, length: int, stride: int, **options: object) -> None:
    """Tables both where their samples are kept and where they are read again."""
    for kept in (0, 1 << 20):
        with patch.object(table_source, "KEPT_BYTES", kept):
            assert_same_of(path, length, stride, **options)


def assert_same_of(path: Path, length: int, stride: int, **options: object) -> None:
    whole, pieces = data.load(path, **options), data.open_recordings(path, **options)  # type: ignore[arg-type]
    for name in ("name", "channels", "classes", "rate_hz", "source", "units", "is_integer"):
        assert getattr(pieces, name) == getattr(whole, name), name
    np.testing.assert_array_equal(pieces.units_per_count, whole.units_per_count)
    assert list(pieces.names) == [r.name for r in whole.recordings]
    assert list(pieces.people) == [r.person for r in whole.recordings]
    assert pieces.lengths.tolist() == [len(r.samples) for r in whole.recordings]
    samples = np.concatenate([piece.samples for piece in pieces.pieces()])
    np.testing.assert_array_equal(samples, np.concatenate([r.samples for r in whole.recordings]))
    with warnings.catch_warnings(record=True) as ours, warnings.catch_warnings():
        warnings.simplefilter("always")
        wanted = data.windows(whole, length, stride)
        came = list(data.window_batches(pieces, length, stride))
    assert len({str(warning.message) for warning in ours}) <= 1
    assert max(len(batch) for batch in came) <= max(1, 500 // (length * samples.shape[1] * samples.itemsize))
    for field in fields(data.Windows):
        joined = np.concatenate([getattr(batch, field.name) for batch in came])
        np.testing.assert_array_equal(joined, getattr(wanted, field.name), err_msg=field.name)
        assert joined.dtype.kind == getattr(wanted, field.name).dtype.kind


SHAPES = [(1, 1), (7, 3), (10, 10), (13, 40), (25, 1)]


@pytest.mark.parametrize(("length", "stride"), SHAPES)
def test_npz_of_the_full_layout(dataset: data.Dataset, length: int, stride: int, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "compressed.npz")
    assert_same(tmp_path / "compressed.npz", length, stride)
    assert_same(tmp_path / "compressed.npz", length, stride, channels=["az", "ax"])
    with np.load(tmp_path / "compressed.npz") as arrays:
        np.savez(tmp_path / "stored.npz", **arrays)
    assert_same(tmp_path / "stored.npz", length, stride)


@pytest.mark.parametrize(("length", "stride"), SHAPES)
@pytest.mark.parametrize("dtype", [np.int16, ">i2", np.int64, np.uint8, np.float32, np.float64, ">f4"])
def test_arrays_of_windows_and_of_one_recording(dtype: object, length: int, stride: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 200, (9, 25, 2)).astype(dtype)  # type: ignore[call-overload]
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(9) % 3, classes=np.array(["a", "b", "c"]))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "one.npy", x.reshape(-1, 2))
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    for name in ("x.npz", "x.npy", "one.npy", "columns.npy"):
        assert_same(tmp_path / name, length, stride)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("counts", [True, False])
def test_tables(suffix: str, counts: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lengths = [17, 8, 40]
    values = rng.integers(-900, 900, (65, 2)) if counts else np.round(rng.normal(0, 3, (65, 2)), 3)
    columns = {
        "ax": values[:, 0],
        "ay": values[:, 1],
        "label": np.array(["walk"] * 17 + [""] * 8 + ["sit"] * 13 + [""] * 4 + ["walk"] * 23),
        "person": np.repeat(["p1", "p2", "p3"], lengths),
        "take": np.repeat(["first", "second", "third"], lengths),
    }
    path = tmp_path / f"table{suffix}"
    if suffix == ".csv":
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path, row_group_size=11)
    options = {"label_column": "label", "person_column": "person", "recording_column": "take"}
    for length, stride in SHAPES[:-1]:
        assert_same(path, length, stride, **options)
    assert_same(path, 10, 10, channels=["ay"], recording_column="take")
    if counts:
        assert_same(path, 10, 5, units_per_count=0.25, **options)


def test_a_folder_of_tables_with_a_labels_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name in ("one", "two", "three"):
        rows = rng.integers(-5, 5, (12, 2)).tolist()
        (tmp_path / f"{name}.csv").write_text("ax,ay\n" + "\n".join(f"{a},{b}" for a, b in rows) + "\n")
    (tmp_path / "labels.csv").write_text("file,label,person\none,walk,p\ntwo.csv,sit,q\nthree,walk,\n")
    assert_same(tmp_path, 5, 3, labels=tmp_path / "labels.csv")


def test_classes_are_matched_by_name(dataset: data.Dataset, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "x.npz")
    pieces = data.with_source_classes(data.open_recordings(tmp_path / "x.npz"), ["run", "walk", "rest"])
    wanted = data.windows(data.with_classes(data.load(tmp_path / "x.npz"), ["run", "walk", "rest"]), 5, 5)
    np.testing.assert_array_equal(np.concatenate([batch.y for batch in data.window_batches(pieces, 5, 5)]), wanted.y)
    with pytest.raises(EdgeLstmError, match="recording take 0 is labelled 'rest', which is not among the classes walk"):
        data.with_source_classes(data.open_recordings(tmp_path / "x.npz"), ["walk"])


def test_a_changing_label_that_the_model_does_not_know_is_refused_when_it_is_read(dataset: data.Dataset, tmp_path: Path) -> None:
    only = data.Dataset("one", dataset.recordings[-1:], dataset.channels, dataset.classes, None, dataset.units_per_count, "test")
    data.save(only, tmp_path / "x.npz")
    narrow = data.with_source_classes(data.open_recordings(tmp_path / "x.npz"), ["rest"])
    with pytest.raises(EdgeLstmError, match="recording take 3 is labelled 'walk'"):
        list(data.window_batches(narrow, 5, 5))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 5))}, r"x must be \[recordings, time, channels\]; shape \[2, 5\]"),
        ({"x": np.full((1, 5, 2), 40000)}, "integer samples must fit int16, they run from 40000"),
        ({"x": np.array([[[0.0, 1.0], [np.nan, 1.0]]])}, "recording 0: channel channel0 is nan at sample 1"),
        ({"x": np.zeros((2, 5, 2), np.complex64)}, "samples must be numbers"),
        ({"x": np.array([[["a"]]])}, "samples must be numbers"),
        ({"x": np.zeros((0, 5, 2))}, "there are no recordings in it"),
        ({"x": np.zeros((2, 0, 2))}, "recording 0 is empty"),
        ({"y": np.zeros(2)}, "neither 'samples' nor 'x'"),
        ({"x": np.zeros((1, 5, 2)), "z": np.zeros(1)}, "array 'z' does not belong"),
        ({"samples": np.zeros((5, 2))}, "array 'lengths' is missing"),
        ({"samples": np.zeros((5, 2)), "lengths": np.array([2, 2])}, "lengths add up to 4, samples has 5 rows"),
        ({"x": np.zeros((1, 5, 2)), "y": np.array([0, 1])}, "the labels must be"),
        ({"x": np.zeros((1, 5, 2)), "channels": np.array(["a"])}, "channels must be"),
        ({"x": np.zeros((1, 5, 2), np.int16), "units_per_count": np.array([1.0, 0.0])}, "units_per_count must be positive"),
        ({"x": np.zeros((1, 5, 2), np.int16), "units_per_count": np.ones(3)}, "2 units_per_count expected"),
        ({"x": np.zeros((1, 5, 2)), "rate_hz": np.array(-50.0)}, "rate_hz must be positive"),
        ({"x": np.zeros((2, 5, 2)), "y": np.array([0, 5]), "classes": np.array(["a", "b"])}, "recording 1: label 5 is not one of the 2"),
        ({"x": np.zeros((2, 5, 2)), "y": np.array([-3, 1]), "classes": np.array(["a", "b"])}, "recording 0: label -3 is not one of the 2"),
        ({"x": np.zeros((1, 5, 2)), "channels": np.array(["a", "a"])}, "two of its channel names are 'a'"),
        (
            {"samples": np.zeros((4, 2)), "lengths": np.array([4]), "step_labels": np.array([0, 7, 7, 0]), "classes": np.array(["a"])},
            "step labels run from",
        ),
    ],
)
def test_what_load_refuses_is_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(EdgeLstmError, match=message):
        data.load(tmp_path / "x.npz")
    with pytest.raises(EdgeLstmError, match=message):
        list(data.window_batches(data.open_recordings(tmp_path / "x.npz"), 2, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ax,ay\n1,2\n3\n", "line 3: 2 cells expected, 1 came"),
        ("ax,ay\n" + "1,2\n" * 8 + "1,x\n", "line 10, column ay: 'x' is not a number; if this is no channel, name the channels"),
        ("ax,ay\n", "no sample under the header"),
        ("", r"its first line must name the columns"),
        ("ax,time\n1,2\n", "looks like a clock"),
        ("ax,ay\n" + "1.5,2\n" * 8 + "nan,2\n", "channel ax is nan at sample 8"),
    ],
)
def test_tables_that_load_refuses_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(EdgeLstmError, match=message):
        data.load(tmp_path / "x.csv")
    with pytest.raises(EdgeLstmError, match=message):
        list(data.window_batches(data.open_recordings(tmp_path / "x.csv"), 2, 2))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "p")] * 7 + [("b", "p"), ("a", "p")], "recording a goes on after another one"),
        ([("a", "p")] * 7 + [("a", "q")], "the person changes within recording a"),
    ],
)
def test_recordings_of_a_table_must_be_in_one_piece(rows: list[tuple[str, str]], message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("ax,take,who\n" + "".join(f"1,{take},{who}\n" for take, who in rows))
    for read in (data.load, data.open_recordings):
        with pytest.raises(EdgeLstmError, match=message):
            read(tmp_path / "x.csv", recording_column="take", person_column="who")


def test_a_file_that_ends_early_and_columns_in_an_archive_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((50, 20, 3), np.int16))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-100])
    with pytest.raises(EdgeLstmError, match="ends too early"):
        list(data.window_batches(data.open_recordings(tmp_path / "x.npy"), 20, 20))
    np.savez(tmp_path / "columns.npz", x=np.asfortranarray(np.zeros((4, 5, 3))))
    with pytest.raises(EdgeLstmError, match="stored column by column"):
        data.open_recordings(tmp_path / "columns.npz")
    np.save(tmp_path / "objects.npy", np.array([[[None]]]))
    with pytest.raises(EdgeLstmError, match="Python objects"):
        data.open_recordings(tmp_path / "objects.npy")
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(EdgeLstmError, match="cannot be read"):
        data.open_recordings(tmp_path / "text.npy")
    with pytest.raises(UsageError, match=r"an \.npy file cannot hold it"):
        data.open_recordings(tmp_path / "x.npy", label_column="label")


def test_windows_that_are_too_long_are_refused_or_warned_about(dataset: data.Dataset, tmp_path: Path) -> None:
    data.save(dataset, tmp_path / "x.npz")
    pieces = data.open_recordings(tmp_path / "x.npz")
    with pytest.raises(EdgeLstmError, match="longer than every recording; the longest recording take 2 has 60"):
        list(data.window_batches(pieces, 61, 1))
    with pytest.warns(data.DataWarning, match="2 of 4 recordings give no window of 35 samples: take 1, take 3"):
        list(data.window_batches(pieces, 35, 1))
    with pytest.raises(UsageError, match="at least 1 sample"):
        list(data.window_batches(pieces, 0, 1))
    only = data.Dataset("one", dataset.recordings[-1:], dataset.channels, dataset.classes, None, dataset.units_per_count, "test")
    data.save(only, tmp_path / "one.npz")
    with pytest.raises(EdgeLstmError, match="the longest stretch of one label, in recording take 3 has 19"):
        list(data.window_batches(data.open_recordings(tmp_path / "one.npz"), 40, 1))


def test_names_that_nobody_gave_take_no_memory() -> None:
    names = source.Numbered(10**12)
    assert (names[0], names[-1], len(names)) == ("0000000000000", "0999999999999", 10**12)
    assert source.Repeated("p", 5)[4] == "p"
    with pytest.raises(IndexError):
        _ = names[10**12]
