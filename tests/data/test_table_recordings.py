"""CSV and Parquet recordings: what was written is read; what cannot be a sample is refused by file, line and column."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_lstm import data
from edge_lstm.data import csv_file
from edge_lstm.errors import EdgeLstmError, UsageError


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def samples() -> NDArray[np.float64]:
    return np.random.default_rng(5).normal(0, 2, (30, 3))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_one_unlabelled_recording(tmp_path: Path, samples: NDArray[np.float64], delimiter: str) -> None:
    path = write_csv(tmp_path / "walk.csv", ["ax", "ay", "az"], samples.tolist(), delimiter)
    read = data.load(path, rate_hz=100)
    assert (read.name, read.channels, read.classes, read.rate_hz) == ("walk", ("ax", "ay", "az"), (), 100)
    assert [(r.name, r.label, r.person) for r in read.recordings] == [("walk", None, "")]
    np.testing.assert_array_equal(read.recordings[0].samples, samples.astype(np.float32))
    assert read.units_per_count is None


def test_whole_numbers_become_counts_only_when_all_of_them_fit(tmp_path: Path) -> None:
    edge = [[-32768, 0.0], [32767, 5]]
    write_csv(tmp_path / "a.csv", ["x", "y"], edge)
    read = data.load(tmp_path, units_per_count=[0.5, 2])
    assert read.is_integer
    assert read.units_per_count is not None
    assert read.units_per_count.tolist() == [0.5, 2.0]
    np.testing.assert_array_equal(read.recordings[0].samples, edge)
    for beyond in (32768, -32769, 0.25):
        write_csv(tmp_path / "b.csv", ["x", "y"], [[1, 1], [beyond, 1]])
        read = data.load(tmp_path)
        assert not read.is_integer
        assert [r.samples.dtype for r in read.recordings] == [np.float32, np.float32]
        with pytest.raises(EdgeLstmError, match="units_per_count is for sensor counts"):
            data.load(tmp_path, units_per_count=0.5)


def test_units_per_count_are_one_or_one_a_channel(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["x", "y"], [[1, 2]])
    for given, expected in ((None, [1, 1]), (0.25, [0.25, 0.25]), ([0.5, 2], [0.5, 2])):
        scales = data.load(path, units_per_count=given).units_per_count
        assert scales is not None
        assert scales.tolist() == expected
    with pytest.raises(EdgeLstmError, match="1 or 2 units_per_count expected, 3 came"):
        data.load(path, units_per_count=[1, 2, 3])
    with pytest.raises(EdgeLstmError, match="must be positive"):
        data.load(path, units_per_count=-1)
    with pytest.raises(UsageError, match="one number or one a channel"):
        data.load(path, units_per_count=[[1, 2]])


def test_no_channels_at_all_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one channel"):
        data.load(write_csv(tmp_path / "a.csv", ["x"], [[1]]), channels=[])


def test_label_and_person_columns(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    for name, labels in (("a", ["10"] * 30), ("b", ["2"] * 10 + [""] * 5 + ["10"] * 15), ("c", [""] * 30)):
        rows = [[label, *row, f"p{name}"] for label, row in zip(labels, samples.tolist(), strict=True)]
        write_csv(tmp_path / f"{name}.csv", ["activity", "ax", "ay", "az", "who"], rows)
    read = data.load(tmp_path, label_column="activity", person_column="who")
    assert read.classes == ("2", "10")
    assert [(r.name, r.label, r.person) for r in read.recordings] == [("a", 1, "pa"), ("b", None, "pb"), ("c", None, "pc")]
    steps = read.recordings[1].step_labels
    assert steps is not None
    assert steps.tolist() == [0] * 10 + [-1] * 5 + [1] * 15
    assert read.recordings[2].step_labels is None


def test_a_labels_file_names_every_recording(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    for name in "abc":
        write_csv(tmp_path / f"{name}.csv", ["ax", "ay", "az"], samples.tolist())
    labels = write_csv(
        tmp_path / "labels.csv", ["file", "label", "person"], [["b.csv", "walk", "p1"], ["a", "rest", "p2"], ["c", "walk", ""]]
    )
    read = data.load(tmp_path, labels=labels)
    assert read.classes == ("rest", "walk")
    assert [(r.name, r.label, r.person) for r in read.recordings] == [("a", 0, "p2"), ("b", 1, "p1"), ("c", 1, "")]


def test_recordings_of_one_file_are_told_apart(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    take = ["t1"] * 12 + ["t0"] * 18
    path = write_csv(tmp_path / "all.csv", ["take", "ax", "ay", "az"], [[t, *row] for t, row in zip(take, samples.tolist(), strict=True)])
    read = data.load(path, recording_column="take")
    assert [(r.name, len(r.samples)) for r in read.recordings] == [("t1", 12), ("t0", 18)]
    np.testing.assert_array_equal(read.recordings[1].samples, samples[12:].astype(np.float32))


def test_named_channels_are_read_in_order_and_the_rest_is_not_looked_at(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["time", "ax", "note", "ay"], [["12:00", 1, "start", 2], ["12:01", 3, "", 4]])
    read = data.load(path, channels=["ay", "ax"])
    assert read.channels == ("ay", "ax")
    assert read.recordings[0].samples.tolist() == [[2, 1], [4, 3]]


def test_a_byte_order_mark_blank_lines_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfax, ay\r\n1, 2\r\n\r\n 3 ,4\r\n\r\n")
    read = data.load(tmp_path / "a.csv")
    assert read.channels == ("ax", "ay")
    assert read.recordings[0].samples.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("quoted", [False, True])
def test_cells_of_csv_are_the_numbers_and_texts_that_python_reads(tmp_path: Path, quoted: bool) -> None:
    """Both the quick way, for lines without quotes, and the other; with numbers that only one of them knows."""
    rng = np.random.default_rng(0)
    cells = [repr(value) for value in (rng.normal(0, 1, 400) * 10.0 ** rng.integers(-300, 300, 400)).tolist()]
    cells += ["007", " 5 ", "-0", "1e5", "+.5", "1e400", "inf", "0.1000000000000000055511151231257827", str(2**63)] * 9
    names = [f"{k // 50:03d}" for k in range(len(cells))]
    special = "1_000"
    lines = [f"{cell},{name}, x{k}" for k, (cell, name) in enumerate(zip(cells, names, strict=True))]
    for extra in ([], [f"{special},9,y"]):
        content = ["value,take,text", *lines, *extra]
        if quoted:
            content[300] = ",".join(f'"{cell}"' for cell in content[300].split(","))
        (tmp_path / "a.csv").write_text("\n".join(content) + "\n")
        tables = list(csv_file.read_blocks(tmp_path / "a.csv", 128))
        assert np.concatenate([table.numbers("value") for table in tables]).tolist() == [*map(float, cells), *([1000.0] if extra else [])]
        assert [text for table in tables for text in table.texts("take")] == names + ["9"] * len(extra)
        assert tables[0].texts("text")[:3] == ["x0", "x1", "x2"]
        assert tables[-1].place(0) == "line 386"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a\.csv: empty; its first line must name the columns"),
        ("ax,ay\n", r"a\.csv: there is no sample under the header"),
        ("1.5,2\n3,4\n", r"a\.csv: line 1 holds numbers"),
        ("ax,\n3,4\n", r"a\.csv: line 1: column 2 has no name"),
        ("ax,ax\n3,4\n", r"a\.csv: line 1: two columns are named 'ax'"),
        ("ax,ay\n1,2\n3\n", r"a\.csv: line 3: 2 cells expected, 1 came"),
        ("ax,ay\n1,2\n\n3,4,5\n", r"a\.csv: line 4: 2 cells expected, 3 came"),
        ("ax,ay\n1,2\n3,tall\n", r"a\.csv: line 3, column ay: 'tall' is not a number"),
        ("ax,ay\n\n1,2\n ,4\n", r"a\.csv: line 4, column ax: the cell is empty"),
        ("ax;ay\n1;2,5\n", r"a\.csv: line 2, column ay: '2,5' is not a number"),
        ("ax,ay\n1,2\n3,nan\n", "recording a: channel ay is nan at sample 1"),
        ("ax,ay\n1,2\n-inf,1\n", "recording a: channel ax is -inf at sample 1"),
        ("ax,ay\n1,1e300\n", "recording a: channel ay is inf at sample 0"),
        ("time,ax\n1,2\n", r"a\.csv: column 'time' looks like a clock"),
        ('ax,ay\n1,"2\n', r"a\.csv: line 2: not CSV"),
    ],
)
def test_malformed_csv_is_refused_by_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    with pytest.raises(EdgeLstmError, match=message) as caught:
        data.load(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_binary_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(256)))
    with pytest.raises(EdgeLstmError, match="not a text file in UTF-8"):
        data.load(tmp_path / "a.csv")


def test_files_of_a_folder_must_agree(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["ax", "ay"], [[1, 2]])
    write_csv(tmp_path / "b.csv", ["ay", "ax"], [[1, 2]])
    with pytest.raises(EdgeLstmError, match=r"b\.csv: channels ax, ay expected \(as in a\.csv\), ay, ax came"):
        data.load(tmp_path)


def test_columns_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["ax", "ay"], [[1, 2]])
    for option in ("label_column", "person_column", "recording_column"):
        with pytest.raises(EdgeLstmError, match=r"a\.csv: no column 'who' .*; it has ax, ay"):
            data.load(path, **{option: "who"})  # type: ignore[arg-type]
    with pytest.raises(EdgeLstmError, match=r"a\.csv: no column 'az'"):
        data.load(path, channels=["ax", "az"])


def test_a_person_may_not_change_within_a_recording(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["ax", "who"], [[1, "p1"], [2, "p1"], [3, "p2"]])
    with pytest.raises(EdgeLstmError, match=r"a\.csv: line 4: the person changes within recording a"):
        data.load(path, person_column="who")


def test_a_recording_must_stand_together(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ["ax", "take"], [[1, "t0"], [2, "t1"], [3, "t0"]])
    with pytest.raises(EdgeLstmError, match=r"line 4: recording t0 goes on after another one"):
        data.load(path, recording_column="take")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "walk"]], r"b\.csv: the labels file does not name it"),
        ([["a", "walk"], ["b", "walk"], ["c", "walk"]], "names c, which is not there"),
        ([["a", "walk"], ["b", ""]], "line 3: the label is empty"),
        ([["a", "walk"], ["", "walk"]], "line 3: the file is empty"),
        ([["a", "walk"], ["b", "rest"], ["a", "rest"]], "line 4: a is named a second time"),
    ],
)
def test_a_labels_file_must_match_the_recordings(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    for name in "ab":
        write_csv(tmp_path / f"{name}.csv", ["ax"], [[1], [2]])
    labels = write_csv(tmp_path / "labels.csv", ["file", "label"], rows)
    with pytest.raises(EdgeLstmError, match=message):
        data.load(tmp_path, labels=labels)


def test_a_labels_file_has_known_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["ax"], [[1], [2]])
    labels = tmp_path / "labels.csv"
    with pytest.raises(EdgeLstmError, match="no such labels file"):
        data.load(tmp_path, labels=labels)
    write_csv(labels, ["file", "class"], [["a", "walk"]])
    with pytest.raises(EdgeLstmError, match="no column 'label'"):
        data.load(tmp_path, labels=labels)
    write_csv(labels, ["file", "label", "age"], [["a", "walk", 3]])
    with pytest.raises(EdgeLstmError, match="unknown column 'age'"):
        data.load(tmp_path, labels=labels)
    with pytest.raises(UsageError, match="not both"):
        data.load(tmp_path, labels=labels, label_column="ax")


def test_an_empty_or_mixed_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match=r"no \.csv or \.parquet file in this folder"):
        data.load(tmp_path)
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.parquet").touch()
    with pytest.raises(EdgeLstmError, match=r"both \.csv and \.parquet"):
        data.load(tmp_path)


def test_parquet_gives_what_csv_gives(tmp_path: Path, samples: NDArray[np.float64]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    from pyarrow import parquet

    labels = ["walk"] * 10 + ["rest"] * 20
    write_csv(
        tmp_path / "a.csv", ["ax", "ay", "az", "activity"], [[*row, label] for row, label in zip(samples.tolist(), labels, strict=True)]
    )
    columns = dict(zip(["ax", "ay", "az"], samples.T, strict=True))
    parquet.write_table(pyarrow.table({**columns, "activity": labels}), tmp_path / "a.parquet")
    from_csv, from_parquet = (data.load(tmp_path / f"a.{kind}", label_column="activity") for kind in ("csv", "parquet"))
    assert (from_csv.channels, from_csv.classes) == (from_parquet.channels, from_parquet.classes)
    np.testing.assert_array_equal(from_csv.recordings[0].samples, from_parquet.recordings[0].samples)
    np.testing.assert_array_equal(from_csv.recordings[0].step_labels, from_parquet.recordings[0].step_labels)  # type: ignore[arg-type]


def test_parquet_columns_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    from pyarrow import parquet

    for values, message in (
        (["1", "two"], "row 1, column ax: 'two' is not a number"),
        ([True, False], "row 0, column ax: 'True' is not a number"),
        ([1, None], "channel ax is nan at sample 1"),
        (np.array(["2020-01-01", "2020-01-02"], "datetime64[s]"), "row 0, column ax: .* is not a number"),
    ):
        parquet.write_table(pyarrow.table({"ax": values}), tmp_path / "a.parquet")
        with pytest.raises(EdgeLstmError, match=message):
            data.load(tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"ax": np.zeros(0)}), tmp_path / "a.parquet")
    with pytest.raises(EdgeLstmError, match="there is no sample in it"):
        data.load(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(EdgeLstmError, match="cannot be read"):
        data.load(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(EdgeLstmError, match=r"needs pyarrow; install it with: pip install 'edge-lstm\[parquet\]'"):
        data.load(tmp_path / "a.parquet")
