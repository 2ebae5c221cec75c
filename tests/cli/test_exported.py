"""A network from an exporter, which knows neither its name nor its classes nor the range of its inputs: what the commands make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from toy_commands import CLASSES, Files

from edge_lstm import onnx_io

UNITS, STEPS = 4, 20


def exported(path: Path) -> Path:
    """LSTM -> last step -> dense with three outputs, as torch.onnx writes it."""
    rng = np.random.default_rng(5)
    shapes = {"W": (1, 4 * UNITS, 3), "R": (1, 4 * UNITS, UNITS), "V": (UNITS, 3)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name) for name, shape in shapes.items()]
    weights.append(numpy_helper.from_array(np.array([0]), "zero"))
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R"], ["", "h", ""], hidden_size=UNITS),
        helper.make_node("Squeeze", ["h", "zero"], ["last"]),
        helper.make_node("MatMul", ["last", "V"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, "batch", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "main_graph", [given], [result], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_a_network_is_called_as_its_file(files: Files, edge_lstm, tmp_path: Path) -> None:
    """Every export of PyTorch is called main_graph: two headers of that name would shut each other out."""
    for name in ("gesture", "step count"):
        model = exported(tmp_path / f"{name}.onnx")
        assert edge_lstm("convert", model, "-c", files.npz).status == 0
        assert edge_lstm("codegen", tmp_path / f"{name}.int.onnx", "-o", tmp_path / "c").status == 0
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"gesture.h", "step_count.h"}


def test_classes_are_taken_in_an_order_that_is_said_or_given(files: Files, edge_lstm, tmp_path: Path) -> None:
    model, integer = exported(tmp_path / "m.onnx"), tmp_path / "m.int.onnx"
    plain = edge_lstm("convert", model, "-c", files.npz)
    assert "rest is 0, walk is 1, run is 2; --classes gives another order" in plain.err
    other = CLASSES[::-1]
    named = edge_lstm("convert", model, "-c", files.npz, "--classes", ",".join(other), "--json")
    assert onnx_io.load(integer).classes == other
    assert "--classes" not in " ".join(named.json["remarks"])
    found = edge_lstm("run", model, files.npz, "--classes", ",".join(other), "--json").json
    assert found["right"] / found["labelled"] == pytest.approx(named.json["accuracy_on_calibration"]["float"], abs=0.1)
    labels = {row["label"] for row in found["windows"]}
    assert labels <= set(other)
    for wrong in ("rest,walk", "rest,walk,walk", "rest,walk,run,fly"):
        for call in (("convert", model, "-c", files.npz), ("run", model, files.npz), ("compare", model, "-d", files.npz)):
            came = edge_lstm(*call, "--classes", wrong)
            assert came.status == 2, call
            assert "for the 3 outputs of m" in came.error
    came = edge_lstm("run", integer, files.npz, "--classes", "rest,walk,run")
    assert came.status == 2
    assert "names its classes itself: run, walk, rest" in came.error


def test_a_channel_without_a_range_is_named(edge_lstm, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[:, 1] = 2.5
    (tmp_path / "r.csv").write_text("ax,ay,az\n" + "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n")
    came = edge_lstm("convert", exported(tmp_path / "m.onnx"), "-c", tmp_path / "r.csv")
    assert came.status == 0
    assert "other values may be clipped: ay\n" in came.err
