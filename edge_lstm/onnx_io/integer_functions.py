"""One model-local function per layer of an integer network, of standard integer operators only.

Every function takes the layer's input and its arrays (`integer_arrays`), so that the weights stay visible at the node.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from edge_lstm.fixed_point import bounds
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerReadOut, IntegerRecurrent, IntOp, Normalize
from edge_lstm.fixed_point.operators import half
from edge_lstm.onnx_io import integer_arrays
from edge_lstm.onnx_io.body import Body
from edge_lstm.onnx_io.integer_operators import Step, clamp_to, dot, integer, shift_right, unsigned, unsigned_weights

READ_OUT_FUNCTIONS = {"last": "LastStep", "mean": "RunningSum", "every": "EveryStep"}


def normalize(front: Normalize, name: str) -> onnx.FunctionProto:
    """int16 counts [batch, samples, channels] -> int8 x [batch, samples // decimation, channels]; left-over samples are dropped."""
    body = Body()
    wide = body.emit("Cast", "raw", to=TensorProto.INT32)
    if front.decimation > 1:
        wide = body.emit("ReduceSum", body.blocks("raw", wide, front.decimation), body.constant([2], np.int64), keepdims=0)
    centred = clamp_to(body, body.emit("Sub", wide, "offset"), "limit", body.emit("Neg", "limit"))
    reach = int((front.limit.astype(np.int64) * front.multiplier).max())
    scaled = shift_right(body, body.emit("Mul", centred, "multiplier"), front.shift, -reach, reach + half(front.shift))
    clipped = body.emit("Clip", scaled, integer(body, -127), integer(body, 127))
    body.rename(body.emit("Cast", clipped, to=TensorProto.INT8), "x")
    doc = "x = clip((clip(sum of decimation counts - offset, -limit, limit) * multiplier + half) >> shift, -127, 127)"
    return body.function(name, ["raw", *integer_arrays.inputs(front)], ["x"], integer_arrays.ATTRIBUTES["Normalize"], doc)


def recurrent(layer: IntegerRecurrent, name: str, states: bool) -> onnx.FunctionProto:
    """int8 [batch, time, inputs] -> int8 [batch, time, units]; with `states`, then each state of each step, int32 [batch, time, units].

    Rows that read the same vectors share one matrix product; what reads x is computed for all steps before the Scan.
    """
    function = Body()
    step = Body(function)
    groups = _row_groups(layer)
    x = unsigned(function, "X")
    sequences: list[tuple[str, str]] = []
    constants: dict[tuple[int, ...], str] = {}
    recurrent_weights: dict[tuple[int, ...], list[str]] = {}
    for key, rows in groups.items():
        constants[key], sequence = _constant_part(function, layer, rows, x)
        if sequence:
            sequences.append((constants[key], step.fresh("x")))
            constants[key] = sequences[-1][1]
        recurrent_weights[key] = [
            unsigned_weights(function, [integer_arrays.recurrent_weights(row.name, k) for row in rows]) for k in range(len(rows[0].args))
        ]
    if not sequences:
        raise ValueError(f"layer {name} has no row that reads its input")

    products: dict[str, str] = {}  # row name -> accumulator
    narrow: dict[int, str] = {}

    def row(index: int, op: IntOp) -> str:
        if op.name not in products:
            rows = groups[_group(layer, op)]
            total = constants[_group(layer, op)]
            for source, weights in zip(op.args, recurrent_weights[_group(layer, op)], strict=True):
                if source not in narrow:
                    narrow[source] = unsigned(step, writer.value(source))
                total = step.emit("Add", total, dot(step, narrow[source], weights))
            parts = [total]
            if len(rows) > 1:
                sizes = step.constant([layer.units] * len(rows), np.int64)
                parts = step.emit_many("Split", [total, sizes], len(rows), axis=-1)
            products.update({r.name: part for r, part in zip(rows, parts, strict=True)})
        return products[op.name]

    inside = {s.name: step.fresh(s.name) for s in layer.states}
    vectors = {v: integer_arrays.vector(v) for v in layer.vectors}
    tables = {t: integer_arrays.table(t) for t in layer.tables}
    writer = Step(layer, function, step, bounds.intervals(layer), inside, vectors, tables, row)
    writer.write()

    whole = [(_initial(function, s.name), inside[s.name], _per_sequence(writer, s.update, inside[s.name])) for s in layer.states]
    output = step.emit("Cast", _per_sequence(writer, layer.output, whole[0][1]), to=TensorProto.INT8)
    gathered = [output, *(update for _, _, update in whole)] if states else [output]
    results = function.scan(step, whole, sequences, gathered, TensorProto.INT32)[len(whole) :]
    outputs = ["Y", *(f"states.{s.name}" for s in layer.states)] if states else ["Y"]
    for result, public in zip(results, outputs, strict=True):
        function.rename(result, public)
    return function.function(
        name, ["X", *integer_arrays.inputs(layer)], outputs, integer_arrays.ATTRIBUTES["Recurrent"], "\n".join(layer.equations)
    )


def _group(layer: IntegerRecurrent, op: IntOp) -> tuple[int, ...]:
    return (int(layer.rows[op.name].W is not None), *op.args)


def _row_groups(layer: IntegerRecurrent) -> dict[tuple[int, ...], list[IntOp]]:
    """Rows by what they read: (1 if x else 0, operators of the other sources) -> row operators."""
    groups: dict[tuple[int, ...], list[IntOp]] = {}
    for op in layer.ops:
        if op.code == "row":
            groups.setdefault(_group(layer, op), []).append(op)
    return groups


def _constant_part(function: Body, layer: IntegerRecurrent, rows: list[IntOp], x: str) -> tuple[str, bool]:
    """((W x) << input_shift) + bias of the rows side by side, and whether it is a sequence [batch, time, n] or a constant [n]."""
    names = [integer_arrays.bias(row.name) for row in rows]
    bias = names[0] if len(names) == 1 else function.emit("Concat", *names, axis=0)
    if layer.rows[rows[0].name].W is None:
        return bias, False
    product = dot(function, x, unsigned_weights(function, [integer_arrays.input_weights(row.name) for row in rows]))
    factors = np.repeat([1 << layer.rows[row.name].input_shift for row in rows], layer.units)
    if factors.max() > 1:
        product = function.emit("Mul", product, function.constant(factors, np.int32))
    return function.emit("Add", product, bias), True


def _initial(function: Body, state: str) -> str:
    """The state after a reset for every sequence of the batch: int32 [batch, units]."""
    batch = function.emit("Shape", "X", start=0, end=1)
    return function.emit("Expand", function.emit("Unsqueeze", integer_arrays.initial(state), function.constant([0], np.int64)),
                         function.emit("Concat", batch, function.constant([1], np.int64), axis=0))  # fmt: skip


def _per_sequence(step: Step, index: int, like: str) -> str:
    """Operator `index` with shape [batch, units], even where it is the same constant for all sequences."""
    value = step.value(index)
    depends = [op.code in ("state", "row") for op in step.layer.ops]
    for k, op in enumerate(step.layer.ops):
        depends[k] = depends[k] or any(depends[a] for a in op.args)
    return value if depends[index] else step.body.emit("Expand", value, step.body.emit("Shape", like))


def read_out(layer: IntegerReadOut, name: str) -> onnx.FunctionProto:
    """int8 [batch, time, units] -> int8 [batch, units] (last), int32 sum over the first `window` steps and their number (mean), or all."""
    body = Body()
    outputs = ["Y"]
    if layer.kind == "last":
        body.rename(body.emit("Gather", "X", body.constant(-1, np.int64), axis=1), "Y")
    elif layer.kind == "mean":
        zero, one = body.constant([0], np.int64), body.constant([1], np.int64)
        counted = body.emit("Slice", "X", zero, body.constant([layer.window], np.int64), one)  # more steps would leave the proved bound
        body.rename(body.emit("ReduceSum", body.emit("Cast", counted, to=TensorProto.INT32), one, keepdims=0), "Y")
        body.rename(body.emit("Cast", body.emit("Shape", counted, start=1, end=2), to=TensorProto.INT32), "steps")
        outputs.append("steps")
    else:
        body.rename("X", "Y")
    return body.function(name, ["X"], outputs, integer_arrays.ATTRIBUTES["ReadOut"], f"read-out: {layer.kind}")


def dense(layer: IntegerDense, name: str, *, of_sum: bool, counted: bool) -> onnx.FunctionProto:
    """W v + bias (* steps), requantized to int8 where the layer says so, else int32.

    of_sum: v is an int32 sum, not int8; counted: a further input `steps`, int32 [1], multiplies the bias.
    """
    body = Body()
    if of_sum:
        weights = body.emit("Transpose", body.emit("Cast", "W", to=TensorProto.INT32), perm=[1, 0])
        product = body.emit("MatMul", "X", weights)
    else:
        product = dot(body, unsigned(body, "X"), unsigned_weights(body, ["W"]))
    value = body.emit("Add", product, body.emit("Mul", "bias", "steps") if counted else "bias")
    if layer.limit is not None and layer.multiplier is not None:
        clamped = clamp_to(body, value, "limit", body.emit("Neg", "limit"))
        reach = int((layer.limit.astype(np.int64) * layer.multiplier).max())
        scaled = shift_right(body, body.emit("Mul", clamped, "multiplier"), layer.shift, -reach, reach + half(layer.shift))
        value = body.emit("Cast", body.emit("Clip", scaled, integer(body, layer.low), integer(body, layer.high)), to=TensorProto.INT8)
    body.rename(value, "Y")
    inputs = ["X", *(["steps"] if counted else []), *integer_arrays.inputs(layer)]
    return body.function(name, inputs, ["Y"], integer_arrays.ATTRIBUTES["Dense"], "W v + bias" + (" * steps" if counted else ""))
