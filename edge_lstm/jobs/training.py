"""Training and judging networks: windows, the split by person, several trainings at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import data, engine, train
from edge_lstm.engine import reference
from edge_lstm.engine.physical import real_values
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.features import Features, Memory, imu_of
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.float_inference import preprocess
from edge_lstm.jobs import front_end, inputs
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.network import Network, Preprocess
from edge_lstm.report.metrics import Accuracy, Errors, accuracy, accuracy_by, errors, errors_by
from edge_lstm.train.arrays import FEATURES
from edge_lstm.train.turning import ROTATION

WINDOW_SECONDS, WINDOW_SAMPLES = 4, 200
CALIBRATION = 512  # windows
Report = Callable[[int, int, float], None]  # iterations done, of how many, loss


@dataclass(frozen=True)
class Plan:
    """What to train. window, stride: raw samples (None: 4 s, or 200 samples where no rate is known; half a window).

    cell, read_out, iterations: None for the schedule's own; schedule: one of `train.recipe.SCHEDULES`. features: "raw", or "imu" for the
    integer features of the sensor that the parts `imu` describe (see `features.imu_of`); rotation: see `train.Recipe`, None: ROTATION
    for an imu, else 0. numbers: the recordings' targets are learned, not their classes. others: further fields of the recipe.
    """

    cell: str | None = None
    hidden: int = 32
    gates: str = "hard"
    read_out: str | None = None
    window: int | None = None
    stride: int | None = None
    decimation: int = 1
    iterations: int | None = None
    seed: int = 0
    features: str = "raw"
    imu: tuple[str, ...] = ()
    rotation: float | None = None
    schedule: str = "standard"
    numbers: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise UsageError(f"unknown features {self.features!r}: choose one of {', '.join(FEATURES)}")

    def recipe(self) -> train.Recipe:
        """The trainer's recipe. Raises UsageError for a cell or gates that do not exist."""
        try:
            own = {"cell": self.cell, "read_out": self.read_out, "iterations": self.iterations}
            chosen = {name: value for name, value in own.items() if value is not None}
            return train.Recipe.of(self.schedule, hidden=self.hidden, gates=self.gates, seed=self.seed, **chosen, **self.others)
        except EdgeLstmError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True, eq=False)
class Prepared:
    """Labelled windows, ready to be split.

    y: what they teach, see `data.window_targets`; counts: [n, samples, channels] in counts (float where the recordings are floats);
    units_per_count: [channels]; vectors: channels that are turned together; features: the program of the front end, None for raw counts;
    memory: what it remembers before each window when it runs through the recording, as training takes it."""

    dataset: data.Dataset
    windows: data.Windows
    y: npt.NDArray[Any]
    counts: npt.NDArray[np.generic]
    units_per_count: npt.NDArray[np.float64]
    vectors: tuple[tuple[int, ...], ...] = ()
    features: Features | None = None
    memory: Memory | None = None

    @property
    def every(self) -> bool:
        """Whether there is something to learn of every step."""
        return self.y.ndim == (3 if self.y.dtype.kind == "f" else 2)

    def taken(self, which: npt.NDArray[np.integer]) -> Prepared:
        """The windows of an index."""
        memory = None if self.memory is None else {op: values[which] for op, values in self.memory.items()}
        return replace(self, windows=self.windows.take(which), y=self.y[which], counts=self.counts[which], memory=memory)


