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


def test_the_features_of_an_imu_work_from_cross_validation_to_every_step() -> None:
    """What tells the classes apart is a tenth of the size of gravity, whose direction differs from one sequence to the next."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    down = rng.normal(0, 1, (60, 1, 3))
    shaking = rng.normal(0, 0.002, (60, 40, 3)) * np.where(y == 1, 30, 1)[:, None, None]
    x = down / np.linalg.norm(down, axis=2, keepdims=True) + shaking
    options: dict[str, Any] = {**SMALL, "features": "imu", "rate": 50, "decimation": 2, "imu": ("acc=0,1,2:g",)}
    classifier = LSTMClassifier(**options)
    assert clone(classifier).get_params() == classifier.get_params()
    assert cross_val_score(classifier, x, y, cv=2).mean() > 0.9
    classifier.fit(x, y)
    assert classifier.score(x, y) == classifier.history_.training.accuracy
    integer = classifier.integer_
    assert integer is not None
    assert (integer.inputs, integer.normalize.outputs, integer.normalize.decimation, classifier.n_features_in_) == (3, 6, 2, 3)
    assert integer.metadata["recipe"].count('"rotation": 0.1') == 1
    np.testing.assert_allclose(engine.outputs(integer, x), classifier.predict_proba(x), atol=1e-6)
    lists = [sequence[: 30 + k % 9] for k, sequence in enumerate(x)]
    steps = [np.full(len(sequence) // 2, label) for sequence, label in zip(lists, y, strict=True)]
    tagger = LSTMClassifier(**options, read_out="every").fit(lists, steps)
    assert [len(found) for found in tagger.predict(lists)] == [len(part) for part in steps]
    assert tagger.score(lists, steps) == tagger.history_.training.accuracy > 0.8
    turned = LSTMClassifier(**SMALL, rotation=0.2).fit(x, y)  # raw counts can be turned too
    assert turned.network_.step_inputs == 3
    assert "[[0, 1, 2]]" in turned.network_.metadata["recipe"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"features": "mel"}, "unknown features 'mel'"),
        ({"features": "imu"}, "need the sampling rate"),
        ({"features": "imu", "rate": 50}, "which of the 2 channels"),
        ({"features": "imu", "rate": 50, "imu": ("acc=0,1,2",)}, "names channel 2"),
        ({"decimation": 20}, "fewer than one block of 20"),
    ],
)
def test_a_sensor_that_does_not_fit_the_sequences_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(EdgeLstmError, match=complaint):
        LSTMClassifier(**SMALL, **options).fit(*rising())
