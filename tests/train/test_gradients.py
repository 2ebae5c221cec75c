"""Gradients derived from each cell's dataflow, against finite differences and against an LSTM written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_network

from edge_lstm.cells import Activation, activation, cell, family
from edge_lstm.float_inference import run
from edge_lstm.network import Network, Recurrent
from edge_lstm.train.gate_methods import logistic
from edge_lstm.train.head import cross_entropy
from edge_lstm.train.parameters import network_vector, with_network_vector
from edge_lstm.train.passes import Passes

STEPS, BATCH, INPUTS, UNITS = 5, 3, 4, 3
LENGTHS = np.array([5, 3, 1])
SLOPE = 0.7
SMOOTH_GATES = ("sigmoid", "hard_sigmoid")
SQUASHES = ("tanh", "softsign", "scaled_sigmoid", "hard_tanh", "relu", "identity", "clamp")
BEHIND = (*SMOOTH_GATES, *SQUASHES, "leaky_relu", "elu")


def smooth(rng: np.random.Generator, network: Network) -> Network:
    """The network with random differentiable activations."""

    def layer(old: Recurrent) -> Recurrent:
        kinds = {r.name: str(rng.choice(SMOOTH_GATES if r.gate else SQUASHES)) for r in old.cell.roles}
        return replace(old, activations={name: activation(kind) for name, kind in kinds.items()})

    return network.with_layers(tuple(layer(one) if isinstance(one, Recurrent) else one for one in network.layers))


def loss_and_gradient(network: Network, x: np.ndarray) -> tuple[Callable[..., float], np.ndarray]:
    """Cross-entropy as a function of the trained numbers, and the trainer's gradient at those of the network."""
    passes = Passes(network, STEPS, BATCH, np.float64)
    columns = BATCH * (STEPS if network.read_out.kind == "every" else 1)
    rng = np.random.default_rng(5)
    labels, weights = rng.integers(0, network.outputs, columns), rng.uniform(0.5, 2, columns)
    if network.read_out.kind == "every":
        weights *= (np.arange(STEPS)[:, None] < LENGTHS).ravel()

    def loss(vector: np.ndarray) -> float:
        return cross_entropy(passes.scores(vector, x, LENGTHS), labels, weights)[0]

    vector = network_vector(network, np.float64)
    _, d = cross_entropy(passes.scores(vector, x, LENGTHS), labels, weights)
    return loss, passes.gradient(vector, d, SLOPE)


def by_differences(loss: Callable[..., float], vector: np.ndarray, which: np.ndarray) -> np.ndarray:
    found = np.empty(len(which))
    for k, index in enumerate(which):
        ends = []
        for sign in (1, -1):
            moved = vector.copy()
            moved[index] += sign * 1e-6
            ends.append(loss(moved))
        found[k] = (ends[0] - ends[1]) / 2e-6
    return found


def trained_numbers(network: Network) -> np.ndarray:
    """Indices of the numbers that training changes: all but the biases of rows that have none."""
    ones = network_vector(network, np.float64)
    layers = [
        replace(
            layer, rows={r.name: replace(layer.rows[r.name], b=layer.rows[r.name].b * (1 if r.bias else np.nan)) for r in layer.cell.rows}
        )
        if isinstance(layer, Recurrent)
        else layer
        for layer in network.layers
    ]
    return np.flatnonzero(~np.isnan(network_vector(network.with_layers(tuple(layers)), np.float64))[: len(ones)])


def check_differences(network: Network, x: np.ndarray, rng: np.random.Generator) -> None:
    loss, gradient = loss_and_gradient(network, x)
    all_numbers = trained_numbers(network)
    which = rng.choice(all_numbers, min(60, len(all_numbers)), replace=False)
    expected = by_differences(loss, network_vector(network, np.float64), which)
    scale = np.abs(gradient).max()
    assert scale > 0
    np.testing.assert_allclose(gradient[which] / scale, expected / scale, atol=1e-6)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
