"""The sequences that a network learns from or is judged on: checked once, then drawn in batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import float_inference
from edge_lstm.data import require_every_class
from edge_lstm.engine.physical import INT16, counts, to_counts
from edge_lstm.engine.reference import normalize
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Memory
from edge_lstm.fixed_point.integer_network import Normalize
from edge_lstm.network import Conv1d, Network, Preprocess, front_layers, steps_through
from edge_lstm.train.recipe import Recipe
from edge_lstm.train.turning import turned

Array = npt.NDArray[Any]
UNLABELLED = -1


@dataclass(frozen=True)
class Sequences:
    """n sequences of one length, of which the first ones count: those of which layers in front make `lengths` steps.

    raw: [n, samples, channels] as given (counts, or floats); x: float32 [n, time, channels] what the float network reads;
    y: classes, int64 [n], or [n, time] when every step is read out, UNLABELLED where there is nothing to learn; or numbers, float32
        [n, outputs] or [n, time, outputs], NaN where there is nothing to learn; lengths: [n] in steps of the recurrent layers;
    x8: int8 [n, time, channels], what the integer network reads; None before the integer phase;
    front: what makes x of raw; memory: of its features before the first sample of each sequence, None: each begins with a reset.
    """

    raw: Array
    x: Array
    y: Array
    lengths: npt.NDArray[np.int64]
    x8: npt.NDArray[np.int8] | None = None
    front: Preprocess | None = None
    memory: Memory | None = None

    @property
    def of_numbers(self) -> bool:
        """Whether numbers are to be learned (regression), not classes."""
        return self.y.dtype.kind == "f"

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """[n] or [n, time]: where there is something to learn."""
        found = np.isfinite(self.y).all(-1) if self.of_numbers else self.y != UNLABELLED
        return found & (np.arange(found.shape[1]) < self.lengths[:, None]) if found.ndim == 2 else np.asarray(found)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def steps(self) -> int:
        return int(self.x.shape[1])

    def with_integers(self, front: Normalize) -> Sequences:
        """The same with x8 as the integer network's front end makes it."""
        raw = counts(front, self.raw) if self.raw.dtype.kind == "f" else self.raw
        return replace(self, x8=normalize(front, raw, self.memory))


def sequences(
    network: Network, x: Array, y: Array, lengths: Array | None, *, memory: Memory | None = None, what: str = "training"
) -> Sequences:
    """Checks x [n, samples, channels], labels y and lengths ([n] in samples, None: all samples) against the network.

    Raises EdgeLstmError for a wrong shape, NaN, labels beyond the network's outputs, or sequences without a whole step.
    """
    x, y = np.asarray(x), np.asarray(y)
    float_inference.check_input(x, network.inputs)
    if network.preprocess is not None and x.shape[1] < network.preprocess.decimation:
        raise EdgeLstmError(f"{what} sequences of {x.shape[1]} samples are shorter than one block of {network.preprocess.decimation}")
    front = network.preprocess
    v = x.astype(np.float32) if front is None else float_inference.preprocess(front, x, memory).astype(np.float32)
    steps, made = _steps(network, v, lengths, x.shape)
    wanted = (len(v), made) if network.read_out.kind == "every" else v.shape[:1]
    if y.dtype.kind == "f":
        labels = _numbers(network, y, wanted, what)
    else:
        labels = _classes(network, y, wanted, what)
    if front is None:
        x = x.astype(np.float64)  # not counts, whatever its type
    elif x.dtype.kind == "f":
        x = to_counts(x.astype(np.float64), np.ones(x.shape[-1]) if front.units_per_count is None else front.units_per_count)
    elif x.dtype.kind in "iu" and (x.min() < INT16.min or x.max() > INT16.max):
        raise EdgeLstmError(f"{what} counts range from {x.min()} to {x.max()}, beyond int16; give floats if these are physical units")
    return Sequences(x, v, labels, steps.astype(np.int64), None, front, memory)


def _steps(network: Network, v: Array, lengths: Array | None, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], int]:
    """([n] steps of each sequence, steps of all) of the recurrent layers.

    Behind a causal front a padded sequence gives what it gives alone.
    """
    layers = network.layers[: front_layers(network)]
    made = steps_through(layers, v.shape[1])
    if lengths is None:
        return np.full(len(v), made), made
    lengths = np.asarray(lengths)
    if (lengths < shape[1]).any() and any(isinstance(layer, Conv1d) and layer.padding[1] for layer in layers):
        raise EdgeLstmError("sequences of different lengths cannot be trained behind a convolution that reads ahead; cut them alike")
    own = np.array([steps_through(layers, one) for one in float_inference.steps_of_lengths(network, lengths, shape).tolist()], np.int64)
    if own.min() < 1:
        raise EdgeLstmError(f"the shortest sequence, of {lengths.min()} samples, is shorter than what layers in front span")
    return own, made


def _numbers(network: Network, y: Array, wanted: tuple[int, ...], what: str) -> Array:
    if network.outputs == 1 and y.shape == wanted:
        y = y[..., None]
    if y.shape != (*wanted, network.outputs):
        raise EdgeLstmError(f"{what} targets have shape {y.shape}, expected {(*wanted, network.outputs)}: one number for each output")
    if np.isinf(y).any() or np.isnan(y).all():
        raise EdgeLstmError(f"{what} targets hold an infinity, or nothing but NaN")
    return y.astype(np.float32)


