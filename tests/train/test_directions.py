"""Reversed and bidirectional layers are trained: true gradients, and the integer network's bits, for sequences of any length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network
from test_gradients import by_differences

from edge_lstm import LSTMClassifier
from edge_lstm.engine import Stream, reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerBidirectional
from edge_lstm.fixed_point.quantize import Options, calibrate, quantize_with_ranges
from edge_lstm.float_inference import run
from edge_lstm.jobs.verification import verify
from edge_lstm.network import Bidirectional, Network, Recurrent
from edge_lstm.train.directions import turned, turning
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.parameters import network_vector, with_network_vector
from edge_lstm.train.passes import Passes

STEPS, BATCH, INPUTS, UNITS = 6, 4, 3, 3
LENGTHS = np.array([6, 4, 1, 5])


def both_ways(rng: np.random.Generator, read_out: str, gates: str = "sigmoid", cell: str = "lstm", decimation: int = 1) -> Network:
    """Two bidirectional layers, one above the other, or with read-out "final" a reversed one below a bidirectional one."""

    def layer(inputs: int) -> Recurrent:
        found = random_network(rng, cell, inputs, UNITS, gates).layers[0]
        assert isinstance(found, Recurrent)
        return found

    first: Recurrent | Bidirectional = replace(layer(INPUTS), reverse=True)
    if read_out != "final":
        first = Bidirectional(layer(INPUTS), replace(layer(INPUTS), reverse=True))
    second = Bidirectional(layer(first.outputs), replace(layer(first.outputs), reverse=True))
    behind = random_network(rng, cell, INPUTS, 2 * UNITS, gates, read_out)
    front = random_network(rng, cell, INPUTS, UNITS, gates, decimation=decimation).preprocess
    return Network((first, second, *behind.layers[1:]), front, window=STEPS)


def test_turning_twice_changes_nothing_and_keeps_what_is_beyond_the_end() -> None:
    v = np.random.default_rng(0).normal(0, 1, (STEPS, 2, BATCH))
    order = turning(LENGTHS, STEPS)
    once = turned(v, order)
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(once[:length, :, b], v[:length, :, b][::-1])
        np.testing.assert_array_equal(once[length:, :, b], v[length:, :, b])
    np.testing.assert_array_equal(turned(once, order), v)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_scores_and_gradients_are_those_of_the_float_network(read_out: str, cell: str) -> None:
    rng = np.random.default_rng(3)
    network = both_ways(rng, read_out, cell=cell)
    passes = Passes(network, STEPS, BATCH, np.float64)
    x = rng.normal(0, 1, (STEPS, INPUTS, BATCH))
    columns = BATCH * (STEPS if read_out == "every" else 1)
    target = rng.normal(0, 1, (network.outputs, columns))
    if read_out == "every":
        target *= (np.arange(STEPS)[:, None] < LENGTHS).ravel()

    def loss(vector: np.ndarray) -> float:
        return float((passes.scores(vector, x, LENGTHS) * target).sum())

    vector = network_vector(network, np.float64)
    expected = run(network, x.transpose(2, 0, 1), LENGTHS)
    scores = passes.scores(vector, x, LENGTHS)
    if read_out == "every":
        scores = np.where(np.arange(STEPS)[:, None] < LENGTHS, scores.reshape(-1, STEPS, BATCH), 0).transpose(2, 1, 0)
        expected = np.where((np.arange(STEPS) < LENGTHS[:, None])[..., None], expected, 0)
    else:
        scores = scores.T
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-12)
    gradient = passes.gradient(vector, target, 0.5)
    which = rng.choice(len(vector), 80, replace=False)
    differences = by_differences(loss, vector, which)
    scale = np.abs(differences).max()
    np.testing.assert_allclose(gradient[which] / scale, differences / scale, atol=1e-6)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
@pytest.mark.parametrize("extremes", [False, True])
def test_scores_in_training_are_those_of_the_reference_engine(read_out: str, extremes: bool) -> None:
    rng = np.random.default_rng(4)
    network = both_ways(rng, read_out, "threshold", decimation=2)
    network = with_network_vector(network, network_vector(network))  # float32, as training has it
    ranges = calibrate(network, random_input(rng, network, 8, STEPS))
    integer = quantize_with_ranges(network, ranges, Options())
    raw = random_counts(rng, integer, BATCH, STEPS, extremes=extremes)
    integers = IntegerPasses(Passes(network, STEPS, BATCH), network, ranges, Options())
    integers.refresh(network_vector(network))
    x8 = np.ascontiguousarray(reference.normalize(integers.normalize, raw).transpose(1, 2, 0))
    x = (x8 * integers.input_scale[:, None]).astype(np.float32)
    scores = integers.integer_scores(x8, x, LENGTHS)
    if read_out == "every":
        scores = scores.reshape(-1, STEPS, BATCH)
    for b, length in enumerate(LENGTHS):
        alone = reference.run(integer, raw[b : b + 1, : 2 * length]).scores[0]
        np.testing.assert_array_equal(scores[:, :length, b].T if read_out == "every" else scores[:, b], alone)


def test_a_bidirectional_classifier_reports_what_its_integers_reach() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    x = rng.normal(0, 0.3, (120, 12, 2))
    x[:, 0, 0] += 2 * y - 1  # the first step says it, which the reversed direction reads last
    lists = [sequence[: 6 + k % 7] for k, sequence in enumerate(x)]
    model = LSTMClassifier(hidden=4, bidirectional=True, front="conv4x2", iterations=200, batch=16).fit(lists, y)
    assert isinstance(model.network_.layers[1], Bidirectional)
    integer = model.integer_
    assert integer is not None
    assert isinstance(integer.layers[1], IntegerBidirectional)
    assert model.score(lists, y) == model.history_.training.accuracy > 0.9
    checks = verify(integer, sequences=6)
    assert checks.differing == 0
    assert any("C" in reason for reason in checks.missing)
    with pytest.raises(EdgeLstmError, match="whole sequence"):
        Stream(integer)
