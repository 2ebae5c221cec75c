"""The commands on graphs of exporters: a part of a graph by the names of values, and all reasons why one cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from read_graphs import Graph

from edge_lstm import onnx_io
from edge_lstm.cli.program import call
from edge_lstm.engine import reference
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Network
from edge_lstm.onnx_io.read import UnsupportedModel

INPUTS, UNITS, CLASSES, STEPS = 3, 6, 4, 12


def written(folder: Path) -> tuple[Path, str, str]:
    """A model with a square root in front and two things behind that are not read; and the names of the values that enclose the rest."""
    graph = Graph({"x": ("batch", "time", INPUTS)})
    front = graph.node("Sqrt", graph.node("Exp", "x"))
    y = graph.recurrent("GRU", graph.node("Transpose", front, perm=[1, 0, 2]), INPUTS, UNITS, linear_before_reset=1)[0]
    last = graph.node("Gather", graph.node("Squeeze", y, graph.constant([1])), graph.constant(-1), axis=0)
    scores = graph.node("Gemm", last, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1)
    onnx.save(
        graph.model(graph.node("Einsum", graph.node("LayerNormalization", scores, graph.random(CLASSES)), equation="ij->ij")),
        folder / "m.onnx",
    )
    return folder / "m.onnx", front, scores


def test_inspect_lists_every_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _, scores = written(tmp_path)
    with pytest.raises(UnsupportedModel) as refused:
        onnx_io.load(path, end=scores)
    assert len(refused.value.reasons) == 2
    with pytest.raises(UnsupportedModel) as refused:
        onnx_io.load(path)
    assert call(["inspect", str(path)]) == 1
    shown = capsys.readouterr()
    assert all(f"  - {reason}\n" in shown.out for reason in refused.value.reasons)
    for said in (
        "Sqrt",
        "--from, --to",
        "operator LayerNormalization is not supported: it needs a division",
        "Einsum is not supported: write it as MatMul",
    ):
        assert said in shown.out
    assert shown.err.count("\n") == 1
    assert f"cannot be read ({len(refused.value.reasons)} reasons)" in shown.err
    assert call(["inspect", str(path), "--json"]) == 1
    assert tuple(json.loads(capsys.readouterr().out)["reasons"]) == refused.value.reasons


def test_other_commands_name_one_reason_and_where_all_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _, _ = written(tmp_path)
    assert call(["convert", str(path)]) == 1
    error = capsys.readouterr().err
    assert "Exp" in error
    assert "3 more reasons; `edge-lstm inspect` lists all" in error
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_of_a_graph_is_inspected_and_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, front, scores = written(tmp_path)
    part = ["--from", front, "--to", scores]
    assert call(["inspect", str(path), *part, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file_metadata"] == {
        "onnx_input": front, "onnx_output": scores,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (8, STEPS, INPUTS)).astype(np.float32)
    np.savez(tmp_path / "r.npz", x=x)
    assert call(["convert", str(path), *part, "-c", str(tmp_path / "r.npz"), "--window", str(STEPS)]) == 0
    network = onnx_io.load(path, start=front, end=scores)
    assert isinstance(network, Network)
    expected, made = quantize(network, x), onnx_io.load(tmp_path / "m.int.onnx")
    raw = rng.integers(-300, 300, (8, STEPS, INPUTS)).astype(np.int16)
    np.testing.assert_array_equal(reference.run(made, raw).scores, reference.run(expected, raw).scores)


def test_our_own_files_cannot_be_cut(tmp_path: Path) -> None:
    path, front, scores = written(tmp_path)
    network = onnx_io.load(path, start=front, end=scores)
    onnx_io.save_network(network, tmp_path / "own.onnx")
    with pytest.raises(UsageError, match=r"own\.onnx: a file of edge-lstm is read as a whole"):
        onnx_io.load(tmp_path / "own.onnx", end=scores)
