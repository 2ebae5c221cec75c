"""From the last recurrent layer to the loss, and back: read-out, dense layers, cross-entropy.

Vectors lie as [features, columns]; a column is one sequence, or one step of one sequence when every step is read out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Dense
from edge_lstm.train.products import OPTIONS, accumulate, accumulate_outer, accumulate_sum, kernel

Array = npt.NDArray[Any]


def step_weights(kind: str, lengths: npt.NDArray[np.int64], steps: int, dtype: npt.DTypeLike) -> Array:
    """[time, batch]: the share of each step in what a "last", "final" or "mean" read-out passes on; for "every" 1 in valid steps."""
    t = np.arange(steps)[:, None]
    if kind in ("last", "final"):
        return (t == lengths - 1).astype(dtype)
    inside = (t < lengths).astype(dtype)
    return np.asarray(inside / lengths, dtype) if kind == "mean" else inside


def read_out(kind: str, h: Array, shares: Array) -> Array:
    """[time, units, batch] -> [units, columns]."""
    if kind == "every":
        return np.ascontiguousarray(h.transpose(1, 0, 2)).reshape(h.shape[1], -1)
    out = np.zeros(h.shape[1:], h.dtype)
    _weighted_sum(out, h, shares)
    return out


def read_out_adjoint(kind: str, d: Array, shares: Array) -> Array:
    """The reverse of `read_out`: d [units, columns] -> [time, units, batch]."""
    steps, batch = shares.shape
    if kind == "every":
        return np.ascontiguousarray(d.reshape(len(d), steps, batch).transpose(1, 0, 2))
    out = np.empty((steps, len(d), batch), d.dtype)
    _spread_over_steps(out, d, shares)
    return out


@kernel(cache=True, **OPTIONS)
def _weighted_sum(out: Array, h: Array, shares: Array) -> None:
    steps, units, batch = h.shape
    for t in range(steps):
        for u in range(units):
            for b in range(batch):
                out[u, b] += shares[t, b] * h[t, u, b]


@kernel(cache=True, **OPTIONS)
def _spread_over_steps(out: Array, d: Array, shares: Array) -> None:
    steps, units, batch = out.shape
    for t in range(steps):
        for u in range(units):
            for b in range(batch):
                out[t, u, b] = shares[t, b] * d[u, b]


def dense(layer: Dense, v: Array) -> Array:
    """activation(W v + b) of v [inputs, columns]."""
    total = np.repeat(layer.b.astype(v.dtype)[:, None], v.shape[1], 1)
    accumulate(total, np.ascontiguousarray(layer.W, v.dtype), v)
    return np.asarray(layer.activation(total), v.dtype)


def dense_adjoint(layer: Dense, v: Array, y: Array, d: Array, gradient: Array) -> Array:
    """Adds the gradient of W and b (one vector) for the adjoint d of y = dense(layer, v); returns the adjoint of v."""
    d = np.ascontiguousarray(d * derivative(layer.activation, y))
    size = layer.W.size
    accumulate_outer(gradient[:size].reshape(layer.W.shape), d[None], 0, v[None], 0)
    accumulate_sum(gradient[size:], d[None], 0)
    below = np.zeros(v.shape, v.dtype)
    accumulate(below, np.ascontiguousarray(layer.W.T, v.dtype), d)
    return below


def derivative(activation: Activation, y: Array) -> Array | float:
    """Derivative of a dense layer's activation, from its value."""
    if activation.kind == "identity":
        return 1.0
    if activation.kind == "relu":
        return (y > 0).astype(y.dtype)
    if activation.kind == "leaky_relu":
        return np.asarray(np.where(y > 0, 1, activation.alpha), y.dtype)
    if activation.kind == "elu":
        return np.asarray(np.where(y > 0, 1, y + activation.alpha), y.dtype)
    if activation.kind == "tanh":
        return 1 - y * y
    if activation.kind == "sigmoid":
        return y * (1 - y)
    if activation.kind == "softsign":
        return (1 - np.abs(y)) ** 2
    if activation.kind == "scaled_sigmoid":
        opened = (y - activation.beta) / activation.alpha
        return activation.alpha * opened * (1 - opened)
    if activation.kind in ("hard_tanh", "hard_sigmoid", "clamp"):
        (low, high), slope = activation.bounds, activation.alpha if activation.kind == "hard_sigmoid" else 1.0
        return np.asarray(slope * ((y > low) & (y < high)), y.dtype)
    raise EdgeLstmError(f"a layer with activation {activation} cannot be trained here: its value does not tell its slope")


def loss(scores: Array, labels: Array, weights: Array) -> tuple[float, Array]:
    """`cross_entropy` for classes, `squared_error` for numbers."""
    return (squared_error if labels.dtype.kind == "f" else cross_entropy)(scores, labels, weights)


def squared_error(scores: Array, targets: Array, weights: Array) -> tuple[float, Array]:
    """Weighted mean over the columns of the mean over the outputs of (scores - targets)^2, and its gradient.

    scores, targets: [outputs, columns]; weights: [columns], their sum must not be 0.
    """
    error = scores - targets
    share = np.asarray(weights / weights.sum() / len(scores), scores.dtype)
    return float((error * error * share).sum()), np.asarray(2 * error * share, scores.dtype)


def cross_entropy(scores: Array, labels: npt.NDArray[np.int64], weights: Array) -> tuple[float, Array]:
    """Weighted mean of -log softmax(scores)[label] over the columns, and its gradient.

    scores: [classes, columns]; labels: [columns], ignored where the weight is 0; weights: [columns], their sum must not be 0.
    """
    shifted = scores - scores.max(0)
    exponentials = np.exp(shifted)
    total = exponentials.sum(0)
    columns = np.arange(scores.shape[1])
    chosen = np.where(weights > 0, labels, 0)
    share = np.asarray(weights / weights.sum(), scores.dtype)
    loss = float(((np.log(total) - shifted[chosen, columns]) * share).sum())
    d = exponentials / total
    d[chosen, columns] -= 1
    return loss, np.asarray(d * share, scores.dtype)
