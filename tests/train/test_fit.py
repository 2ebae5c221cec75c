"""Training as a whole: it learns, repeats itself, reports what the integer engine finds, and refuses what it cannot learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lstm import engine, train
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import harden
from edge_lstm.float_inference import run
from edge_lstm.network import Conv1d, Dense, Preprocess
from edge_lstm.train.passes import Passes

CLASSES = ("falling", "flat", "rising")
SMALL = train.Recipe(hidden=8, iterations=150, batch=16, seed=3)
FRONT = Preprocess(2, np.array([100.0, -50.0]), np.array([1 / 400, 1 / 300]), np.array([1e-3, 2e-3]))


def slopes(seed: int, n: int = 120, samples: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """int16 counts [n, samples, 2] whose first channel falls, stays or rises, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    ramp = (y[:, None] - 1) * np.linspace(-500, 500, samples)
    x = np.stack([ramp, np.zeros_like(ramp)], 2) + rng.normal(0, 200, (n, samples, 2)) + FRONT.offset
    return np.round(x).astype(np.int16), y


@pytest.fixture(scope="module")
def hard() -> train.Result:
    x, y = slopes(0)
    return train.fit(SMALL, x, y, classes=CLASSES, preprocess=FRONT, validation=slopes(1))


def same(a: Any, b: Any) -> bool:
    return all(
        np.array_equal(row.W, other.W) and np.array_equal(row.R[0], other.R[0]) and np.array_equal(row.b, other.b)
        for row, other in zip(a.network.recurrent[0].rows.values(), b.network.recurrent[0].rows.values(), strict=True)
    )


def test_hard_gates_learn_and_the_reported_accuracy_is_the_integer_networks(hard: train.Result) -> None:
    assert hard.integer is not None
    assert hard.network.recurrent[0].hard_gates == ("i", "f", "o")
    for (x, y), told in ((slopes(0), hard.history.training), (slopes(1), hard.history.validation)):
        scores = reference.run(hard.integer, x).scores
        assert told is not None
        assert told.accuracy == (scores.argmax(1) == y).mean()
        assert told.cases == len(y)
        real = scores * hard.integer.score_scale / hard.integer.read_out.window
        expected = np.mean(np.log(np.exp(real).sum(1)) - real[np.arange(len(y)), y])
        assert told.loss == pytest.approx(expected, rel=1e-5)
    assert hard.history.validation is not None
    assert hard.history.validation.accuracy > 0.9
    assert hard.history.loss[0] > 2 * np.mean(hard.history.loss[-10:])
    assert len(hard.history.loss) == SMALL.iterations == hard.history.kept


def test_the_same_seed_gives_the_same_bytes_whatever_runs_beside_it(hard: train.Result) -> None:
    x, y = slopes(0)
    seeds = (3, 4, 3)

    def job(seed: int) -> Any:
        return lambda report: train.fit(replace(SMALL, seed=seed), x, y, classes=CLASSES, preprocess=FRONT, progress=report)

    jobs = [job(seed) for seed in seeds]
    calls: list[tuple[int, int, float]] = []
    many = train.fit_many(jobs, progress=lambda *call: calls.append(call), threads=3)
    assert same(many[0], hard)
    assert same(many[2], hard)
    assert not same(many[1], hard)
    assert many[0].history.loss == hard.history.loss
    assert max(done for done, _, _ in calls) == 3 * SMALL.iterations
    assert {total for _, total, _ in calls} == {3 * SMALL.iterations}


def test_soft_gates_learn_in_floats() -> None:
    x, y = slopes(0)
    result = train.fit(replace(SMALL, gates="soft"), x, y, classes=CLASSES, preprocess=FRONT)
    assert result.integer is None
    outputs = run(result.network, x)
    assert result.history.training.accuracy == (outputs.argmax(1) == y).mean() > 0.9
    asked = train.fit(replace(SMALL, gates="soft", integer_from=0.5), x, y, classes=CLASSES, preprocess=FRONT)
    assert asked.integer is not None
    assert (reference.run(asked.integer, x).scores.argmax(1) == y).mean() == asked.history.training.accuracy > 0.9


def test_inputs_of_a_network_without_preprocessing_become_counts_by_calibration() -> None:
    x, y = slopes(0)
    x = ((x[:, ::2] - FRONT.offset) * FRONT.scale).astype(np.float32)
    result = train.fit(SMALL, x, y, classes=CLASSES)
    assert result.integer is not None
    accuracy = (engine.outputs(result.integer, x).argmax(1) == y).mean()
    assert accuracy == result.history.training.accuracy > 0.9


def test_early_stopping_restores_the_best_weights() -> None:
    x, y = slopes(0, 40)
    wrong = np.roll(slopes(1, 40)[1], 1)  # labels that training can only grow worse on
    recipe = replace(SMALL, gates="soft", patience=2, evaluations=30)
    result = train.fit(recipe, x, y, classes=CLASSES, preprocess=FRONT, validation=(slopes(1, 40)[0], wrong))
    history = result.history
    losses = [evaluation.judgement.loss for evaluation in history.evaluations]
    best = history.evaluations[int(np.argmin(losses))]
    assert len(history.loss) < recipe.iterations
    assert history.kept == best.iteration
    assert history.validation == best.judgement


