"""Forward and backward pass of the hard modules against a plain loop whose gradient autograd makes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")

import plain_modules  # noqa: E402
from torch.nn.utils.rnn import pack_sequence, unpack_sequence  # noqa: E402

from edge_lstm.errors import EdgeLstmError  # noqa: E402
from edge_lstm.torch import HardGRU, HardLSTM, threshold  # noqa: E402

LSTM_GATES = ["ifo", "o", "i", "if", ""]
FORMS = [
    *((HardLSTM, {"gates": gates}) for gates in LSTM_GATES),
    (HardLSTM, {"candidate": "hard_tanh", "output": "hard_tanh", "slope": 1.0}),
    (HardLSTM, {"num_layers": 3, "bias": False}),
    *((HardGRU, {"gates": gates}) for gates in ("rz", "r", "z", "")),
    (HardGRU, {"candidate": "hard_tanh", "slope": 2.0, "num_layers": 2}),
    (HardGRU, {"bias": False}),
]
LENGTHS = (4, 7, 7, 2)


def made(kind: type, options: dict[str, object]) -> torch.nn.Module:
    """A module in float64 whose gates, biases included, are open and closed about equally often."""
    torch.manual_seed(len(str(options)))
    module = kind(3, 5, dtype=torch.float64, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0, 0.8)
    return module


def loss(outputs: list[torch.Tensor], states: list[torch.Tensor], openings: dict[str, torch.Tensor]) -> torch.Tensor:
    """Depends on every output, every final state and every gate, each in a way of its own."""
    total = sum((h * torch.linspace(0.5, 2, h.numel(), dtype=h.dtype).view_as(h)).square().sum() for h in outputs)
    total = total + sum((k + 1) * torch.sin(s * (k + 1)).sum() for k, s in enumerate(states))
    return total + sum(30 * (k + 1) * openings[name] for k, name in enumerate(sorted(openings)))


def gradients(module: torch.nn.Module, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.grad.clone() for tensor in (*module.parameters(), *inputs)]


@pytest.mark.parametrize(("kind", "options"), FORMS, ids=str)
def test_packed_sequences_and_their_gradients_are_those_of_a_plain_loop(kind: type, options: dict[str, object]) -> None:
    module = made(kind, options)
    sequences = [torch.randn(length, 3, dtype=torch.float64, requires_grad=True) for length in LENGTHS]
    states = [torch.randn(module.num_layers, len(LENGTHS), 5, dtype=torch.float64, requires_grad=True) for _ in module.states]

    packed, final = module(pack_sequence(sequences, enforce_sorted=False), tuple(states) if len(states) > 1 else states[0])
    outputs = unpack_sequence(packed)
    final = list(final) if len(states) > 1 else [final]
    openings = module.gate_openings()
    loss(outputs, final, openings).backward()
    found = gradients(module, *sequences, *states)

    module.zero_grad()
    for tensor in (*sequences, *states):
        tensor.grad = None
    runs = [plain_modules.run(module, x, [s[:, j] for s in states]) for j, x in enumerate(sequences)]
    expected_openings = {name: torch.stack([value for run in runs for value in run[2][name]]).mean() for name in module.gate_names}
    expected_final = [torch.stack([run[1][k] for run in runs], 1) for k in range(len(states))]
    loss([run[0] for run in runs], expected_final, expected_openings).backward()

    for value, expected in zip([*outputs, *final], [*(run[0] for run in runs), *expected_final], strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for name, expected in expected_openings.items():
        torch.testing.assert_close(openings[name], expected, rtol=1e-12, atol=1e-12)
        assert 0.05 < expected < 0.95
    for value, expected in zip(found, gradients(module, *sequences, *states), strict=True):
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", [HardLSTM, HardGRU])
@pytest.mark.parametrize("part", ["output", "state", "gates"])
def test_a_loss_on_one_result_alone_has_its_gradient(kind: type, part: str) -> None:
    module = made(kind, {})
    x = torch.randn(6, 1, 3, dtype=torch.float64, requires_grad=True)

    def of(h: torch.Tensor, state: list[torch.Tensor], openings: dict[str, torch.Tensor]) -> torch.Tensor:
        chosen = {"output": ([h], [], {}), "state": ([], state[-1:], {}), "gates": ([], [], openings)}[part]
        return loss(*chosen)

    h, state = module(x)
    of(h[:, 0], list(state) if isinstance(state, tuple) else [state], module.gate_openings()).backward()
    found = gradients(module, x)
    module.zero_grad()
    x.grad = None
    zeros = [torch.zeros(1, 5, dtype=torch.float64) for _ in module.states]
    h, state, gates = plain_modules.run(module, x[:, 0], zeros)
    of(h, [s[:, None] for s in state], {name: torch.stack(values).mean() for name, values in gates.items()}).backward()
    for value, expected in zip(found, gradients(module, x), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
def test_the_threshold_is_a_step_with_the_slope_of_a_sigmoid(slope: float) -> None:
    x = np.array([-1e9, -3.0, -1e-30, -0.0, 0.0, 1e-30, 0.7, 1e9])
    tensor = torch.tensor(x, requires_grad=True)
    y = threshold(tensor, slope)
    np.testing.assert_array_equal(y.detach().numpy(), [0, 0, 0, 0, 0, 1, 1, 1])  # closed on a tie
    (y * torch.arange(8)).sum().backward()
    s = 1 / (1 + np.exp(-np.clip(slope * x, -700, 700)))
    np.testing.assert_allclose(tensor.grad.numpy(), np.arange(8) * slope * s * (1 - s), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", [HardLSTM, HardGRU])
def test_a_second_derivative_is_refused_and_not_taken_for_zero(kind: type) -> None:
    module = made(kind, {})
    h, _ = module(torch.randn(3, 2, 3, dtype=torch.float64))
    with pytest.raises(EdgeLstmError, match="no second derivative"):
        torch.autograd.grad(h.sum(), [module.weight_hh_l0], create_graph=True)
