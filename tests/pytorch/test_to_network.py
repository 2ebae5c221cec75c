"""Modules as networks: the same outputs as in PyTorch, and after quantizing the bits of a network that never was a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network

from edge_lstm import onnx_io
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.float_inference import initial_state, run_recurrent, step
from edge_lstm.network import Network, Recurrent

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")

from torch import nn  # noqa: E402

from edge_lstm.torch import HardGRU, HardLSTM, harden, to_network  # noqa: E402

RECURRENT: dict[str, Callable[..., nn.Module]] = {
    "HardLSTM": HardLSTM,
    "HardLSTM-o": lambda *a, **k: HardLSTM(*a, gates="o", output="hard_tanh", **k),
    "HardLSTM-hard_tanh": lambda *a, **k: HardLSTM(*a, candidate="hard_tanh", output="hard_tanh", **k),
    "HardGRU": HardGRU,
    "HardGRU-z": lambda *a, **k: HardGRU(*a, gates="z", candidate="hard_tanh", **k),
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
}
READ_OUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "last": lambda h: h[:, -1],
    "mean": lambda h: h.mean(1),
    "every": lambda h: h,
    "final": lambda h: h[:, -1],
}


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """The module with normally distributed weights and biases, so that both biases and all gates matter."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.6)
    return module.eval()


def in_pytorch(recurrent: list[nn.Module], head: nn.Module, read_out: str, x: np.ndarray) -> np.ndarray:
    h = torch.from_numpy(x)
    with torch.no_grad():
        for module in recurrent:
            h, _ = module(h)
        return head(READ_OUTS[read_out](h)).numpy()


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("read_out", READ_OUTS)
@pytest.mark.parametrize(("layers", "bias"), [(1, True), (3, True), (2, False)])
def test_the_network_computes_what_the_modules_compute(kind: str, read_out: str, layers: int, bias: bool) -> None:
    recurrent = drawn(RECURRENT[kind](5, 8, num_layers=layers, bias=bias, batch_first=True, dtype=torch.float64), 11)
    head = drawn(nn.Linear(8, 3, bias=bias, dtype=torch.float64), 12)
    x = np.random.default_rng(1).normal(0, 1, (4, 25, 5))
    network = to_network(recurrent, head, read_out=read_out)
    expected = in_pytorch([recurrent], head, read_out, x)
    assert network(x).shape == expected.shape
    assert expected.std() > 0.02
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-10)


def gap(network: Network, x: np.ndarray) -> float:
    """How far from its threshold the closest preactivation of any threshold gate is; float64."""
    closest = np.inf
    v = x
    for layer in network.recurrent:
        state = initial_state(layer, len(v), np.float64)
        for t in range(v.shape[1]):
            state, values = step(layer, v[:, t], state)
            for op in layer.cell.ops:
                if op.code == "activate" and op.name in layer.hard_gates:
                    closest = min(closest, float(np.abs(values[op.args[0]]).min()))
        v = run_recurrent(layer, v)
    return closest


@pytest.mark.parametrize("kind", RECURRENT)
def test_in_float32_they_agree_to_1e_5_away_from_ties(kind: str) -> None:
    compared = 0
    for seed in range(20):
        recurrent, head = drawn(RECURRENT[kind](5, 8, num_layers=2, batch_first=True), seed), drawn(nn.Linear(8, 3), 100 + seed)
        network = to_network(recurrent, head, read_out="mean")
        assert network.recurrent[0].rows[network.recurrent[0].cell.rows[0].name].b.dtype == np.float32
        x = np.random.default_rng(seed).normal(0, 1, (1, 20, 5)).astype(np.float32)
        if gap(network, x.astype(np.float64)) < 1e-4:  # there a rounding may flip a gate
            continue
        compared += 1
        np.testing.assert_allclose(network(x), in_pytorch([recurrent], head, "mean", x), rtol=0, atol=1e-5)
    assert compared >= 5


