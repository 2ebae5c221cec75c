"""JSON text of what is no array in a layer of an integer model, and back."""

from __future__ import annotations

from typing import Any

from edge_lstm.fixed_point.integer_network import (
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
    Normalize,
)
from edge_lstm.onnx_io.features import features_definition
from edge_lstm.onnx_io.integer_arrays import Layer


def definition(layer: Layer) -> dict[str, Any]:
    """What `integer_read` needs beside the arrays of `integer_arrays`."""
    if isinstance(layer, Normalize):
        found: dict[str, Any] = {"decimation": layer.decimation, "shift": layer.shift, **_wide(layer)}
        return found if layer.features is None else {**found, "features": features_definition(layer.features)}
    if isinstance(layer, IntegerReadOut):
        return {"kind": layer.kind, "window": layer.window, **({} if layer.gain is None else {"gain": layer.gain})}
    if isinstance(layer, IntegerDense):
        names = ("shift", "low", "high", "output_scale")
        return {**{name: getattr(layer, name) for name in names}, "requantized": layer.limit is not None, **_curve(layer), **_wide(layer)}
    if isinstance(layer, IntegerPool):
        return {name: getattr(layer, name) for name in ("kind", "size", "stride", "channels", "multiplier", "shift")}
    if isinstance(layer, IntegerConv1d):
        numbers = ("shift", "low", "high", "output_scale", "stride", "dilation")
        return {**{name: getattr(layer, name) for name in numbers}, "padding": list(layer.padding), **_curve(layer), **_wide(layer)}
    return {
        "cell": layer.cell,
        "equations": list(layer.equations),
        "activations": dict(layer.activations),
        "rows": [
            {"name": row.name, "input": row.W is not None, "sources": len(row.R), "input_shift": row.input_shift}
            for row in layer.rows.values()
        ],
        "vectors": list(layer.vectors),
        "tables": list(layer.tables),
        "states": [{"name": s.name, "bits": s.bits, "limit": s.limit, "scale": s.scale, "update": s.update} for s in layer.states],
        "ops": [{"code": op.code, "args": list(op.args), "name": op.name, "numbers": list(op.numbers)} for op in layer.ops],
        "output": layer.output,
        "output_scale": layer.output_scale,
        "reverse": layer.reverse,
        **_wide(layer),
        **({"order": list(layer.order)} if layer.order else {}),
    }


def _wide(layer: Normalize | IntegerRecurrent | IntegerDense | IntegerConv1d) -> dict[str, Any]:
    return {"wide": True} if layer.wide else {}


def _curve(layer: IntegerDense | IntegerConv1d) -> dict[str, Any]:
    if layer.curve is None:
        return {}
    return {"curve": {name: getattr(layer.curve, name) for name in ("kind", "segment_shift", "out_shift")}}


def network_definition(network: IntegerNetwork) -> dict[str, Any]:
    """What belongs to no layer."""
    return {"name": network.name, "softmax": network.softmax, "classes": list(network.classes), "metadata": dict(network.metadata)}