def test_early_stopping_with_hard_gates_waits_for_the_integers() -> None:
    x, y = slopes(0, 40)
    wrong = np.roll(slopes(1, 40)[1], 1)
    recipe = replace(SMALL, patience=1, evaluations=30)
    result = train.fit(recipe, x, y, classes=CLASSES, preprocess=FRONT, validation=(slopes(1, 40)[0], wrong))
    assert result.integer is not None
    assert recipe.integers_start < result.history.kept <= recipe.iterations


def test_a_penalty_closes_gates_and_leaves_others_alone() -> None:
    x, y = slopes(0)
    opened = {}
    for sparsity in (0.0, 2.0):
        recipe = replace(SMALL, sparsity=sparsity, sparse_gates=("i",), integer_from=1.0)
        network = train.fit(recipe, x, y, classes=CLASSES, preprocess=FRONT).network
        opened[sparsity] = gate_means(network, x)
    assert opened[2.0]["i"] < 0.5 * opened[0.0]["i"]
    assert opened[2.0]["o"] > 0.5 * opened[0.0]["o"]


def gate_means(network: Any, x: np.ndarray) -> dict[str, float]:
    from edge_lstm import float_inference

    layer = network.recurrent[0]
    v = float_inference.preprocess(FRONT, x).astype(np.float32)
    state, values = float_inference.initial_state(layer, len(v), np.float32), []
    for t in range(v.shape[1]):
        state, found = float_inference.step(layer, v[:, t], state)
        values.append(found)
    ops = {op.name: k for k, op in enumerate(layer.cell.ops) if op.code == "activate"}
    return {gate: float(np.mean([found[ops[gate]] for found in values])) for gate in layer.cell.gates}


@pytest.mark.usefixtures("without_compiling")
def test_steps_beyond_a_sequences_length_change_nothing() -> None:
    x, y = slopes(0, 20)
    lengths = np.random.default_rng(0).integers(6, 25, 20)
    dirty = x.copy()
    for k, length in enumerate(lengths):
        dirty[k, length - length % 2 :] = -30000
    recipe = replace(SMALL, hidden=4, iterations=10, batch=4, scaling=0.0, noise=0.0)
    for read_out in ("mean", "last"):
        arguments: dict[str, Any] = {"classes": CLASSES, "preprocess": FRONT, "lengths": lengths}
        results = [train.fit(replace(recipe, read_out=read_out), data, y, **arguments) for data in (x, dirty)]
        assert same(*results)
        assert results[0].integer is not None
        alone = [reference.run(results[0].integer, x[k : k + 1, :length]).scores.argmax() for k, length in enumerate(lengths)]
        assert results[0].history.training.accuracy == (np.array(alone) == y).mean()


@pytest.mark.usefixtures("without_compiling")
def test_every_step_can_be_learned_and_unlabelled_steps_are_ignored() -> None:
    x, y = slopes(0, 12)
    steps = np.repeat(y[:, None], 12, 1)
    steps[:, :6] = -1
    recipe = replace(SMALL, hidden=4, iterations=6, batch=4, read_out="every")
    result = train.fit(recipe, x, steps, classes=CLASSES, preprocess=FRONT)
    assert result.integer is not None
    decided = reference.run(result.integer, x).scores.argmax(2)
    assert result.history.training.cases == 72
    assert result.history.training.accuracy == (decided[:, 6:] == steps[:, 6:]).mean()


def test_class_weights_move_the_decision_towards_the_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(200) < 0.1).astype(np.int64)
    x = (rng.normal(0, 1, (200, 8, 2)) + 0.4 * y[:, None, None]).astype(np.float32)
    found = {}
    for weights in (None, "balanced", (1.0, 30.0)):
        recipe = replace(SMALL, gates="soft", iterations=60, class_weights=weights, noise=0.5)
        found[weights] = run(train.fit(recipe, x, y, classes=("often", "rare")).network, x).argmax(1).mean()
    assert found[None] < found["balanced"] < found[1.0, 30.0]


def test_finetuning_a_hardened_network_recovers_it_in_integers(hard: train.Result) -> None:
    x, y = slopes(0)
    soft = train.fit(replace(SMALL, gates="soft", iterations=100), x, y, classes=CLASSES, preprocess=FRONT).network
    soft = replace(soft, layers=(soft.layers[0], replace(soft.read_out, kind="last"), *soft.layers[2:]), window=0)
    hidden = Dense(np.eye(8, dtype=np.float32), np.zeros(8, np.float32), replace(soft.layers[-1].activation, kind="relu"))
    deeper = soft.with_layers((soft.layers[0], soft.layers[1], hidden, soft.layers[-1]))
    result = train.finetune(harden(deeper), x, y, SMALL)
    assert result.integer is not None
    assert result.network.window == 12
    assert (reference.run(result.integer, x).scores.argmax(1) == y).mean() == result.history.training.accuracy > 0.9


