"""What this release of PyTorch exports is read, and gives what PyTorch and ONNX Runtime give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from read_graphs import layers, runtime

from edge_lstm.errors import EdgeLstmError
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install '.[exporters]'")

INPUTS, UNITS, CLASSES, STEPS = 6, 11, 5, 13


class Classifier(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, kind: str, tail: str, count: int = 1, batch_first: bool = True) -> None:
        super().__init__()
        self.tail, self.time = tail, 1 if batch_first else 0
        self.recurrent = getattr(torch.nn, kind)(INPUTS, UNITS, count, batch_first=batch_first)
        self.linear = torch.nn.Linear(UNITS, CLASSES)

    def forward(self, x: Any) -> Any:
        y, state = self.recurrent(x)
        if self.tail == "last":
            y = y.select(self.time, -1)
        elif self.tail == "final state":
            y = (state[0] if isinstance(state, tuple) else state)[-1]
        elif self.tail == "mean":
            return torch.softmax(self.linear(y.mean(self.time)), -1)
        return self.linear(y)


def export(model: Any, path: Path, *, dynamo: bool, dynamic: bool, shape: tuple[int, ...] = (2, STEPS, INPUTS)) -> onnx.ModelProto:
    options: dict[str, Any] = {"dynamo": dynamo, "input_names": ["x"], "output_names": ["y"]}
    if dynamo:
        options |= {"external_data": True, "verbose": False}
    if dynamic and dynamo:
        options["dynamic_shapes"] = {"x": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    elif dynamic:
        options["dynamic_axes"] = {"x": {0: "batch", 1: "time"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (torch.zeros(shape),), str(path), **options)
    return onnx.load(path, load_external_data=False)


CASES = [
    ("LSTM", "last", 1), ("LSTM", "final state", 2), ("LSTM", "mean", 2), ("LSTM", "every", 1), ("GRU", "last", 2),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "tail", "count"), CASES)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_export_is_read(kind: str, tail: str, count: int, dynamic: bool, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(count)
    model = Classifier(kind, tail, count)
    path = tmp_path / "model.onnx"
    shape = (2, 5 if dynamic else STEPS, INPUTS)  # PyTorch traces every step of a GRU before it writes one node
    network = read_network(export(model, path, dynamo=dynamo, dynamic=dynamic, shape=shape), tmp_path)
    read_out = {"final state": "last"}.get(tail, tail)
    assert layers(network) == [kind.lower()] * count + [read_out, "Dense"]
    batch, steps = (4, 17) if dynamic else (2, STEPS)
    x = np.random.default_rng(3).normal(0, 1.5, (batch, steps, INPUTS)).astype(np.float32)
    found = network(x)
    np.testing.assert_allclose(found, model(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, runtime(onnx.load(path), {"x": x})[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_vanilla_rnn_is_read(dynamic: bool, tmp_path: Path) -> None:
    model = Classifier("RNN", "last", 2)
    network = read_network(export(model, tmp_path / "model.onnx", dynamo=False, dynamic=dynamic), tmp_path)
    assert layers(network) == ["rnn", "rnn", "last", "Dense"]
    x = np.random.default_rng(5).normal(0, 1.5, (3, 17, INPUTS)).astype(np.float32)
    np.testing.assert_allclose(network(x), model(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_time_major_export_is_read(dynamo: bool, tmp_path: Path) -> None:
    model = Classifier("LSTM", "last", batch_first=False)
    network = read_network(export(model, tmp_path / "model.onnx", dynamo=dynamo, dynamic=False, shape=(STEPS, 2, INPUTS)), tmp_path)
    x = np.random.default_rng(4).normal(0, 1.5, (3, STEPS, INPUTS)).astype(np.float32)
    expected = model(torch.from_numpy(x.transpose(1, 0, 2).copy())).detach().numpy()
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-5)


def test_weights_in_a_file_of_their_own_must_be_there(tmp_path: Path) -> None:
    model = export(Classifier("LSTM", "last"), tmp_path / "model.onnx", dynamo=True, dynamic=False)
    with pytest.raises(EdgeLstmError, match="read the model from its folder"):
        read_network(model)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(EdgeLstmError, match=r"keeps its weights in the file model\.onnx\.data, which must lie beside it") as error:
        read_network(model, tmp_path)
    assert "\n" not in str(error.value)


def test_a_projection_is_refused(tmp_path: Path) -> None:
    class Projected(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = torch.nn.LSTM(INPUTS, UNITS, batch_first=True, proj_size=3)

        def forward(self, x: Any) -> Any:
            return self.recurrent(x)[0]

    with pytest.raises(UnsupportedModel, match="proj_size"):
        read_network(export(Projected(), tmp_path / "model.onnx", dynamo=True, dynamic=False), tmp_path)
