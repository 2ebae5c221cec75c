"""A feature program in a model file: as JSON text, to be read back, and as standard integer operators, to be run.

Values are int32 tensors [batch, steps, width]. An average is a Scan; its memory before the first step follows from that step, unless it
comes from outside (`FeatureMemory`).
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


class FeatureMemory:
    """The memories of a program that goes on where it was. inputs, outputs: names inside the function.

    widths: of the memories in order, of which `inputs` and `outputs` have one each, int32 [1 or batch, width], behind `begun`: int64 [1],
    0 before the first step of all.
    """

    def __init__(self, features: Features) -> None:
        self.widths = tuple(features.widths[op.args[0]] for op in features.ops if op.code in ("average", "difference"))
        self.inputs = ["begun", *(f"before.{k}" for k in range(len(self.widths)))]
        self.outputs = ["has_begun", *(f"after.{k}" for k in range(len(self.widths)))]
        self._next = 0

    def start(self, body: Body, a: str) -> None:
        """Writes `has_begun` for steps `a`."""
        steps = body.emit("Add", "begun", body.emit("Shape", a, start=1, end=2))
        body.rename(body.emit("Min", steps, body.constant([1], np.int64)), self.outputs[0])

    def before(self, body: Body, first: str) -> str:
        """The next memory in order: that of the step before, or `first` [batch, width] where there was none."""
        self._next += 1
        has = body.emit("Greater", "begun", body.constant([0], np.int64))
        return body.emit("Where", has, self.inputs[self._next], first)

    def after(self, body: Body, value: str) -> None:
        """What `before` is to give in the next call."""
        body.rename(value, self.outputs[self._next])


def write_features(body: Body, features: Features, sums: str, decimation: int, memory: FeatureMemory | None = None) -> str:
    """The features of int32 block sums [batch, steps, channels]."""
    bounds, _ = prove_features(features, decimation)
    values: list[str] = []
    if memory is not None:
        memory.start(body, sums)
    for op, bound in zip(features.ops, bounds, strict=True):
        arguments = [values[a] for a in op.args]
        if op.code == "channels":
            values.append(body.emit("Gather", sums, body.constant(op.numbers, np.int64), axis=-1))
        elif op.code == "average":
            values.append(_average(body, op, arguments[0], bound.low, bound.high, memory))
        elif op.code == "subtract":
            values.append(body.emit("Sub", *arguments))
        elif op.code == "difference":
            values.append(_difference(body, arguments[0], memory))
        elif op.code == "magnitude":
            values.append(_magnitude(body, arguments[0], features.widths[op.args[0]]))
        else:
            values.append(_compand(body, op, arguments[0]))
    outputs = [values[k] for k in features.outputs]
    return outputs[0] if len(outputs) == 1 else body.emit("Concat", *outputs, axis=-1)


def _first(body: Body, a: str, memory: FeatureMemory | None) -> str:
    """The first step [batch, width]; 0 where there is none, as in a call of a stream."""
    if memory is None:
        return body.emit("Gather", a, body.constant(0, np.int64), axis=1)
    zero, one = (body.constant([n], np.int64) for n in (0, 1))
    return body.emit("ReduceSum", body.emit("Slice", a, zero, one, one), one, keepdims=0)


def _average(body: Body, op: FeatureOp, a: str, low: int, high: int, memory: FeatureMemory | None) -> str:
    (shift,) = op.numbers
    ends = low << shift, (high << shift) + (1 << shift >> 1)
    initial = body.emit("Mul", _first(body, a, memory), integer(body, 1 << shift))
    if memory is not None:
        initial = memory.before(body, initial)
    step = Body(body)
    inside, now = step.fresh("memory"), step.fresh("now")
    after = step.emit("Add", step.emit("Sub", inside, shift_right(step, inside, shift, *ends)), now)
    result = shift_right(step, after, shift, *ends)
    streamed = memory is not None
    last, averages = body.scan(step, [(initial, inside, after)], [(a, now)], [result], TensorProto.INT32, may_be_empty=streamed)
    if memory is not None:
        memory.after(body, last)
    return averages


def _difference(body: Body, a: str, memory: FeatureMemory | None) -> str:
    zero, one, last = (body.constant([n], np.int64) for n in (0, 1, -1))
    if memory is None:
        return body.emit(
            "Sub", a, body.emit("Concat", body.emit("Slice", a, zero, one, one), body.emit("Slice", a, zero, last, one), axis=1)
        )
    start = body.emit("Unsqueeze", memory.before(body, _first(body, a, memory)), one)
    joined = body.emit("Concat", start, a, axis=1)
    memory.after(body, body.emit("Gather", joined, body.constant(-1, np.int64), axis=1))
    return body.emit("Sub", a, body.emit("Slice", joined, zero, last, one))


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
