"""Fine-tuning a converted network: layers in front stay, labels may be missing, several tries, two ways to hard gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_commands import CLASSES, UNITS, recordings

from edge_lstm import data, engine, train
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerBidirectional
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import hardening, inputs
from edge_lstm.jobs.conversion import convert, with_gates
from edge_lstm.network import Bidirectional, Conv1d, Network, Pool, Preprocess, Recurrent
from edge_lstm.train.frozen_front import FrozenFront

WINDOW = 48


@pytest.fixture(scope="module")
def dataset() -> data.Dataset:
    return recordings(people=6)


@pytest.fixture(scope="module")
def soft(dataset: data.Dataset) -> Network:
    """A trained network behind a causal convolution and pooling."""
    windows = data.windows(dataset, WINDOW, 20)
    front = Preprocess(2, np.array([0.0, 0.0, 900.0]), np.full(3, 1 / 700), np.full(3, UNITS))
    recipe = train.Recipe(hidden=8, iterations=400, batch=16, gates="soft", noise=0.05)
    made = train.fit(recipe, windows.x, windows.y, classes=CLASSES, preprocess=front).network
    W = np.zeros((3, 3, 2), np.float32)
    W[:, :, 1] = np.diag([0.5, 2.0, 1.0])  # the last tap: each channel by itself, of another size
    layer = made.recurrent[0]
    rows = {name: replace(row, W=(row.W / np.array([0.5, 2.0, 1.0])).astype(np.float32)) for name, row in layer.rows.items()}
    convolution = Conv1d(W, np.zeros(3, np.float32), padding=(1, 0))
    return made.with_layers((convolution, Pool("average", 2, 1, 3), replace(layer, rows=rows), *made.layers[1:]))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "ITERATIONS", 150)


def right(network: inputs.AnyNetwork, dataset: data.Dataset) -> float:
    windows = data.windows(dataset, WINDOW, 20)
    return float((inputs.labels(network, inputs.model_input(network, dataset, windows.x)) == windows.y).mean())


def test_a_front_taken_apart_and_joined_again_is_the_same_network(dataset: data.Dataset, soft: Network) -> None:
    x = data.windows(dataset, WINDOW, 20).x
    frozen = FrozenFront(soft, quantize(soft, x), 2)
    behind = frozen.behind()
    raw = frozen.outputs(x)
    again = frozen.joined(behind)
    np.testing.assert_allclose(again(x), soft(x), rtol=1e-5, atol=1e-6)
    alone = quantize(behind, raw)
    np.testing.assert_array_equal(reference.normalize(alone.normalize, raw), raw)  # the network behind reads the front's bits
    joined = frozen.joined_integers(alone)
    np.testing.assert_array_equal(reference.run(joined, x).scores, reference.run(alone, raw).scores)
    np.testing.assert_array_equal(engine.run(joined, x).scores, reference.run(joined, x).scores)


def test_layers_in_front_stay_and_the_gates_behind_become_hard(dataset: data.Dataset, soft: Network) -> None:
    made = convert(soft, dataset, gates="hard", finetune=True, window=WINDOW, stride=20)
    calibrated = quantize(with_gates(soft, "hard"), data.windows(dataset, WINDOW, 20).x)
    np.testing.assert_array_equal(made.integer.layers[0].W, calibrated.layers[0].W)
    assert {made.integer.recurrent[0].activations[g] for g in "ifo"} == {"threshold"}
    accuracy = {name: found.mean for name, found in made.accuracies.items()}
    tuned, plain = accuracy["integers, threshold gates, fine-tuned"], accuracy["integers, threshold gates, not fine-tuned"]
    assert tuned == right(made.integer, dataset)
    assert tuned > max(0.85, plain)
    assert any("2 layers in front" in remark for remark in made.remarks)


def test_without_labels_the_float_network_is_the_teacher(dataset: data.Dataset, soft: Network) -> None:
    unlabelled = replace(dataset, classes=(), recordings=tuple(replace(r, label=None) for r in dataset.recordings))
    made = convert(soft, unlabelled, gates="hard", finetune=True, window=WINDOW, stride=20)
    assert right(made.integer, dataset) > 0.8
    assert any("no labels" in remark for remark in made.remarks)
    agreements = [remark for remark in made.remarks if "the class of the float network in" in remark]
    assert len(agreements) == 2


def test_thresholding_without_training_says_what_was_lost(dataset: data.Dataset, soft: Network) -> None:
    made = convert(soft, dataset, gates="hard", untrained=True, window=WINDOW, stride=20, prune=True)
    assert any("weights and biases before" in remark for remark in made.remarks)
    (remark,) = [remark for remark in made.remarks if "points of accuracy lost" in remark]
    lost = 100 * (right(soft, dataset) - right(made.integer, dataset))
    assert f"measured, {lost:+.1f} points" in remark


def test_the_best_of_several_tries_is_kept_and_the_second_way_is_tried(
    dataset: data.Dataset, soft: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardening, "ITERATIONS", 20)
    monkeypatch.setattr(hardening, "MISSED", -1.0)  # nothing is good enough
    seen: list[tuple[str, int, float]] = []
    trained = hardening._trained

    def watch(task, method, seed, progress):
        result = trained(task, method, seed, progress)
        seen.append((method, seed, result.history.validation.accuracy))
        return result

    monkeypatch.setattr(hardening, "_trained", watch)
    windows = data.windows(dataset, WINDOW, 20)
    found = hardening.finetune(soft, with_gates(soft, "hard"), dataset, windows, tries=2, seed=5)
    assert [(method, seed) for method, seed, _ in seen] == [(m, s) for m in ("straight_through", "concrete") for s in (5, 6)]
    kept = "straight through" if max(seen[:2], key=lambda s: s[2])[2] >= max(seen[2:], key=lambda s: s[2])[2] else "through noise"
    assert found.remarks[-1].endswith(f"kept {kept}")
    assert "best of 2 seeds" in found.remarks[-2]


@pytest.mark.parametrize("freeze", [True, False])
def test_both_directions_behind_a_convolution_are_finetuned(dataset: data.Dataset, soft: Network, freeze: bool) -> None:
    layer = soft.recurrent[0]
    assert isinstance(layer, Recurrent)
    both = Bidirectional(replace(layer, rows={k: replace(r) for k, r in layer.rows.items()}), replace(layer, reverse=True))
    head = replace(soft.layers[-1], W=np.tile(soft.layers[-1].W, 2))
    network = soft.with_layers((soft.layers[0], both, soft.layers[3], head))
    made = convert(network, dataset, gates="hard", finetune=True, window=WINDOW, stride=20, freeze=freeze)
    assert isinstance(made.integer.layers[1], IntegerBidirectional)
    accuracy = {name: found.mean for name, found in made.accuracies.items()}
    assert accuracy["integers, threshold gates, fine-tuned"] > max(0.8, accuracy["integers, threshold gates, not fine-tuned"])
    windows = data.windows(dataset, WINDOW, 20)
    np.testing.assert_array_equal(engine.run(made.integer, windows.x).scores, reference.run(made.integer, windows.x).scores)
    calibrated = quantize(with_gates(network, "hard"), windows.x)
    assert (made.integer.layers[0].W == calibrated.layers[0].W).all() == freeze


def test_an_interrupted_finetuning_goes_on_and_ends_with_the_same_bits(
    dataset: data.Dataset, soft: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardening, "MISSED", -1.0)  # so that the second way is tried, too
    kept = tmp_path / "tuning.npz"
    options = {"gates": "hard", "finetune": True, "window": WINDOW, "stride": 20}
    whole = convert(soft, dataset, **options).integer

    def interrupt(what: str, done: int, total: int, info: str = "") -> None:
        if "concrete" in what and done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(soft, dataset, checkpoint=kept, progress=interrupt, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tuning.concrete.0.npz", "tuning.straight_through.0.npz"]
    seen: list[tuple[str, int]] = []
    resumed = convert(soft, dataset, checkpoint=kept, progress=lambda what, done, *_: seen.append((what, done)), **options).integer
    assert not any("straight through" in what for what, _ in seen)  # done before, and not once more
    assert min(done for what, done in seen if "concrete" in what) > 50
    x = data.windows(dataset, WINDOW, 20).x
    np.testing.assert_array_equal(reference.run(resumed, x).scores, reference.run(whole, x).scores)
    for ours, theirs in zip(resumed.recurrent[0].rows.values(), whole.recurrent[0].rows.values(), strict=True):
        np.testing.assert_array_equal(ours.R[0], theirs.R[0])
    hardening.remove_checkpoints(kept, 1, 0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(EdgeLstmError, match="a checkpoint is for fine-tuning"):
        convert(soft, dataset, checkpoint=kept)
