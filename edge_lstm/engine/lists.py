"""The list of the tiles that are not zero, which a kernel makes of a sequence's outputs once a step and walks over for every group.

A list is 128 sum v in all lanes (where sources are kept as v + 128), the number of tiles, then an entry for each: its four bytes of
sources, signed, and its position, 4 bytes both, so that one load gets them.
"""

from __future__ import annotations

from llvmlite import ir

from edge_lstm.engine.code import Code, Value
from edge_lstm.engine.layout import ENTRY, LANES, LINE, LISTED_COUNT, LISTED_FIRST, SPARSE_TILES

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_COUNTING = ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES)))
_BIAS = int.from_bytes(b"\x80" * 4, "little", signed=True)  # of four sources that are kept as v + 128


def list_tiles(code: Code, sources: Value, tiles: Value, to: Value, always: bool) -> None:
    """Lists the tiles of sources that hold more than zeros.

    always: also where there are few units; otherwise the list is then empty.
    """
    entries = code.plus(to, LISTED_FIRST)

    def one(tile: Value, carried: list[Value]) -> list[Value]:
        entry = code.plus(entries, code.times(carried[0], ENTRY))
        values, busy = _tile(code, code.plus(sources, code.times(tile, 4)))
        code.store(values, entry)
        code.store_index(tile, code.plus(entry, 4))
        sums = [code.dot(total, code.bias_bytes(), code.as_tile(code.splat(values))) for total in carried[1:]]
        return [code.plus(carried[0], busy), *sums]

    def sixteen(block: Value, carried: list[Value]) -> list[Value]:
        first = code.times(block, LANES)
        values, busy = _sixteen_tiles(code, code.plus(sources, code.times(block, LINE)), code.minus(tiles, first))
        entries_of = _packed(code, values, busy), _packed(code, code.add(_COUNTING, code.splat_index(first)), busy)
        for half in (0, 1):
            code.store(_zipped(code, *entries_of, half), code.plus(entries, code.times(carried[0], ENTRY), LINE * half))
        sums = [code.dot(total, code.bias_bytes(), code.as_tile(values)) for total in carried[1:]]
        return [code.plus(carried[0], _number_of(code, busy)), *sums]

    many = code.integer(1) if always else code.minus(1, code.either_less(tiles, SPARSE_TILES))
    totals = [code.constant(0)] if code.machine.offset else []
    counted = code.quotient(code.plus(tiles, LANES - 1), LANES) if code.avx512 else tiles
    count, *totals = code.loop(code.times(many, counted), [code.integer(0), *totals], sixteen if code.avx512 else one)
    for total in totals:
        code.store(code.splat(code.call("llvm.vector.reduce.add.v16i32", [total], _I32)) if code.avx512 else total, to)
    code.store_index(count, code.plus(to, LISTED_COUNT))


def _tile(code: Code, address: Value) -> tuple[Value, Value]:
    """The sources of a tile as the four signed bytes they stand for, and 1 where they are not all zero, else 0."""
    b, values = code.builder, code.load(_I32, address)
    if code.machine.offset:
        values = b.xor(values, ir.Constant(_I32, _BIAS))
    return values, b.zext(b.icmp_unsigned("!=", values, ir.Constant(_I32, 0)), _I64)


# ---- sixteen at once, with AVX-512 -------------------------------------------------------------------------------------------------


def _sixteen_tiles(code: Code, address: Value, count: Value) -> tuple[Value, Value]:
    """What `_tile` gives of sixteen tiles, as lanes and bits; those from `count` on count as zero."""
    b, values, zero = code.builder, code.lanes_at(address), code.constant(0)
    if code.machine.offset:
        values = b.xor(values, code.constant(_BIAS))
    busy = b.and_(b.icmp_signed("<", _COUNTING, code.splat_index(count)), b.icmp_signed("!=", values, zero))
    return b.select(busy, values, zero), busy


def _packed(code: Code, lanes: Value, bits: Value) -> Value:
    """The lanes whose bits are set, moved together."""
    return code.call("llvm.x86.avx512.mask.compress.v16i32", [lanes, code.constant(0), bits])


def _zipped(code: Code, a: Value, b: Value, half: int) -> Value:
    """a[0], b[0], a[1], ..., b[7], or for half 1 from a[8] on."""
    first = half * LANES // 2
    order = [lane for k in range(first, first + LANES // 2) for lane in (k, k + LANES)]
    return code.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, LANES), order))


def _number_of(code: Code, bits: Value) -> Value:
    """How many bits are set."""
    return code.builder.zext(code.call("llvm.ctpop.i16", [code.builder.bitcast(bits, _I16)]), _I64)