@pytest.mark.parametrize("name", sorted(family()))
def test_gradient_equals_finite_differences_for_every_cell(name: str, read_out: str) -> None:
    rng = np.random.default_rng([len(name), len(read_out)])
    clip = 0.8 if read_out == "every" else None
    layers = 2 if read_out == "mean" else 1
    hidden = {"hidden": 4, "behind": str(rng.choice(BEHIND))}
    network = smooth(rng, random_network(rng, name, INPUTS, UNITS, read_out=read_out, layers=layers, initial=True, clip=clip, **hidden))
    x = rng.normal(0, 1, (STEPS, INPUTS, BATCH))
    check_differences(network, x, rng)


@pytest.mark.parametrize("name", ["lstm_peephole", "gru_reset_before"])
def test_gradient_of_compiled_kernels_equals_finite_differences(name: str) -> None:
    rng = np.random.default_rng(11)
    network = random_network(rng, name, INPUTS, UNITS + 2, read_out="last", layers=2)
    check_differences(network, rng.normal(0, 1, (STEPS, INPUTS, BATCH)), rng)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", sorted(family()))
def test_scores_equal_float_inference_for_every_mix_of_activations(name: str) -> None:
    rng = np.random.default_rng(7)
    for gates in ("mixed", "threshold"):
        network = random_network(rng, name, INPUTS, UNITS, gates, "mean", squash="any", layers=2, initial=True, clip=1.5)
        x = rng.normal(0, 1, (STEPS, INPUTS, BATCH))
        scores = Passes(network, STEPS, BATCH, np.float64).scores(network_vector(network, np.float64), x, LENGTHS)
        expected = run(replace(network, softmax=False), x.transpose(2, 0, 1), LENGTHS)
        np.testing.assert_allclose(scores.T, expected, atol=1e-12)


# ---- thresholds: an LSTM written here, with its gradient, straight-through with the surrogate k s (1 - s) -------------------------------


def surrogate(a: np.ndarray) -> np.ndarray:
    s = 1 / (1 + np.exp(-SLOPE * a))
    return SLOPE * s * (1 - s)


