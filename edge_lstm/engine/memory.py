"""Single numbers and cache lines at addresses, for the generated functions; what they name is checked by their callers."""

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


def moving_line(width: int, sign: int) -> Any:
    """(at, to): reads 64 int8 values and stores each in `width` bytes, 1 or 2; those of one byte with the bits of `sign` turned over."""
    values = ir.VectorType(ir.IntType(8), LINE)

    def typing(typing_context: Any, at: Any, to: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value]) -> ir.Value:
            source, target = (context.cast(builder, v, t, types.intp) for v, t in zip(arguments, signature.args, strict=True))
            writer = Code(builder)
            line = writer.load(values, source)
            if width == 1:
                line = builder.xor(line, ir.Constant(values, [sign] * LINE)) if sign else line
            else:
                line = builder.sext(line, ir.VectorType(ir.IntType(16), LINE))
            writer.store(line, target)
            return context.get_dummy_value()

        return types.void(at, to), code

    return intrinsic(typing)


copy_line = moving_line(1, 0)
