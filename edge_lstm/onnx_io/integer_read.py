"""Reads back what `integer_model` wrote: an IntegerNetwork equal to the saved one in every field, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.curve import Curve
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerLayer,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
    IntegerRow,
    IntOp,
    Normalize,
    StateFormat,
)
from edge_lstm.onnx_io import integer_arrays
from edge_lstm.onnx_io.body import DOMAIN
from edge_lstm.onnx_io.features import read_features
from edge_lstm.onnx_io.integer_check import check
from edge_lstm.onnx_io.integer_layers import AVERAGE, READ_OUT_FUNCTIONS
from edge_lstm.onnx_io.own_format import DEFINITION, Fields, metadata, to_array

Number = TypeVar("Number", bound=np.generic)


def read_integer(model: onnx.ModelProto) -> IntegerNetwork:
    """The integer network of a model that `integer_model` wrote.

    Raises EdgeLstmError where the file is not whole, disagrees with itself, or describes a network that could leave 32 bits.
    """
    functions = {function.name for function in model.functions if function.domain == DOMAIN}
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [_Node(node, initializers) for node in model.graph.node if node.domain == DOMAIN and node.op_type != AVERAGE]
    missing = [node.where for node in nodes if node.kind not in functions]
    if missing:
        raise EdgeLstmError(f"{missing[0]}: its function is missing; the file is cut off or was edited")
    if not nodes or nodes[0].kind != "Normalize":
        raise EdgeLstmError("the integer model does not begin with a Normalize node; the file was edited")
    fields = Fields.of_text(metadata(model).get(DEFINITION, ""), f"metadata {DEFINITION}")
    network = IntegerNetwork(
        _normalize(nodes[0]),
        _layers(nodes[1:]),
        fields.flag("softmax"),
        fields.texts("classes"),
        fields.text("name"),
        fields.text_map("metadata"),
    )
    check(network)
    prove_network(network)
    return network


class _Node:
    """A node of our domain: its definition, tensor attributes, and the constant inputs by name."""

    def __init__(self, node: onnx.NodeProto, initializers: Mapping[str, onnx.TensorProto]) -> None:
        self.kind, self.label, self.where = node.op_type, node.name, f"node {node.name!r} ({node.op_type})"
        self._inputs, self._initializers = set(node.input), initializers
        self._attributes = {attribute.name: attribute for attribute in node.attribute}
        text = self._attributes.get("definition")
        self.fields = Fields.of_text(text.s.decode("utf-8", "replace") if text is not None else "", self.where)

    def array(self, name: str, dtype: type[Number], dimensions: int) -> npt.NDArray[Number]:
        """The constant input `name`."""
        full = f"{self.label}.{name}"
        if full not in self._inputs or full not in self._initializers:
            raise EdgeLstmError(f"{self.where}: constant {full!r} is missing; the file was edited")
        return self._checked(self._initializers[full], name, dtype, dimensions)

    def tensor(self, name: str, dimensions: int) -> npt.NDArray[np.float64]:
        """The tensor attribute `name`."""
        if name not in self._attributes or self._attributes[name].type != onnx.AttributeProto.TENSOR:
            raise EdgeLstmError(f"{self.where}: attribute {name!r} is missing; the file was edited")
        return self._checked(self._attributes[name].t, name, np.float64, dimensions)

    def _checked(self, tensor: onnx.TensorProto, name: str, dtype: type[Number], dimensions: int) -> npt.NDArray[Number]:
        array = to_array(tensor, self.where)
        if array.dtype != dtype or array.ndim != dimensions:
            raise EdgeLstmError(
                f"{self.where}: {name!r} is {array.dtype} with {array.ndim} dimensions, expected {np.dtype(dtype)} with {dimensions}"
            )
        return array.astype(dtype)


def _normalize(node: _Node) -> Normalize:
    fields = node.fields
    offset, limit, multiplier = (node.array(name, np.int32, 1) for name in ("offset", "limit", "multiplier"))
    scale, units = node.tensor("scale", 1), node.tensor("units_per_count", 1)
    features, shift = read_features(fields), fields.integer("shift")
    return Normalize(fields.integer("decimation"), offset, limit, multiplier, shift, scale, units, features, _wide(fields))


def _wide(fields: Fields) -> bool:
    return fields.has("wide") and fields.flag("wide")


def _layers(nodes: list[_Node]) -> tuple[IntegerLayer, ...]:
    """The layers of the nodes in order; two nodes `<label>.forward` and `<label>.backward` are one bidirectional layer."""
    layers: list[IntegerLayer] = []
    remaining = iter(nodes)
    for node in remaining:
        layer = _layer(node)
        label, _, side = node.label.partition(".")
        if side:
            other = next(remaining, None)
            back = _layer(other) if other is not None and (side, other.label) == ("forward", f"{label}.backward") else None
            if not (isinstance(layer, IntegerRecurrent) and isinstance(back, IntegerRecurrent)):
                raise EdgeLstmError(f"{node.where}: a bidirectional layer needs its two directions in order; the file was edited")
            layer = IntegerBidirectional(layer, back)
        layers.append(layer)
    return tuple(layers)


def _layer(node: _Node) -> IntegerLayer:
    if node.kind in READ_OUT_FUNCTIONS.values():
        gain = node.fields.integer("gain") if node.fields.has("gain") else None
        return IntegerReadOut(node.fields.text("kind"), node.fields.integer("window"), gain)
    for prefix, read in (("IntegerDense_", _dense), ("IntegerConv1d_", _convolution), ("IntegerPool_", _pool), ("Integer", _recurrent)):
        if node.kind.startswith(prefix):
            return read(node)
    raise EdgeLstmError(f"{node.where}: unknown kind of layer; the file comes from a later version or was edited")


def _pool(node: _Node) -> IntegerPool:
    fields = node.fields
    numbers = (fields.integer(name) for name in ("size", "stride", "channels", "multiplier", "shift"))
    return IntegerPool(fields.text("kind"), *numbers)


def _convolution(node: _Node) -> IntegerConv1d:
    fields = node.fields
    padding = fields.integers("padding")
    if len(padding) != 2:
        raise EdgeLstmError(f"{node.where}: padding {list(padding)} has no two sides; the file was edited")
    return IntegerConv1d(
        node.array("W", np.int8, 3),
        node.array("bias", np.int32, 1),
        node.tensor("scale", 1),
        node.array("limit", np.int32, 1),
        node.array("multiplier", np.int32, 1),
        fields.integer("shift"),
        fields.integer("low"),
        fields.integer("high"),
        fields.number("output_scale"),
        fields.integer("stride"),
        (padding[0], padding[1]),
        fields.integer("dilation"),
        _curve(node),
        _wide(fields),
    )


def _curve(node: _Node) -> Curve | None:
    if not node.fields.has("curve"):
        return None
    inner = node.fields.object("curve")
    return Curve(inner.text("kind"), node.array("knots", np.int16, 1), inner.integer("segment_shift"), inner.integer("out_shift"))


def _dense(node: _Node) -> IntegerDense:
    fields = node.fields
    limit = multiplier = None
    if fields.flag("requantized"):
        limit, multiplier = node.array("limit", np.int32, 1), node.array("multiplier", np.int32, 1)
    return IntegerDense(
        node.array("W", np.int8, 2),
        node.array("bias", np.int32, 1),
        node.tensor("scale", 1),
        limit,
        multiplier,
        fields.integer("shift"),
        fields.integer("low"),
        fields.integer("high"),
        fields.number("output_scale"),
        _curve(node),
        _wide(fields),
    )


def _recurrent(node: _Node) -> IntegerRecurrent:
    fields = node.fields
    specs = fields.objects("rows", lambda f: (f.text("name"), f.flag("input"), f.integer("sources"), f.integer("input_shift")))
    scales = node.tensor("row_scales", 2)
    if len(scales) != len(specs):
        raise EdgeLstmError(f"{node.where}: {len(scales)} row scales for {len(specs)} rows; the file was edited")
    rows = {}
    for (name, has_input, sources, input_shift), scale in zip(specs, scales, strict=True):
        W = node.array(integer_arrays.input_weights(name), np.int8, 2) if has_input else None
        R = tuple(node.array(integer_arrays.recurrent_weights(name, k), np.int8, 2) for k in range(sources))
        rows[name] = IntegerRow(name, W, R, node.array(integer_arrays.bias(name), np.int32, 1), input_shift, scale)
    states = fields.objects(
        "states",
        lambda f: StateFormat(
            f.text("name"), f.integer("bits"), f.integer("limit"), f.number("scale"), f.integer("update"),
            node.array(integer_arrays.initial(f.text("name")), np.int32, 1),
        ),
    )  # fmt: skip
    return IntegerRecurrent(
        fields.text("cell"),
        fields.text_map("activations"),
        fields.texts("equations"),
        fields.objects("ops", lambda f: IntOp(f.text("code"), f.integers("args"), f.text("name"), f.integers("numbers"))),
        rows,
        {name: node.array(integer_arrays.vector(name), np.int32, 1) for name in fields.texts("vectors")},
        {name: node.array(integer_arrays.table(name), np.int16, 1) for name in fields.texts("tables")},
        states,
        fields.integer("output"),
        fields.number("output_scale"),
        node.tensor("input_scale", 1),
        fields.flag("reverse"),
        _wide(fields),
        fields.integers("order") if fields.has("order") else (),
    )
