"""JSON text of what is no array in a float network."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_lstm.cells import Activation
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, ReadOut, Recurrent
from edge_lstm.onnx_io.features import features_definition
from edge_lstm.onnx_io.network_activations import FloatType
from edge_lstm.onnx_io.network_layers import standard_form


def definition(network: Network, dtype: FloatType) -> dict[str, Any]:
    """What `network_read` needs beside the initializers."""
    layers, sequence = [], True
    for layer in network.layers:
        layers.append(_layer(layer, dtype, sequence))
        sequence = sequence and not (isinstance(layer, ReadOut) and layer.kind != "every")
    found: dict[str, Any] = {
        "name": network.name,
        "softmax": network.softmax,
        "classes": list(network.classes),
        "window": network.window,
        "metadata": dict(network.metadata),
        "layers": layers,
    }
    if network.preprocess is not None:
        units = network.preprocess.units_per_count
        given: dict[str, Any] = {} if units is None else {"units_per_count": np.asarray(units, np.float64).tolist()}
        if network.preprocess.features is not None:
            given["features"] = features_definition(network.preprocess.features)
        found["preprocess"] = {"decimation": network.preprocess.decimation, **given}
    return found


def _layer(layer: Layer, dtype: FloatType, sequence: bool) -> dict[str, Any]:
    if isinstance(layer, Recurrent):
        return {"kind": "recurrent", **_recurrent(layer, dtype)}
    if isinstance(layer, Bidirectional):
        return {"kind": "bidirectional", "forward": _recurrent(layer.forward, dtype), "backward": _recurrent(layer.backward, dtype)}
    if isinstance(layer, Conv1d):
        numbers = {"stride": layer.stride, "padding": list(layer.padding), "dilation": layer.dilation}
        return {"kind": "conv1d", **numbers, "activation": _activation(layer.activation)}
    if isinstance(layer, Pool):
        return {"kind": "pool", "pool": layer.kind, "size": layer.size, "stride": layer.stride, "channels": layer.channels}
    if isinstance(layer, ReadOut):
        return {"kind": "read_out", "read_out": layer.kind}
    assert isinstance(layer, Dense)
    return {"kind": "dense", "activation": _activation(layer.activation), "transposed": sequence}


def _recurrent(layer: Recurrent, dtype: FloatType) -> dict[str, Any]:
    return {
        "cell": layer.cell.name,
        "standard": standard_form(layer, dtype) is not None,
        "activations": {role: _activation(activation) for role, activation in layer.activations.items()},
        "initial": list(layer.initial),
        "reverse": layer.reverse,
        **({} if layer.clip is None else {"clip": float(layer.clip)}),
    }


def _activation(activation: Activation) -> dict[str, Any]:
    return {"kind": activation.kind, "alpha": activation.alpha, "beta": activation.beta}
