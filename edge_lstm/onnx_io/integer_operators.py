"""The integer operators of a recurrent layer (edge_lstm.fixed_point.operators, docs/arithmetic.md) as standard ONNX operators.

All values are int32 tensors [batch, units], or [units] where they are constant. Two spellings need a reason:

    arithmetic shift   ONNX shifts unsigned integers only. The value is made non-negative by a multiple of 2^shift, divided, and moved back:
                       exact for any rounding of integer Div. Where that leaves 32 bits: Floor of an exact double.
    dot product        MatMulInteger of unsigned bytes with zero point 128. Signed bytes would be as exact but are slow in ONNX Runtime on
                       x86, and one signed with one unsigned operand saturates there on processors without VNNI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from edge_lstm.fixed_point.bounds import INT32
from edge_lstm.fixed_point.integer_network import HALF_BITS, WIDE_LIMIT, IntegerRecurrent, IntOp
from edge_lstm.fixed_point.operators import Interval, half
from edge_lstm.onnx_io.body import END, Body

ZERO_POINT = 128


def integer(body: Body, value: int) -> str:
    """An int32 constant."""
    return body.constant(value, np.int32)


def shift_right(body: Body, value: str, shift: int, low: int, top: int) -> str:
    """(value + half) >> shift for any value with low <= value and value + half <= top."""
    if shift == 0:
        return value
    blocks = max(0, -((low + half(shift)) >> shift))
    added = half(shift) + (blocks << shift)
    if added <= INT32 and top + (blocks << shift) <= INT32:
        divided = body.emit("Div", body.emit("Add", value, integer(body, added)), integer(body, 1 << shift))
        return body.emit("Sub", divided, integer(body, blocks)) if blocks else divided
    exact = body.emit("Cast", body.emit("Add", value, integer(body, half(shift))), to=TensorProto.DOUBLE)
    scaled = body.emit("Mul", exact, body.constant(2.0**-shift, np.float64))
    return body.emit("Cast", body.emit("Floor", scaled), to=TensorProto.INT32)


def unsigned(body: Body, value: str) -> str:
    """uint8 form, zero point 128, of values in [-127, 127] of any integer type."""
    wide = body.emit("Cast", value, to=TensorProto.INT32)
    return body.emit("Cast", body.emit("Add", wide, integer(body, ZERO_POINT)), to=TensorProto.UINT8)


def unsigned_weights(body: Body, matrices: list[str]) -> str:
    """uint8 form [inputs, outputs of all] of int8 matrices [outputs, inputs]; constant, so that runtimes compute it once."""
    stacked = matrices[0] if len(matrices) == 1 else body.emit("Concat", *matrices, axis=0)
    return body.emit("Transpose", unsigned(body, stacked), perm=[1, 0])


def dot(body: Body, value: str, weights: str) -> str:
    """int32 value @ weights of two `unsigned` tensors."""
    zero = body.constant(ZERO_POINT, np.uint8)
    return body.emit("MatMulInteger", value, weights, zero, zero)


def split(body: Body, value: str) -> str:
    """The int32 halves [..., 2 n] of inputs of 16 bits [..., n], as `operators.split`."""
    high = shift_right(body, value, HALF_BITS, -WIDE_LIMIT, WIDE_LIMIT + half(HALF_BITS))
    low = body.emit("Sub", value, body.emit("Mul", high, integer(body, 1 << HALF_BITS)))
    return body.emit("Concat", high, low, axis=-1)


def dot_of_input(body: Body, value: str, weights: str, inputs: int, wide: bool) -> str:
    """int32 value @ weights of an int8 input [..., inputs], or of the two halves [..., 2 inputs] of one of 16 bits; weights: `unsigned`."""
    if not wide:
        return dot(body, unsigned(body, value), weights)
    parts = body.columns(value, 0, inputs), body.columns(value, inputs, END)
    high, low = (dot(body, unsigned(body, part), weights) for part in parts)
    return body.emit("Add", body.emit("Mul", high, integer(body, 1 << HALF_BITS)), low)


def clamp_to(body: Body, value: str, limit: str, negative_limit: str) -> str:
    """clip(value, -limit, limit) with one limit per unit."""
    return body.emit("Min", body.emit("Max", value, negative_limit), limit)


@dataclass
class Step:
    """One step of a layer while it is written: where operators find what they need.

    function: the body around the Scan, for what does not change from step to step; ints, bools: operator -> its value as an int32 or
    bool tensor (whichever exists; `value` makes the other); rows, states, vectors, tables: name -> tensor.
    """

    layer: IntegerRecurrent
    function: Body
    body: Body
    intervals: list[tuple[Interval, Interval]]
    states: dict[str, str]
    vectors: dict[str, str]
    tables: dict[str, str]
    row: Callable[[int, IntOp], str]
    ints: dict[int, str] = field(default_factory=dict)
    bools: dict[int, str] = field(default_factory=dict)
    negated: dict[str, str] = field(default_factory=dict)

    def value(self, index: int) -> str:
        """Operator `index` as int32."""
        if index not in self.ints:
            self.ints[index] = self.body.emit("Cast", self.bools[index], to=TensorProto.INT32)
        return self.ints[index]

    def condition(self, index: int) -> str:
        """Whether operator `index` differs from 0, as bool."""
        if index not in self.bools:
            self.bools[index] = self.body.emit("Cast", self.ints[index], to=TensorProto.BOOL)
        return self.bools[index]

    def shifted(self, index: int, value: str, shift: int) -> str:
        """Rounding shift of the widest intermediate value of operator `index`."""
        low, top = self.intervals[index][1]
        return shift_right(self.body, value, shift, int(low.min()), int(top.max()))

    def write(self) -> None:
        """Writes every operator of the layer."""
        for index, op in enumerate(self.layer.ops):
            if op.code == "positive":
                self.bools[index] = self.body.emit("Greater", self.value(op.args[0]), integer(self.body, 0))
            elif op.code == "complement" and op.numbers == (1,) and op.args[0] in self.bools:
                self.bools[index] = self.body.emit("Not", self.bools[op.args[0]])
            else:
                self.ints[index] = WRITE[op.code](self, index, op)


def _select(step: Step, index: int, op: IntOp) -> str:
    return step.body.emit("Where", step.condition(op.args[0]), step.value(op.args[1]), integer(step.body, 0))


def _binary(operator: str) -> Callable[[Step, int, IntOp], str]:
    return lambda step, index, op: step.body.emit(operator, step.value(op.args[0]), step.value(op.args[1]))


def _clip(step: Step, index: int, op: IntOp) -> str:
    return step.body.emit("Clip", step.value(op.args[0]), *(integer(step.body, bound) for bound in op.numbers))


def _rescale(step: Step, index: int, op: IntOp) -> str:
    limit, multiplier = step.vectors[op.name + ".limit"], step.vectors[op.name + ".multiplier"]
    if limit not in step.negated:
        step.negated[limit] = step.function.emit("Neg", limit)
    clamped = clamp_to(step.body, step.value(op.args[0]), limit, step.negated[limit])
    return step.shifted(index, step.body.emit("Mul", clamped, multiplier), op.numbers[0])


def interpolate(body: Body, outside: Body, value: str, table: str, knots: npt.NDArray[np.int16], segment_shift: int, out_shift: int) -> str:
    """round_shift(knots[k] * 2^s + (knots[k + 1] - knots[k]) * r), as base[k] + slope[k] * u where that fits 32 bits: u = k * 2^s + r.

    table: the tensor of the knots; outside: the body for what does not change from step to step.
    """
    corners = knots.astype(np.int64)
    segments, width, shift = len(corners) - 1, 1 << segment_shift, segment_shift + out_shift
    reach = segments * width // 2

    wide = outside.emit("Cast", table, to=TensorProto.INT32)
    axis, start, end = (outside.constant([n], np.int64) for n in (0, 1, segments + 1))
    left = outside.emit("Slice", wide, outside.constant([0], np.int64), outside.constant([segments], np.int64), axis)
    slope = outside.emit("Sub", outside.emit("Slice", wide, start, end, axis), left)
    base = outside.emit("Mul", left, integer(outside, width))

    clipped = body.emit("Clip", value, integer(body, -reach), integer(body, reach - 1))
    u = body.emit("Add", clipped, integer(body, reach))
    k = body.emit("Div", u, integer(body, width))
    if np.abs(np.diff(corners)).max() * 2 * reach + np.abs(corners).max() * width <= INT32:
        first = np.arange(segments) * width
        base = outside.emit("Sub", base, outside.emit("Mul", slope, outside.constant(first, np.int32)))
        within = u
    else:
        within = body.emit("Sub", u, body.emit("Mul", k, integer(body, width)))
    line = body.emit("Add", body.emit("Gather", base, k), body.emit("Mul", body.emit("Gather", slope, k), within))
    return shift_right(body, line, shift, int(corners.min()) * width, int(corners.max()) * width + half(shift))


def _interpolate(step: Step, index: int, op: IntOp) -> str:
    knots, table = step.layer.tables[op.name], step.tables[op.name]
    return interpolate(step.body, step.function, step.value(op.args[0]), table, knots, *op.numbers)


WRITE: dict[str, Callable[[Step, int, IntOp], str]] = {
    "row": lambda step, index, op: step.row(index, op),
    "state": lambda step, index, op: step.states[op.name],
    "vector": lambda step, index, op: step.vectors[op.name],
    "select": _select,
    "add": _binary("Add"),
    "subtract": _binary("Sub"),
    "complement": lambda step, index, op: step.body.emit("Sub", integer(step.body, op.numbers[0]), step.value(op.args[0])),
    "offset": lambda step, index, op: step.body.emit("Add", step.value(op.args[0]), integer(step.body, op.numbers[0])),
    "clip": _clip,
    "rescale": _rescale,
    "multiply": lambda step, index, op: step.shifted(index, _binary("Mul")(step, index, op), op.numbers[0]),
    "shift": lambda step, index, op: step.shifted(index, step.value(op.args[0]), op.numbers[0]),
    "raise": lambda step, index, op: step.body.emit("Mul", step.value(op.args[0]), integer(step.body, 1 << op.numbers[0])),
    "interpolate": _interpolate,
}
