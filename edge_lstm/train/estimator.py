"""A classifier of sequences in the manner of scikit-learn, on float arrays."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.data import standardize
from edge_lstm.engine.physical import counts
from edge_lstm.engine.whole import run as run_integers
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, Normalize
from edge_lstm.float_inference import run, softmax
from edge_lstm.network import Network, Preprocess
from edge_lstm.train.fitting import fit
from edge_lstm.train.loop import History, Progress
from edge_lstm.train.recipe import Recipe

Array = npt.NDArray[Any]
COUNT_RANGE = 8.0  # standard deviations that int16 counts span on either side of the mean; the network itself clips at 4


class LSTMClassifier:
    """A recurrent classifier: `fit(x, y)`, `predict(x)`, `predict_proba(x)`, `score(x, y)`.

    x: floats [sequences, time, inputs] in any unit, or a list of arrays [time, inputs] of different lengths; NaN is refused.
    With hard gates all predictions are those of the integer network, the one that `edge_lstm.export_c` writes; with soft gates those of
    the float network.

    Parameters
        hidden: units; gates: "hard" or "soft" (or any other value of `Recipe.gates`); seed: of everything random.
        cell: member of the family; read_out: "mean" or "last"; layers: recurrent layers.
        iterations, batch, learning_rate, noise, scaling, class_weights, sparsity: as in `Recipe`; None takes the recipe's default.
        progress: called with (iterations done, in all, loss).

    Attributes after fit
        classes_: labels in the order of the outputs; n_features_in_: inputs; network_: float network; integer_: integer network or None;
        history_: losses and accuracies.
    """

    _estimator_type = "classifier"
    classes_: Array
    n_features_in_: int
    network_: Network
    integer_: IntegerNetwork | None
    history_: History

    def __init__(
        self,
        hidden: int = 32,
        gates: Any = "hard",
        seed: int = 0,
        cell: str = "lstm",
        read_out: str = "mean",
        layers: int = 1,
        iterations: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        noise: float | None = None,
        scaling: float | None = None,
        class_weights: Any = None,
        sparsity: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.hidden = hidden
        self.gates = gates
        self.seed = seed
        self.cell = cell
        self.read_out = read_out
        self.layers = layers
        self.iterations = iterations
        self.batch = batch
        self.learning_rate = learning_rate
        self.noise = noise
        self.scaling = scaling
        self.class_weights = class_weights
        self.sparsity = sparsity
        self.progress = progress

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor parameters by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> LSTMClassifier:
        """Changes constructor parameters. Raises UsageError for an unknown name."""
        for name, value in params.items():
            if name not in self._names():
                raise UsageError(f"LSTMClassifier has no parameter {name!r}; it has {', '.join(self._names())}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn (1.6 or later) asks of an estimator before it uses it; only it calls this."""
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier", target_tags=utils.TargetTags(required=True), classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(two_d_array=False, three_d_array=True),
        )  # fmt: skip

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])]
        return f"LSTMClassifier({', '.join(changed)})"

    def fit(self, x: Array | Sequence[Array], y: Any) -> LSTMClassifier:
        """Trains on x with labels y: [sequences] of any kind. Raises EdgeLstmError for NaN, wrong shapes, or fewer than two classes."""
        v, lengths = _padded(x)
        labels = np.asarray(y)
        if labels.shape != (len(v),):
            raise EdgeLstmError(f"y has shape {labels.shape}, expected one label for each of the {len(v)} sequences")
        classes, indices = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise EdgeLstmError(f"there is only the class {classes.tolist()[0]!r} in y; a classifier needs two or more")
        front = _front_end(v, lengths)
        raw = _counts(front, v)  # training sees what the integer network will see
        result = fit(
            self._recipe(), raw, indices.astype(np.int64), classes=[str(c) for c in classes], preprocess=front, lengths=lengths,
            progress=self.progress,
        )  # fmt: skip
        self.classes_, self.n_features_in_ = classes, v.shape[2]
        self.network_, self.integer_, self.history_ = result.network, result.integer, result.history
        return self

    def _recipe(self) -> Recipe:
        chosen = {
            name: getattr(self, name)
            for name in ("iterations", "batch", "learning_rate", "noise", "scaling", "class_weights", "sparsity")
            if getattr(self, name) is not None
        }
        return Recipe(
            cell=self.cell, hidden=self.hidden, layers=self.layers, gates=self.gates, read_out=self.read_out, seed=self.seed, **chosen
        )

    def decision_function(self, x: Array | Sequence[Array]) -> Array:
        """Scores before the softmax, float64 [sequences, classes]."""
        return self._scores(x)[1]

    def predict_proba(self, x: Array | Sequence[Array]) -> Array:
        """Probabilities, float64 [sequences, classes], in the order of `classes_`."""
        return np.asarray(softmax(self._scores(x)[1]))

    def predict(self, x: Array | Sequence[Array]) -> Array:
        """The most probable class of each sequence."""
        decisive, _ = self._scores(x)
        return np.asarray(self.classes_[decisive.argmax(1)])

    def score(self, x: Array | Sequence[Array], y: Any) -> float:
        """Share of sequences whose predicted class is y."""
        labels = np.asarray(y)
        if labels.shape != (len(x),):
            raise EdgeLstmError(f"y has shape {labels.shape}, expected one label for each of the {len(x)} sequences")
        return float((self.predict(x) == labels).mean())

    def _scores(self, x: Array | Sequence[Array]) -> tuple[Array, Array]:
        """(scores to decide by, the same as real numbers) of every sequence, each run over its own length."""
        if not hasattr(self, "network_"):
            raise UsageError("this LSTMClassifier is not fitted yet; call fit first")
        v, lengths = _padded(x)
        if v.shape[2] != self.n_features_in_:
            raise EdgeLstmError(f"x has {v.shape[2]} inputs, the classifier was fitted on {self.n_features_in_}")
        decisive = np.zeros((len(v), len(self.classes_)))
        real = np.zeros_like(decisive)
        for length in np.unique(lengths):
            these = lengths == length
            found = self._scores_of(v[these, :length], int(length))
            decisive[these], real[these] = found
        return decisive, real

    def _scores_of(self, v: Array, length: int) -> tuple[Array, Array]:
        front = self.network_.preprocess
        assert front is not None  # fit makes it
        if self.integer_ is None:
            scores = np.log(np.maximum(run(self.network_, _counts(front, v)), 1e-30))
            return scores, scores
        if self.read_out == "mean" and length > self.network_.window:
            raise EdgeLstmError(
                f"a sequence of {length} steps is longer than the {self.network_.window} that the classifier was fitted on; cut it"
            )
        scores = run_integers(self.integer_, _counts(front, v)).scores
        steps = length if self.read_out == "mean" else 1
        return scores, scores * (self.integer_.score_scale / steps)