def _classes(network: Network, y: Array, wanted: tuple[int, ...], what: str) -> Array:
    if y.shape != wanted or y.dtype.kind not in "iu":
        raise EdgeLstmError(f"{what} labels have shape {y.shape} and type {y.dtype}, expected integers of shape {wanted}")
    if y.min() < UNLABELLED or y.max() >= network.outputs:
        raise EdgeLstmError(f"{what} labels range from {y.min()} to {y.max()}, expected 0 to {network.outputs - 1}")
    return y.astype(np.int64)


def require_classes(data: Sequences, classes: tuple[str, ...]) -> None:
    """Refuses training labels in which a class never occurs."""
    if not data.of_numbers:
        require_every_class(data.y[data.known], classes)


def class_weights(recipe: Recipe, data: Sequences, outputs: int) -> Array:
    """[classes] weight of each class in the loss. Raises EdgeLstmError for weights that do not fit the classes."""
    if recipe.class_weights is None:
        return np.ones(outputs)
    if data.of_numbers:
        raise EdgeLstmError("class weights are for classes, but the targets are numbers")
    if recipe.class_weights == "balanced":
        frequency = np.bincount(data.y[data.y != UNLABELLED], minlength=outputs)
        return np.asarray(frequency.sum() / (outputs * np.maximum(frequency, 1)))
    if isinstance(recipe.class_weights, str):
        raise EdgeLstmError(f"class weights {recipe.class_weights!r}: choose 'balanced', or give one number per class")
    weights = np.asarray(recipe.class_weights, np.float64)
    if weights.shape != (outputs,) or not (np.isfinite(weights).all() and (weights > 0).all()):
        raise EdgeLstmError(f"{outputs} positive class weights expected, got {recipe.class_weights}")
    return weights


@dataclass(frozen=True)
class Batch:
    """x: float32 [time, channels, batch]; x8: int8, the integers that x are the real values of, None outside the integer phase;
    labels: [columns] classes, or [outputs, columns] numbers; weights: [columns]; lengths: [batch], of the recurrent layers."""

    x: Array
    x8: npt.NDArray[np.int8] | None
    labels: Array
    weights: Array
    lengths: npt.NDArray[np.int64]

    @property
    def integers(self) -> npt.NDArray[np.int8]:
        """x8, which must be there."""
        assert self.x8 is not None
        return self.x8

    def mask(self, steps: int) -> Array:
        """[steps, batch]: 1 in valid steps of the recurrent layers."""
        return np.asarray(np.arange(steps)[:, None] < self.lengths, np.float32)


def take(data: Sequences, index: npt.NDArray[np.int64], weights: Array, valid: Array | None = None, scale: Array | None = None) -> Batch:
    """The sequences `index` as they are. weights: [classes]; valid: [len(index)] 0 for sequences that only fill the batch;
    scale: [channels] real value of one unit of x8, None when the float network reads the batch."""
    x8 = None if scale is None or data.x8 is None else np.ascontiguousarray(data.x8[index].transpose(1, 2, 0))
    x = np.ascontiguousarray(data.x[index].transpose(1, 2, 0)) if x8 is None else on_grid(x8, scale)
    return _with_labels(data, index, x, x8, weights, valid)


def draw(data: Sequences, recipe: Recipe, rng: np.random.Generator, weights: Array, scale: Array | None) -> Batch:
    """A random batch, augmented by turning, noise and scaling; with `scale`, rounded to the int8 grid of the integer network afterwards."""
    index = rng.integers(0, len(data), recipe.batch)
    if not (recipe.noise or recipe.scaling or recipe.rotation):
        return take(data, index, weights, None, scale)
    drawn = data.x[index] if not recipe.rotation else _turned(data, index, recipe, rng)
    x = np.ascontiguousarray(drawn.transpose(1, 2, 0))
    if recipe.scaling:
        x *= 1 + np.float32(recipe.scaling) * rng.standard_normal(recipe.batch, np.float32)
    if recipe.noise:
        x += np.float32(recipe.noise) * rng.standard_normal(x.shape, np.float32)
    x8 = None
    if scale is not None:
        x8 = np.clip(np.floor(x / scale[:, None].astype(np.float32) + np.float32(0.5)), -127, 127).astype(np.int8)
        x = on_grid(x8, scale)
    return _with_labels(data, index, x, x8, weights, None)


def _turned(data: Sequences, index: npt.NDArray[np.int64], recipe: Recipe, rng: np.random.Generator) -> Array:
    assert data.front is not None  # require_vectors has seen it
    memory = None if data.memory is None else {op: values[index] for op, values in data.memory.items()}
    return turned(data.front, data.raw[index], memory, recipe.vectors, recipe.rotation, rng)


def on_grid(x8: npt.NDArray[np.int8], scale: Array | None) -> Array:
    """The real values float32 of x8: [time, channels, batch]."""
    return np.asarray(x8 * np.asarray(scale, np.float32)[:, None], np.float32)


def _with_labels(data: Sequences, index: Array, x: Array, x8: Any, weights: Array, valid: Array | None) -> Batch:
    y, lengths, known = data.y[index], data.lengths[index], data.known[index]
    share = np.where(known, 1.0 if data.of_numbers else weights[y], 0.0)
    if valid is not None:
        share = share * (valid if share.ndim == 1 else valid[:, None])
    if data.of_numbers:
        y = np.where(known[..., None], y, 0).transpose(2, 1, 0) if y.ndim == 3 else np.where(known[:, None], y, 0).T
        return Batch(x, x8, np.ascontiguousarray(y).reshape(len(y), -1), share.T.ravel(), lengths)
    return Batch(x, x8, y.T.ravel(), share.T.ravel(), lengths)
