"""The estimators inside scikit-learn itself, and on sequences of different lengths, numbers and every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from edge_lstm import LSTMClassifier, LSTMRegressor, engine
from edge_lstm.errors import EdgeLstmError

SMALL: dict[str, Any] = {"hidden": 6, "iterations": 80, "batch": 16}


def rising(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.array(["down", "up"])[rng.integers(0, 2, n)]
    x = rng.normal(0, 0.5, (n, 10, 2))
    x[:, :, 0] += np.where(y == "up", 1, -1)[:, None] * np.linspace(-1, 1, 10)
    return x, y


def test_cross_validation_clones_grid_search_and_pipelines_work() -> None:
    x, y = rising()
    classifier = LSTMClassifier(**SMALL, class_weights="balanced")
    assert is_classifier(classifier)
    assert is_regressor(LSTMRegressor())
    assert clone(classifier).get_params() == classifier.get_params()
    scores = cross_val_score(classifier, x, y, cv=StratifiedKFold(2))
    assert scores.mean() > 0.8
    learn, judge = next(iter(StratifiedKFold(2).split(x, y)))
    assert scores[0] == clone(classifier).fit(x[learn], y[learn]).score(x[judge], y[judge])
    doubled = make_pipeline(FunctionTransformer(lambda v: 100 * v), classifier)
    assert cross_val_score(doubled, x, y, cv=2).mean() > 0.8
    search = GridSearchCV(LSTMClassifier(**SMALL), {"weight_bits": [8, {"gates": "ternary"}]}, cv=2).fit(x, y)
    assert search.best_score_ > 0.8


def test_sequences_of_different_lengths_are_cross_validated() -> None:
    x, y = rising()
    lists = [sequence[: 6 + k % 5] for k, sequence in enumerate(x)]
    assert cross_val_score(LSTMClassifier(**SMALL), lists, y, cv=2).mean() > 0.6


def test_a_regressor_predicts_in_the_unit_of_its_targets() -> None:
    x = np.random.default_rng(0).normal(0, 1, (80, 8, 2))
    y = 50 + 9 * x.mean(1)
    regressor = LSTMRegressor(hidden=8, iterations=200, batch=16, noise=0.0, scaling=0.0).fit(x, y)
    found = regressor.predict(x)
    assert found.shape == y.shape
    assert regressor.score(x, y) == pytest.approx(r2_score(y, found)) == pytest.approx(regressor.history_.training.accuracy, abs=1e-4)
    assert regressor.score(x, y) > 0.6
    assert regressor.integer_ is not None
    front = regressor.network_.preprocess
    np.testing.assert_allclose(engine.outputs(regressor.integer_, x), found, rtol=1e-5)
    assert front is not None
    single = LSTMRegressor(**SMALL).fit(x, y[:, 0])
    assert single.predict(x).shape == (80,)
    assert cross_val_score(LSTMRegressor(**SMALL), x, y[:, 0], cv=2).shape == (2,)


def test_every_step_is_classified_and_lists_come_back_as_lists() -> None:
    x, _ = rising()
    x = [sequence[: 5 + k % 6] for k, sequence in enumerate(x)]
    y = [np.where(sequence[:, 0] > 0, "high", "low") for sequence in x]
    classifier = LSTMClassifier(**SMALL, read_out="every", noise=0.0).fit(x, y)
    found = classifier.predict(x)
    assert [len(part) for part in found] == [len(part) for part in x]
    right = np.concatenate([a == b for a, b in zip(found, y, strict=True)])
    assert classifier.score(x, y) == right.mean() == classifier.history_.training.accuracy > 0.8
    assert classifier.predict_proba(x)[3].shape == (len(x[3]), 2)
    with pytest.raises(EdgeLstmError, match="one entry for every step"):
        classifier.fit(x, [part[:2] for part in y])


def test_a_warm_start_trains_on_and_refuses_other_classes() -> None:
    x, y = rising()
    warm = LSTMClassifier(**SMALL, warm_start=True).fit(x, y)
    first = warm.network_.recurrent[0].rows["g"].W.copy()
    warm.set_params(iterations=1, learning_rate=1e-6).fit(x, y)
    np.testing.assert_allclose(warm.network_.recurrent[0].rows["g"].W, first, atol=1e-5)
    with pytest.raises(EdgeLstmError, match="warm start needs the classes of before"):
        warm.fit(x, np.where(y == "up", "a", "b"))


def test_the_long_lag_schedule_brings_its_own_cell_and_read_out() -> None:
    x, y = rising()
    classifier = LSTMClassifier(hidden=6, iterations=20, schedule="long_lag").fit(x, y)
    assert classifier.network_.recurrent[0].cell.name == "lstm_long_lag"
    assert classifier.network_.read_out.kind == "last"
    with pytest.raises(EdgeLstmError, match="unknown schedule 'short'"):
        LSTMClassifier(schedule="short").fit(x, y)
