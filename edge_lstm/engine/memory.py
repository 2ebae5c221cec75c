"""Single numbers at addresses, for the generated functions; what they name is checked by their callers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edge_lstm.engine.code import Code


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
