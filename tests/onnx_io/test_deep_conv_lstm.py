"""A DeepConvLSTM (Ordonez & Roggen 2016) from PyTorch to the device: read, turned into integers, the same bits everywhere, streamed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end import assert_same_bits, assert_streams_agree
from read_graphs import layers

import firmware_gen.host
from edge_lstm import engine, onnx_io
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Network

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install '.[exporters]'")

INPUTS, CHANNELS, UNITS, CLASSES, STEPS = 6, 8, 12, 5, 24


class DeepConvLSTM(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        conv, norm = torch.nn.Conv1d, torch.nn.BatchNorm1d
        stack = [conv(INPUTS, CHANNELS, 5), norm(CHANNELS), torch.nn.ReLU(), conv(CHANNELS, CHANNELS, 5), torch.nn.ReLU()]
        self.convolutions = torch.nn.Sequential(*stack)
        self.recurrent = torch.nn.LSTM(CHANNELS, UNITS, 2, batch_first=True, dropout=0.5)
        self.scores = torch.nn.Linear(UNITS, CLASSES)
        with torch.no_grad():  # statistics as training leaves them, and scores that are worth comparing
            stack[1].running_mean.normal_(0, 0.3)
            stack[1].running_var.uniform_(0.3, 2)
            self.scores.weight.mul_(4)

    def forward(self, x: Any) -> Any:
        return self.scores(self.recurrent(self.convolutions(x.transpose(1, 2)).transpose(1, 2))[0][:, -1])


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_from_pytorch_to_streaming_integers(dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(7)
    model, path = DeepConvLSTM().eval(), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(2, STEPS, INPUTS),), str(path), dynamo=dynamo)
    network = onnx_io.load(path)
    assert isinstance(network, Network)
    assert layers(network) == ["Conv1d", "Conv1d", "lstm", "lstm", "last", "Dense"]  # the normalisation vanished into a convolution

    x = np.random.default_rng(1).normal(0, 1, (64, STEPS, INPUTS)).astype(np.float32)
    expected = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-5)

    integer = quantize(network, x[:32])
    error = np.sqrt(np.mean((engine.outputs(integer, x[32:]) - expected[32:]) ** 2)) / np.ptp(expected)
    assert error < 0.02

    raw = engine.counts(integer.normalize, x[32:36])
    host = firmware_gen.host.HostModel(integer, flags=["-O1"])
    assert_same_bits(integer, raw, host)
    assert assert_streams_agree(integer, raw[0], host) == STEPS - 2 * 4  # each convolution waits for its first 5 steps
