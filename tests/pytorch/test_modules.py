"""The hard modules in place of `nn.LSTM` and `nn.GRU`: the same parameters, call, layouts and results, and what they refuse."""

from __future__ import annotations

import copy
import inspect
import io

import pytest

from edge_lstm.errors import EdgeLstmError

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")

from torch import nn  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from edge_lstm.torch import HardGRU, HardLSTM  # noqa: E402

PAIRS = [(HardLSTM, nn.LSTM), (HardGRU, nn.GRU)]
pairs = pytest.mark.parametrize(("hard", "soft"), PAIRS, ids=["lstm", "gru"])


def pair(hard: type, soft: type, **options: object) -> tuple[nn.Module, nn.Module]:
    """Both modules with the weights of PyTorch's, in float64; the hard one with sigmoid gates."""
    torch.manual_seed(3)
    theirs = soft(4, 6, dtype=torch.float64, **options)
    ours = hard(4, 6, dtype=torch.float64, gates="", **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_same(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def state(soft: type, *shape: int) -> object:
    h, c = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    return (h, c) if soft is nn.LSTM else h


@pairs
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "hx"])
def test_with_sigmoid_gates_it_is_pytorch_s_own(hard: type, soft: type, batch_first: bool, bias: bool, layers: int, given: bool) -> None:
    ours, theirs = pair(hard, soft, batch_first=batch_first, bias=bias, num_layers=layers)
    x = torch.randn(5, 7, 4, dtype=torch.float64)
    hx = state(soft, layers, 5 if batch_first else 7, 6) if given else None
    found, expected = ours(x, hx), theirs(x, hx)
    assert_same(found, expected)
    assert found[0].shape == expected[0].shape
    found[0].square().sum().backward()
    expected[0].square().sum().backward()
    for name, parameter in theirs.named_parameters():
        assert_same(ours.get_parameter(name).grad, parameter.grad)


@pairs
def test_a_single_sequence_needs_no_batch_axis(hard: type, soft: type) -> None:
    for batch_first in (False, True):
        ours, theirs = pair(hard, soft, batch_first=batch_first, num_layers=2)
        x, hx = torch.randn(9, 4, dtype=torch.float64), state(soft, 2, 6)
        assert_same(ours(x, hx), theirs(x, hx))
        assert_same(ours(x), theirs(x))


@pairs
@pytest.mark.parametrize("is_sorted", [False, True])
def test_packed_sequences_come_back_packed(hard: type, soft: type, is_sorted: bool) -> None:
    ours, theirs = pair(hard, soft, num_layers=2)
    lengths = [8, 5, 5, 1] if is_sorted else [5, 1, 8, 5]
    packed = pack_padded_sequence(torch.randn(8, 4, 4, dtype=torch.float64), lengths, enforce_sorted=is_sorted)
    hx = state(soft, 2, 4, 6)
    for arguments in ((packed,), (packed, hx)):
        (found, found_state), (expected, expected_state) = ours(*arguments), theirs(*arguments)
        assert_same(pad_packed_sequence(found), pad_packed_sequence(expected))
        assert_same(found_state, expected_state)


@pairs
def test_state_dicts_go_both_ways_and_the_constructor_takes_the_same_arguments(hard: type, soft: type) -> None:
    ours, theirs = hard(4, 6, 2, True, True, 0.1), soft(4, 6, 2, True, True, 0.1)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(ours.state_dict())
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"):
        assert getattr(ours, name) == getattr(theirs, name), name
    parameters = list(inspect.signature(hard.forward).parameters)
    assert len(parameters) == len(inspect.signature(soft.forward).parameters)
    assert parameters[2] == "hx"
    ours.flatten_parameters()