def test_an_interrupt_ends_all_trainings() -> None:
    x, y = slopes(0)
    reports = 0

    def interrupt(done: int, total: int, loss: float) -> None:
        nonlocal reports
        reports += 1
        if reports == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.fit(SMALL, x, y, classes=CLASSES, preprocess=FRONT, progress=interrupt)
    assert reports == 5
    reports = 0
    jobs = [lambda report: train.fit(SMALL, x, y, classes=CLASSES, preprocess=FRONT, progress=report)] * 6
    with pytest.raises(KeyboardInterrupt):
        train.fit_many(jobs, progress=interrupt, threads=2)
    assert reports < 2 * SMALL.iterations


def _arrays(**changes: Any) -> dict[str, Any]:
    x, y = slopes(0, 20)
    return {"x": x, "y": y, "classes": CLASSES, "preprocess": FRONT, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(20, int)}, "classes never occur in the training part: flat, rising"),
        ({"y": np.full(20, 3)}, "labels range from 3 to 3, expected 0 to 2"),
        ({"y": np.zeros((20, 2), int)}, r"labels have shape \(20, 2\)"),
        ({"y": np.zeros(20)}, "type float64, expected integers"),
        ({"x": np.full((20, 24, 2), np.nan)}, "NaN"),
        ({"x": np.zeros((20, 0, 2))}, r"shape \(20, 0, 2\)"),
        ({"x": np.zeros((20, 1, 2), np.int16)}, "shorter than one block of 2"),
        ({"x": np.full((20, 24, 2), 40000)}, "counts range from 40000 to 40000, beyond int16"),
        ({"lengths": np.full(20, 99)}, "lengths must be 20 integers between 2 and 24"),
        ({"validation": (np.zeros((4, 20, 2), np.int16), np.arange(4) % 3)}, "validation sequences have 10 steps, training sequences 12"),
        ({"recipe": replace(SMALL, class_weights=(1.0, 2.0))}, "3 positive class weights expected"),
        ({"recipe": replace(SMALL, class_weights="even")}, "class weights 'even'"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(changes: dict[str, Any], message: str) -> None:
    arrays = _arrays(**{k: v for k, v in changes.items() if k != "recipe"})
    with pytest.raises(EdgeLstmError, match=message):
        train.fit(changes.get("recipe", SMALL), arrays.pop("x"), arrays.pop("y"), **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "lstn"}, "unknown cell 'lstn'"),
        ({"gates": "stiff"}, "'stiff' is no gate"),
        ({"gates": {"q": "hard"}}, "no gate q; it has i, f, o"),
        ({"read_out": "first"}, "unknown read-out 'first'"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"noise": -1.0}, "noise must not be negative"),
        ({"cell": "janet", "sparsity": 0.1}, "sparsity is asked of i, o, but janet has the gates f"),
        ({"cell_bits": 8}, "cell_bits must be 16 or 32"),
        ({"squash": "tan"}, "unknown activation 'tan'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        train.Recipe(**changes)


def test_layers_that_cannot_be_trained_are_refused_by_name(hard: train.Result) -> None:
    x, y = slopes(0, 20)
    units = hard.network.recurrent[0].units
    convolution = Conv1d(np.zeros((units, units, 1), np.float32), np.zeros(units, np.float32))
    with pytest.raises(EdgeLstmError, match=r"layer 1 \(Conv1d\) cannot be trained yet"):
        train.finetune(hard.network.with_layers((hard.network.layers[0], convolution, *hard.network.layers[1:])), x, y, SMALL)


def test_divergence_is_an_error_and_not_a_network_of_nan() -> None:
    x, y = slopes(0, 20)
    recipe = replace(SMALL, cell="rnn_relu", learning_rate=1e18, iterations=30)
    with pytest.raises(EdgeLstmError, match="diverged"):
        train.fit(recipe, x, y, classes=CLASSES, preprocess=FRONT)


def test_kernels_work_without_a_folder_to_cache_them_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from edge_lstm.train import kernels

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "file" / "cache"))
    source = "import numba\nimport numpy as np\n\n\ndef twice(x):\n    return x + x\n"
    assert kernels.compiled(source, "twice")(np.float32(3)) == 6
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "cache"))
    assert kernels.compiled(source + "\n", "twice")(np.float32(4)) == 8
    assert list((tmp_path / "cache").rglob("twice_*.py"))


def test_passes_are_reused_for_batches_of_any_content(hard: train.Result) -> None:
    """A second forward pass leaves nothing of the first behind."""
    from edge_lstm.train.parameters import network_vector

    passes = Passes(hard.network, 12, 4)
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, 1, (12, 2, 4)).astype(np.float32) for _ in range(2))
    lengths = np.full(4, 12)
    vector = network_vector(hard.network)
    expected = passes.scores(vector, first, lengths).copy()
    passes.scores(vector, second, lengths)
    np.testing.assert_array_equal(passes.scores(vector, first, lengths), expected)
