"""Quantizing keeps what the float network computes, and refuses what it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import every_member, random_deep, random_input, random_integer, random_network, random_recurrent

from edge_lstm.cells import activation, family
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.formats import knots
from edge_lstm.fixed_point.quantize import Options, harden, quantize
from edge_lstm.network import Dense, Network, Preprocess, ReadOut, RowWeights

SMOOTH = [name for name in family() if name not in ("lstm_2000",)]  # with h = o c and random peepholes its state explodes


def outputs(network: Network, x: np.ndarray, options: Options | None = None) -> np.ndarray:
    """Real outputs of the quantized network on the reference engine, before a softmax."""
    integer = quantize(network, x, options)
    counts = x if x.dtype == np.int16 else np.clip(np.floor(x / integer.normalize.units_per_count + 0.5), -32768, 32767).astype(np.int16)
    steps = reference.check_steps(integer, counts.shape[1] // integer.normalize.decimation) if integer.read_out.kind == "mean" else 1
    return reference.run(integer, counts).scores * integer.score_scale / steps


@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_network_is_close_to_its_float_original(name: str, read_out: str) -> None:
    rng = np.random.default_rng(11)
    network = replace(random_network(rng, name, 4, 16, "sigmoid", read_out, layers=2, decimation=4), softmax=False)
    x = random_input(rng, network, 16)
    y = network(x)
    error = outputs(network, x) - y
    assert np.sqrt((error**2).mean()) < 0.03 * max(float(np.abs(y).max()), 0.5)


@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_layers_around_the_cell_stay_close_too(name: str, streams: bool, read_out: str) -> None:
    rng = np.random.default_rng(10 + streams)
    network = random_deep(rng, name, "sigmoid", read_out, streams=streams)
    x = random_input(rng, network, 16)
    y, z = network(x), outputs(network, x)
    assert y.shape == z.shape
    assert np.sqrt(((y - z) ** 2).mean()) < 0.04 * max(float(np.abs(y).max()), 0.5)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole"])
def test_fewer_weight_bits_lose_more(name: str) -> None:
    rng = np.random.default_rng(12)
    network = replace(random_network(rng, name, 4, 24), softmax=False)
    x = random_input(rng, network, 32)
    y = network(x)
    error = [np.abs(outputs(network, x, Options({"gates": bits, "candidates": bits})) - y).mean() for bits in ("8", "4")]
    assert error[0] * 4 < error[1]


def test_an_integer_cell_state_holds_its_value_without_drift() -> None:
    """f = 1, i = 0 for a thousand steps: not a single bit of c changes (threshold gates need no multiplication)."""
    rng = np.random.default_rng(13)
    network = random_network(rng, "lstm", 3, 8, "threshold", initial=True)
    layer = network.recurrent[0]
    shut = {"i": replace(layer.rows["i"], b=np.full(8, -50.0)), "f": replace(layer.rows["f"], b=np.full(8, 50.0))}
    network = network.with_layers((replace(layer, rows={**layer.rows, **shut}), *network.layers[1:]))
    x = random_input(rng, network, 2, 1000)
    integer = quantize(network, x)
    counts = np.clip(np.floor(x / integer.normalize.units_per_count + 0.5), -32768, 32767).astype(np.int16)
    c = reference.run(integer, counts, states=True).states[0]["c"]
    assert (c == integer.recurrent[0].state("c").initial).all()
    assert np.abs(c).max() > 0


def test_a_cell_state_that_counts_saturates_and_never_wraps() -> None:
    rng = np.random.default_rng(14)
    network = random_network(rng, "lstm", 3, 8, "threshold")
    layer = network.recurrent[0]
    opened = {gate: replace(layer.rows[gate], b=np.full(8, 50.0)) for gate in "ifg"}
    network = network.with_layers((replace(layer, rows={**layer.rows, **opened}), *network.layers[1:]))
    integer = quantize(network, random_input(rng, network, 2, 10))
    c = reference.run(integer, np.zeros((1, 400, 3), np.int16), states=True).states[0]["c"][0]
    assert (np.diff(c, axis=0) >= 0).all()
    assert (c[-1] == 32767).all()


def test_the_sign_of_a_gate_does_not_depend_on_its_row_scale() -> None:
    """Any positive factor on a threshold gate's row leaves the integer network's bits as they are."""
    rng = np.random.default_rng(15)
    network = random_network(rng, "lstm", 3, 8, "threshold")
    layer = network.recurrent[0]
    factor = 2.0 ** rng.integers(-3, 4, 8)
    row = layer.rows["o"]
    scaled = replace(row, W=row.W * factor[:, None], R=(row.R[0] * factor[:, None],), b=row.b * factor)
    other = network.with_layers((replace(layer, rows={**layer.rows, "o": scaled}), *network.layers[1:]))
    x = random_input(rng, network)
    counts = rng.integers(-9999, 9999, (4, 20, 3)).astype(np.int16)
    assert np.array_equal(reference.run(quantize(network, x), counts).scores, reference.run(quantize(other, x), counts).scores)


def test_streaming_equals_a_whole_sequence() -> None:
    rng = np.random.default_rng(16)
    integer = random_integer(rng, "gru_reset_before", 3, 8, "mixed")
    layer = integer.recurrent[0]
    x = rng.integers(-127, 128, (2, 15, 3))
    whole = reference.run_normalized(integer, x.astype(np.int8), states=True).states[0]["h"]
    state = reference.initial_state(layer, 2)
    for t in range(15):
        state, _, _ = reference.step(layer, x[:, t], state)
        assert np.array_equal(state["h"], whole[:, t])


@pytest.mark.parametrize(("name", "gates"), every_member())
def test_every_operator_and_constant_of_a_layer_is_read(name: str, gates: str) -> None:
    layer = random_integer(np.random.default_rng(21), name, 3, 5, gates, squash="any").recurrent[0]
    read = {a for op in layer.ops for a in op.args} | {state.update for state in layer.states} | {layer.output}
    assert read == set(range(len(layer.ops)))
    named = {op.name for op in layer.ops}
    assert all(vector in named or vector.rpartition(".")[0] in named for vector in layer.vectors)
    assert set(layer.tables) <= named
    assert set(layer.rows) == {op.name for op in layer.ops if op.code == "row"}


def test_normalization_follows_the_float_preprocessing() -> None:
    rng = np.random.default_rng(17)
    network = random_network(rng, decimation=4)
    front = network.preprocess
    assert front is not None
    counts = random_input(rng, network, 8)
    integer = quantize(network, counts)
    real = reference.normalize(integer.normalize, counts) * integer.normalize.scale
    exact = np.clip((counts.reshape(8, 20, 4, 5).mean(2) - front.offset) * front.scale, -4, 4)
    assert np.abs(real - exact).max() < 4 / 127 * 0.52
    ends = np.array([[[-32768] * 5] * 4, [[32767] * 5] * 4], np.int16)
    assert np.abs(reference.normalize(integer.normalize, ends)).max() <= 127


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "scaled_sigmoid", "softsign"])
def test_curves_of_straight_segments_are_accurate(kind: str) -> None:
    f = activation(kind)
    segments = 256 if kind == "softsign" else 64
    width = 2 * (f.saturation or 1) / segments
    table = knots(f, segments, width, 2.0**-14)
    x = np.linspace(-(f.saturation or 1) * 1.2, (f.saturation or 1) * 1.2, 20001)
    grid = (np.arange(segments + 1) - segments / 2) * width
    inside = np.abs(x) < grid[-2]
    error = np.abs(np.interp(x, grid, table * 2.0**-14) - f(x))
    assert error[inside].max() < 5e-3
    assert error.max() < (0.06 if kind == "softsign" else 5e-3)


def test_hardening_replaces_the_named_gates_only() -> None:
    network = random_network(np.random.default_rng(18), "lstm", layers=2)
    assert [layer.hard_gates for layer in harden(network, ["o"]).recurrent] == [("o",), ("o",)]
    assert harden(network).recurrent[1].hard_gates == ("i", "f", "o")
    with pytest.raises(EdgeLstmError, match="has no gate z; it has i, f, o"):
        harden(network, ["z"])


def test_bad_calibration_input_is_refused_in_one_line() -> None:
    network = random_network(np.random.default_rng(19), inputs=5)
    good = np.zeros((2, 10, 5))
    bad = good.copy()
    bad[1, 3, 2] = np.nan
    for x, message in (
        (bad, r"NaN.*\[1, 3, 2\]"),
        (good[..., :4], r"expected \[batch, time, 5\]"),
        (good[:0], "empty"),
        (good[0], "shape"),
    ):
        with pytest.raises(EdgeLstmError, match=message) as caught:
            quantize(network, x)
        assert "\n" not in str(caught.value)


def test_what_has_no_integer_form_is_refused() -> None:
    rng = np.random.default_rng(20)
    network = random_network(rng, units=12)
    squashed = Dense(np.ones((4, 12)), np.zeros(4), activation("threshold"))
    head = Dense(np.ones((3, 4)), np.zeros(3))
    with pytest.raises(EdgeLstmError, match="activation threshold has no integer form"):
        quantize(network.with_layers((*network.layers[:2], squashed, head)), np.zeros((1, 5, 5)))
    broken = replace(network, preprocess=Preprocess(1, np.zeros(5), np.array([1, 1, 0, 1, 1.0])))
    with pytest.raises(EdgeLstmError, match="must be positive"):
        quantize(broken, np.zeros((1, 5, 5)))


def test_cells_that_count_keep_their_fraction_in_32_bits() -> None:
    """One unit counts to hundreds, the others remember little; one format is for all."""
    rng = np.random.default_rng(23)
    layer = random_recurrent(rng, "lstm", 2, 8)
    rows = {name: RowWeights(0.7 * np.asarray(row.W), tuple(0.5 * R for R in row.R), np.array(row.b)) for name, row in layer.rows.items()}
    for name, value in {"f": 9.0, "i": 9.0, "g": 9.0}.items():
        rows[name].W[0], rows[name].R[0][0], rows[name].b[0] = 0, 0, value
    network = Network((replace(layer, rows=rows), ReadOut("every"), Dense(rng.normal(0, 0.5, (3, 8)), np.zeros(3))))
    x = rng.normal(0, 1, (4, 400, 2))
    expected = network(x)
    errors = [float(np.abs(outputs(network, x, Options(cell_bits=bits)) - expected).mean()) for bits in (16, 32)]
    state = quantize(network, x, Options(cell_bits=32)).recurrent[0].state("c")
    assert (state.scale, state.limit) == (2.0**-10, 2**19)
    assert errors[1] < 0.5 * errors[0]