def loaded(layer: Recurrent) -> nn.Module:
    """A hard module with the weights of one layer: its rows stacked in PyTorch's order, each bias where it alone acts."""
    kind = {"lstm": HardLSTM, "gru": HardGRU}[layer.cell.name]
    module = kind(layer.inputs, layer.units, batch_first=True, dtype=torch.float64)
    rows = layer.rows
    zero = np.zeros(layer.units)
    if kind is HardLSTM:
        parts = [(rows[k].W, rows[k].R[0], rows[k].b, zero) for k in "ifgo"]
    else:
        parts = [(rows[k].W, rows[k].R[0], zero, rows[k].b) for k in "rz"]
        parts += [(rows["n"].W, rows["n_recurrent"].R[0], rows["n"].b, rows["n_recurrent"].b)]
    stacked = [torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)]
    module.load_state_dict(dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), stacked, strict=True)))
    return module


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("read_out", ["last", "mean"])
def test_quantized_it_has_the_bits_of_a_network_that_never_was_a_module(cell: str, read_out: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    own = replace(random_network(rng, cell, gates="threshold", read_out=read_out, layers=2), softmax=False)
    linear = nn.Linear(12, 3, dtype=torch.float64)
    linear.load_state_dict({"weight": torch.from_numpy(own.layers[-1].W), "bias": torch.from_numpy(own.layers[-1].b)})
    modules = [loaded(layer) for layer in own.recurrent]
    network = to_network(modules, linear, read_out=read_out, window=20)

    x = random_input(rng, own)
    np.testing.assert_allclose(network(x), in_pytorch(modules, linear, read_out, x), rtol=0, atol=1e-10)
    integer, expected = quantize(network, x), quantize(own, x)
    raw = random_counts(rng, expected)
    run, wanted = reference.run(integer, raw, states=True), reference.run(expected, raw, states=True)
    np.testing.assert_array_equal(run.scores, wanted.scores)
    for found, states in zip(run.states, wanted.states, strict=True):
        assert found.keys() == states.keys()
        for name in states:
            np.testing.assert_array_equal(found[name], states[name])
    assert len(np.unique(run.scores)) > 4

    onnx_io.save_integer(integer, tmp_path / "model.onnx")
    np.testing.assert_array_equal(reference.run(onnx_io.load(tmp_path / "model.onnx"), raw).scores, run.scores)
    onnx_io.save_network(network, tmp_path / "float.onnx")
    np.testing.assert_array_equal(onnx_io.load(tmp_path / "float.onnx")(x), network(x))


def test_modules_of_several_kinds_follow_each_other() -> None:
    recurrent = [drawn(kind(inputs, 6, batch_first=True, dtype=torch.float64), 5) for kind, inputs in ((nn.GRU, 4), (HardLSTM, 6))]
    head = drawn(nn.Linear(6, 2, dtype=torch.float64), 6)
    x = np.random.default_rng(2).normal(0, 1, (3, 10, 4))
    expected = in_pytorch(recurrent, head, "last", x)
    for given in (recurrent, nn.ModuleList(recurrent)):
        np.testing.assert_allclose(to_network(given, head)(x), expected, rtol=0, atol=1e-10)


def test_a_head_may_have_hidden_layers_dropout_and_a_softmax() -> None:
    recurrent = drawn(HardLSTM(4, 6, batch_first=True, dtype=torch.float64), 7)
    x = np.random.default_rng(4).normal(0, 1, (3, 10, 4))
    plain = (nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.Hardsigmoid(), nn.Hardtanh(), nn.Identity())
    bent = (nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.LeakyReLU(0), nn.ELU(), nn.ELU(0.4), nn.GELU(), nn.GELU(approximate="tanh"))
    for activation in (*plain, *bent):
        hidden = nn.Sequential(nn.Linear(6, 5), activation, nn.Dropout(0.5))
        head = drawn(nn.Sequential(nn.Dropout(0.3), hidden, nn.Linear(5, 3, bias=False), nn.Softmax(-1)).double(), 8)
        network = to_network(recurrent, head, classes=("a", "b", "c"))
        assert network.softmax
        np.testing.assert_allclose(network(x), in_pytorch([recurrent], head, "last", x), rtol=0, atol=1e-10)
    bare = to_network(recurrent, read_out="every")
    np.testing.assert_allclose(bare(x), in_pytorch([recurrent], nn.Identity(), "every", x), rtol=0, atol=1e-10)


def test_training_on_leaves_the_network_as_it_was() -> None:
    recurrent, head = drawn(HardGRU(4, 6, batch_first=True), 9), drawn(nn.Linear(6, 3), 10)
    x = np.random.default_rng(5).normal(0, 1, (2, 10, 4)).astype(np.float32)
    network = to_network(recurrent, head)
    before = network(x)
    with torch.no_grad():
        for parameter in (*recurrent.parameters(), *head.parameters()):
            parameter.add_(1)
    np.testing.assert_array_equal(network(x), before)


@pytest.mark.parametrize(("soft", "hard"), [(nn.LSTM, HardLSTM), (nn.GRU, HardGRU)])
def test_hardening_keeps_the_weights_and_the_form(soft: type, hard: type) -> None:
    source = soft(4, 6, num_layers=2, bias=False, batch_first=True, dropout=0.25, dtype=torch.float64).eval()
    result = harden(source)
    assert type(result) is hard
    assert result.gates == hard.gate_names
    assert (result.num_layers, result.bias, result.batch_first, result.dropout, result.training) == (2, False, True, 0.25, False)
    for name, parameter in source.named_parameters():
        assert torch.equal(result.get_parameter(name), parameter)
        assert result.get_parameter(name).data_ptr() != parameter.data_ptr()
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    torch.testing.assert_close(harden(source, gates="")(x), source(x))
    with pytest.raises(EdgeLstmError, match=r"takes an nn\.LSTM or nn\.GRU, got RNN"):
        harden(nn.RNN(4, 6))


@pytest.mark.parametrize(
    ("recurrent", "head", "message"),
    [
        (lambda: nn.RNN(4, 6), lambda: nn.Linear(6, 2), "no recurrent layer can be made of RNN"),
        (lambda: nn.LSTM(4, 6, bidirectional=True), lambda: nn.Linear(12, 2), "LSTM is bidirectional"),
        (lambda: nn.LSTM(4, 6, proj_size=3), lambda: nn.Linear(3, 2), "proj_size=3"),
        (lambda: HardLSTM(4, 6), lambda: nn.Linear(5, 2), "expects 5 inputs but the layer before gives 6"),
        (lambda: HardLSTM(4, 6), lambda: nn.Sequential(nn.Linear(6, 2), nn.SiLU()), "SiLU.*has no counterpart"),
        (lambda: HardLSTM(4, 6), lambda: nn.Sequential(nn.Linear(6, 2), nn.Hardtanh(1, 6)), "Hardtanh"),
        (lambda: HardLSTM(4, 6), lambda: nn.Sequential(nn.ReLU(), nn.Linear(6, 2)), "stands behind no Linear layer"),
        (lambda: HardLSTM(4, 6), lambda: nn.Sequential(nn.Linear(6, 2), nn.LogSoftmax(-1)), "belongs to the loss"),
        (lambda: HardLSTM(4, 6), lambda: nn.Sequential(nn.Linear(6, 2), nn.Softmax(0)), "over dimension 0"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(
    recurrent: Callable[[], nn.Module], head: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        to_network(recurrent(), head())


def test_weights_of_a_diverged_training_are_refused() -> None:
    module = HardLSTM(4, 6)
    with torch.no_grad():
        module.weight_hh_l0[3, 2] = float("nan")
    with pytest.raises(EdgeLstmError, match="weight_hh_l0 holds a NaN"):
        to_network(module)
