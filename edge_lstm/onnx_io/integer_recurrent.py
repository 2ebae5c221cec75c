"""Recurrent layers of an integer network as model-local functions: a Scan of standard integer operators."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from edge_lstm.fixed_point import bounds
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.onnx_io import integer_arrays
from edge_lstm.onnx_io.body import Body
from edge_lstm.onnx_io.integer_operators import Step, dot, dot_of_input, unsigned, unsigned_weights


def recurrent(layer: IntegerRecurrent, name: str, states: bool, streamed: bool = False) -> onnx.FunctionProto:
    """int8 [batch, time, inputs] -> int8 [batch, time, units]; with `states`, then each state of each step, int32 [batch, time, units].

    streamed: further inputs `before.<state>` [batch or 1, units] in place of the state after a reset, and further outputs `after.<state>`.
    Rows that read the same vectors share one matrix product; what reads x is computed for all steps before the Scan.
    """
    function = Body()
    step = Body(function)
    groups = _row_groups(layer)
    sequences: list[tuple[str, str]] = []
    constants: dict[tuple[int, ...], str] = {}
    recurrent_weights: dict[tuple[int, ...], list[str]] = {}
    for key, rows in groups.items():
        constants[key], sequence = _constant_part(function, layer, rows)
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

    start = {s.name: f"before.{s.name}" if streamed else integer_arrays.initial(s.name) for s in layer.states}
    first = {s.name: _initial(function, start[s.name], streamed) for s in layer.states}
    whole = [(first[s.name], inside[s.name], _per_sequence(writer, s.update, inside[s.name])) for s in layer.states]
    output = step.emit("Cast", _per_sequence(writer, layer.output, whole[0][1]), to=TensorProto.INT8)
    gathered = [output, *(update for _, _, update in whole)] if states else [output]
    found = function.scan(step, whole, sequences, gathered, TensorProto.INT32, reverse=layer.reverse, may_be_empty=streamed)
    results = [*found[len(whole) :], *(found[: len(whole)] if streamed else [])]
    outputs = ["Y", *(f"states.{s.name}" for s in layer.states if states), *(f"after.{s.name}" for s in layer.states if streamed)]
    for result, public in zip(results, outputs, strict=True):
        function.rename(result, public)
    inputs = ["X", *(start.values() if streamed else []), *integer_arrays.inputs(layer)]
    return function.function(name, inputs, outputs, integer_arrays.ATTRIBUTES["Recurrent"], "\n".join(layer.equations))


def _group(layer: IntegerRecurrent, op: IntOp) -> tuple[int, ...]:
    return (int(layer.rows[op.name].W is not None), *op.args)


def _row_groups(layer: IntegerRecurrent) -> dict[tuple[int, ...], list[IntOp]]:
    """Rows by what they read: (1 if x else 0, operators of the other sources) -> row operators."""
    groups: dict[tuple[int, ...], list[IntOp]] = {}
    for op in layer.ops:
        if op.code == "row":
            groups.setdefault(_group(layer, op), []).append(op)
    return groups


def _constant_part(function: Body, layer: IntegerRecurrent, rows: list[IntOp]) -> tuple[str, bool]:
    """((W x) << input_shift) + bias of the rows side by side, and whether it is a sequence [batch, time, n] or a constant [n]."""
    names = [integer_arrays.bias(row.name) for row in rows]
    bias = names[0] if len(names) == 1 else function.emit("Concat", *names, axis=0)
    if layer.rows[rows[0].name].W is None:
        return bias, False
    weights = unsigned_weights(function, [integer_arrays.input_weights(row.name) for row in rows])
    product = dot_of_input(function, "X", weights, layer.inputs, layer.wide)
    factors = np.repeat([1 << layer.rows[row.name].input_shift for row in rows], layer.units)
    if factors.max() > 1:
        product = function.emit("Mul", product, function.constant(factors, np.int32))
    return function.emit("Add", product, bias), True


def _initial(function: Body, start: str, has_batch: bool) -> str:
    """The first value of a state for every sequence of the batch: int32 [batch, units]. start: [units], or [1 or batch, units]."""
    batch = function.emit("Shape", "X", start=0, end=1)
    value = start if has_batch else function.emit("Unsqueeze", start, function.constant([0], np.int64))
    return function.emit("Expand", value, function.emit("Concat", batch, function.constant([1], np.int64), axis=0))


def _per_sequence(step: Step, index: int, like: str) -> str:
    """Operator `index` with shape [batch, units], even where it is the same constant for all sequences."""
    value = step.value(index)
    depends = [op.code in ("state", "row") for op in step.layer.ops]
    for k, op in enumerate(step.layer.ops):
        depends[k] = depends[k] or any(depends[a] for a in op.args)
    return value if depends[index] else step.body.emit("Expand", value, step.body.emit("Shape", like))
