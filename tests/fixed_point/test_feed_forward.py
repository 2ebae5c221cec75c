"""Dense layers and convolutions with any activation, and the mean before a hidden layer: integers against real numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from random_networks import BEHIND, random_input, random_network

from edge_lstm.cells import FEED_FORWARD_ONLY, activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.curve import Curve
from edge_lstm.fixed_point.feed_forward import integer_convolution, integer_dense
from edge_lstm.fixed_point.formats import bent
from edge_lstm.fixed_point.integer_network import IntegerReadOut
from edge_lstm.fixed_point.operators import average, interpolate, requantize
from edge_lstm.fixed_point.quantize import Options, calibrate, quantize, quantize_with_ranges
from edge_lstm.network import Conv1d, Dense


@pytest.mark.parametrize("kind", BEHIND)
def test_outputs_are_those_of_the_function_to_a_step_of_eight_bits(kind: str) -> None:
    rng = np.random.default_rng(BEHIND.index(kind))
    function, unit = activation(kind), rng.uniform(1 / 200, 1 / 50, 7)
    W, b = rng.normal(0, 1.5, (9, 7)), rng.normal(0, 1, 9)
    x = rng.integers(-127, 128, (400, 7))
    seen = float(np.abs(function(x * unit @ W.T + b)).max())
    dense = integer_dense(Dense(W, b, function), unit, seen, last=False)
    convolution = integer_convolution(Conv1d(W[:, :, None], b, activation=function), unit, seen)
    for layer, weights in ((dense, dense.W), (convolution, convolution.W[:, :, 0])):
        represented = x @ (weights * layer.scale[:, None]).T + b  # the weights that 8 bits leave are not what is looked at
        made = requantize(layer, x @ weights.T.astype(np.int64) + layer.bias)
        assert np.abs(made).max() <= 127
        assert np.abs(made * layer.output_scale - function(represented)).max() < 1.1 * layer.output_scale + 0.004
        assert len(np.unique(made)) > (100 if kind in ("tanh", "softsign", "hard_tanh", "identity", "scaled_sigmoid") else 50)


@pytest.mark.parametrize("kind", FEED_FORWARD_ONLY)
def test_curves_without_an_upper_limit_are_met_whatever_their_slope_and_range(kind: str) -> None:
    """Within 3/4 of a step of 8 bits, on every argument that the curve reaches; beyond, the result is saturated or settled."""
    rng = np.random.default_rng(FEED_FORWARD_ONLY.index(kind))
    for _ in range(40):
        function, unit = activation(kind, 10 ** rng.uniform(-3, 0.5)), 10 ** rng.uniform(-3 if "gelu" in kind else -3.9, 1.5)
        curve, argument = bent(function, unit)
        assert (len(curve.knots) - 1) << curve.segment_shift == 2**16
        v = np.concatenate([np.arange(-(2**15), 2**15, 37), np.arange(-300, 300)])

        def made(v: np.ndarray, curve: Curve = curve) -> np.ndarray:
            return np.clip(interpolate(v, curve.knots, curve.segment_shift, curve.out_shift), -127, 127)

        wanted = np.clip(function(v * argument) / unit, -127, 127)
        assert np.abs(made(v) - wanted).max() <= 0.76
        far = np.array([-(2.0**25), 2.0**25])
        settled = np.clip(function(far * argument) / unit, -127, 127)
        if kind != "leaky_relu" or function.alpha > 1 / 127:
            assert np.abs(made(far.astype(np.int64)) - settled).max() <= 0.76


def test_a_mean_is_rounded_half_up_and_clipped() -> None:
    rng = np.random.default_rng(1)
    for steps in (1, 2, 3, 7, 50, 4096):
        for gain in (0, 1, 6):
            edge = 127 * steps
            total = np.concatenate([rng.integers(-edge, edge + 1, 300), [edge, -edge, 0, steps, -steps, steps // 2, -steps // 2]])
            exact = [(Fraction(int(v) * 2**gain, steps) + Fraction(1, 2)).__floor__() for v in total]
            np.testing.assert_array_equal(average(total, steps, gain), np.clip(exact, -127, 127))


def test_a_hidden_layer_behind_a_mean_reads_the_mean_with_the_bits_that_it_uses() -> None:
    rng = np.random.default_rng(2)
    network = random_network(rng, "lstm", 4, 12, "sigmoid", "mean", hidden=6, behind="tanh", steps=30)
    x = random_input(rng, network, 8, 30)
    integer = quantize(network, x)
    largest = calibrate(network, x).mean
    gain = integer.read_out.gain
    assert gain is not None
    assert 63 < largest * 127 * 2**gain <= 127
    assert not integer.read_out.sums
    assert np.abs(integer(x[:, :17]) - network(x[:, :17])).max() < 0.03  # the number of steps is not part of the model
    (total, mean) = prove_network(integer)[network.layers.index(network.read_out)]
    assert (total.high, mean.high) == (127 * 30, 127)


def test_a_window_too_long_for_the_gain_has_less_of_it() -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, "lstm", 2, 4, "sigmoid", "mean", hidden=3, steps=4_000_000)
    ranges = replace(calibrate(network, random_input(rng, network, 2, 20)), mean=0.001)
    integer = quantize_with_ranges(network, ranges, Options())
    assert integer.read_out.gain == 2  # 127 * 4,000,000 * 4 fits 31 bits


def test_a_single_dense_layer_goes_on_reading_the_sum() -> None:
    rng = np.random.default_rng(4)
    network = random_network(rng, "lstm", 4, 12, "sigmoid", "mean")
    assert quantize(network, random_input(rng, network)).read_out == IntegerReadOut("mean", 20)


@pytest.mark.parametrize("kind", ["threshold", "three_level"])
def test_a_layer_with_a_gate_for_an_activation_is_refused(kind: str) -> None:
    layer = Dense(np.ones((2, 3)), np.zeros(2), activation(kind))
    with pytest.raises(EdgeLstmError, match=f"activation {kind} has no integer form; use one of identity, relu, clamp"):
        integer_dense(layer, np.ones(3), 1.0, last=False)
