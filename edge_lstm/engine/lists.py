"""The list of the tiles that are not zero, which a kernel makes of a sequence's outputs once a step and walks over for every group.

A list is 128 sum v in all lanes (where sources are kept as v + 128), the number of tiles, then an entry for each: its four bytes of
sources, signed, and its position, 4 bytes both, so that one load gets them. Or it names single columns, any four of which make a tile whose
weights are interleaved on the way: more work for each, less where zeros are many but do not lie together.
"""

from __future__ import annotations

from llvmlite import ir

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import (
    ENTRY,
    LANES,
    LINE,
    LISTED_COUNT,
    LISTED_FIRST,
    LISTED_FOURS,
)

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_SIXTEEN_BYTES, _SIXTEEN_WORDS = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(_I16, LANES)
_LINE_OF_BYTES, _LINE_OF_WORDS, _LINE_OF_BITS = (ir.VectorType(ir.IntType(bits), LINE) for bits in (8, 16, 1))
_NO_BYTES = ir.Constant(_LINE_OF_BYTES, [0] * LINE)
_COUNTING = ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES)))
_BIAS = int.from_bytes(b"\x80" * 4, "little", signed=True)  # of four sources that are kept as v + 128


def list_tiles(code: Code, sources: Value, tiles: Value, to: Value, always: bool) -> Value:
    """Lists the tiles of sources that hold more than zeros; returns how many of the single sources are not zero, with AVX-512.

    always: also where there are few units; otherwise the list is then empty.
    """
    entries = code.plus(to, LISTED_FIRST)

    def one(tile: Value, carried: list[Value]) -> list[Value]:
        entry = code.plus(entries, code.times(carried[0], ENTRY))
        values, busy = _tile(code, code.plus(sources, code.times(tile, 4)))
        code.store(values, entry)
        code.store_index(tile, code.plus(entry, 4))
        sums = [code.dot(total, code.bias_bytes(), code.as_tile(code.splat(values))) for total in carried[2:]]
        return [code.plus(carried[0], busy), carried[1], *sums]

    def sixteen(block: Value, carried: list[Value]) -> list[Value]:
        first = code.times(block, LANES)
        values, busy = _sixteen_tiles(code, code.plus(sources, code.times(block, LINE)), code.minus(tiles, first))
        entries_of = _packed(code, values, busy), _packed(code, code.add(_COUNTING, code.splat_index(first)), busy)
        for half in (0, 1):
            code.store(_zipped(code, *entries_of, half), code.plus(entries, code.times(carried[0], ENTRY), LINE * half))
        sums = [code.dot(total, code.bias_bytes(), code.as_tile(values)) for total in carried[2:]]
        return [code.plus(carried[0], _number_of(code, busy)), code.plus(carried[1], _busy_bytes(code, values)), *sums]

    many = code.integer(1) if always else code.minus(1, code.either_less(tiles, code.target.core.listed_tiles))
    totals = [code.constant(0)] if code.machine.offset else []
    counted = code.quotient(code.plus(tiles, LANES - 1), LANES) if code.target.is_avx512 else tiles
    start = [code.integer(0), code.integer(0), *totals]
    count, single, *totals = code.loop(code.times(many, counted), start, sixteen if code.target.is_avx512 else one)
    for total in totals:
        code.store(code.splat(_sum(code, total)) if code.target.is_avx512 else total, to)
    if code.target.core.listed_at_once > 1:  # what is read behind the last tile
        code.store(ir.Constant(_I64, 0), code.plus(entries, code.times(count, ENTRY)))
    code.store_index(count, code.plus(to, LISTED_COUNT))
    return single


def list_columns(code: Code, sources: Value, tiles: Value, to: Value) -> None:
    """Lists the single sources that are not zero, any four of which make a tile; for layers of four rows with VNNI and AVX-512.

    Behind 128 sum v and the number of these tiles lie the values, signed bytes, and then which sources they are, 2 bytes each: no layer
    has 2^16 units, whose weights would fill 16 GiB. What is missing to the last tile is zero.
    """
    values, places = _columns(code, to, tiles)
    size = LINE if code.target.packs_bytes else LANES
    more = _columns_of_a_line if code.target.packs_bytes else _columns_of_sixteen

    def body(block: Value, carried: list[Value]) -> list[Value]:
        count, total = carried
        first = code.times(block, size)
        left = code.minus(code.times(tiles, 4), first)
        to_values, to_places = code.plus(values, count), code.plus(places, code.times(count, 2))
        number, total = more(code, code.plus(sources, first), first, left, to_values, to_places, total)
        return [code.plus(count, number), total]

    blocks = code.quotient(code.plus(code.times(tiles, 4), size - 1), size)
    count, total = code.loop(blocks, [code.integer(0), code.constant(0)], body)
    code.store(ir.Constant(_I32, 0), code.plus(values, count))
    code.store(ir.Constant(_I64, 0), code.plus(places, code.times(count, 2)))
    code.store(code.splat(_sum(code, total)), to)
    code.store_index(code.quotient(code.plus(count, 3), 4), code.plus(to, LISTED_FOURS))


