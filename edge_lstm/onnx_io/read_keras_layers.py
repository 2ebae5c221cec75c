"""Layers of Keras 3 as layers of this package. Keras has kernels as [inputs, outputs], and the gates of an LSTM in the order i, f, c, o."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_lstm.cells import FEED_FORWARD_ONLY, Activation, cell
from edge_lstm.network import Bidirectional, Conv1d, FloatArray, Pool, Recurrent, RowWeights
from edge_lstm.onnx_io.read_layers import (
    add_activation,
    add_affine,
    add_dense,
    add_recurrent,
    add_time_layer,
    features_of,
    opened,
    read_out,
    settle,
)
from edge_lstm.onnx_io.read_node import Roles
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_sizes import Size, Symbolic, symbol
from edge_lstm.onnx_io.read_values import Axis, Signal

Variables = Mapping[str, FloatArray]
_TIME, _FEATURES = 1, 2

# What does nothing when the network is used.
IGNORED = ("InputLayer", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization")


@dataclass(frozen=True)
class KerasLayer:
    """One entry of the configuration. kind: class name; build: what the layer was built with (its input shape)."""

    kind: str
    name: str
    config: Mapping[str, Any]
    build: Mapping[str, Any]

    @staticmethod
    def of(entry: object) -> KerasLayer:
        """Raises Refusal when the entry is no layer."""
        if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
            raise Refusal("an entry of the configuration is no layer")
        config, name = entry["config"], entry.get("name", "")
        return KerasLayer(str(entry.get("class_name")), str(config.get("name", name)), config, entry.get("build_config") or {})

    def get(self, name: str, default: Any = None) -> Any:
        return self.config.get(name, default)


# What Keras takes for their parameters where a layer names them by a text.
_BENT = {"leaky_relu": Activation("leaky_relu", 0.2), "elu": Activation("elu", 1.0), "gelu": Activation("gelu")}


def activation(name: object, where: str) -> Activation:
    """The activation function called `name` in Keras 3 (its hard_sigmoid is relu6(x + 3) / 6). Raises Refusal for any other."""
    plain = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "linear": "identity", "softsign": "softsign", None: "identity"}
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", 1 / 6, 0.5)
    if name == "hard_tanh":
        return Activation("hard_tanh")
    if name == "relu6":
        return Activation("clamp", 0.0, 6.0)
    if name in _BENT:
        return _BENT[str(name)]
    if not isinstance(name, (str, type(None))) or name not in plain:
        read = ", ".join([str(k) for k in plain if k] + ["hard_sigmoid", "hard_tanh", "relu6", *_BENT])
        raise Refusal(f"{where} {name if isinstance(name, str) else 'of its own'} is not read; read are {read}")
    return Activation(plain[name])


def _variables(variables: Variables, *shapes: tuple[int, ...], at: str = "vars") -> list[FloatArray]:
    """The layer's variables in order, of these shapes. Raises Refusal if one is missing or does not fit."""
    found = []
    for index, shape in enumerate(shapes):
        value = variables.get(f"{at}/{index}")
        if value is None or value.shape != shape:
            raise Refusal(f"variable {at}/{index} has shape {None if value is None else list(value.shape)}, expected {list(shape)}")
        found.append(value)
    return found


def _rows(W: FloatArray, R: FloatArray, b: FloatArray, k: int, units: int) -> RowWeights:
    columns = slice(k * units, (k + 1) * units)
    return RowWeights(W[:, columns].T.copy(), (R[:, columns].T.copy(),), b[columns].copy())


def _one_recurrent(layer: KerasLayer, width: int, variables: Variables, at: str) -> Recurrent:
    """An LSTM, GRU or SimpleRNN layer with the variables below `at`."""
    for option in ("stateful", "return_state"):
        if layer.get(option):
            raise Refusal(f"{option} = True is not read")
    units = int(layer.get("units", 0))
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}.get(layer.kind, 0)
    if not gates or units < 1:
        raise Refusal(f"holds a {layer.kind} of {units} units, which is not read")
    squash = activation(layer.get("activation"), "activation")
    gate = activation(layer.get("recurrent_activation", "sigmoid"), "recurrent_activation")
    for role, one in (("activation", squash), ("recurrent_activation", gate)):
        if one.kind in FEED_FORWARD_ONLY:
            raise Refusal(f"activation {layer.get(role)} is not read in a recurrent layer, only behind dense layers and convolutions")
    reset_after = layer.kind == "GRU" and bool(layer.get("reset_after", True))
    bias_shape = (2, gates * units) if reset_after else (gates * units,)
    shapes = [(width, gates * units), (units, gates * units)] + ([bias_shape] if layer.get("use_bias", True) else [])
    W, R, *given = _variables(variables, *shapes, at=at)
    b = given[0] if given else np.zeros(bias_shape, W.dtype)
    backwards = bool(layer.get("go_backwards"))
    if layer.kind == "SimpleRNN":
        name = "rnn_relu" if squash.kind == "relu" else "rnn"
        return Recurrent(cell(name), {"h": squash}, {"h": _rows(W, R, b, 0, units)}, reverse=backwards)
    if layer.kind == "LSTM":
        rows = {which: _rows(W, R, b, k, units) for k, which in enumerate("ifgo")}
        return Recurrent(cell("lstm"), {"i": gate, "f": gate, "o": gate, "g": squash, "h": squash}, rows, reverse=backwards)
    both = b.sum(0) if reset_after else b
    rows = {"z": _rows(W, R, both, 0, units), "r": _rows(W, R, both, 1, units), "n": _rows(W, R, both, 2, units)}
    if reset_after:
        n, last = rows["n"], slice(2 * units, 3 * units)
        rows["n"] = RowWeights(n.W, (), b[0, last].copy())
        rows["n_recurrent"] = RowWeights(None, n.R, b[1, last].copy())
    roles = {"z": gate, "r": gate, "n": squash}
    return Recurrent(cell("gru" if reset_after else "gru_reset_before"), roles, rows, reverse=backwards)