@pairs
def test_the_hard_gates_are_zeros_and_ones_and_the_soft_ones_are_not(hard: type, soft: type) -> None:
    torch.manual_seed(0)
    names = hard.gate_names
    for gates in ("", names[0], names[-1], names):
        module = hard(4, 6, gates=gates)
        assert module.gates == gates
        module(torch.randn(20, 3, 4))
        order, opened = module._opened[0]
        is_binary = {
            name: bool(((values == 0) | (values == 1)).all()) for name, values in zip(order, opened.chunk(len(order), 1), strict=True)
        }
        assert is_binary == {name: name in gates for name in names}


@pairs
def test_gates_can_be_made_hard_between_two_passes(hard: type, soft: type) -> None:
    torch.manual_seed(1)
    x = torch.randn(12, 3, 4)
    module = hard(4, 6, gates="")
    before = module(x)[0]
    module.set_gates(reversed(hard.gate_names))
    assert module.gates == hard.gate_names
    other = hard(4, 6)
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(x)[0], other(x)[0])
    assert not torch.allclose(module(x)[0], before, atol=1e-3)


def test_a_held_state_does_not_change_by_a_single_bit() -> None:
    x, h, c = torch.randn(50, 3, 4), torch.rand(1, 3, 6), torch.randn(1, 3, 6)
    gru = HardGRU(4, 6)
    lstm = HardLSTM(4, 6)
    with torch.no_grad():
        gru.bias_ih_l0[6:12] = 100  # z open
        lstm.bias_ih_l0[:6] = -100  # i closed
        lstm.bias_ih_l0[6:12] = 100  # f open
    assert torch.equal(gru(x, h)[1], h)
    assert torch.equal(lstm(x, (h, c))[1][1], c)
    assert gru.gate_openings()["z"] == 1
    assert lstm.gate_openings()["f"] == 1
    assert lstm.gate_openings()["i"] == 0


def test_gate_activity_counts_what_an_event_driven_engine_must_compute() -> None:
    torch.manual_seed(2)
    lstm, gru = HardLSTM(4, 6, num_layers=2), HardGRU(4, 6, num_layers=2)
    x = torch.randn(15, 3, 4)
    for module, terms in ((lstm, lambda a: a["i"] + a["o"]), (gru, lambda a: a["r"] + (1 - a["z"]))):
        module(x)
        activity = module.gate_activity()
        torch.testing.assert_close(activity, terms(module.gate_openings()))
        activity.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_penalty_on_gate_activity_closes_the_gates() -> None:
    torch.manual_seed(5)
    module, x = HardLSTM(4, 6), torch.randn(15, 8, 4)
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    activities = []
    for _ in range(30):
        module(x)
        activity = module.gate_activity()
        activities.append(activity.item())
        optimizer.zero_grad()
        activity.backward()
        optimizer.step()
    assert activities[0] > 0.7
    assert activities[-1] < 0.1


def test_padding_of_packed_sequences_is_no_activity() -> None:
    torch.manual_seed(6)
    module = HardLSTM(4, 6, batch_first=True)
    x = torch.randn(2, 9, 4)
    module(x[:1])
    alone = module.gate_openings()
    module(pack_padded_sequence(torch.cat((x[:1], x[:1] * 0)), [9, 1], batch_first=True))
    first = module.gate_openings()
    module(torch.zeros(1, 1, 4))
    silence = module.gate_openings()
    for name in "ifo":
        torch.testing.assert_close(first[name], (alone[name] * 9 + silence[name]) / 10)


def test_a_module_can_be_copied_and_saved_after_a_forward_pass() -> None:
    module = nn.Sequential(HardLSTM(4, 6, batch_first=True))
    x = torch.randn(3, 8, 4)
    expected, _ = module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert torch.equal(other(x)[0], expected)
    with pytest.raises(EdgeLstmError, match="before the first forward pass"):
        copy.deepcopy(module)[0].gate_activity()


