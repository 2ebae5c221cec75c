"""Convolution, pooling and dense layers in front are trained: true gradients, the integer network's bits, and the whole way to C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network
from test_gradients import by_differences

from edge_lstm import LSTMClassifier, train
from edge_lstm.cells import activation
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Options, calibrate, quantize_with_ranges
from edge_lstm.float_inference import run
from edge_lstm.jobs.verification import verify
from edge_lstm.network import Conv1d, Dense, Layer, Network, Pool, Recurrent, steps_before, steps_through
from edge_lstm.train.front_text import initial_front, parse
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.parameters import network_vector, with_network_vector
from edge_lstm.train.passes import Passes

STEPS, BATCH, INPUTS, UNITS = 12, 3, 3, 4


def convolution(rng: np.random.Generator, inputs: int, outputs: int, kernel: int, kind: str = "tanh", **shape: Any) -> Conv1d:
    W, b = rng.normal(0, 0.5, (outputs, inputs, kernel)), rng.normal(0, 0.2, outputs)
    return Conv1d(W, b, activation=activation(kind), **shape)


def fronts(rng: np.random.Generator) -> dict[str, tuple[Layer, ...]]:
    """Layers from INPUTS to 5 channels: strides, dilation, padding on both sides, overlapping pools, dense."""
    return {
        "conv": (convolution(rng, INPUTS, 5, 3, padding=(2, 0)),),
        "strided": (
            convolution(rng, INPUTS, 5, 4, "relu", stride=2, padding=(3, 0)),
            convolution(rng, 5, 5, 2, padding=(1, 0), dilation=2),
        ),
        "both sides": (convolution(rng, INPUTS, 5, 3, "softsign", padding=(1, 1), dilation=2),),
        "average": (Pool("average", 3, 2, INPUTS), convolution(rng, INPUTS, 5, 2, "hard_tanh"), Pool("average", 2, 1, 5)),
        "max": (convolution(rng, INPUTS, 5, 3), Pool("max", 3, 2, 5)),
        "dense": (Dense(rng.normal(0, 0.5, (6, INPUTS)), rng.normal(0, 0.1, 6), activation("tanh")), convolution(rng, 6, 5, 2, "sigmoid")),
    }


NAMES = tuple(fronts(np.random.default_rng(0)))


def network(rng: np.random.Generator, name: str, gates: str = "sigmoid", read_out: str = "last", decimation: int = 1) -> Network:
    behind = random_network(rng, "lstm", 5, UNITS, gates, read_out, steps=STEPS)
    front = random_network(rng, "lstm", INPUTS, UNITS, gates, decimation=decimation).preprocess
    made = Network((*fronts(rng)[name], *behind.layers), front, window=STEPS)
    return made


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_gradients_are_those_of_the_float_network(name: str) -> None:
    rng = np.random.default_rng(3)
    made = network(rng, name)
    passes = Passes(made, STEPS, BATCH, np.float64)
    assert passes.steps == steps_through(made.layers[: len(fronts(rng)[name])], STEPS)
    x, target = rng.normal(0, 1, (STEPS, INPUTS, BATCH)), rng.normal(0, 1, (made.outputs, BATCH))
    lengths = np.full(BATCH, passes.steps)

    def loss(vector: np.ndarray) -> float:
        return float((passes.scores(vector, x, lengths) * target).sum())

    vector = network_vector(made, np.float64)
    np.testing.assert_allclose(passes.scores(vector, x, lengths), run(made, x.transpose(2, 0, 1)).T, rtol=1e-10, atol=1e-12)
    passes.scores(vector, x, lengths)
    gradient = passes.gradient(vector, target, 0.5)
    in_front = sum(layer.W.size + layer.b.size for layer in made.layers[:2] if isinstance(layer, Conv1d | Dense))
    which = np.concatenate([rng.choice(in_front, min(60, in_front), replace=False), [in_front, len(vector) - 1]])
    expected = by_differences(loss, vector, which)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient[which] / scale, expected / scale, atol=1e-6)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("extremes", [False, True])
def test_scores_in_training_are_those_of_the_reference_engine(name: str, extremes: bool) -> None:
    rng = np.random.default_rng(4)
    made = network(rng, name, "threshold", "mean", decimation=2)
    made = with_network_vector(made, network_vector(made))  # float32, as training has it
    ranges = calibrate(made, random_input(rng, made, 8, STEPS))
    integer = quantize_with_ranges(made, ranges, Options())
    raw = random_counts(rng, integer, 7, STEPS, extremes=extremes)
    integers = IntegerPasses(Passes(made, STEPS, len(raw)), made, ranges, Options())
    represented = integers.refresh(network_vector(made))
    x8 = np.ascontiguousarray(reference.normalize(integers.normalize, raw).transpose(1, 2, 0))
    x = (x8 * integers.input_scale[:, None]).astype(np.float32)
    scores = integers.integer_scores(x8, x, np.full(len(raw), integers.passes.steps))
    np.testing.assert_array_equal(scores.T, reference.run(integer, raw).scores)
    assert integer.read_out.window == integers.passes.steps
    if not extremes:  # what the backward pass sees is close to the float network of the represented numbers
        inner = integers.passes.inputs[0].copy()
        integers.passes.scores(represented, x, np.full(len(raw), integers.passes.steps))
        assert np.abs(integers.passes.inputs[0] - inner).mean() < 0.03 * np.abs(inner).mean() + 0.005


def test_window_steps_are_counted_through_layers_and_back() -> None:
    rng = np.random.default_rng(0)
    for layers in fronts(rng).values():
        for steps in range(8, 40):
            made = steps_through(layers, steps)
            least = steps_before(layers, made)
            assert steps_through(layers, least) == made
            assert least <= steps
            assert steps_through(layers, least - 1) < made


def bursts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with one short up-down or down-up edge, which a convolution sees at once."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.normal(0, 0.3, (n, 24, 2))
    at = rng.integers(2, 18, n)
    for k in range(n):
        x[k, at[k] : at[k] + 4, 0] += np.array([1, 1, -1, -1]) * (2 * y[k] - 1)
    return x, y


def test_a_convolution_in_front_is_trained_with_the_integers_and_runs_alike_everywhere() -> None:
    x, y = bursts(300, 0)
    model = LSTMClassifier(hidden=6, front="conv6x5/2,max2", iterations=400, batch=24).fit(x, y)
    integer = model.integer_
    assert integer is not None
    first, second = integer.layers[:2]
    assert (first.W.shape, first.stride, first.padding, second.size) == ((6, 2, 5), 2, (4, 0), 2)
    assert model.score(x, y) == model.history_.training.accuracy  # what training reports is the integer network's
    assert model.score(*bursts(200, 1)) > 0.85
    assert model.history_.training.accuracy > 0.9
    untrained = initial_front(parse("conv6x5/2"), np.random.default_rng([0, 0]), 2)[0][0]
    assert np.abs(model.network_.layers[0].W - untrained.W).max() > 0.05
    assert integer.read_out.window == 6
    checks = verify(integer, sequences=8)
    assert checks.differing == 0
    assert checks.values > 500
    assert model.score([sequence[: 20 + k % 5] for k, sequence in enumerate(x)], y) > 0.8


def test_sequences_of_different_lengths_are_trained_as_each_runs_alone() -> None:
    x, y = bursts(60, 0)
    lists = [sequence[: 12 + k % 13] for k, sequence in enumerate(x)]
    model = LSTMClassifier(hidden=4, front="conv4x3", iterations=30, batch=16).fit(lists, y)
    assert model.score(lists, y) == model.history_.training.accuracy
    tagger = LSTMClassifier(hidden=4, front="conv4x3", iterations=30, batch=16, read_out="every")
    tagger.fit(lists, [np.full(len(part), label) for part, label in zip(lists, y, strict=True)])
    assert tagger.score(lists, [np.full(len(part), label) for part, label in zip(lists, y, strict=True)]) == (
        tagger.history_.training.accuracy
    )


def test_finetuning_trains_layers_in_front_that_are_not_frozen() -> None:
    x, y = bursts(120, 0)
    first = LSTMClassifier(hidden=4, front="conv4x5", iterations=60, batch=16).fit(x, y)
    recipe = train.Recipe(hidden=4, iterations=60, batch=16)
    second = train.finetune(first.network_, x, y, recipe)
    assert isinstance(second.network.layers[0], Conv1d)
    assert np.abs(second.network.layers[0].W - first.network_.layers[0].W).max() > 0.01
    looking = Conv1d(np.ones((2, 2, 3), np.float32), np.zeros(2, np.float32), 1, (1, 1))
    ahead = first.network_.with_layers((looking, *first.network_.layers))
    with pytest.raises(EdgeLstmError, match="reads ahead"):
        train.finetune(ahead, x, y, recipe, lengths=np.full(len(x), 20))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("conv16", "expected conv16x5"),
        ("conv0x3", "must be at least 1"),
        ("max2/0", "must be at least 1"),
        ("conv4x3:wavy", "unknown activation 'wavy'"),
        ("conv4x3;max2", "expected conv16x5"),
    ],
)
def test_layers_in_front_that_make_no_sense_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(EdgeLstmError, match=complaint):
        train.Recipe(front=text)


def test_a_front_that_leaves_out_steps_cannot_answer_at_each_and_one_too_long_is_refused() -> None:
    with pytest.raises(EdgeLstmError, match="leaves out steps"):
        train.Recipe(front="conv4x3/2", read_out="every")
    x, y = bursts(20, 0)
    with pytest.raises(EdgeLstmError, match="shorter than what"):
        LSTMClassifier(front="max40").fit(x, y)
    assert isinstance(LSTMClassifier(hidden=4, iterations=2, front="conv4x30").fit(x, y).network_.layers[1], Recurrent)  # causal: padded
