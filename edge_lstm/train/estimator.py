"""A classifier and a regressor of sequences in the manner of scikit-learn, on float arrays."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.physical import real_values
from edge_lstm.engine.whole import run as run_integers
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.float_inference import run, softmax
from edge_lstm.network import Network, Preprocess, front_layers, steps_through
from edge_lstm.train.arrays import Sensor, in_counts, padded
from edge_lstm.train.fitting import finetune, fit
from edge_lstm.train.loop import History, Progress
from edge_lstm.train.recipe import Recipe
from edge_lstm.train.sequences import UNLABELLED
from edge_lstm.train.turning import ROTATION

Array = npt.NDArray[Any]


class _Estimator:
    """What classifier and regressor have in common. Parameters are documented there."""

    _estimator_type: str
    n_features_in_: int
    network_: Network
    integer_: IntegerNetwork | None
    history_: History

    def __init__(
        self,
        hidden: int = 32,
        gates: Any = "hard",
        seed: int = 0,
        cell: str | None = None,
        read_out: str | None = None,
        layers: int = 1,
        front: str = "",
        bidirectional: bool = False,
        iterations: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        noise: float | None = None,
        scaling: float | None = None,
        class_weights: Any = None,
        sparsity: float | None = None,
        work_target: float | None = None,
        schedule: str = "standard",
        gate_method: str | None = None,
        weight_bits: Any = None,
        squash: str | None = None,
        features: str = "raw",
        imu: Any = (),
        rate: float | None = None,
        decimation: int = 1,
        rotation: float | None = None,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.hidden = hidden
        self.gates = gates
        self.seed = seed
        self.cell = cell
        self.read_out = read_out
        self.layers = layers
        self.front = front
        self.bidirectional = bidirectional
        self.iterations = iterations
        self.batch = batch
        self.learning_rate = learning_rate
        self.noise = noise
        self.scaling = scaling
        self.class_weights = class_weights
        self.sparsity = sparsity
        self.work_target = work_target
        self.schedule = schedule
        self.gate_method = gate_method
        self.weight_bits = weight_bits
        self.squash = squash
        self.features = features
        self.imu = imu
        self.rate = rate
        self.decimation = decimation
        self.rotation = rotation
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.progress = progress

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor parameters by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Changes constructor parameters. Raises UsageError for an unknown name."""
        for name, value in params.items():
            if name not in self._names():
                raise UsageError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(self._names())}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _recipe(self) -> Recipe:
        others = ("schedule", "warm_start", "checkpoint", "progress", "features", "imu", "rate", "decimation")
        chosen = {name: value for name, value in self.get_params().items() if name not in others and value is not None}
        return Recipe.of(self.schedule, **chosen)

    @property
    def _sensor(self) -> Sensor:
        return Sensor(self.features, self.imu, self.rate, self.decimation)

    def _turning(self, recipe: Recipe, channels: int) -> Recipe:
        """The recipe with the vectors that are turned in training, where any are."""
        rotation = self.rotation if self.rotation is not None else ROTATION if self.features == "imu" else 0.0
        vectors = self._sensor.described(channels).vectors if rotation else ()
        return replace(recipe, rotation=rotation, vectors=vectors)

    def _train(self, x: Array | Sequence[Array], y: Array, classes: Sequence[str]) -> None:
        """y: [sequences, ...], or [sequences, longest, ...] for every step."""
        v, lengths = padded(x)
        recipe, checkpoint = self._turning(self._recipe(), v.shape[2]), None if self.checkpoint is None else Path(self.checkpoint)
        arguments: dict[str, Any] = {"lengths": lengths, "progress": self.progress, "checkpoint": checkpoint}
        if self.warm_start and hasattr(self, "network_"):
            self._require_inputs(v)
            if self.network_.classes != tuple(classes):
                raise EdgeLstmError(f"a warm start needs the classes of before: {', '.join(self.network_.classes)}")
            longest = v.shape[1] // self._front.decimation if self.network_.read_out.kind != "every" else 0
            network = replace(self.network_, window=max(self.network_.window, longest))
            result = finetune(network, in_counts(self._front, v), y, recipe, **arguments)
        else:
            front = self._sensor.front(v, lengths)
            # training sees what the integer network will see
            result = fit(recipe, in_counts(front, v), y, classes=classes, preprocess=front, **arguments)
        self.n_features_in_ = v.shape[2]
        self.network_, self.integer_, self.history_ = result.network, result.integer, result.history

    @property
    def _front(self) -> Preprocess:
        assert self.network_.preprocess is not None  # fit makes it
        return self.network_.preprocess

    @property
    def _every(self) -> bool:
        return self._recipe().read_out == "every"

    def _targets(self, x: Array | Sequence[Array], y: Any, missing: Any) -> Array:
        """y as one array: for every step [sequences, longest, ...] with `missing` behind each sequence's end."""
        if not self._every:
            targets = np.asarray(y)
            if targets.ndim == 0 or len(targets) != len(x):
                raise EdgeLstmError(f"y has shape {targets.shape}, expected one label for each of the {len(x)} sequences")
            return targets
        parts = [np.asarray(part) for part in y]
        if not all(part.ndim for part in parts) or [len(part) for part in parts] != [len(part) // self.decimation for part in x]:
            raise EdgeLstmError("y must have one entry for every step of each sequence of x (a step is `decimation` samples)")
        targets = np.full((len(parts), max(map(len, parts)), *parts[0].shape[1:]), missing, np.result_type(*parts))
        for k, part in enumerate(parts):
            targets[k, : len(part)] = part
        return targets

    def _cut(self, x: Array | Sequence[Array], found: Array) -> Any:
        """Results of every step without the padding: a list where x is one."""
        if not self._every or (isinstance(x, np.ndarray) and x.dtype != object):
            return found
        return [found[k, : len(part) // self._front.decimation] for k, part in enumerate(x)]

    def _require_inputs(self, v: Array) -> None:
        if v.shape[2] != self.n_features_in_:
            raise EdgeLstmError(f"x has {v.shape[2]} inputs, the {self._estimator_type} was fitted on {self.n_features_in_}")

    def _scores(self, x: Array | Sequence[Array]) -> tuple[Array, Array]:
        """(scores to decide by, the same as real numbers) of every sequence, each run over its own length."""
        if not hasattr(self, "network_"):
            raise UsageError(f"this {type(self).__name__} is not fitted yet; call fit first")
        v, lengths = padded(x)
        self._require_inputs(v)
        block = self._front.decimation
        if lengths.min() < block:
            raise EdgeLstmError(f"a sequence of {lengths.min()} samples is shorter than one step of {block}")
        steps = (v.shape[1] // block,) if self.network_.read_out.kind == "every" else ()
        decisive = np.zeros((len(v), *steps, self.network_.outputs))
        real = np.zeros_like(decisive)
        for length in np.unique(lengths):
            these = np.flatnonzero(lengths == length)
            where = np.ix_(these, np.arange(length // block)) if steps else these
            decisive[where], real[where] = self._scores_of(v[these, :length], int(length) // block)
        return decisive, real

    def _scores_of(self, v: Array, length: int) -> tuple[Array, Array]:
        """length: steps of the sequences v [sequences, samples, inputs]."""
        raw, kind = in_counts(self._front, v), self.network_.read_out.kind
        if self.integer_ is None:
            scores = run(replace(self.network_, softmax=False), raw)
            return scores, scores
        front = self.network_.layers[: front_layers(self.network_)]
        if kind == "mean" and steps_through(front, length) > steps_through(front, self.network_.window):
            raise EdgeLstmError(
                f"a sequence of {length} steps is longer than the {self.network_.window} "
                f"that the {self._estimator_type} was fitted on; cut it"
            )
        integers = run_integers(self.integer_, raw).scores
        return integers, real_values(self.integer_, integers, length)


class LSTMClassifier(_Estimator):
    """A recurrent classifier: `fit(x, y)`, `predict(x)`, `predict_proba(x)`, `score(x, y)`.

    x: floats [sequences, time, inputs] in any unit, or a list of arrays [time, inputs] of different lengths; NaN is refused.
    y: one label a sequence; with read_out="every" one for every step: [sequences, time], or a list of arrays.
    With hard gates all predictions are those of the integer network, the one that `edge_lstm.export_c` writes; with soft gates those of
    the float network.

    Parameters
        hidden: units; gates: "hard", "soft", "i,o" for these two hard (or any other value of `Recipe.gates`); seed: of everything random.
        cell: member of the family; read_out: "mean", "last" or "every"; layers: recurrent layers.
        front: convolutions and poolings in front of them, "conv16x5/2,max2" (see `front_text`), trained too.
        bidirectional: read each sequence from both ends; such a network runs on whole sequences, and has no C.
        iterations, batch, learning_rate, noise, scaling, class_weights, sparsity, work_target, gate_method, weight_bits, squash: as in
        `Recipe`; None takes the schedule's own. schedule: "standard", or "long_lag" for an answer that hangs on single events long ago.
        features: "raw", or "imu": gravity, body acceleration and turning rate of an inertial sensor, companded, in the integers that the
        device computes (`edge_lstm.features`). imu: channels of the sensor, ("acc=0,1,2", "gyro=3,4,5:deg/s") or a `features.Imu`; without,
        three channels are an accelerometer in g, six also a gyroscope in rad/s. rate: samples a second, which these features need.
        decimation: samples that are averaged to one step. rotation: of all vectors in training, radians (None: 0.1 for "imu", else 0).
        warm_start: a second `fit` trains on from the first one's network. checkpoint: file from which an interrupted `fit` goes on.
        progress: called with (iterations done, in all, loss).

    Attributes after fit
        classes_: labels in the order of the outputs; n_features_in_: inputs; network_: float network; integer_: integer network or None;
        history_: losses and accuracies.
    """

    _estimator_type = "classifier"
    classes_: Array

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 or later) asks of an estimator before it uses it; only it calls this."""
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier", target_tags=utils.TargetTags(required=True), classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=False, three_d_array=True),
        )  # fmt: skip

    def fit(self, x: Array | Sequence[Array], y: Any) -> LSTMClassifier:
        """Trains on x with labels y of any kind. Raises EdgeLstmError for NaN, wrong shapes, or fewer than two classes."""
        padded(x)
        flat = np.concatenate([np.asarray(part) for part in y]) if self._every else np.asarray(y)
        if not self._every and flat.shape != (len(x),):
            raise EdgeLstmError(f"y has shape {flat.shape}, expected one label for each of the {len(x)} sequences")
        if flat.dtype.kind == "f" and not (flat == np.floor(flat)).all():  # NaN too
            raise EdgeLstmError("y holds numbers with a fraction, or NaN; labels are whole numbers or texts (LSTMRegressor learns numbers)")
        if flat.dtype.kind == "O" and len(kinds := {type(label).__name__ for label in flat.tolist()}) > 1:
            raise EdgeLstmError(f"y mixes labels of different types: {', '.join(sorted(kinds))}")
        classes = np.unique(flat)
        if len(classes) < 2:
            raise EdgeLstmError(f"there is only the class {classes.tolist()[0]!r} in y; a classifier needs two or more")
        indices = [np.searchsorted(classes, part) for part in y] if self._every else np.searchsorted(classes, flat)
        self._train(x, self._targets(x, indices, UNLABELLED), [str(c) for c in classes])
        self.classes_ = classes
        return self

    def decision_function(self, x: Array | Sequence[Array]) -> Any:
        """Scores before the softmax, float64 [sequences, classes] (for every step: [sequences, time, classes], or a list)."""
        return self._cut(x, self._scores(x)[1])

    def predict_proba(self, x: Array | Sequence[Array]) -> Any:
        """Probabilities, shaped as those of `decision_function`, in the order of `classes_`."""
        return self._cut(x, np.asarray(softmax(self._scores(x)[1])))

    def predict(self, x: Array | Sequence[Array]) -> Any:
        """The most probable class of each sequence (or step)."""
        decisive, _ = self._scores(x)
        return self._cut(x, np.asarray(self.classes_[decisive.argmax(-1)]))

    def score(self, x: Array | Sequence[Array], y: Any) -> float:
        """Share of sequences (or steps) whose predicted class is y."""
        found = self.predict(x)
        if self._every:
            self._targets(x, [np.zeros(len(part)) for part in y], 0)  # refuses other lengths
            return float(np.mean(np.concatenate([np.asarray(a) == np.asarray(b) for a, b in zip(found, y, strict=True)])))
        labels = np.asarray(y)
        if labels.shape != (len(x),):
            raise EdgeLstmError(f"y has shape {labels.shape}, expected one label for each of the {len(x)} sequences")
        return float((found == labels).mean())


class LSTMRegressor(_Estimator):
    """The same for numbers: `fit(x, y)`, `predict(x)`, `score(x, y)` (R^2, the mean over the outputs).

    y: floats [sequences] or [sequences, outputs], in any unit; with read_out="every" one more axis for time, or a list of arrays.
    Parameters and attributes are those of `LSTMClassifier`, without class_weights and classes_.
    """

    _estimator_type = "regressor"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 or later) asks of an estimator before it uses it; only it calls this."""
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="regressor", target_tags=utils.TargetTags(required=True, multi_output=True),
            regressor_tags=utils.RegressorTags(), input_tags=utils.InputTags(two_d_array=False, three_d_array=True),
        )  # fmt: skip

    def fit(self, x: Array | Sequence[Array], y: Any) -> LSTMRegressor:
        """Trains on x with the numbers y. Raises EdgeLstmError for NaN in x and wrong shapes; NaN in y is not learned from."""
        padded(x)
        targets = self._targets(x, [_numbers(part) for part in y] if self._every else _numbers(y), np.nan)
        self._single = targets.ndim == (2 if self._every else 1)
        self._train(x, targets[..., None] if self._single else targets, ())
        return self

    def predict(self, x: Array | Sequence[Array]) -> Any:
        """The numbers, float64, shaped as y was in fit."""
        _, found = self._scores(x)
        return self._cut(x, found[..., 0] if self._single else found)

    def score(self, x: Array | Sequence[Array], y: Any) -> float:
        """R^2, the mean over the outputs; entries of y that are NaN are left out. Of an output that never changes, as scikit-learn has it:
        1 if it is met exactly, else 0.
        """
        found = np.concatenate(self._as_parts(self.predict(x)))
        wanted = np.concatenate(self._as_parts(y))
        if found.shape != wanted.shape:
            raise EdgeLstmError(f"y has {len(wanted)} numbers, expected {len(found)}")
        if np.isnan(wanted).all(0).any():
            raise EdgeLstmError("y holds no number to compare with, only NaN")
        errors, spread = np.nansum((found - wanted) ** 2, 0), np.nansum((wanted - np.nanmean(wanted, 0)) ** 2, 0)
        changes = np.nanmin(wanted, 0) < np.nanmax(wanted, 0)  # not spread > 0: the mean of equal values may be off in its last bit
        return float(np.mean(np.where(changes, 1 - errors / np.where(changes, spread, 1), errors == 0)))

    def _as_parts(self, y: Any) -> list[Array]:
        outputs = self.network_.outputs
        return [_numbers(part).reshape(-1, outputs) for part in (y if self._every else [y])]


def _numbers(y: Any) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(y, np.float64)
    except (TypeError, ValueError) as error:
        raise EdgeLstmError(f"y must hold numbers: {error}") from error