def prepare(dataset: data.Dataset, plan: Plan) -> Prepared:
    """Cuts the windows of a plan.

    Raises EdgeLstmError: nothing to learn, a class that never occurs, windows longer than every recording.
    """
    read_out = plan.recipe().read_out  # refuses what does not exist before any work is done
    require_task(dataset, plan)
    window = plan.window or (round(WINDOW_SECONDS * dataset.rate_hz) if dataset.rate_hz else WINDOW_SAMPLES)
    window -= window % plan.decimation
    if window < 2 * plan.decimation:
        raise UsageError(f"a window of {plan.window} samples holds fewer than two steps of {plan.decimation} samples")
    windows = data.windows(dataset, window, plan.stride or max(window // 2, 1), across=plan.numbers or read_out == "every")
    y = data.window_targets(dataset, windows, plan.decimation, read_out, plan.numbers)
    teaches = np.asarray(data.known(y).reshape(len(y), -1).any(1))
    windows, y = windows.take(teaches), y[teaches]
    if not len(windows):
        if plan.numbers:
            raise EdgeLstmError(f"{dataset.name}: in no window the numbers to be learned are known: {', '.join(dataset.targets)}")
        raise EdgeLstmError(
            f"{dataset.name}: no window has a label; name the label column or a labels file, or the numbers to be learned by --target"
        )
    if not plan.numbers:
        data.require_every_class(y[data.known(y)], dataset.classes)
        if len(dataset.classes) < 2:
            raise EdgeLstmError(f"{dataset.name}: there is only the class {dataset.classes[0]}; a network learns to tell two or more apart")
    if dataset.units_per_count is not None:
        prepared = Prepared(dataset, windows, y, windows.x, dataset.units_per_count)
    else:
        units = _invented_units(windows.x)
        prepared = Prepared(dataset, windows, y, np.asarray(windows.x / units), units)
    return _with_sensor(prepared, plan)


def require_task(dataset: data.Dataset, plan: Plan) -> None:
    """Refuses recordings that hold nothing of what the plan wants to learn. Raises UsageError."""
    if plan.numbers and not dataset.targets:
        raise UsageError(f"{dataset.name}: there are no numbers to be learned in it; name their columns by --target")
    if plan.numbers and plan.recipe().class_weights is not None:
        raise UsageError("class weights are for classes, but numbers are to be learned")


def _with_sensor(prepared: Prepared, plan: Plan) -> Prepared:
    """With the vectors and the features that the plan asks for."""
    dataset, units = prepared.dataset, prepared.units_per_count
    if plan.features == "raw" and not plan.rotation:
        if plan.imu:
            raise UsageError("an imu is described but not used: ask for its features (--features imu) or turns in training (--rotation)")
        return prepared
    imu = imu_of(plan.imu, len(dataset.channels), dataset.units)
    if plan.features == "raw":
        return replace(prepared, vectors=imu.vectors)
    if not dataset.is_integer:  # the axes of one sensor must count alike
        units = units.copy()
        for vector in imu.vectors:
            units[list(vector)] = units[list(vector)].max()
        prepared = replace(prepared, counts=np.asarray(prepared.windows.x / units), units_per_count=units)
    features = front_end.program(imu, dataset, units, plan.decimation)
    memory = front_end.remembered(features, dataset, prepared.windows, units, plan.decimation)
    return replace(prepared, vectors=imu.vectors, features=features, memory=memory)


def _invented_units(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """A power of two a channel, so that the largest float is between 8192 and 16384 counts and twice as large ones still fit 16 bits."""
    largest = np.maximum(np.abs(np.asarray(x, np.float64)).max((0, 1)), 1e-30)
    return np.asarray(2.0 ** np.ceil(np.log2(largest / 2**14)))


def preprocessing(prepared: Prepared, plan: Plan) -> Preprocess:
    """Decimation, features and standardization, learned from these windows."""
    if prepared.features is not None:
        count = prepared.features.count
        plain = Preprocess(plan.decimation, np.zeros(count), np.ones(count), prepared.units_per_count, prepared.features)
        values = preprocess(plain, front_end.in_counts(prepared.windows.x, prepared.units_per_count), prepared.memory).reshape(-1, count)
        sd = values.std(0)
        return replace(plain, offset=values.mean(0), scale=1 / np.where(sd > 0, sd, 1))
    found = data.standardize(prepared.counts, plan.decimation, prepared.dataset.channels)
    return Preprocess(plan.decimation, found.offset, 1 / found.scale, prepared.units_per_count)


def fit(prepared: Prepared, plan: Plan, progress: Report | None = None, checkpoint: Path | None = None) -> train.Result:
    """Trains on all windows of `prepared`; goes on from `checkpoint` where it exists."""
    if not plan.numbers:
        data.require_every_class(prepared.y[data.known(prepared.y)], prepared.dataset.classes)
    rotation = plan.rotation if plan.rotation is not None else ROTATION if plan.features == "imu" else 0.0
    made = train.fit(
        replace(plan.recipe(), rotation=rotation, vectors=prepared.vectors),
        prepared.windows.x,
        prepared.y,
        classes=() if plan.numbers else prepared.dataset.classes,
        preprocess=preprocessing(prepared, plan),
        memory=prepared.memory,
        progress=progress,
        checkpoint=checkpoint,
    )
    return inputs.with_task(made, prepared.dataset, plan.numbers)


def in_counts(network: inputs.AnyNetwork, prepared: Prepared) -> npt.NDArray[np.generic]:
    """The windows as the network takes them: counts, rounded where the recordings are floats."""
    if prepared.counts.dtype == np.int16:
        return prepared.counts
    rounded = np.clip(np.floor(np.asarray(prepared.counts, np.float64) + 0.5), -32768, 32767).astype(np.int16)
    return rounded if isinstance(network, IntegerNetwork) else np.asarray(prepared.windows.x, np.float32)


def predict(network: inputs.AnyNetwork, prepared: Prepared) -> npt.NDArray[Any]:
    """Class, or numbers, of every window, or of its every step: shaped as `prepared.y`."""
    x = in_counts(network, prepared)
    if prepared.y.dtype.kind == "f":
        return np.asarray(inputs.outputs(network, x), np.float64)
    scores = engine.run(network, np.asarray(x, np.int16)).scores if isinstance(network, IntegerNetwork) else network(np.asarray(x))
    return np.asarray(scores.argmax(-1), np.int64)


def predict_running(network: IntegerNetwork, prepared: Prepared) -> npt.NDArray[Any]:
    """`predict` where the front end is not reset before each window, but has run through the recording."""
    counts = front_end.in_counts(prepared.windows.x, prepared.units_per_count)
    scores = engine.run_normalized(network, reference.normalize(network.normalize, counts, prepared.memory)).scores
    if prepared.y.dtype.kind == "f":
        return real_values(network, scores, counts.shape[1] // network.normalize.decimation)
    return np.asarray(scores.argmax(-1), np.int64)


def calibrated(network: Network, prepared: Prepared) -> IntegerNetwork:
    """Post-training quantization, calibrated on these windows."""
    x = in_counts(network, prepared)
    return quantize(network, x if len(x) <= CALIBRATION else x[np.linspace(0, len(x) - 1, CALIBRATION).round().astype(int)])


@dataclass(frozen=True)
class Judged:
    """Accuracy of classes, or errors of numbers, on people that a network never saw; of windows, or of their steps.

    accuracies, errors: name -> one part a fold; by_person, errors_by_person: name -> one part for each of `people`.
    """

    people: tuple[str, ...]
    accuracies: Mapping[str, Accuracy] = field(default_factory=dict)
    by_person: Mapping[str, Accuracy] = field(default_factory=dict)
    errors: Mapping[str, Errors] = field(default_factory=dict)
    errors_by_person: Mapping[str, Errors] = field(default_factory=dict)


def of_fold(checkpoint: Path, fold: int) -> Path:
    """The checkpoint of one fold of cross-validation, beside that of the training on all."""
    return checkpoint.with_name(f"{checkpoint.stem}.fold{fold}{checkpoint.suffix}")


def cross_validate(prepared: Prepared, plan: Plan, folds: int, *, progress: Progress = silent, checkpoint: Path | None = None) -> Judged:
    """Leaves people out in `folds` parts, trains on the others, judges on them; float and integer form of each network.

    Raises EdgeLstmError when people are unknown or fewer than folds.
    """
    try:
        parts = data.person_folds(prepared.windows.person, folds, plan.seed)
    except EdgeLstmError as error:
        raise type(error)(f"{error}; or train without cross-validation (0 folds)") from error
    files = [None if checkpoint is None else of_fold(checkpoint, k) for k in range(folds)]
    trained = fit_many([(prepared.taken(training), plan) for training, _ in parts], "training folds", progress, files)
    found = []
    for (training, test), made in zip(parts, trained, strict=True):
        integer = made.integer if made.integer is not None else calibrated(made.network, prepared.taken(training))
        apart = prepared.taken(test)
        judged = {name: predict(network, apart) for name, network in (("float", made.network), ("integers", integer))}
        if prepared.memory is not None:
            judged["integers, front end running on"] = predict_running(integer, apart)
        found.append(judged)
    which = [data.known(prepared.y[test]) for _, test in parts]
    y = [prepared.y[test][where] for (_, test), where in zip(parts, which, strict=True)]
    who = np.concatenate([prepared.windows.person[test[np.nonzero(where)[0]]] for (_, test), where in zip(parts, which, strict=True)])
    came = {name: [fold[name][where] for fold, where in zip(found, which, strict=True)] for name in found[0]}
    people = tuple(sorted(set(who.tolist())))
    true = np.concatenate(y)
    if plan.numbers:
        of_folds = {name: errors(list(zip(y, each, strict=True))) for name, each in came.items()}
        return Judged(
            people, errors=of_folds, errors_by_person={name: errors_by(who, true, np.concatenate(each))[1] for name, each in came.items()}
        )
    accuracies = {name: accuracy(list(zip(y, each, strict=True))) for name, each in came.items()}
    return Judged(people, accuracies, {name: accuracy_by(who, true, np.concatenate(each))[1] for name, each in came.items()})


def fit_many(
    trainings: Sequence[tuple[Prepared, Plan]], what: str, progress: Progress = silent, checkpoints: Sequence[Path | None] | None = None
) -> list[train.Result]:
    """Several trainings at once, one on each core; the results do not depend on how many there are."""
    progress(what, 0, 1)

    def watch(done: int, total: int, loss: float) -> None:
        progress(what, done, total, f"loss {loss:.3f}")

    files = checkpoints or [None] * len(trainings)
    return train.fit_many([partial(fit, *one, checkpoint=file) for one, file in zip(trainings, files, strict=True)], watch)


def train_on_all(prepared: Prepared, plan: Plan, *, progress: Progress = silent, checkpoint: Path | None = None) -> train.Result:
    """Trains on all windows."""

    def report(done: int, total: int, loss: float) -> None:
        progress("training on all people", done, total, f"loss {loss:.3f}")

    return fit(prepared, plan, report, checkpoint)
