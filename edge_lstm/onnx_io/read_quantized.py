"""Readers of what `onnxruntime.quantization.quantize_dynamic` writes: the quantized weights are read as floats.

ONNX Runtime also rounds the inputs of these operators to 8 bits, with a scale found anew for each tensor at run time. That is no part of
the network: float inference here uses the same weights without it, and the integer network is made by this package's own calibration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from edge_lstm.network import FloatArray
from edge_lstm.onnx_io.read_layers import add_affine, add_dense
from edge_lstm.onnx_io.read_node import Node, Operator, operator
from edge_lstm.onnx_io.read_recurrent import RECURRENT_OPERATORS, as_float, read_recurrent
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import Array, Constant, Quantized, Value, concrete, constant

# Inputs of DynamicQuantizeLSTM (ONNX Runtime, docs/ContribOperators.md) with the weights and their scale and zero point.
_WEIGHTS = {1: (8, 9), 2: (10, 11)}


def dequantized(weights: Array, scale: Array, zero_point: Array) -> FloatArray:
    """(weights - zero point) * scale, where scale and zero point are one number or one for each of the last axis."""
    shape = (1,) * (weights.ndim - 1) + (-1,)
    exact = (weights.astype(np.float64) - zero_point.astype(np.float64).reshape(shape)) * as_float(scale).astype(np.float64).reshape(shape)
    return exact.astype(np.float32)


def _dynamic_quantize_lstm(node: Node) -> tuple[Value, ...]:
    """W: [directions, inputs, 4 units], R: [directions, units, 4 units] in 8 bits: the transpose of what LSTM has."""
    inputs: list[Value | None] = list(node.inputs[:8])
    for position, (scale, zero) in _WEIGHTS.items():
        q, s, z = (concrete(node.value(i), f"input number {i}") for i in (position, scale, zero))
        shapes = ((), (1,), (q.shape[0],), (q.shape[0], q.shape[-1]))
        if q.ndim != 3 or q.dtype.kind not in "iu" or s.shape != z.shape or s.shape not in shapes:
            raise Refusal(f"has weights {list(q.shape)} with scales {list(s.shape)} and zero points {list(z.shape)}, which do not fit")
        spread = [np.broadcast_to(v.reshape(-1, v.shape[-1] if v.ndim == 2 else 1), (q.shape[0], q.shape[2])) for v in (s, z)]
        each = [dequantized(q[k], spread[0][k], spread[1][k]).T for k in range(q.shape[0])]
        inputs[position] = constant(np.stack(each))
    attributes = dict(node.attributes)
    plain = onnx.helper.make_node("LSTM", node.proto.input[:8], node.proto.output, node.proto.name)
    return read_recurrent(replace(node, proto=plain, inputs=tuple(inputs), attributes=attributes))


def _dynamic_quantize_linear(node: Node) -> tuple[Value, ...]:
    signal, one = node.signal(0), np.ones(1)
    return Quantized("values", signal, one), Quantized("scale", signal, one), Quantized("zero point", signal, one)


def _matmul_integer(node: Node) -> Value:
    values, zero = node.value(0), node.input(2)
    if not isinstance(values, Quantized) or values.part != "values":
        raise Refusal("multiplies something other than a signal quantized by DynamicQuantizeLinear")
    if not isinstance(zero, Quantized) or zero.part != "zero point" or zero.signal is not values.signal:
        raise Refusal("subtracts a zero point that is not that of its input")
    weights = concrete(node.value(1), "the weight matrix", 2)
    offset = np.zeros(1) if node.input(3) is None else concrete(node.value(3), "the zero point of the weights")
    W = dequantized(weights, np.ones(1), offset).T
    layer = add_dense(values.signal, W, np.zeros(len(W), np.float32), len(values.signal.axes) - 1, node.roles)
    return Quantized("product", layer, values.factor, values.signal)


def scaled(left: Value, right: Value) -> Value:
    """Mul with a scale found at run time: scale * constant is a scale again, product * scale is the signal in real units."""
    for a, b in ((left, right), (right, left)):
        if isinstance(a, Quantized) and a.part == "scale" and isinstance(b, Constant):
            return replace(a, factor=a.factor * as_float(concrete(b, "the scale")).astype(np.float64).reshape(-1))
        if isinstance(a, Quantized) and a.part == "product" and isinstance(b, Quantized) and b.part == "scale" and b.signal is a.origin:
            width = a.signal.shape[-1]
            factor = np.broadcast_to(b.factor, (int(width),)) if isinstance(width, int) else b.factor
            return add_affine(a.signal, factor, np.zeros(len(factor)))
    raise Refusal("multiplies quantized values in a way that is not read")


_LSTM = RECURRENT_OPERATORS["LSTM"].attributes
QUANTIZED_OPERATORS: dict[str, Operator] = {
    "com.microsoft.DynamicQuantizeLSTM": operator(_dynamic_quantize_lstm, *_LSTM),
    "DynamicQuantizeLinear": operator(_dynamic_quantize_linear),
    "MatMulInteger": operator(_matmul_integer),
}
