"""Training a converted network on with the integers in the loop: several tries, two ways to hard gates, frozen layers, no labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import data, train
from edge_lstm.engine import counts
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import inputs
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.network import Network, front_layers, steps_through
from edge_lstm.report.metrics import errors
from edge_lstm.train.frozen_front import FrozenFront

Array = npt.NDArray[Any]
ITERATIONS = 1000  # half of a training from scratch
CALIBRATION = 512
MISSED = 0.02  # accuracy below the float network's at which the second way to hard gates is tried
MISSED_VARIANCE = 0.05  # the same for outputs imitated without labels: share of their variance
METHODS = ("straight_through", "concrete")  # the second one where the first one fails
HELD_OUT = 5  # one window in so many, or one person, chooses among several tries


@dataclass(frozen=True)
class Finetuned:
    """The integer network, and what the user should know, one line each."""

    integer: IntegerNetwork
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """network: what is trained; x, y: what it learns from; bar: accuracy that the float network has on what is judged; checkpoint: see
    `finetune`."""

    network: Network
    x: Array
    y: Array
    learn: Array
    judge: Array
    bar: float
    checkpoint: Path | None


def finetune(
    network: Network,
    changed: Network,
    dataset: data.Dataset,
    windows: data.Windows,
    *,
    tries: int = 1,
    seed: int = 0,
    progress: Progress = silent,
    numbers: Array | None = None,
    checkpoint: Path | None = None,
    freeze: bool = True,
) -> Finetuned:
    """`changed` (the weights of `network`, with the gates to come) trained on windows of `dataset`.

    numbers: what it learns instead of classes, as `data.window_targets` gives it. checkpoint: every training keeps a file of its own
    beside it (`of_try`), from which the same call goes on after an interruption, to the same bytes. freeze: whether layers in front of
    the first recurrent one stay as they are.
    Without any label or number it learns to give the outputs of `network` before a softmax (Ba & Caruana 2014); with labels, those of
    the labelled windows. Gates are trained straight through; where that leaves hard gates more than MISSED below the float network,
    through noise (`concrete`) too, and the better network is kept. With several tries the best of as many seeds is kept, judged on
    people, or windows, that none of them learned from.

    Raises EdgeLstmError for layers that cannot be trained, and for a class that never occurs.
    """
    labelled = windows.take(np.flatnonzero(windows.y >= 0))
    remarks = []
    if numbers is not None:
        labelled = windows.take(np.zeros(0, np.int64))
    elif len(labelled):
        if network.outputs == 1:
            raise EdgeLstmError("fine-tuning on classes needs an output for each; name the numbers of this network with --target")
        windows = labelled
        data.require_every_class(windows.y, network.classes or dataset.classes)
    else:
        remarks.append("no labels: the network learned to give the float network's outputs")
    x = inputs.model_input(network, dataset, windows.x)
    own: Array = np.zeros(0) if len(labelled) else np.asarray(replace(network, softmax=False)(np.asarray(x)), np.float32)
    y: Array = windows.y if len(labelled) else own if numbers is None else np.asarray(numbers, np.float32)
    learn, judge = _held_out(windows, seed) if tries > 1 else (np.arange(len(x)), np.arange(len(x)))
    right = 1.0
    if len(labelled):
        right = float((inputs.labels(network, x[judge]) == windows.y[judge]).mean())
    elif numbers is not None:
        known = data.known(y[judge])
        right = errors([(y[judge][known], own[judge][known])]).mean
    count, frozen, trainable, read = front_layers(changed) if freeze else 0, None, changed, x
    if count:
        integer = quantize(changed, x[np.linspace(0, len(x) - 1, min(len(x), CALIBRATION)).round().astype(int)])
        frozen = FrozenFront(changed, integer, count)
        raw: Array = counts(integer.normalize, x) if x.dtype.kind == "f" else x
        trainable, read = frozen.behind(), frozen.outputs(raw)
        remarks.append(f"{count} layer{'s' if count > 1 else ''} in front of the recurrent ones stayed as calibrated")
    if trainable.read_out.kind == "every" and len(labelled):  # a window's label is asked of its last step
        steps = read.shape[1] // (1 if trainable.preprocess is None else trainable.preprocess.decimation)
        steps = steps_through(trainable.layers[: front_layers(trainable)], steps)
        y = np.where(np.arange(steps) == steps - 1, y[:, None], -1)
    bar = right - (MISSED if len(labelled) else MISSED_VARIANCE)
    best, more = _best(_Task(trainable, read, y, learn, judge, bar, checkpoint), tries, seed, progress)
    if tries > 1:
        remarks.append(f"best of {tries} seeds, chosen on {len(judge)} windows held out of {len(x)}")
    if best.integer is None:
        raise EdgeLstmError("fine-tuning ended before the integers were in the loop")
    return Finetuned(best.integer if frozen is None else frozen.joined_integers(best.integer), (*remarks, *more))


def _held_out(windows: data.Windows, seed: int) -> tuple[Array, Array]:
    people = sorted(set(windows.person.tolist()))
    if len(people) > 2:
        return data.person_holdout(windows.person, max(1, len(people) // HELD_OUT), seed)
    order = np.random.default_rng([seed, 3]).permutation(len(windows))
    return np.sort(order[len(order) // HELD_OUT :]), np.sort(order[: len(order) // HELD_OUT])


def _best(task: _Task, tries: int, seed: int, progress: Progress) -> tuple[train.Result, tuple[str, ...]]:
    """The best network of all tries of the first method, and of the second one where it is called for."""
    found = [_trained(task, METHODS[0], seed + k, progress) for k in range(tries)]
    best = max(found, key=_accuracy)
    if _accuracy(best) >= task.bar or not any(layer.hard_gates for layer in task.network.recurrent):
        return best, ()
    before = _accuracy(best)
    through_noise = max([_trained(task, METHODS[1], seed + k, progress) for k in range(tries)], key=_accuracy)
    kept = max(best, through_noise, key=_accuracy)
    way = "straight through" if kept is best else "through noise"
    return kept, (f"hard gates trained straight through reached {before:.3f}, through noise {_accuracy(through_noise):.3f}: kept {way}",)


def _trained(task: _Task, method: str, seed: int, progress: Progress) -> train.Result:
    def report(done: int, total: int, loss: float) -> None:
        progress(f"fine-tuning ({method.replace('_', ' ')}, seed {seed})", done, total, f"loss {loss:.3f}")

    recipe = train.Recipe(
        cell=task.network.recurrent[0].cell.name, gates=_any_gates(task.network), gate_method=method, relax_until=0.5, integer_from=0.5,
        iterations=ITERATIONS, learning_rate=1e-2, seed=seed,
    )  # fmt: skip
    validation = None if task.judge is task.learn or len(task.judge) == len(task.x) else (task.x[task.judge], task.y[task.judge])
    kept = None if task.checkpoint is None else of_try(task.checkpoint, method, seed)
    return train.finetune(
        task.network, task.x[task.learn], task.y[task.learn], recipe, validation=validation, progress=report, checkpoint=kept
    )


def of_try(checkpoint: Path, method: str, seed: int) -> Path:
    """The checkpoint of one training of fine-tuning, beside the path that the user names."""
    return checkpoint.with_name(f"{checkpoint.stem}.{method}.{seed}{checkpoint.suffix}")


def remove_checkpoints(checkpoint: Path, tries: int, seed: int) -> None:
    """Removes the checkpoints of a fine-tuning that is done."""
    for method in METHODS:
        for k in range(tries):
            of_try(checkpoint, method, seed + k).unlink(missing_ok=True)


def _any_gates(network: Network) -> str:
    return "hard" if network.recurrent[0].cell.gates else "soft"


def _accuracy(result: train.Result) -> float:
    judged = result.history.validation or result.history.training
    return judged.accuracy
