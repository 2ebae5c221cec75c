"""Adding layers to a signal, and the algebra that keeps the chain short: read-outs move forward, normalisations into weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_lstm.cells import Activation
from edge_lstm.cells.activations import IDENTITY
from edge_lstm.network import Bidirectional, Conv1d, Dense, FloatArray, Layer, Pool, ReadOut, Recurrent, RowWeights
from edge_lstm.onnx_io.read_directions import check_directions, one_direction
from edge_lstm.onnx_io.read_node import Roles
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_sizes import Size
from edge_lstm.onnx_io.read_values import Axis, Signal, describe


def opened(signal: Signal, *, padding: bool = False) -> Signal:
    """The signal, ready for a further layer. Raises Refusal where a softmax has ended the network or something is unfinished."""
    if signal.softmax:
        raise Refusal("computes on behind a Softmax; a Softmax must be the last layer")
    if any(signal.padding) and not padding:
        raise Refusal("reads a sequence padded with zeros; only a convolution may do so")
    check_directions(signal)
    return one_direction(signal)


def features_of(signal: Signal, dimension: int, roles: Roles) -> int:
    """Number of features in `dimension`, which is noted to be the features axis. Raises Refusal if the number is unknown."""
    axes = signal.axes[dimension]
    if len(axes) != 1:
        raise Refusal(
            f"reads dimension {dimension} of {describe(signal)} as features, which {'merges several axes' if axes else 'has size 1'}: "
            "a layer over all steps at once (Flatten) is not read; take the last step or the mean over time first"
        )
    roles.bind(signal.source, "features", axes[0])
    size = axes[0].size
    if not isinstance(size, int):
        raise Refusal(f"the number of features {size} is unknown: export the model with a fixed number of input channels")
    return size


def _resized(signal: Signal, roles: Roles, size: Size) -> tuple[tuple[Axis, ...], ...]:
    """The signal's axes with `size` features."""
    name = roles.axis(signal.source, "features")
    return tuple(tuple(Axis(a.name, size) if a.name == name else a for a in dimension) for dimension in signal.axes)


def add_dense(signal: Signal, W: FloatArray, b: FloatArray, dimension: int, roles: Roles) -> Signal:
    """Adds y = W x + b over the features in `dimension`. W: [outputs, inputs]."""
    signal = opened(signal)
    width = features_of(signal, dimension, roles)
    if W.shape[1] != width or 0 in W.shape:
        raise Refusal(f"has weights for {W.shape[1]} inputs but reads {describe(signal)}")
    W, b = fold_input(signal, W, b)
    layers = (*signal.layers, Dense(W, b))
    return replace(signal, axes=_resized(signal, roles, W.shape[0]), layers=layers, scale=None, offset=None, state="")