@pairs
def test_the_start_holds_the_state_and_keeps_the_length_of_vectors(hard: type, soft: type) -> None:
    module = hard(8, 16, num_layers=2)
    for k in range(2):
        for R in getattr(module, f"weight_hh_l{k}").chunk(len(hard.rows)):
            torch.testing.assert_close(R @ R.T, torch.eye(16), rtol=0, atol=1e-5)
        biases = (getattr(module, f"bias_ih_l{k}") + getattr(module, f"bias_hh_l{k}")).chunk(len(hard.rows))
        assert {name: b.unique().tolist() for name, b in zip(hard.rows, biases, strict=True)} == {
            name: [1.0] if name == hard.holding_gate else [0.0] for name in hard.rows
        }
        W = getattr(module, f"weight_ih_l{k}")
        assert float(W.detach().std()) == pytest.approx(0.6 / W.shape[1] ** 0.5, rel=0.15)


def test_dropout_acts_between_layers_in_training_only() -> None:
    torch.manual_seed(7)
    module = HardLSTM(4, 6, num_layers=2, dropout=0.5, gates="")
    whole = HardLSTM(4, 6, num_layers=2, gates="")
    whole.load_state_dict(module.state_dict())
    x = torch.randn(9, 3, 4)
    assert not torch.allclose(module(x)[0], whole(x)[0])
    assert torch.equal(module(x)[1][0][0], whole(x)[1][0][0])  # the first layer's states
    assert torch.equal(module.eval()(x)[0], whole(x)[0])
    with pytest.warns(UserWarning, match="dropout acts between layers"):
        HardLSTM(4, 6, dropout=0.5)


def test_under_autocast_the_module_computes_in_the_precision_of_its_weights() -> None:
    torch.manual_seed(8)
    linear, module = nn.Linear(4, 4), HardLSTM(4, 6)
    x = torch.randn(9, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = linear(x)
        output, _ = module(half)
    assert half.dtype == torch.bfloat16
    assert torch.equal(output, module(half.float())[0])


@pytest.mark.parametrize("kind", [HardLSTM, HardGRU])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bidirectional": True}, "bidirectional=True is not supported"),
        ({"hidden_size": 0}, "must be positive"),
        ({"dropout": 1.5}, "between 0 and 1"),
        ({"slope": 0.0}, "slope .* must be positive"),
        ({"candidate": "relu"}, "unknown candidate 'relu': choose one of tanh, hard_tanh"),
        ({"gates": "q"}, "has no gate 'q'; it has"),
        ({"gates": ["all"]}, "has no gate 'all'; it has"),
    ],
    ids=str,
)
def test_arguments_without_a_meaning_are_refused_by_name(kind: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=f"{kind.__name__}.*{message}"):
        kind(**{"input_size": 4, "hidden_size": 6, **arguments})


def test_projections_are_refused() -> None:
    with pytest.raises(EdgeLstmError, match="proj_size=2 is not supported"):
        HardLSTM(4, 6, proj_size=2)


@pytest.mark.parametrize(
    ("shape", "hx", "message"),
    [
        ((5, 3, 2), None, "has 2 channels, expected input_size = 4"),
        ((5, 3, 3, 4), None, "has 4 dimensions"),
        ((0, 3, 4), None, "is empty"),
        ((5, 3, 4), [(1, 3, 6), (1, 2, 6)], r"c_0 has shape \(1, 2, 6\), expected \(1, 3, 6\)"),
        ((5, 4), [(1, 1, 6), (1, 1, 6)], r"h_0 has shape \(1, 1, 6\), expected \(1, 6\)"),
        ((5, 3, 4), [(1, 3, 6)], "must be h_0 and c_0"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...], hx: list[tuple[int, ...]] | None, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        HardLSTM(4, 6)(torch.zeros(shape), None if hx is None else tuple(torch.zeros(s) for s in hx))


def test_a_printed_module_tells_its_gates() -> None:
    assert repr(HardLSTM(4, 6, num_layers=2, gates="o")) == "HardLSTM(4, 6, gates='o', candidate='tanh', num_layers=2, output='tanh')"
    assert repr(HardGRU(4, 6, batch_first=True)) == "HardGRU(4, 6, gates='rz', candidate='tanh', batch_first=True)"
