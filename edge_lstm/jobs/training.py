"""Training and judging classifiers: windows, the split by person, several trainings at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from edge_lstm import data, train
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import inputs
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.network import Network, Preprocess
from edge_lstm.report.metrics import Accuracy, accuracy, accuracy_by

WINDOW_SECONDS, WINDOW_SAMPLES = 4, 200
CALIBRATION = 512  # windows
FINETUNING = 1000  # iterations: half of a training from scratch
Report = Callable[[int, int, float], None]  # iterations done, of how many, loss


@dataclass(frozen=True)
class Plan:
    """What to train. window, stride: raw samples (None: 4 s, or 200 samples where no rate is known; half a window).

    iterations: None for the recipe's own number.
    """

    cell: str = "lstm"
    hidden: int = 32
    gates: str = "hard"
    read_out: str = "mean"
    window: int | None = None
    stride: int | None = None
    decimation: int = 1
    iterations: int | None = None
    seed: int = 0

    def recipe(self) -> train.Recipe:
        """The trainer's recipe. Raises UsageError for a cell or gates that do not exist."""
        try:
            recipe = train.Recipe(cell=self.cell, hidden=self.hidden, gates=self.gates, read_out=self.read_out, seed=self.seed)
            return recipe if self.iterations is None else replace(recipe, iterations=self.iterations)
        except EdgeLstmError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True, eq=False)
class Prepared:
    """Labelled windows, ready to be split. counts: [n, samples, channels] in counts (float where the recordings are floats);
    units_per_count: [channels]."""

    dataset: data.Dataset
    windows: data.Windows
    counts: npt.NDArray[np.generic]
    units_per_count: npt.NDArray[np.float64]

    def taken(self, which: npt.NDArray[np.integer]) -> Prepared:
        """The windows of an index."""
        return replace(self, windows=self.windows.take(which), counts=self.counts[which])