def _padded(x: Array | Sequence[Array]) -> tuple[Array, npt.NDArray[np.int64]]:
    """x as float64 [sequences, longest, inputs], zeros behind each sequence's end, and the lengths. Refuses NaN and wrong shapes."""
    if isinstance(x, np.ndarray) and x.dtype != object:
        sequences = x
        if x.ndim != 3 or 0 in x.shape:
            raise EdgeLstmError(f"x has shape {x.shape}, expected [sequences, time, inputs], none of them 0")
        lengths = np.full(len(x), x.shape[1])
    else:
        parts = [np.asarray(part) for part in x]
        inputs = parts[0].shape[-1] if parts else 0
        for k, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != inputs or 0 in part.shape:
                raise EdgeLstmError(f"sequence {k} has shape {part.shape}, expected [time, {inputs}], none of them 0")
        if not parts:
            raise EdgeLstmError("x is empty")
        lengths = np.array([len(part) for part in parts])
        sequences = np.zeros((len(parts), lengths.max(), inputs))
        for k, part in enumerate(parts):
            sequences[k, : len(part)] = part
    if sequences.dtype.kind not in "fiu":
        raise EdgeLstmError(f"x has type {sequences.dtype}, expected numbers")
    v = sequences.astype(np.float64)
    if not np.isfinite(v).all():
        raise EdgeLstmError(f"x has a NaN or an infinity at [sequence, step, input] = {np.argwhere(~np.isfinite(v))[0].tolist()}")
    return v, lengths.astype(np.int64)


def _front_end(v: Array, lengths: npt.NDArray[np.int64]) -> Preprocess:
    """Standardization learned on the valid steps, and counts whose int16 range spans COUNT_RANGE standard deviations around the mean."""
    inside = np.arange(v.shape[1]) < lengths[:, None]
    found = standardize(v[inside][None], 1)
    # A channel far from zero needs coarser counts, since counts have no offset of their own.
    units = (np.abs(found.offset) + COUNT_RANGE * found.scale) / 32767
    return Preprocess(1, found.offset / units, units / found.scale, units)


def _counts(front: Preprocess, v: Array) -> npt.NDArray[np.int16]:
    """int16 counts of floats."""
    assert front.units_per_count is not None
    channels = len(front.offset)
    zero, one = np.zeros(channels, np.int32), np.ones(channels, np.int32)
    units = np.asarray(front.units_per_count, np.float64)
    return counts(Normalize(1, zero, one, one, 0, np.ones(channels), units), v)