def hard_lstm(
    layer: Recurrent, x: np.ndarray, d_h: np.ndarray, cost: dict[str, float], gate: str, truncated: bool = False
) -> dict[str, np.ndarray]:
    """Gradient of sum(d_h * h) + sum over valid steps of cost[gate] * gate, by W, R and b.

    x: [time, inputs, batch]; d_h: [time, units, batch]; gate: "threshold", or "three_level" (half open between -1 and 1, whose
    surrogate is the mean of those of two thresholds).
    """
    if gate == "threshold":
        value, slope = (lambda a: (a > 0) * 1.0), surrogate
    else:
        value = lambda a: ((a > 1) * 1.0 + (a > -1)) / 2  # noqa: E731
        slope = lambda a: (surrogate(a - 1) + surrogate(a + 1)) / 2  # noqa: E731
    rows, c, h = layer.rows, np.zeros((UNITS, BATCH)), np.zeros((UNITS, BATCH))
    kept = []
    for t in range(STEPS):
        a = {k: rows[k].W @ x[t] + rows[k].R[0] @ h + rows[k].b[:, None] for k in "ifgo"}
        v = {k: np.tanh(a[k]) if k == "g" else value(a[k]) for k in "ifgo"}
        new_c = v["f"] * c + v["i"] * v["g"]
        kept.append((a, v, c, h, new_c))
        c, h = new_c, v["o"] * np.tanh(new_c)
    d = {part + k: np.zeros_like(getattr(rows[k], part) if part != "R" else rows[k].R[0]) for part in "WRb" for k in "ifgo"}
    back_h, back_c = np.zeros((UNITS, BATCH)), np.zeros((UNITS, BATCH))
    for t in reversed(range(STEPS)):
        a, v, c, h, new_c = kept[t]
        valid = (t < LENGTHS) * 1.0
        dh = d_h[t] + back_h
        dc = back_c + dh * v["o"] * (1 - np.tanh(new_c) ** 2)
        da = {
            "o": (dh * np.tanh(new_c) + cost.get("o", 0) * valid) * slope(a["o"]),
            "f": (dc * c + cost.get("f", 0) * valid) * slope(a["f"]),
            "i": (dc * v["g"] + cost.get("i", 0) * valid) * slope(a["i"]),
            "g": dc * v["i"] * (1 - v["g"] ** 2),
        }
        back_c, back_h = dc * v["f"], sum((1 - truncated) * rows[k].R[0].T @ da[k] for k in "ifgo")
        for k in "ifgo":
            d["W" + k] += da[k] @ x[t].T
            d["R" + k] += da[k] @ h.T
            d["b" + k] += da[k].sum(1)
    return d


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("gate", ["threshold", "three_level"])
def test_surrogate_gradient_equals_an_lstm_written_by_hand(gate: str) -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, "lstm", INPUTS, UNITS, gate, "last", outputs=UNITS)
    passes = Passes(network, STEPS, BATCH, np.float64)
    x, d_scores = rng.normal(0, 1, (STEPS, INPUTS, BATCH)), rng.normal(0, 1, (UNITS, BATCH))
    vector, cost = network_vector(network, np.float64), {"i": 0.3, "o": 0.2}
    passes.scores(vector, x, LENGTHS)
    mask = (np.arange(STEPS)[:, None] < LENGTHS).astype(float)
    found = with_network_vector(network, passes.gradient(vector, d_scores, SLOPE, [cost], mask)).recurrent[0]
    d_h = np.zeros((STEPS, UNITS, BATCH))
    d_h[LENGTHS - 1, :, np.arange(BATCH)] = (network.layers[-1].W.T @ d_scores).T
    expected = hard_lstm(network.recurrent[0], x, d_h, cost, gate)
    for k in "ifgo":
        np.testing.assert_allclose(found.rows[k].W, expected["W" + k], atol=1e-12)
        np.testing.assert_allclose(found.rows[k].R[0], expected["R" + k], atol=1e-12)
        np.testing.assert_allclose(found.rows[k].b, expected["b" + k], atol=1e-12)
        assert np.abs(expected["R" + k]).max() > 1e-4


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", [name for name in sorted(family()) if cell(name).gates])
def test_hard_gradient_flows_through_thresholds_of_every_cell(name: str) -> None:
    """A threshold's gradient is that of the network in which it is replaced by its surrogate's line around the present point."""
    rng = np.random.default_rng(13)
    network = random_network(rng, name, INPUTS, UNITS, "threshold", "mean")
    x = rng.normal(0, 1, (STEPS, INPUTS, BATCH))
    passes = Passes(network, STEPS, BATCH, np.float64)
    vector, d = network_vector(network, np.float64), rng.normal(0, 1, (network.outputs, BATCH))
    passes.scores(vector, x, np.full(BATCH, STEPS))
    gradient = passes.gradient(vector, d, SLOPE)
    expected = by_differences(_linearized(network, x, d), vector, np.arange(len(vector)))
    which = trained_numbers(network)
    np.testing.assert_allclose(gradient[which], expected[which], atol=1e-6 * np.abs(expected).max())


def _linearized(network: Network, x: np.ndarray, d: np.ndarray) -> Callable[[np.ndarray], float]:
    """sum(d * scores) of the network whose thresholds are lines through their present value, with the surrogate's slope."""
    from edge_lstm import float_inference

    record: list[np.ndarray] = []

    class Line(Activation):
        def __call__(self, a: np.ndarray) -> np.ndarray:
            if recording:
                record.append(np.array(a))
                return (a > 0).astype(a.dtype)
            at = record[counter[0]]
            counter[0] += 1
            return (at > 0) + surrogate(at) * (a - at)

    def scores(vector: np.ndarray) -> float:
        counter[0] = 0
        new = with_network_vector(network, vector)
        lines = {k: Line("threshold") if a.is_threshold else a for k, a in new.layers[0].activations.items()}
        new = new.with_layers((replace(new.layers[0], activations=lines), *new.layers[1:]))
        return float((float_inference.run(replace(new, softmax=False), x.transpose(2, 0, 1)).T * d).sum())

    counter, recording = [0], True
    scores(network_vector(network, np.float64))
    recording = False
    return scores