def prepare(dataset: data.Dataset, plan: Plan) -> Prepared:
    """Cuts the windows of a plan. Raises EdgeLstmError: no labels, a class that never occurs, windows longer than every recording."""
    plan.recipe()  # refuses what does not exist before any work is done
    window = plan.window or (round(WINDOW_SECONDS * dataset.rate_hz) if dataset.rate_hz else WINDOW_SAMPLES)
    window -= window % plan.decimation
    if window < 2 * plan.decimation:
        raise UsageError(f"a window of {plan.window} samples holds fewer than two steps of {plan.decimation} samples")
    windows = data.windows(dataset, window, plan.stride or max(window // 2, 1))
    if dataset.classes:
        windows = windows.take(windows.y >= 0)
    if not len(windows):
        raise EdgeLstmError(f"{dataset.name}: no window has a label; name the label column or a labels file")
    data.require_every_class(windows.y, dataset.classes)
    if dataset.units_per_count is not None:
        return Prepared(dataset, windows, windows.x, dataset.units_per_count)
    units = _invented_units(windows.x)
    return Prepared(dataset, windows, np.asarray(windows.x / units), units)


def _invented_units(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """A power of two a channel, so that the largest float is between 8192 and 16384 counts and twice as large ones still fit 16 bits."""
    largest = np.maximum(np.abs(np.asarray(x, np.float64)).max((0, 1)), 1e-30)
    return np.asarray(2.0 ** np.ceil(np.log2(largest / 2**14)))


def preprocessing(prepared: Prepared, plan: Plan) -> Preprocess:
    """Decimation and standardization, learned from these windows."""
    found = data.standardize(prepared.counts, plan.decimation, prepared.dataset.channels)
    return Preprocess(plan.decimation, found.offset, 1 / found.scale, prepared.units_per_count)


def fit(prepared: Prepared, plan: Plan, progress: Report | None = None) -> train.Result:
    """Trains on all windows of `prepared`."""
    data.require_every_class(prepared.windows.y, prepared.dataset.classes)
    return train.fit(
        plan.recipe(),
        prepared.windows.x,
        prepared.windows.y,
        classes=prepared.dataset.classes,
        preprocess=preprocessing(prepared, plan),
        progress=progress,
    )


def in_counts(network: inputs.AnyNetwork, prepared: Prepared) -> npt.NDArray[np.generic]:
    """The windows as the network takes them: counts, rounded where the recordings are floats."""
    if prepared.counts.dtype == np.int16:
        return prepared.counts
    rounded = np.clip(np.floor(np.asarray(prepared.counts, np.float64) + 0.5), -32768, 32767).astype(np.int16)
    return rounded if isinstance(network, IntegerNetwork) else np.asarray(prepared.windows.x, np.float32)


def predict(network: inputs.AnyNetwork, prepared: Prepared) -> npt.NDArray[np.int64]:
    """Class of every window."""
    return inputs.labels(network, in_counts(network, prepared))


def calibrated(network: Network, prepared: Prepared) -> IntegerNetwork:
    """Post-training quantization, calibrated on these windows."""
    x = in_counts(network, prepared)
    return quantize(network, x if len(x) <= CALIBRATION else x[np.linspace(0, len(x) - 1, CALIBRATION).round().astype(int)])


@dataclass(frozen=True)
class Judged:
    """Accuracy on people that a network never saw.

    accuracies: name -> one part a fold; by_person: name -> one part for each of `people`.
    """

    accuracies: Mapping[str, Accuracy]
    people: tuple[str, ...]
    by_person: Mapping[str, Accuracy]


def cross_validate(prepared: Prepared, plan: Plan, folds: int, *, progress: Progress = silent) -> Judged:
    """Leaves people out in `folds` parts, trains on the others, judges on them; float and integer form of each network.

    Raises EdgeLstmError when people are unknown or fewer than folds.
    """
    try:
        parts = data.person_folds(prepared.windows.person, folds, plan.seed)
    except EdgeLstmError as error:
        raise type(error)(f"{error}; or train without cross-validation (0 folds)") from error
    trained = fit_many([(prepared.taken(training), plan) for training, _ in parts], "training folds", progress)
    found = []
    for (training, test), made in zip(parts, trained, strict=True):
        integer = made.integer if made.integer is not None else calibrated(made.network, prepared.taken(training))
        found.append({name: predict(network, prepared.taken(test)) for name, network in (("float", made.network), ("integers", integer))})
    y = [prepared.windows.y[test] for _, test in parts]
    who = np.concatenate([prepared.windows.person[test] for _, test in parts])
    judged = {name: accuracy([(true, fold[name]) for true, fold in zip(y, found, strict=True)]) for name in found[0]}
    people: tuple[str, ...] = ()
    by_person = {}
    for name in judged:
        people, by_person[name] = accuracy_by(who, np.concatenate(y), np.concatenate([fold[name] for fold in found]))
    return Judged(judged, people, by_person)


def fit_many(trainings: Sequence[tuple[Prepared, Plan]], what: str, progress: Progress = silent) -> list[train.Result]:
    """Several trainings at once, one on each core; the results do not depend on how many there are."""
    progress(what, 0, 1)

    def watch(done: int, total: int, loss: float) -> None:
        progress(what, done, total, f"loss {loss:.3f}")

    return train.fit_many([partial(fit, prepared, plan) for prepared, plan in trainings], watch)


def train_on_all(prepared: Prepared, plan: Plan, *, progress: Progress = silent) -> train.Result:
    """Trains on all windows."""

    def report(done: int, total: int, loss: float) -> None:
        progress("training on all people", done, total, f"loss {loss:.3f}")

    return fit(prepared, plan, report)


def finetune(network: Network, dataset: data.Dataset, windows: data.Windows, seed: int, progress: Progress = silent) -> IntegerNetwork:
    """Trains a network on, as it is (its gates too), with the integers in the loop; on labelled windows of `dataset`."""
    data.require_every_class(windows.y, network.classes or dataset.classes)

    def report(done: int, total: int, loss: float) -> None:
        progress("fine-tuning", done, total, f"loss {loss:.3f}")

    recipe = train.Recipe(cell=network.recurrent[0].cell.name, iterations=FINETUNING, learning_rate=1e-2, integer_from=0.5, seed=seed)
    made = train.finetune(network, inputs.model_input(network, dataset, windows.x), windows.y, recipe, progress=report)
    if made.integer is None:
        raise EdgeLstmError("fine-tuning ended before the integers were in the loop")
    return made.integer
