"""Sixteen lanes of int32 for Numba: vector types and the operations that the generated kernels are written in.

Everything is target-independent LLVM IR, so the same kernel compiles for AVX-512, AVX2, SSE2 and NEON (LLVM splits the vectors to the
machine's width), with two exceptions that only kernels for AVX-512 use: `dot_quads` (vpdpbusd of VNNI) and `lookup64` (vpermi2d).
Integer addition and multiplication wrap modulo 2^32, as C's unsigned arithmetic; the proofs of `fixed_point.bounds` say that results never do.

Addresses are integers; callers guarantee that what they name is alive and large enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


class VectorType(types.Type):
    """A vector of `lanes` integers of `bits`."""

    def __init__(self, lanes: int, bits: int):
        self.lanes, self.bits = lanes, bits
        super().__init__(name=f"int{bits}x{lanes}")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.bits), self.lanes)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: VectorType):
        super().__init__(manager, frontend_type, frontend_type.llvm)


Int32x16, Int16x32, Int8x64 = VectorType(16, 32), VectorType(32, 16), VectorType(64, 8)
_Emit = Callable[[ir.IRBuilder, Sequence[ir.Value]], ir.Value]


def _pointer(builder: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    return builder.inttoptr(address, pointee.as_pointer())


def _load(builder: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    return builder.load(_pointer(builder, address, pointee), align=1)


def _indices(values: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(values)), list(values))


def _constant(kind: VectorType, value: int) -> ir.Constant:
    return ir.Constant(kind.llvm, [value] * kind.lanes)


def _splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    vector = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), _indices([0] * lanes))


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
    function = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), list(arguments))


def _operation(result: types.Type, *arguments: types.Type) -> Callable[[_Emit], Any]:
    """Makes a Numba intrinsic of an emitter (builder, argument values) -> value; integers arrive as intp."""

    def make(emit: _Emit) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> ir.Value:
            given = [
                context.cast(builder, value, actual, wanted) if isinstance(wanted, types.Integer) else value
                for value, actual, wanted in zip(values, signature.args, arguments, strict=True)
            ]
            produced = emit(builder, given)
            return context.get_dummy_value() if result is types.void else produced

        if len(arguments) == 1:

            def typing1(typing_context: Any, a: Any) -> Any:
                return result(a), code

            return intrinsic(typing1)
        if len(arguments) == 2:

            def typing2(typing_context: Any, a: Any, b: Any) -> Any:
                return result(a, b), code

            return intrinsic(typing2)

        def typing3(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
            return result(a, b, c), code

        return intrinsic(typing3)

    return make


# ---- memory -----------------------------------------------------------------------------------------------------------------

load_i64 = _operation(types.int64, types.intp)(lambda b, a: _load(b, a[0], _I64))
load_i32 = _operation(types.int32, types.intp)(lambda b, a: _load(b, a[0], _I32))
load_i16 = _operation(types.int16, types.intp)(lambda b, a: _load(b, a[0], _I16))
load_i8 = _operation(types.int8, types.intp)(lambda b, a: _load(b, a[0], _I8))
lanes_at = _operation(Int32x16, types.intp)(lambda b, a: _load(b, a[0], Int32x16.llvm))
lane_at = _operation(Int32x16, types.intp)(lambda b, a: _splat(b, _load(b, a[0], _I32), LANES))


@_operation(types.void, types.intp, types.int64)
def store_i64(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(a[1], _pointer(b, a[0], _I64), align=1)


@_operation(types.void, types.intp, types.int32)
def store_i32(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(a[1], _pointer(b, a[0], _I32), align=1)


@_operation(types.void, types.intp, types.int16)
def store_i16(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(a[1], _pointer(b, a[0], _I16), align=1)


@_operation(types.void, types.intp, types.int8)
def store_i8(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(a[1], _pointer(b, a[0], _I8), align=1)


@_operation(types.void, types.intp, Int32x16)
def store_lanes(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(a[1], _pointer(b, a[0], Int32x16.llvm), align=1)


# ---- sources of rows: int8 values, kept as unsigned bytes (value + 128) for dot_quads and as int16 for dot_pairs ------------------

_SOURCE_BYTES, _SOURCE_WORDS = ir.VectorType(_I8, LANES), ir.VectorType(_I16, LANES)
_BYTE_BIAS = ir.Constant(_SOURCE_BYTES, [-128] * LANES)


@_operation(types.void, types.intp, Int32x16)
def store_as_bytes(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(b.xor(b.trunc(a[1], _SOURCE_BYTES), _BYTE_BIAS), _pointer(b, a[0], _SOURCE_BYTES), align=1)


@_operation(Int32x16, types.intp)
def lanes_of_bytes(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.sext(b.xor(_load(b, a[0], _SOURCE_BYTES), _BYTE_BIAS), Int32x16.llvm)


@_operation(types.void, types.intp, Int32x16)
def store_as_words(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.store(b.trunc(a[1], _SOURCE_WORDS), _pointer(b, a[0], _SOURCE_WORDS), align=1)


@_operation(Int32x16, types.intp)
def lanes_of_words(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    return b.sext(_load(b, a[0], _SOURCE_WORDS), Int32x16.llvm)


# ---- dot products: one tile is 64 bytes of weights, for 16 units and 4 (quads of int8) or 2 (pairs of int16) sources ----------------

quad_weights = _operation(Int8x64, types.intp)(lambda b, a: _load(b, a[0], Int8x64.llvm))
quad_sources = _operation(Int8x64, types.intp)(lambda b, a: b.bitcast(_splat(b, _load(b, a[0], _I32), LANES), Int8x64.llvm))
pair_weights = _operation(Int16x32, types.intp)(lambda b, a: _load(b, a[0], Int16x32.llvm))
pair_sources = _operation(Int16x32, types.intp)(lambda b, a: b.bitcast(_splat(b, _load(b, a[0], _I32), LANES), Int16x32.llvm))


@_operation(Int32x16, Int32x16, Int8x64, Int8x64)
def dot_quads(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    """accumulator[n] + sum of four products of an unsigned source byte and a signed weight byte (vpdpbusd: exact, wraps, never saturates)."""
    return _call(b, "llvm.x86.avx512.vpdpbusd.512", Int32x16.llvm, a)


def _sum_of_pairs(b: ir.IRBuilder, accumulator: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    wide = ir.VectorType(_I32, 2 * LANES)
    products = b.mul(b.sext(left, wide), b.sext(right, wide))
    even, odd = (b.shuffle_vector(products, ir.Constant(wide, ir.Undefined), _indices(range(first, 2 * LANES, 2))) for first in (0, 1))
    return b.add(b.add(even, odd), accumulator)


@_operation(Int32x16, Int32x16, Int16x32, Int16x32)
def dot_pairs(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    """accumulator[n] + sum of two products of int16: LLVM finds vpdpwssd, vpmaddwd or pmaddwd in it."""
    return _sum_of_pairs(b, *a)


# ---- the integer operators of fixed_point.operators, lane by lane -------------------------------------------------------------------

splat = _operation(Int32x16, types.int32)(lambda b, a: _splat(b, a[0], LANES))
add = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.add(a[0], a[1]))
subtract = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.sub(a[0], a[1]))
multiply = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.mul(a[0], a[1]))
bit_and = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.and_(a[0], a[1]))
shift_left = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.shl(a[0], a[1]))
shift_right = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.ashr(a[0], a[1]))
minimum = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.select(b.icmp_signed("<", a[0], a[1]), a[0], a[1]))
maximum = _operation(Int32x16, Int32x16, Int32x16)(lambda b, a: b.select(b.icmp_signed(">", a[0], a[1]), a[0], a[1]))
positive = _operation(Int32x16, Int32x16)(lambda b, a: b.zext(b.icmp_signed(">", a[0], _constant(Int32x16, 0)), Int32x16.llvm))
select = _operation(Int32x16, Int32x16, Int32x16)(
    lambda b, a: b.select(b.icmp_signed("!=", a[0], _constant(Int32x16, 0)), a[1], _constant(Int32x16, 0))
)


@_operation(Int32x16, Int32x16, Int32x16, Int32x16)
def line_of_pair(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    """a[0] + low(a[1]) low(a[2]) + high(a[1]) high(a[2]), where low and high are the signed 16-bit halves of a lane."""
    return _sum_of_pairs(b, a[0], b.bitcast(a[1], Int16x32.llvm), b.bitcast(a[2], Int16x32.llvm))


@_operation(Int32x16, types.intp, Int32x16)
def lookup(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    """table[index] of an int32 table at an address; sixteen loads."""
    table, found = _pointer(b, a[0], _I32), ir.Constant(Int32x16.llvm, ir.Undefined)
    for lane in range(LANES):
        index = b.sext(b.extract_element(a[1], ir.Constant(_I32, lane)), _I64)
        found = b.insert_element(found, b.load(b.gep(table, [index])), ir.Constant(_I32, lane))
    return found


@_operation(Int32x16, types.intp, Int32x16)
def lookup64(b: ir.IRBuilder, a: Sequence[ir.Value]) -> ir.Value:
    """table[index] of 64 int32 entries, which lie in four AVX-512 registers: no loads from computed addresses."""
    quarters = [_load(b, b.add(a[0], ir.Constant(_I64, 64 * k)), Int32x16.llvm) for k in range(4)]
    low, high = (_call(b, "llvm.x86.avx512.vpermi2var.d.512", Int32x16.llvm, [quarters[k], a[1], quarters[k + 1]]) for k in (0, 2))
    upper = b.icmp_signed("!=", b.and_(a[1], _constant(Int32x16, 32)), _constant(Int32x16, 0))
    return b.select(upper, high, low)
