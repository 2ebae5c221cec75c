"""`run` gives the labels of the networks themselves, whole and streamed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_commands import Files, nothing_half_written

from edge_lstm import data, onnx_io
from edge_lstm.engine import reference


def expected_labels(files: Files) -> tuple[data.Windows, np.ndarray]:
    """By the NumPy reference, on the windows that the model asks for (20 samples)."""
    windows = data.windows(data.load(files.npz), 20, 20)
    return windows, reference.run(onnx_io.load(files.hard_int), windows.x).scores.argmax(-1)


def test_whole_recordings_are_labelled_window_by_window(files: Files, edge_lstm) -> None:
    windows, labels = expected_labels(files)
    came = edge_lstm("run", files.hard_int, files.npz, "--json").json
    assert [row["label"] for row in came["windows"]] == [("rest", "walk", "run")[k] for k in labels]
    assert [row["start"] for row in came["windows"]] == windows.start.tolist()
    assert came["right"] == int((labels == windows.y).sum())
    assert len(set(labels.tolist())) > 1


def test_a_stream_decides_as_whole_windows_do(files: Files, edge_lstm) -> None:
    _, labels = expected_labels(files)
    lines = [json.loads(line) for line in edge_lstm("run", files.hard_int, files.npz, "--stream", "--json").out.splitlines()]
    decided = [line["label"] for line in lines if line["label"]]
    assert decided == [("rest", "walk", "run")[k] for k in labels]
    assert len(lines) == 9 * 100  # one line for each step of 2 samples


def test_text_of_a_stream_has_a_line_a_step(files: Files, edge_lstm) -> None:
    came = edge_lstm("run", files.hard_int, files.csv, "--label-column", "label", "--units-per-count", 1 / 1024, "--stream")
    lines = came.out.splitlines()
    assert (came.status, len(lines)) == (0, 100)
    assert lines[0] == "one\t1"
    assert lines[9].split("\t")[2] in ("rest", "walk", "run")


def test_float_and_integer_models_take_the_same_recordings(files: Files, edge_lstm) -> None:
    floats, integers = (edge_lstm("run", model, files.npz, "--json").json["windows"] for model in (files.soft, files.soft_int))
    same = np.mean([a["label"] == b["label"] for a, b in zip(floats, integers, strict=True)])
    assert same > 0.9


def test_counts_of_another_size_are_converted_through_physical_units(files: Files, edge_lstm, tmp_path) -> None:
    """A .csv in g, and one in counts, give the labels of the .npz."""
    recording = data.load(files.npz).recordings[1]
    in_g = tmp_path / "one.csv"
    in_g.write_text("ax,ay,az\n" + "\n".join(",".join(f"{v / 1024:.8f}" for v in row) for row in recording.samples.tolist()) + "\n")
    expected = [
        row["label"] for row in edge_lstm("run", files.hard_int, files.npz, "--json").json["windows"] if row["recording"] == recording.name
    ]
    assert [row["label"] for row in edge_lstm("run", files.hard_int, in_g, "--json").json["windows"]] == expected
    as_counts = edge_lstm("run", files.hard_int, files.csv, "--label-column", "label", "--units-per-count", 1 / 1024, "--json").json
    assert [row["label"] for row in as_counts["windows"]] == expected


def test_the_bundled_recordings_have_a_name(files: Files, edge_lstm) -> None:
    assert "3 channels expected, 6 came" in edge_lstm("run", files.hard_int, "watch").error


def test_labels_and_scores_are_written_as_they_come(files: Files, edge_lstm, tmp_path: Path) -> None:
    shown = edge_lstm("run", files.hard_int, files.npz, "--stride", 7, "--json").json
    came = edge_lstm("run", files.hard_int, files.npz, "--stride", 7, "-o", tmp_path / "labels.jsonl", "--scores", "--json").json
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [{name: line[name] for name in ("recording", "start", "label", "true")} for line in lines] == shown["windows"]
    assert came == {**shown, "windows": len(lines), "output": str(tmp_path / "labels.jsonl")}
    assert [("rest", "walk", "run")[int(np.argmax(line["scores"]))] for line in lines] == [line["label"] for line in lines]
    said = edge_lstm("run", files.hard_int, files.npz, "--stride", 7, "-o", tmp_path / "labels.csv").out
    assert f"{len(lines)} windows of 20 samples written to" in said
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["recording"], int(row["start"]), row["label"]) for row in rows] == [
        (line["recording"], line["start"], line["label"]) for line in lines
    ]
    edge_lstm("run", files.hard_int, files.npz, "-o", tmp_path / "scores.csv", "--scores", "--threads", 1)
    assert (tmp_path / "scores.csv").read_text().startswith("recording,start,label,true,score rest,score walk,score run\n")


def test_a_run_that_fails_on_the_way_leaves_what_was_there(
    files: Files, edge_lstm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_lstm.data import npz_source, window_source

    monkeypatch.setattr(npz_source, "PIECE_BYTES", 4000)
    monkeypatch.setattr(window_source, "BATCH_BYTES", 4000)
    x = np.random.default_rng(0).normal(0, 1, (500, 20, 3))
    x[-1, -1, 1] = np.nan
    np.savez(tmp_path / "x.npz", x=x)
    (tmp_path / "labels.csv").write_text("before")
    came = edge_lstm("run", files.hard_int, tmp_path / "x.npz", "-o", tmp_path / "labels.csv")
    assert came.status == 1
    assert "recording 499: channel channel1 is nan at sample 19" in came.error
    assert (tmp_path / "labels.csv").read_text() == "before"
    nothing_half_written(tmp_path, "x.npz", "labels.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "labels.txt"], "labels are written to .csv or .jsonl files"),
        (["--scores"], "name one with --output"),
        (["--stream", "-o", "labels.csv"], "leave out --window"),
    ],
)
def test_outputs_that_do_not_go_are_a_wrong_call(files: Files, edge_lstm, arguments: list[str], message: str) -> None:
    came = edge_lstm("run", files.hard_int, files.npz, *arguments)
    assert came.status == 2
    assert message in came.error


PEAK = """
import resource, sys
from edge_lstm.cli.program import call
status = call(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux only")
def test_the_memory_does_not_grow_with_the_file(files: Files, tmp_path: Path) -> None:
    """A file of 100 MB, counts or floats, takes little more memory than one of 10 MB."""

    def peak(megabytes: int, dtype: type) -> float:
        path, size = tmp_path / "x.npy", megabytes << 20
        with path.open("wb") as file:
            shape = (size // (3 * np.dtype(dtype).itemsize * 5000), 5000, 3)
            np.lib.format.write_array_header_1_0(file, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
            block = np.random.default_rng(1).normal(0, 1, (5000, 3)).astype(dtype).tobytes()
            for _ in range(shape[0]):
                file.write(block)
        command = [sys.executable, "-c", PEAK, "run", str(files.hard_int), str(path), "-o", str(tmp_path / "x.csv"), "--stride", "50"]
        root = Path(__file__).resolve().parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        status, kilobytes = map(int, done.stdout.split()[-2:])
        assert status == 0, done.stderr
        with (tmp_path / "x.csv").open() as lines:
            assert sum(1 for _ in lines) == 1 + shape[0] * 100
        path.unlink()
        return kilobytes / 1024

    small = peak(10, np.int16)
    assert peak(100, np.int16) < small + 25
    assert peak(100, np.float32) < small + 50