def _columns_of_sixteen(
    code: Code, sources: Value, first: Value, left: Value, values: Value, places: Value, total: Value
) -> tuple[Value, Value]:
    """Lists sixteen sources, of which `left` are there; the first of them is source `first`. Returns how many, and total + 128 v."""
    b, found = code.builder, code.source_lanes(sources)
    busy = b.and_(b.icmp_signed("<", _COUNTING, code.splat_index(left)), b.icmp_signed("!=", found, code.constant(0)))
    code.store(b.trunc(_packed(code, found, busy), _SIXTEEN_BYTES), values)
    code.store(b.trunc(_packed(code, code.add(_COUNTING, code.splat_index(first)), busy), _SIXTEEN_WORDS), places)
    added = code.multiply(b.select(busy, found, code.constant(0)), code.constant(128))
    return _number_of(code, busy), code.add(total, added)


def _columns_of_a_line(
    code: Code, sources: Value, first: Value, left: Value, values: Value, places: Value, total: Value
) -> tuple[Value, Value]:
    """As `_columns_of_sixteen`, of 64 sources at once (VBMI2)."""
    b = code.builder
    found = b.xor(code.load(_LINE_OF_BYTES, sources), code.bias_bytes())
    there = b.select(code.is_less(left, LINE), b.sub(b.shl(code.integer(1), left), code.integer(1)), code.integer(-1))
    bits = b.and_(there, b.bitcast(b.icmp_signed("!=", found, _NO_BYTES), _I64))
    busy = b.bitcast(bits, _LINE_OF_BITS)

    def packed(line: Value) -> Value:
        return code.call("llvm.x86.avx512.mask.compress.v64i8", [line, _NO_BYTES, busy])

    code.store(packed(found), values)
    here = b.zext(packed(ir.Constant(_LINE_OF_BYTES, list(range(LINE)))), _LINE_OF_WORDS)
    code.store(b.add(here, code.splat(b.trunc(first, _I16), LINE)), places)
    return code.call("llvm.ctpop.i64", [bits]), code.dot(total, code.bias_bytes(), b.select(busy, found, _NO_BYTES))


def list_either(code: Code, sources: Value, tiles: Value, to: Value) -> None:
    """Lists what takes less time, tiles or single columns, and leaves the other list empty; nothing where there are few units."""
    single = list_tiles(code, sources, tiles, to, always=False)
    count, empty = code.load_index(code.plus(to, LISTED_COUNT)), code.integer(0)
    code.store_index(empty, code.plus(to, LISTED_FOURS))

    def columns() -> list[Value]:
        list_columns(code, sources, tiles, to)
        code.store_index(empty, code.plus(to, LISTED_COUNT))
        return []

    of_a_tile, more = code.target.core.step_columns
    less = code.builder.icmp_signed("<", code.times(code.plus(single, more), 10), code.times(count, round(10 * of_a_tile)))
    code.where(less, [], columns)


def _columns(code: Code, lists: Value, tiles: Value) -> tuple[Value, Value]:
    """Where the values of listed columns are, and which they are."""
    values = code.plus(lists, LISTED_FIRST + ENTRY * LANES, code.times(tiles, ENTRY))
    return values, code.plus(values, LINE, code.times(tiles, 4))


def four_columns(code: Code, lists: Value, tiles: Value, tile: Value, weights: Value) -> tuple[Value, list[Value]]:
    """A tile of four listed columns: its sources, and for each of four rows the weights of sixteen units times four sources.

    weights: of the first column; each has 64 bytes, sixteen units by fours, and of each four the four rows.
    """
    values, places = _columns(code, lists, tiles)
    at = code.opaque(code.plus(places, code.times(tile, 8)))
    four = code.opaque(code.load64(at))  # one load of four places
    which = [code.builder.and_(code.builder.lshr(four, code.integer(16 * one)), code.integer(0xFFFF)) for one in range(4)]
    a, b, c, d = (code.load(_LINE_OF_BYTES, code.plus(weights, code.times(column, LINE))) for column in which)
    first, second = ([_interleaved(code, *pair, half, 1) for half in (0, 1)] for pair in ((a, b), (c, d)))
    rows = [_interleaved(code, low, high, half, 2) for low, high in zip(first, second, strict=True) for half in (0, 1)]
    return code.tile_sources(code.plus(values, code.times(tile, 4))), rows


def _interleaved(code: Code, a: Value, b: Value, half: int, size: int) -> Value:
    """In each 16 bytes, pieces of `size` bytes of a and b in turn, from their lower or upper halves (vpunpck...)."""
    order: list[int] = []
    for lane in range(0, LINE, 16):
        for piece in range(lane + 8 * half, lane + 8 * half + 8, size):
            order += [*range(piece, piece + size), *range(LINE + piece, LINE + piece + size)]
    return code.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, LINE), order))


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


def _sum(code: Code, lanes: Value) -> Value:
    """The sum of all lanes, an int32."""
    return code.call("llvm.vector.reduce.add.v16i32", [lanes], _I32)


def _busy_bytes(code: Code, lanes: Value) -> Value:
    """How many of the 64 bytes are not zero."""
    b = code.builder
    bits = b.icmp_signed("!=", b.bitcast(lanes, _LINE_OF_BYTES), ir.Constant(_LINE_OF_BYTES, [0] * LINE))
    return code.call("llvm.ctpop.i64", [b.bitcast(bits, _I64)])


def _number_of(code: Code, bits: Value) -> Value:
    """How many bits are set."""
    return code.builder.zext(code.call("llvm.ctpop.i16", [code.builder.bitcast(bits, _I16)]), _I64)