def _sequence(signal: Signal) -> Signal:
    if len(signal.axes) != 3:
        raise Refusal("reads one step; it needs a sequence (return_sequences=True in the layer before)")
    return opened(signal)


def _behind(signal: Signal, units: int, sequences: bool, roles: Roles) -> Signal:
    """The signal of `units` features behind a recurrent layer: every step, or the final one."""
    features = (Axis(roles.axis(signal.source, "features"), units),)
    every = replace(signal, axes=(*signal.axes[:_FEATURES], features))
    return every if sequences else replace(read_out(every, "final"), axes=(signal.axes[0], features))


def _recurrent(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    signal = _sequence(signal)
    one = _one_recurrent(layer, features_of(signal, _FEATURES, roles), variables, "cell/vars")
    sequences = bool(layer.get("return_sequences"))
    if one.reverse and sequences:
        raise Refusal("go_backwards = True with return_sequences = True gives the steps in reverse order, which is not read")
    return _behind(add_recurrent(signal, one), one.units, sequences, roles)


def _bidirectional(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    signal = _sequence(signal)
    if layer.get("merge_mode") != "concat":
        raise Refusal(f"merge_mode = {layer.get('merge_mode')} is not read; use concat")
    width = features_of(signal, _FEATURES, roles)
    inner = KerasLayer.of(layer.get("layer"))
    backward = KerasLayer.of(layer.get("backward_layer")) if layer.get("backward_layer") else inner
    forward = _one_recurrent(inner, width, variables, "forward_layer/cell/vars")
    if forward.reverse:
        raise Refusal("its forward layer goes backwards")
    second = replace(_one_recurrent(backward, width, variables, "backward_layer/cell/vars"), reverse=True)
    both = Bidirectional(forward, second)
    return _behind(add_recurrent(signal, both), both.outputs, bool(inner.get("return_sequences")), roles)


def _dense(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles, at: str = "vars") -> Signal:
    last = len(signal.axes) - 1
    shape = (features_of(signal, last, roles), int(layer.get("units", 0)))
    W, *b = _variables(variables, shape, *([shape[1:]] if layer.get("use_bias", True) else []), at=at)
    behind = add_dense(signal, W.T.copy(), b[0] if b else np.zeros(shape[1], W.dtype), last, roles)
    return _activated(layer.get("activation"), behind, shape[1])


def _activated(name: object, signal: Signal, features: int) -> Signal:
    if name == "softmax":
        return replace(settle(opened(signal)), softmax=True)
    function = activation(name, "activation")
    return signal if function.kind == "identity" else add_activation(signal, function, features)


def _time_distributed(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    inner = KerasLayer.of(layer.get("layer"))
    if inner.kind != "Dense":
        raise Refusal(f"distributes a {inner.kind} over time; only a Dense layer is read")
    return _dense(inner, _sequence(signal), variables, roles, "layer/vars")


def _activation_layer(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    features = features_of(signal, len(signal.axes) - 1, roles)
    if layer.kind == "ReLU" and (layer.get("negative_slope") or layer.get("threshold")):
        raise Refusal("negative_slope and threshold are not read")
    if layer.kind == "ReLU" and layer.get("max_value") is not None:
        return add_activation(signal, Activation("clamp", 0.0, float(layer.get("max_value"))), features)
    if layer.kind in ("LeakyReLU", "ELU"):
        slope = float(layer.get("negative_slope", 0.3) if layer.kind == "LeakyReLU" else layer.get("alpha", 1.0))
        if not slope > 0:
            raise Refusal(f"a slope of {slope:g} is not read; it must be positive")
        return add_activation(signal, Activation("leaky_relu" if layer.kind == "LeakyReLU" else "elu", slope), features)
    if layer.kind == "Softmax" and layer.get("axis", -1) not in (-1, len(signal.axes) - 1):
        raise Refusal(f"axis = {layer.get('axis')} is not read; it must be the last")
    name = {"ReLU": "relu", "Softmax": "softmax"}.get(layer.kind, layer.get("activation"))
    return _activated(name, signal, features)


def _batch_normalization(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    last = len(signal.axes) - 1
    if layer.get("axis", -1) not in (-1, last, [last]):
        raise Refusal(f"axis = {layer.get('axis')} is not read; it must be the features")
    features = features_of(signal, last, roles)
    count = 2 + bool(layer.get("scale", True)) + bool(layer.get("center", True))
    found = [v.astype(np.float64) for v in _variables(variables, *[(features,)] * count)]
    gain = found.pop(0) if layer.get("scale", True) else np.ones(features)
    bias = found.pop(0) if layer.get("center", True) else np.zeros(features)
    mean, variance = found
    factor = gain / np.sqrt(variance + float(layer.get("epsilon", 1e-3)))
    return add_affine(signal, factor, bias - mean * factor)


def _average_over_time(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    _check_channels_last(layer)
    signal = _sequence(signal)
    mean = read_out(signal, "mean")
    return replace(mean, axes=(mean.axes[0], *(((),) if layer.get("keepdims") else ()), mean.axes[_FEATURES]))


def _check_channels_last(layer: KerasLayer) -> None:
    if layer.get("data_format", "channels_last") != "channels_last":
        raise Refusal("data_format = channels_first is not read")


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, (list, tuple)) else value)


def _steps(size: Size, free: int, stride: int) -> Size:
    """Number of windows: (size + free) // stride + 1, where free is the padding less the reach of the window."""
    total = size + free
    if isinstance(total, Symbolic):
        return total + 1 if stride == 1 else symbol(f"(({total}) // {stride} + 1)")
    if total < 0:
        raise Refusal(f"spans more steps than the {size} of the sequence")
    return total // stride + 1


def _conv(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    _check_channels_last(layer)
    signal = _sequence(signal)
    if int(layer.get("groups", 1)) != 1:
        raise Refusal("groups other than 1 are not read")
    inputs, outputs = features_of(signal, _FEATURES, roles), int(layer.get("filters", 0))
    size, stride, dilation = (_first(layer.get(name, 1)) for name in ("kernel_size", "strides", "dilation_rate"))
    kernel, *b = _variables(variables, (size, inputs, outputs), *([(outputs,)] if layer.get("use_bias", True) else []))
    reach, mode = (size - 1) * dilation + 1, layer.get("padding", "valid")
    if mode == "same" and stride != 1:
        raise Refusal("padding = same with strides other than 1 is not read; use causal or valid")
    padding = {"valid": (0, 0), "causal": (reach - 1, 0), "same": ((reach - 1) // 2, reach - 1 - (reach - 1) // 2)}.get(mode)
    if padding is None:
        raise Refusal(f"padding = {mode} is not read")
    signal = settle(signal)
    bias = b[0] if b else np.zeros(outputs, kernel.dtype)
    steps = _steps(signal.shape[_TIME], sum(padding) - reach, stride)
    behind = add_time_layer(signal, Conv1d(kernel.transpose(2, 1, 0).copy(), bias, stride, padding, dilation), _TIME, steps, roles)
    return _activated(layer.get("activation"), behind, outputs)


def _pool(layer: KerasLayer, signal: Signal, variables: Variables, roles: Roles) -> Signal:
    _check_channels_last(layer)
    signal = settle(_sequence(signal))
    size, stride = _first(layer.get("pool_size", 2)), _first(layer.get("strides") or layer.get("pool_size", 2))
    if layer.get("padding", "valid") != "valid":
        raise Refusal(f"padding = {layer.get('padding')} is not read for pooling; use valid")
    kind = "max" if layer.kind == "MaxPooling1D" else "average"
    pool = Pool(kind, size, stride, features_of(signal, _FEATURES, roles))
    return add_time_layer(signal, pool, _TIME, _steps(signal.shape[_TIME], -size, stride), roles)


LAYERS: dict[str, Callable[[KerasLayer, Signal, Variables, Roles], Signal]] = {
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "SimpleRNN": _recurrent,
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "Activation": _activation_layer,
    "ReLU": _activation_layer,
    "LeakyReLU": _activation_layer,
    "ELU": _activation_layer,
    "Softmax": _activation_layer,
    "BatchNormalization": _batch_normalization,
    "GlobalAveragePooling1D": _average_over_time,
    "Conv1D": _conv,
    "MaxPooling1D": _pool,
    "AveragePooling1D": _pool,
}
