"""Reading a `.keras` file directly: Keras 3 exports recurrent layers to ONNX unrolled, or as a Loop, which says less than its own file.

A `.keras` file is a zip archive of `config.json` (the layers) and `model.weights.h5` (their variables, under names made from the class of
the layer and a running number). Read are Sequential models, and functional ones that are a chain; Keras itself is not needed, h5py is.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Network
from edge_lstm.onnx_io.read_keras_layers import IGNORED, LAYERS, KerasLayer
from edge_lstm.onnx_io.read_layers import finished_layers
from edge_lstm.onnx_io.read_node import Roles
from edge_lstm.onnx_io.read_recurrent import as_float
from edge_lstm.onnx_io.read_refusals import Refusal, UnsupportedModel
from edge_lstm.onnx_io.read_sizes import symbol
from edge_lstm.onnx_io.read_tail import check_output
from edge_lstm.onnx_io.read_values import Axis, Signal

Config = Mapping[str, Any]


def read_keras(path: Path) -> Network:
    """The float network in a `.keras` file (format of Keras 3), for input [batch, time, channels].

    Raises UnsupportedModel with every reason found, or EdgeLstmError for a damaged file, or when h5py is not installed.
    """
    config, weights = _open(path)
    try:
        chain, keys, model = _chain(config)
    except Refusal as refusal:
        raise UnsupportedModel((str(refusal),)) from refusal
    shape = next((layer.config.get("batch_shape") for layer in chain if layer.kind == "InputLayer"), None)
    shape = shape or next((layer.build.get("input_shape") for layer in chain if layer.build.get("input_shape")), None)
    if shape is None or len(shape) != 3 or not isinstance(shape[2], int):
        raise UnsupportedModel((f"the model's input has shape {shape}; expected [batch, time, channels] with a fixed number of channels",))
    names = ("batch", "time", "features")
    axes = [Axis(name, size if isinstance(size, int) else symbol(name)) for name, size in zip(names, shape, strict=True)]
    roles = Roles({("x", axis.name): axis.name for axis in axes})
    signal: Signal | None = Signal("x", tuple((axis,) for axis in axes))
    reasons: list[str] = []
    for layer in chain:
        try:
            signal = _apply(layer, signal, weights, keys, roles)
        except Refusal as refusal:
            reasons.append(f"layer {layer.name} ({layer.kind}): {refusal}")
            signal = None
        except (KeyError, TypeError, ValueError) as error:
            reasons.append(f"layer {layer.name} ({layer.kind}): its configuration is damaged: {error}")
            signal = None
    try:
        if signal is not None:
            signal = check_output(signal)
            layers = finished_layers(signal.layers)
    except Refusal as refusal:
        reasons.append(f"the output {refusal}")
    if reasons or signal is None:
        raise UnsupportedModel(tuple(reasons))
    window = shape[1] if isinstance(shape[1], int) and shape[1] > 1 else 0
    try:
        return Network(layers, softmax=signal.softmax, window=window, name=str(model.get("name", "network")))
    except EdgeLstmError as error:
        raise UnsupportedModel((str(error),)) from error


def _open(path: Path) -> tuple[Config, Mapping[str, Any]]:
    """The configuration, and the variables by their path in the weights file."""
    try:
        import h5py
    except ImportError as error:
        raise EdgeLstmError("reading .keras files needs h5py: pip install 'edge-lstm[keras]'") from error
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            content = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(content), "r") as file:
            weights: dict[str, Any] = {}
            file.visititems(lambda name, item: weights.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    except FileNotFoundError as error:
        raise EdgeLstmError(f"{path} does not exist") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EdgeLstmError(f"{path} is no Keras 3 model file: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise EdgeLstmError(f"{path} is no Keras 3 model file: config.json holds no model")
    return config, weights


def _chain(config: Config) -> tuple[list[KerasLayer], dict[str, str], Config]:
    """The layers in order, the path of each one's variables, and the model's own configuration."""
    model, kind = config["config"], config.get("class_name")
    if kind not in ("Sequential", "Functional") or not isinstance(model.get("layers"), list):
        raise UnsupportedModel((f"the model is a {kind}; only Sequential models and functional ones that are a chain are read",))
    layers = [KerasLayer.of(entry) for entry in model["layers"]]
    named = [layer for layer in layers if not (kind == "Sequential" and layer.kind == "InputLayer")]
    keys, used = {}, dict[str, int]()
    for layer in named:
        snake = snake_case(layer.kind)
        keys[layer.name] = f"layers/{snake}" + (f"_{used[snake]}" if snake in used else "")
        used[snake] = used.get(snake, 0) + 1
    return (layers if kind == "Sequential" else _ordered(model, layers)), keys, model


def snake_case(name: str) -> str:
    """As Keras names variables: BatchNormalization -> batch_normalization, GlobalAveragePooling1D -> global_average_pooling1d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _ordered(model: Config, layers: list[KerasLayer]) -> list[KerasLayer]:
    """The layers of a functional model from its input to its output. Raises UnsupportedModel unless it is one chain."""
    before: dict[str, str] = {}
    for entry, layer in zip(model["layers"], layers, strict=True):
        sources = re.findall(r'"keras_history": \["([^"]*)"', json.dumps(entry.get("inbound_nodes", [])))
        if layer.kind == "InputLayer" and not sources:
            continue
        if len(sources) != 1:
            raise UnsupportedModel((f"layer {layer.name} ({layer.kind}) reads {len(sources)} tensors; only a chain of layers is read",))
        before[layer.name] = sources[0]
    by_name = {layer.name: layer for layer in layers}
    outputs = re.findall(r'\["([^"\[\]]*)", \d+, \d+\]', json.dumps(model.get("output_layers", [])))
    if len(outputs) != 1:
        raise UnsupportedModel((f"the model has {len(outputs)} outputs; keep one",))
    name, chain = outputs[0], []
    while name in by_name and by_name[name] not in chain:
        chain.append(by_name[name])
        name = before.get(name, "")
    return chain[::-1]


def _apply(layer: KerasLayer, signal: Signal | None, weights: Mapping[str, Any], keys: Mapping[str, str], roles: Roles) -> Signal | None:
    """The signal behind the layer; None stays None, but an unknown layer is refused all the same."""
    if layer.kind in IGNORED:
        return signal
    if layer.kind not in LAYERS:
        raise Refusal("layers of this class are not read")
    if signal is None:
        return None
    prefix = keys[layer.name] + "/"
    own = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
    floats = {name: as_float(np.asarray(value)) for name, value in own.items() if "seed" not in name}
    return LAYERS[layer.kind](layer, signal, floats, roles)
