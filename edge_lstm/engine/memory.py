"""Numbers at addresses, copies and choices, for the generated functions; what they name is checked by their callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edge_lstm.engine.code import Code
from edge_lstm.engine.layout import LINE


def _load(kind: types.Integer) -> Any:
    def typing(typing_context: Any, address: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            return Code(builder).load(context.get_value_type(kind), context.cast(builder, values[0], signature.args[0], types.intp))

        return kind(address), code

    return intrinsic(typing)


def _store(kind: types.Integer) -> Any:
    def typing(typing_context: Any, address: Any, value: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            at, stored = (context.cast(builder, v, t, w) for v, t, w in zip(values, signature.args, (types.intp, kind), strict=True))
            Code(builder).store(stored, at)
            return context.get_dummy_value()

        return types.void(address, value), code

    return intrinsic(typing)


load_i8, load_i16, load_i32, load_i64 = _load(types.int8), _load(types.int16), _load(types.int32), _load(types.int64)
store_i8, store_i16, store_i32, store_i64 = _store(types.int8), _store(types.int16), _store(types.int32), _store(types.int64)


def moving(width: int, sign: int) -> Any:
    """(at, count, to): reads `count` int8 values and stores each in `width` bytes, 1 or 2; of one byte with the bits of `sign` flipped.

    By cache lines, then by eight, then one by one: no byte behind the last is read.
    """

    def typing(typing_context: Any, at: Any, count: Any, to: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
            source, left, target = (context.cast(builder, v, t, types.intp) for v, t in zip(arguments, signature.args, strict=True))
            writer = Code(builder)
            for size in (LINE, 8, 1):
                values = ir.VectorType(ir.IntType(8), size)

                def move(index: ir.Value, places: list[ir.Value], size: int = size, values: Any = values) -> list[ir.Value]:
                    moved = writer.load(values, places[0])
                    if width == 1:
                        moved = builder.xor(moved, ir.Constant(values, [sign] * size)) if sign else moved
                    else:
                        moved = builder.sext(moved, ir.VectorType(ir.IntType(16), size))
                    writer.store(moved, places[1])
                    return [writer.plus(places[0], size), writer.plus(places[1], size * width)]

                times = writer.quotient(left, size)
                source, target = writer.loop(times, [source, target], move)
                left = writer.minus(left, writer.times(times, size))
            return context.get_dummy_value()

        return types.void(at, count, to), code

    return intrinsic(typing)


copy = moving(1, 0)


def _chosen(relation: str) -> Any:
    def typing(typing_context: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            x, y = (context.cast(builder, v, t, types.int64) for v, t in zip(values, signature.args, strict=True))
            return builder.select(builder.icmp_signed(relation, x, y), x, y)

        return types.int64(a, b), code

    return intrinsic(typing)


# Of two int64. For Numba's own min and max it compiles a function for each pair of types: 0.02 s, eight times for one entry point.
smaller, larger = _chosen("<"), _chosen(">")
