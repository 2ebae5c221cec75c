"""Constant folding: nodes whose inputs are all known are computed once, with the reference implementation of the standard operators."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import Constant, Value, constant

# Recurrent operators are never folded (the reference implementation ignores some of their attributes), nor is what draws random numbers
# or holds a graph of its own.
_NOT_FOLDED = {
    "LSTM", "GRU", "RNN", "If", "Loop", "Scan", "SequenceMap",
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
}  # fmt: skip


def is_foldable(proto: onnx.NodeProto, values: tuple[Value | None, ...]) -> bool:
    """Whether the node is a standard operator on plain numbers."""
    plain = all(v is None or (isinstance(v, Constant) and v.is_concrete) for v in values)
    return plain and proto.domain in ("", "ai.onnx") and proto.op_type not in _NOT_FOLDED


def fold(proto: onnx.NodeProto, values: tuple[Value | None, ...], opset: int) -> tuple[Constant, ...]:
    """The values of the node's outputs. Raises Refusal if they cannot be computed."""
    feeds = {name: v.array for name, v in zip(proto.input, values, strict=True) if name and isinstance(v, Constant)}
    inputs = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    graph = onnx.helper.make_graph([proto], "constant", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the reference implementation raises whatever NumPy raises
        raise Refusal(f"cannot be computed on its constants: {error}") from error
    computed = iter(results)
    return tuple(constant(np.asarray(next(computed))) if name else constant(np.zeros(0)) for name in proto.output)
