"""The file format, read off two model files made for the purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from docs_integers import INPUTS, UNITS
from docs_support import layer_cases

from edge_lstm.cells import family
from edge_lstm.fixed_point.quantize import harden, quantize
from edge_lstm.network import Conv1d, Network, Pool, Preprocess, Recurrent
from edge_lstm.onnx_io import body, integer_arrays, integer_model, own_format
from edge_lstm.onnx_io.integer_definition import definition, network_definition
from edge_lstm.onnx_io.network_definition import definition as float_definition
from edge_lstm.onnx_io.network_standard import FORMS

STEPS = 24


@dataclass(frozen=True)
class NodeText:
    """One node of a model, for a table."""

    name: str
    operator: str
    inputs: str
    outputs: str
    attributes: str


def example() -> Network:
    """Counts, convolution, pooling, an LSTM with threshold gates, a mean, a dense layer: one of everything that a file may hold."""
    cases = layer_cases()
    convolution = next(layer for layer in cases["causal convolution in front"][0].layers if isinstance(layer, Conv1d))
    network = cases["mean over the steps"][0]
    recurrent = next(layer for layer in cases["two recurrent layers"][0].layers[1:] if isinstance(layer, Recurrent))
    layers = (convolution, Pool("average", 2, 2, UNITS), recurrent, *network.layers[1:])
    front = Preprocess(4, np.zeros(INPUTS), np.full(INPUTS, 1 / 512))
    return replace(harden(network.with_layers(layers)), preprocess=front, classes=("walk", "run", "rest"), name="example")


def format_page(render: Callable[..., str]) -> dict[str, str]:
    """The page about the file format."""
    network = example()
    integer = quantize(network, (np.random.default_rng(0).normal(0, 512, (3, 4 * STEPS, INPUTS))).astype(np.int16))
    file = integer_model(integer)
    layers: dict[str, Any] = {"Normalize": integer.normalize}
    layers |= {type(layer).__name__.removeprefix("Integer"): layer for layer in integer.layers}
    return {
        "file-format.md": render(
            "file-format.md.j2",
            domain=body.DOMAIN,
            domain_version=body.DOMAIN_VERSION,
            opset=body.OPSET,
            ir=body.IR_VERSION,
            version=own_format.CURRENT_VERSION,
            producer=own_format.PRODUCER,
            keys={"format": own_format.FORMAT, "version": own_format.FORMAT_VERSION, "definition": own_format.DEFINITION},
            forms=[(name, FORMS[name].operator if name in FORMS else "") for name in family()],
            float_fields=list(float_definition(network, np.float32)),
            integer_nodes=_nodes(file),
            integer_signature=_signature(file),
            integer_operators=_operators(file),
            integer_fields=list(network_definition(integer)),
            layers=[_fields(kind, layer) for kind, layer in layers.items()],
        )
    }


def _fields(kind: str, layer: integer_arrays.Layer) -> tuple[str, list[str], list[str], list[str]]:
    """(kind, arrays that are inputs of the node, fields of its definition, other attributes)."""
    named = integer_arrays.inputs(layer)  # of a recurrent layer: <what>.<name of the row, vector, table or state>
    arrays = list(dict.fromkeys(f"{name.split('.')[0]}.…" if "." in name else name for name in named))
    others = [name for name in integer_arrays.ATTRIBUTES[kind] if name != "definition"]
    return kind, arrays, list(definition(layer)), others


def _nodes(model: onnx.ModelProto) -> list[NodeText]:
    found = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        attributes = ", ".join(f"`{attribute.name}`" for attribute in node.attribute)
        found.append(NodeText(node.name, operator, _short(list(node.input)), ", ".join(f"`{o}`" for o in node.output), attributes))
    return found


def _short(names: list[str]) -> str:
    shown = [f"`{name}`" for name in names[:4]]
    return ", ".join(shown) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _signature(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """(input or output, name, type and shape)."""
    found = []
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            shape = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
            found.append((kind, value.name, f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} [{shape}]"))
    return found


def _operators(model: onnx.ModelProto) -> list[str]:
    """The standard operators that the functions are made of."""
    names: set[str] = set()

    def collect(nodes: Any) -> None:
        for node in nodes:
            names.add(node.op_type)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    collect(attribute.g.node)

    for function in model.functions:
        collect(function.node)
    return sorted(names)