def fold_input(signal: Signal, W: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights and bias with the normalisation that waits on the signal folded in: W (s x + o) + b = (W s) x + (b + W o)."""
    if signal.scale is None or signal.offset is None:
        return W, b
    wide = W.astype(np.float64)
    return (wide * signal.scale).astype(W.dtype), (b + wide @ signal.offset).astype(b.dtype)


def add_affine(signal: Signal, scale: FloatArray, offset: FloatArray) -> Signal:
    """Applies scale * x + offset, both [features] float64: into a linear layer just before, else left for the next layer."""
    signal = opened(signal)
    last = signal.layers[-1] if signal.layers else None
    if isinstance(last, (Dense, Conv1d)) and last.activation == IDENTITY:
        gain = scale.reshape(-1, *(1,) * (last.W.ndim - 1))
        layer = replace(last, W=(gain * last.W).astype(last.W.dtype), b=(scale * last.b + offset).astype(last.b.dtype))
        return replace(signal, layers=(*signal.layers[:-1], layer), state="")
    if signal.scale is None or signal.offset is None:
        return replace(signal, scale=scale, offset=offset, state="")
    return replace(signal, scale=scale * signal.scale, offset=scale * signal.offset + offset, state="")


def settle(signal: Signal) -> Signal:
    """The signal with a waiting normalisation made a (diagonal) dense layer of its own."""
    if signal.scale is None or signal.offset is None:
        return signal
    dtype = _dtype(signal)
    layer = Dense(np.diag(signal.scale).astype(dtype), signal.offset.astype(dtype))
    return replace(signal, layers=(*signal.layers, layer), scale=None, offset=None)


def add_activation(signal: Signal, activation: Activation, features: int) -> Signal:
    """Applies an elementwise function: into the linear layer just before, else as a dense layer with the identity as weights."""
    signal = settle(opened(signal))
    last = signal.layers[-1] if signal.layers else None
    if isinstance(last, (Dense, Conv1d)) and last.activation == IDENTITY:
        return replace(signal, layers=(*signal.layers[:-1], replace(last, activation=activation)))
    dtype = _dtype(signal)
    return replace(signal, layers=(*signal.layers, Dense(np.eye(features, dtype=dtype), np.zeros(features, dtype), activation)), state="")


def _dtype(signal: Signal) -> np.dtype:
    for layer in reversed(signal.layers):
        if isinstance(layer, (Dense, Conv1d)):
            return layer.W.dtype
        if isinstance(layer, (Recurrent, Bidirectional)):
            one = layer.forward if isinstance(layer, Bidirectional) else layer
            return next(iter(one.rows.values())).b.dtype
    return np.dtype(np.float32)


def add_recurrent(signal: Signal, layer: Recurrent | Bidirectional) -> Signal:
    """Adds a recurrent layer; a normalisation before it moves into its input weights."""
    signal = opened(signal)
    folded = (
        Bidirectional(_folded(signal, layer.forward), _folded(signal, layer.backward))
        if isinstance(layer, Bidirectional)
        else _folded(signal, layer)
    )
    return replace(signal, layers=(*signal.layers, folded), scale=None, offset=None, state="")


def _folded(signal: Signal, layer: Recurrent) -> Recurrent:
    return replace(layer, rows={name: _folded_row(signal, row) for name, row in layer.rows.items()})


def _folded_row(signal: Signal, row: RowWeights) -> RowWeights:
    if row.W is None:
        return row
    W, b = fold_input(signal, row.W, row.b)
    return RowWeights(W, row.R, b)


def add_time_layer(signal: Signal, layer: Conv1d | Pool, dimension: int, steps: Size, roles: Roles) -> Signal:
    """Adds a convolution or pooling over the time in `dimension`, which has `steps` steps behind it."""
    if any(isinstance(below, ReadOut) for below in signal.layers):
        raise Refusal("works along time behind a read-out of one step")
    axes = _resized(signal, roles, layer.outputs)
    time = (replace(axes[dimension][0], size=steps),)
    layers = (*signal.layers, layer)
    return replace(
        signal, axes=(*axes[:dimension], time, *axes[dimension + 1 :]), layers=layers, scale=None, offset=None, state="", padding=(0, 0)
    )


def read_out(signal: Signal, kind: str) -> Signal:
    """Reads out the last step, the final one or the mean over time, as early in the chain as gives the same value.

    The last step of a dense layer is the dense layer of the last step; the mean goes through linear layers only.
    """
    if kind == "mean" and signal.softmax:
        raise Refusal("averages over time behind a Softmax; a Softmax must be the last layer")
    if any(signal.padding):
        raise Refusal(f"takes the {kind} step of a sequence padded with zeros; only a convolution may read it")
    if signal.ragged and kind != "final":
        raise Refusal(f"takes the {kind} step of sequences of different lengths; of those only the final state (output Y_h) is read")
    layers, position = signal.layers, len(signal.layers)
    while position and isinstance(before := layers[position - 1], Dense) and (kind != "mean" or before.activation == IDENTITY):
        position -= 1
    if not any(isinstance(layer, (Recurrent, Bidirectional)) for layer in layers[:position]):
        raise Refusal(f"takes the {kind} step of {describe(signal)} before any recurrent layer")
    return replace(signal, layers=(*layers[:position], ReadOut(kind), *layers[position:]))


def drop_time(signal: Signal, dimension: int, roles: Roles) -> Signal:
    """What squeezing a dimension of size 1 means: where that is the time axis (a sequence of one step), the last step is read out."""
    if roles.is_role(signal, dimension, "time") and signal.layers:
        return read_out(signal, "last")
    return signal


def finished_layers(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers with a read-out right behind the last recurrent layer.

    A chain without one gives every step. The final step of a forward layer is the last one of the sequence, and called so.
    Raises Refusal when there is no recurrent layer.
    """
    last = max((index for index, layer in enumerate(layers) if isinstance(layer, (Recurrent, Bidirectional))), default=-1)
    if last < 0:
        raise Refusal("passes no recurrent layer (LSTM, GRU or RNN)")
    if not any(isinstance(layer, ReadOut) for layer in layers):
        return (*layers[: last + 1], ReadOut("every"), *layers[last + 1 :])
    above = layers[last]
    if isinstance(above, Recurrent) and not above.reverse:
        return tuple(ReadOut("last") if isinstance(layer, ReadOut) and layer.kind == "final" else layer for layer in layers)
    return layers
