"""`run` gives the labels of the networks themselves, whole and streamed."""

from __future__ import annotations

import json

import numpy as np
from toy_commands import Files

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
