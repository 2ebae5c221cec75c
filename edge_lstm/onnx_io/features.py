"""A feature program in a model file: as JSON text, to be read back, and as standard integer operators, to be run.

Values are int32 tensors [batch, steps, width]. An average is a Scan; its memory before the first step follows from that step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edge_lstm.features import FeatureOp, Features, check_features, prove_features
from edge_lstm.onnx_io.body import Body
from edge_lstm.onnx_io.integer_operators import integer, shift_right
from edge_lstm.onnx_io.own_format import Fields


def features_definition(features: Features) -> dict[str, Any]:
    """The program as JSON."""
    ops = [{"code": op.code, "args": list(op.args), "numbers": list(op.numbers)} for op in features.ops]
    return {"channels": features.channels, "ops": ops, "outputs": list(features.outputs)}


def read_features(fields: Fields) -> Features | None:
    """What `features_definition` wrote as field `features`, None where there is none. Raises EdgeLstmError for what is no program."""
    if not fields.has("features"):
        return None
    inner = fields.object("features")
    ops = inner.objects("ops", lambda f: FeatureOp(f.text("code"), f.integers("args"), f.integers("numbers")))
    features = Features(inner.integer("channels"), ops, inner.integers("outputs"))
    check_features(features)
    return features


def write_features(body: Body, features: Features, sums: str, decimation: int) -> str:
    """The features of int32 block sums [batch, steps, channels]."""
    bounds, _ = prove_features(features, decimation)
    values: list[str] = []
    for op, bound in zip(features.ops, bounds, strict=True):
        arguments = [values[a] for a in op.args]
        if op.code == "channels":
            values.append(body.emit("Gather", sums, body.constant(op.numbers, np.int64), axis=-1))
        elif op.code == "average":
            values.append(_average(body, op, arguments[0], bound.low, bound.high))
        elif op.code == "subtract":
            values.append(body.emit("Sub", *arguments))
        elif op.code == "difference":
            values.append(_difference(body, arguments[0]))
        elif op.code == "magnitude":
            values.append(_magnitude(body, arguments[0], features.widths[op.args[0]]))
        else:
            values.append(_compand(body, op, arguments[0]))
    outputs = [values[k] for k in features.outputs]
    return outputs[0] if len(outputs) == 1 else body.emit("Concat", *outputs, axis=-1)


def _average(body: Body, op: FeatureOp, a: str, low: int, high: int) -> str:
    (shift,) = op.numbers
    ends = low << shift, (high << shift) + (1 << shift >> 1)
    first = body.emit("Gather", a, body.constant(0, np.int64), axis=1)
    initial = body.emit("Mul", first, integer(body, 1 << shift))
    step = Body(body)
    memory, now = step.fresh("memory"), step.fresh("now")
    after = step.emit("Add", step.emit("Sub", memory, shift_right(step, memory, shift, *ends)), now)
    result = shift_right(step, after, shift, *ends)
    return body.scan(step, [(initial, memory, after)], [(a, now)], [result], TensorProto.INT32)[1]


def _difference(body: Body, a: str) -> str:
    zero, one, last = (body.constant([n], np.int64) for n in (0, 1, -1))
    before = body.emit("Concat", body.emit("Slice", a, zero, one, one), body.emit("Slice", a, zero, last, one), axis=1)
    return body.emit("Sub", a, before)


def _magnitude(body: Body, a: str, width: int) -> str:
    absolute = body.emit("Abs", a)
    m = body.columns(absolute, 0, 1)
    for k in range(1, width):
        component = body.columns(absolute, k, k + 1)
        p, q = body.emit("Max", m, component), body.emit("Min", m, component)
        less = body.emit("Sub", p, body.emit("Div", p, integer(body, 8)))
        m = body.emit("Max", p, body.emit("Add", less, body.emit("Div", q, integer(body, 2))))
    return m


def _compand(body: Body, op: FeatureOp, a: str) -> str:
    """The segment is found by comparing with all their starts; nothing is negative until the sign comes back."""
    knee, bits, *knots = op.numbers
    segments = len(knots) - 1
    widths = np.array([1 << (knee - bits + (k >> bits)) for k in range(segments)])
    starts = np.concatenate([[1 << knee], (1 << knee) + np.cumsum(widths)[:-1]])
    largest = (1 << (knee + (segments >> bits))) - 1
    u = body.emit("Min", body.emit("Add", body.emit("Abs", a), integer(body, 1 << knee)), integer(body, largest))
    wide = body.emit("Unsqueeze", u, body.constant([-1], np.int64))
    behind = body.emit("GreaterOrEqual", wide, body.constant(starts[1:], np.int32))
    k = body.emit("ReduceSum", body.emit("Cast", behind, to=TensorProto.INT32), body.constant([-1], np.int64), keepdims=0)
    left, rise, start, width = (
        body.emit("Gather", body.constant(table, np.int32), k) for table in (knots[:-1], np.diff(knots), starts, widths)
    )
    product = body.emit("Mul", rise, body.emit("Sub", u, start))
    rounded = body.emit("Add", product, body.emit("Div", width, integer(body, 2)))
    value = body.emit("Add", left, body.emit("Div", rounded, width))
    return body.emit("Where", body.emit("Less", a, integer(body, 0)), body.emit("Neg", value), value)