# ---- thresholds on the way to being hard --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", ["lstm", "lstm_1997_gate_recurrence", "lstm_peephole", "gru_reset_before", "fastgrnn"])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_soft_thresholds_have_their_true_gradient(name: str, noise: float) -> None:
    rng = np.random.default_rng([len(name), 1])
    network = random_network(rng, name, INPUTS, UNITS, "threshold", "last", layers=2, clip=1.5)
    passes = Passes(network, STEPS, BATCH, np.float64, thresholds="soft")
    passes.relax(rng, noise, 2.5)
    x, labels, weights = rng.normal(0, 1, (STEPS, INPUTS, BATCH)), rng.integers(0, network.outputs, BATCH), np.ones(BATCH)

    def loss(vector: np.ndarray) -> float:
        return cross_entropy(passes.scores(vector, x, LENGTHS), labels, weights)[0]

    vector = network_vector(network, np.float64)
    gradient = passes.gradient(vector, cross_entropy(passes.scores(vector, x, LENGTHS), labels, weights)[1], 2.5)
    which = rng.choice(trained_numbers(network), 60, replace=False)
    np.testing.assert_allclose(gradient[which], by_differences(loss, vector, which), atol=1e-6 * np.abs(gradient).max())


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", ["lstm", "lstm_peephole"])
def test_thresholds_without_noise_are_hard_and_with_noise_open_as_often_as_a_sigmoid(name: str) -> None:
    rng = np.random.default_rng(2)
    network = random_network(rng, name, INPUTS, UNITS, "threshold", "last")
    vector, x, d = network_vector(network, np.float64), rng.normal(0, 1, (STEPS, INPUTS, BATCH)), rng.normal(0, 1, (3, BATCH))
    hard, noisy = (Passes(network, STEPS, BATCH, np.float64, thresholds=kind) for kind in ("hard", "noisy"))
    noisy.relax(rng, 0.0, 1.0)
    np.testing.assert_array_equal(noisy.scores(vector, x, LENGTHS), hard.scores(vector, x, LENGTHS))
    np.testing.assert_array_equal(noisy.gradient(vector, d, SLOPE), hard.gradient(vector, d, SLOPE))
    draws = logistic(rng, (40_000,), 0.5)
    for z in (-1.0, 0.2, 0.8):
        assert np.mean(z + draws > 0) == pytest.approx(1 / (1 + np.exp(-z / 0.5)), abs=0.01)
    noisy.relax(rng, 1.0, 1.0)
    assert not np.array_equal(noisy.scores(vector, x, LENGTHS), hard.scores(vector, x, LENGTHS))


@pytest.mark.usefixtures("without_compiling")
def test_a_truncated_gradient_flows_along_the_cell_state_only() -> None:
    """The same as when no row reads h back: R^T of the layer's own gradient is 0, but R has a gradient."""
    rng = np.random.default_rng(8)
    network = random_network(rng, "lstm", INPUTS, UNITS, "threshold", "last", outputs=UNITS)
    layer = network.recurrent[0]
    x, d_h = rng.normal(0, 1, (STEPS, INPUTS, BATCH)), np.zeros((STEPS, UNITS, BATCH))
    d_scores = rng.normal(0, 1, (UNITS, BATCH))
    passes = Passes(network, STEPS, BATCH, np.float64, truncated=True)
    vector = network_vector(network, np.float64)
    passes.scores(vector, x, LENGTHS)
    head = network.layers[-1]
    d_h[LENGTHS - 1, :, np.arange(BATCH)] = (head.W.T @ d_scores).T
    found = with_network_vector(network, passes.gradient(vector, d_scores, SLOPE)).recurrent[0]
    expected = hard_lstm(layer, x, d_h, {}, "threshold", truncated=True)
    for k in "ifgo":
        for part, value in (("W", found.rows[k].W), ("R", found.rows[k].R[0]), ("b", found.rows[k].b)):
            np.testing.assert_allclose(value, expected[part + k], atol=1e-10)
    assert np.abs(expected["Rg"]).max() > 0
