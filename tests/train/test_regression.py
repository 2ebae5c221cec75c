"""Numbers as targets: the loss, the units, and that what training reports is what the network computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lstm import engine, train
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_inference import run
from edge_lstm.train.estimator import LSTMRegressor
from edge_lstm.train.head import squared_error

rng = np.random.default_rng(0)
X = rng.normal(0, 1, (60, 8, 3)).astype(np.float32)
Y = 40 * X[:, :, :2].mean(1) + [300, -7]  # [60, 2], far from mean 0 and deviation 1
SMALL: dict[str, Any] = {"hidden": 6, "iterations": 120, "batch": 16, "noise": 0.0, "scaling": 0.0}


def r_squared(y: np.ndarray, found: np.ndarray) -> float:
    known = np.isfinite(y).all(-1)
    y, found = y[known].astype(np.float64), found[known]
    return float(np.mean(1 - ((found - y) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)))


def test_squared_error_and_its_gradient() -> None:
    scores, targets, weights = rng.normal(0, 1, (2, 5)), rng.normal(0, 1, (2, 5)), np.array([1.0, 0.0, 2.0, 1.0, 1.0])
    loss, d = squared_error(scores, targets, weights)
    assert loss == pytest.approx((((scores - targets) ** 2).mean(0) * weights).sum() / 5)
    for at in ((0, 0), (1, 2), (0, 1)):
        moved = scores.copy()
        moved[at] += 1e-6
        assert d[at] == pytest.approx((squared_error(moved, targets, weights)[0] - loss) / 1e-6, abs=1e-5)


@pytest.mark.parametrize(("gates", "read_out"), [("hard", "mean"), ("hard", "last"), ("soft", "mean"), ("hard", "every")])
def test_what_training_reports_is_what_the_network_computes_in_the_targets_unit(gates: str, read_out: str) -> None:
    y = Y if read_out != "every" else np.repeat(Y[:, None], 8, 1)
    if read_out == "every":
        y[:, :3] = np.nan
    result = train.fit(train.Recipe(gates=gates, read_out=read_out, **SMALL), X, y, validation=(X[:9], y[:9]))
    outputs = run(result.network, X) if result.integer is None else engine.outputs(result.integer, X)
    assert outputs.shape == y.shape
    told = result.history.training
    assert told.accuracy == pytest.approx(r_squared(np.float32(y), outputs), abs=1e-5)
    assert told.cases == (60 if read_out != "every" else 300)
    assert told.loss == pytest.approx(np.nanmean((outputs - y) ** 2), rel=1e-4)
    if read_out == "mean":
        assert told.accuracy > 0.5
    assert not result.network.softmax


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:, :, None], r"targets have shape \(60, 2, 1\)"),
        (np.full((60, 1), np.inf), "infinity"),
        (np.arange(60) % 2, "names of the classes are missing"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(y: np.ndarray, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        train.fit(train.Recipe(**SMALL), X, y)
    with pytest.raises(EdgeLstmError, match="class weights are for classes"):
        train.fit(train.Recipe(class_weights="balanced", **SMALL), X, Y)


def test_the_score_of_numbers_that_are_missing_or_never_change() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 8, 1)).cumsum(1)
    y = x[:, -1].repeat(2, 1) * [1, 3]
    model = LSTMRegressor(hidden=3, iterations=5).fit(x, y)
    found = model.predict(x)
    y[::3, 0] = np.nan
    known = ~np.isnan(y[:, 0])
    wanted = [1 - ((found - y)[k, j] ** 2).sum() / ((y[k, j] - y[k, j].mean()) ** 2).sum() for j, k in enumerate((known, slice(None)))]
    assert model.score(x, y) == pytest.approx(np.mean(wanted))
    assert model.score(x, np.zeros((30, 2))) == 0
    assert model.score(x, found[:1].repeat(30, 0)) == 0
    with pytest.raises(EdgeLstmError, match="only NaN"):
        model.score(x, np.full((30, 2), np.nan))
    with pytest.raises(EdgeLstmError, match="y must hold numbers"):
        model.fit(x, np.array(["a"] * 30))
    with pytest.raises(EdgeLstmError, match="one entry for every step"):
        LSTMRegressor(read_out="every").fit(x, x[:, -1, 0])
