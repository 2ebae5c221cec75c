"""The classifier in the manner of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.float_inference import run
from edge_lstm.train.estimator import LSTMClassifier

SMALL: dict[str, Any] = {"hidden": 8, "iterations": 150, "batch": 16}


def waves(seed: int, n: int = 90, steps: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Slow and fast waves in noise, [n, steps, 2], in units far from 1 and around an offset."""
    rng = np.random.default_rng(seed)
    y = rng.choice(np.array(["fast", "slow"]), n)
    t = np.arange(steps)
    phase = rng.uniform(0, 6, n)[:, None] + np.where(y == "fast", 1.5, 0.3)[:, None] * t
    x = np.stack([np.sin(phase), np.cos(phase)], 2) + rng.normal(0, 0.2, (n, steps, 2))
    return x * np.array([1e-3, 50.0]) + np.array([0.02, -300.0]), y


@pytest.mark.parametrize("gates", ["hard", "soft"])
def test_fit_predict_and_score_agree_with_the_network_behind_them(gates: str) -> None:
    x, y = waves(0)
    model = LSTMClassifier(gates=gates, **SMALL).fit(x, y)
    new_x, new_y = waves(1)
    assert list(model.classes_) == ["fast", "slow"]
    assert model.n_features_in_ == 2
    assert model.score(new_x, new_y) > 0.9
    assert model.score(new_x, new_y) == (model.predict(new_x) == new_y).mean()
    probabilities = model.predict_proba(new_x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(1)], model.predict(new_x))
    assert (model.integer_ is not None) == (gates == "hard")
    if model.integer_ is not None:
        raw = np.clip(np.floor(new_x / model.integer_.normalize.units_per_count + 0.5), -32768, 32767).astype(np.int16)
        expected = reference.run(model.integer_, raw).scores
        np.testing.assert_array_equal(model.predict(new_x), model.classes_[expected.argmax(1)])
        np.testing.assert_allclose(model.decision_function(new_x), expected * model.integer_.score_scale / 20)
        np.testing.assert_allclose(probabilities, model.integer_(new_x), atol=1e-6)
    else:
        np.testing.assert_allclose(probabilities, run(model.network_, new_x), atol=2e-3)  # counts are finer than that


def test_sequences_of_different_lengths_are_judged_each_at_its_own() -> None:
    x, y = waves(0)
    rng = np.random.default_rng(2)
    ragged = [sequence[: rng.integers(8, 21)] for sequence in x]
    model = LSTMClassifier(**SMALL).fit(ragged, y)
    together = model.decision_function(ragged)
    for k in range(0, 90, 13):
        np.testing.assert_array_equal(together[k], model.decision_function(ragged[k][None])[0])
    assert model.score(ragged, y) > 0.9
    assert model.score(ragged, y) == model.history_.training.accuracy
    with pytest.raises(EdgeLstmError, match="25 steps is longer than the 20"):
        model.predict(np.zeros((1, 25, 2)))


def test_parameters_are_those_of_the_constructor() -> None:
    model = LSTMClassifier(hidden=5, seed=7)
    again = LSTMClassifier(**model.get_params())
    assert again.get_params() == model.get_params()
    assert model.set_params(gates="soft", cell="gru") is model
    assert model.get_params()["gates"] == "soft"
    assert repr(model) == "LSTMClassifier(hidden=5, gates='soft', seed=7, cell='gru')"
    with pytest.raises(UsageError, match="no parameter 'width'; it has hidden"):
        model.set_params(width=3)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 5)), np.arange(4), r"x has shape \(4, 5\)"),
        (np.full((4, 5, 2), np.nan), np.arange(4), "NaN or an infinity"),
        (np.zeros((4, 5, 2)), np.arange(3), "one label for each of the 4 sequences"),
        (np.zeros((4, 5, 2)), np.zeros(4), "only the class 0.0 in y"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], np.arange(2), r"sequence 1 has shape \(3, 1\), expected \[time, 2\]"),
        ([], np.arange(0), "x is empty"),
        (np.full((4, 5, 2), "a"), np.arange(4), "expected numbers"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        LSTMClassifier(**SMALL).fit(x, y)


def test_predicting_before_fitting_or_with_other_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match="not fitted yet"):
        LSTMClassifier().predict(np.zeros((1, 5, 2)))
    x, y = waves(0, 20)
    model = LSTMClassifier(hidden=8, iterations=2, batch=16).fit(x, y)
    with pytest.raises(EdgeLstmError, match="3 inputs, the classifier was fitted on 2"):
        model.predict(np.zeros((1, 5, 3)))


def test_labels_that_are_none_are_refused() -> None:
    x, y = waves(0, n=6)
    fractions, unknown = np.linspace(0, 1, 6), np.array([0, 1, np.nan, 0, 1, 0])
    for labels in (fractions, unknown):
        with pytest.raises(EdgeLstmError, match="numbers with a fraction, or NaN"):
            LSTMClassifier(**SMALL).fit(x, labels)
    with pytest.raises(EdgeLstmError, match="mixes labels of different types: int, str"):
        LSTMClassifier(**SMALL).fit(x, np.array([*y[:5], 1], object))
    with pytest.raises(EdgeLstmError, match=r"hidden must be a whole number, got 2\.5"):
        LSTMClassifier(hidden=2.5).fit(x, y)  # type: ignore[arg-type]
    assert list(LSTMClassifier(hidden=2, iterations=2).fit(x, np.array([3.0, 7.0] * 3)).classes_) == [3, 7]
