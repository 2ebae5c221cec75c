"""Writing LLVM code in terms of the kernels: vectors of sixteen int32 lanes, and vectors of 32 int16 words.

Most of it is target-independent (LLVM splits the vectors to the machine's width); what is not is named by `engine.instructions`, and
`lookup64`, `lookup64_words` are for AVX-512.

Additions and multiplications wrap modulo 2^32; the proofs of `fixed_point.bounds` say that results never do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from edge_lstm.engine.control_code import ControlCode, Value
from edge_lstm.engine.layout import LANES, PLAIN, Target

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_LANES, _FLOATS = ir.VectorType(_I32, LANES), ir.VectorType(ir.FloatType(), LANES)
_QUADS, _PAIRS, _PRODUCTS = ir.VectorType(_I8, 4 * LANES), ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, 2 * LANES)
_WORDS, _BITS16 = ir.VectorType(_I16, 2 * LANES), ir.Constant(_LANES, [0xFFFF] * LANES)
_SOURCE_BYTES, _SOURCE_WORDS = ir.VectorType(_I8, LANES), ir.VectorType(_I16, LANES)
_BYTE_BIAS = ir.Constant(_SOURCE_BYTES, [-128] * LANES)


def _indices(values: Sequence[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(values)), list(values))


class Code(ControlCode):
    """As `ControlCode`, with vectors: lanes are sixteen int32."""

    def __init__(self, builder: ir.IRBuilder, target: Target = PLAIN):
        super().__init__(builder)
        self.target, self.machine = target, target.instructions

    # ---- lanes ------------------------------------------------------------------------------------------------------------

    def lanes_at(self, address: Value) -> Value:
        return self.load(_LANES, address)

    def splat_at(self, address: Value) -> Value:
        """The int32 at an address in all lanes."""
        return self.splat(self.load(_I32, address))

    def constant(self, value: int) -> ir.Constant:
        """The number in all lanes."""
        return ir.Constant(_LANES, [value] * LANES)

    def splat(self, value: Value, lanes: int = LANES) -> Value:
        vector = ir.VectorType(value.type, lanes)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), _indices([0] * lanes))

    def splat_index(self, index: Value) -> Value:
        """The lower half of an int64 in all lanes."""
        return self.splat(self.builder.trunc(index, _I32))

    def add(self, a: Value, b: Value) -> Value:
        return self.builder.add(a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.builder.sub(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.builder.mul(a, b)

    def both(self, a: Value, b: Value) -> Value:
        """Bitwise and."""
        return self.builder.and_(a, b)

    def either_bits(self, a: Value, b: Value) -> Value:
        """Bitwise or."""
        return self.builder.or_(a, b)

    def shift_left(self, a: Value, b: Value) -> Value:
        return self.call("llvm.x86.avx512.psllv.d.512", [a, b]) if self._each_by_its_own(b) else self.builder.shl(a, b)

    def shift_right(self, a: Value, b: Value) -> Value:
        """Arithmetic."""
        return self.call("llvm.x86.avx512.psrav.d.512", [a, b]) if self._each_by_its_own(b) else self.builder.ashr(a, b)

    def _each_by_its_own(self, counts: Value) -> bool:
        """Whether to shift each lane by its own count, although LLVM sees that all counts are alike and would shift by one.

        Zen 4 shifts by a count in a register where it runs dot products, and by counts in lanes elsewhere.
        """
        return self.target.is_avx512 and counts.type == _LANES and not isinstance(counts, ir.Constant)

    def minimum(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def maximum(self, a: Value, b: Value) -> Value:
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def positive(self, a: Value) -> Value:
        return self.builder.zext(self.builder.icmp_signed(">", a, self.constant(0)), _LANES)

    def greater(self, a: Value, b: Value) -> Value:
        """1 where a > b, else 0."""
        return self.builder.zext(self.builder.icmp_signed(">", a, b), _LANES)

    def select(self, switch: Value, a: Value) -> Value:
        """a where the switch is not 0, else 0."""
        return self.where_open(switch, a, self.constant(0))

    def where_open(self, switch: Value, a: Value, b: Value) -> Value:
        """a where the switch is not 0, else b."""
        return self.builder.select(self.builder.icmp_signed("!=", switch, self.constant(0)), a, b)

    def where_greater(self, a: Value, b: Value, value: Value, other: Value) -> Value:
        """The value where a > b, else the other; of lanes or of words."""
        return self.builder.select(self.builder.icmp_signed(">", a, b), value, other)

    def sign_extended(self, lanes: Value) -> Value:
        """The lower halves of lanes as numbers."""
        return self.builder.ashr(self.builder.shl(lanes, self.constant(16)), self.constant(16))

    def rescale_in_float(self, a: Value, multiplier: Value, addend: Value, cut: Value) -> Value:
        """floor(a multiplier + addend), cut off at -cut and cut before: the last three are floats, as lanes of bits (`engine.floating`).

        The multiplication and the conversion round down whatever the processor's mode is; the cut takes the sign of its first argument.
        """
        b = self.builder
        multiplier, addend, cut = (b.bitcast(bits, _FLOATS) for bits in (multiplier, addend, cut))
        nothing, every = ir.Constant(_FLOATS, [0.0] * LANES), ir.Constant(ir.IntType(16), -1)
        down, smaller, any_mode = (ir.Constant(_I32, number) for number in (9, 2, 4))
        product = self.call("llvm.x86.avx512.vfmadd.ps.512", [b.sitofp(a, _FLOATS), multiplier, addend, down])
        within = self.call("llvm.x86.avx512.mask.range.ps.512", [product, cut, smaller, nothing, every, any_mode])
        return self.call("llvm.x86.avx512.mask.cvtps2dq.512", [within, self.constant(0), every, down], _LANES)

    # ---- sources of rows: int8 values, kept as bytes (for VNNI unsigned, value + 128) or as int16 -----------------------------

    def store_source(self, lanes: Value, address: Value) -> None:
        if self.machine.source_bytes == 1:
            self.store(self._biased(self.builder.trunc(lanes, _SOURCE_BYTES)), address)
        else:
            self.store(self.builder.trunc(lanes, _SOURCE_WORDS), address)

    def store_saturating(self, lanes: Value, address: Value) -> None:
        """Stores what is not negative as unsigned bytes, at most 255 (vpmovusdb)."""
        every = ir.Constant(ir.IntType(16), -1)
        nothing = ir.Constant(ir.VectorType(ir.IntType(8), LANES), [0] * LANES)
        self.store(self.call("llvm.x86.avx512.mask.pmovus.db.512", [lanes, nothing, every], nothing.type), address)

    def store_two_sources(self, words: Value, even: Value, odd: Value | None) -> None:
        """The low bytes of the words of two sequences as sources of each; without a second sequence `odd` is None."""
        quads = self.builder.bitcast(words, _QUADS)
        undefined = ir.Constant(_QUADS, ir.Undefined)
        order = [*range(0, 4 * LANES, 4), *range(2, 4 * LANES, 4)]
        both = self.builder.shuffle_vector(quads, undefined, _indices(order))
        if self.machine.offset:
            both = self.builder.xor(both, ir.Constant(both.type, [-128] * (2 * LANES)))
        for half, address in enumerate((even, odd)):
            if address is not None:
                self.store(self._part(both, half, 2), address)

    def source_lanes(self, address: Value) -> Value:
        """The values that `store_source` stored."""
        if self.machine.source_bytes == 1:
            return self.builder.sext(self._biased(self.load(_SOURCE_BYTES, address)), _LANES)
        return self.builder.sext(self.load(_SOURCE_WORDS, address), _LANES)

    def _biased(self, sources: Value) -> Value:
        """To and from the form in which sources are kept."""
        return self.builder.xor(sources, _BYTE_BIAS) if self.machine.offset else sources

    @staticmethod
    def bias_bytes() -> ir.Constant:
        """128 in each byte of a tile."""
        return ir.Constant(_QUADS, [-128] * (4 * LANES))

    def as_tile(self, lanes: Value) -> Value:
        """Lanes as the sources of tiles."""
        return self.builder.bitcast(lanes, _QUADS if self.machine.source_bytes == 1 else _PAIRS)

    # ---- dot products: a tile is 64 bytes of weights, for 16 units times 4 (int8) or 2 (int16) sources ------------------------

    def tile_weights(self, address: Value) -> Value:
        return self.load(_QUADS if self.machine.source_bytes == 1 else _PAIRS, address)

    def tile_sources(self, address: Value) -> Value:
        """The 4 bytes of sources at an address, for all units."""
        return self.as_tile(self.splat_at(address))

    def dot(self, accumulator: Value, sources: Value, weights: Value) -> Value:
        """accumulator + sum of the four or two products of each lane: exact, wraps, never saturates."""
        if self.machine.quads:
            return self._per_register(self.machine.quads, [accumulator, sources, weights])
        return self.builder.add(self._products_of_pairs(sources, weights), accumulator)

    def _products_of_pairs(self, a: Value, b: Value) -> Value:
        """Sum of two products of int16 in each lane. Without a name for it, LLVM finds vpdpwssd, vpmaddwd or pmaddwd."""
        if self.machine.pairs:
            return self._per_register(self.machine.pairs, [a, b], 1, _I32)
        build = self.builder
        products = build.mul(build.sext(a, _PRODUCTS), build.sext(b, _PRODUCTS))
        undefined = ir.Constant(_PRODUCTS, ir.Undefined)
        even, odd = (build.shuffle_vector(products, undefined, _indices(range(first, 2 * LANES, 2))) for first in (0, 1))
        return build.add(even, odd)

    # ---- tables -----------------------------------------------------------------------------------------------------------

    def line_of_pair(self, start: Value, pair: Value, factors: Value) -> Value:
        """start + low(pair) low(factors) + high(pair) high(factors), where low and high are the signed 16-bit halves of a lane."""
        return self.builder.add(self._products_of_pairs(self.builder.bitcast(pair, _PAIRS), self.builder.bitcast(factors, _PAIRS)), start)

    def lookup(self, table: Value, index: Value) -> Value:
        """table[index] of an int32 table at an address, for an index of either sign; sixteen loads."""
        b = self.builder
        pointer, found = b.inttoptr(table, _I32.as_pointer()), ir.Constant(_LANES, ir.Undefined)
        for lane in range(LANES):
            at = b.sext(b.extract_element(index, ir.Constant(_I32, lane)), _I64)
            found = b.insert_element(found, b.load(b.gep(pointer, [at])), ir.Constant(_I32, lane))
        return found

    def lookup64(self, quarters: Sequence[Value], index: Value) -> Value:
        """The entry of a table of 64 for -32 <= index < 32, from four AVX-512 registers: no loads from computed addresses.

        vpermi2d selects by the five lowest bits, which count the entries of either half from its start.
        """
        low, high = (self.call("llvm.x86.avx512.vpermi2var.d.512", [quarters[k], index, quarters[k + 1]]) for k in (0, 2))
        return self.builder.select(self.builder.icmp_signed("<", index, self.constant(0)), low, high)

    # ---- words: 32 int16, those of two sequences interleaved unit by unit ---------------------------------------------------

    def words_of(self, even: Value, odd: Value | None) -> Value:
        """The lanes of two sequences, which must fit 16 bits, as words; without a second sequence the odd words are anything."""
        b = self.builder
        if odd is None:
            return b.bitcast(even, _WORDS)
        return b.bitcast(b.or_(b.and_(even, _BITS16), b.shl(odd, self.constant(16))), _WORDS)

    def upper_words(self, even: Value, odd: Value | None) -> Value:
        """The upper halves of the lanes of two sequences as words."""
        b = self.builder
        low = b.lshr(even, self.constant(16))
        return b.bitcast(low if odd is None else b.or_(low, b.and_(odd, ir.Constant(_LANES, [-65536] * LANES))), _WORDS)

    def lower_and_upper(self, even: Value, odd: Value | None) -> Value:
        """The lower halves of the lanes of one sequence and the upper halves of those of the other as words."""
        if odd is None:
            return self.builder.bitcast(even, _WORDS)
        is_odd = ir.Constant(ir.VectorType(ir.IntType(1), 2 * LANES), [0, 1] * LANES)
        return self.builder.select(is_odd, self.builder.bitcast(odd, _WORDS), self.builder.bitcast(even, _WORDS))

    def lanes_of(self, words: Value, odd: bool) -> Value:
        """The lanes of one of the two sequences."""
        b, sixteen = self.builder, self.constant(16)
        lanes = b.bitcast(words, _LANES)
        return b.ashr(lanes if odd else b.shl(lanes, sixteen), sixteen)

    def low_bits_of(self, words: Value, odd: bool) -> Value:
        """Lanes whose 16 lowest bits are those of one of the two sequences."""
        lanes = self.builder.bitcast(words, _LANES)
        return self.builder.lshr(lanes, self.constant(16)) if odd else lanes

    def word(self, value: int) -> ir.Constant:
        """The number in all words."""
        return ir.Constant(_WORDS, [value] * (2 * LANES))

    def words_at(self, address: Value) -> Value:
        return self.load(_WORDS, address)

    def add_saturating(self, a: Value, b: Value) -> Value:
        return self.call("llvm.sadd.sat.v32i16", [a, b])

    def subtract_saturating(self, a: Value, b: Value) -> Value:
        return self.call("llvm.ssub.sat.v32i16", [a, b])

    def multiply_high(self, a: Value, b: Value) -> Value:
        """(a b) >> 16."""
        high = self._per_register(self.machine.high, [a, b])
        return self.builder.ashr(high, self.word(1)) if self.machine.doubled else high

    def multiply_round(self, a: Value, b: Value) -> Value:
        """(a b + 2^14) >> 15, where it fits 16 bits."""
        return self._per_register(self.machine.rounded, [a, b])

    def lookup64_words(self, one: Sequence[Value], other: Sequence[Value], index: Value) -> tuple[Value, Value]:
        """The words of two tables of 64, each in two AVX-512 registers, for the six lowest bits of each index (vpermi2w)."""
        first, second = (self.call("llvm.x86.avx512.vpermi2var.hi.512", [table[0], index, table[1]]) for table in (one, other))
        return first, second

    def lookup64_bytes(self, one: Sequence[Value], other: Sequence[Value], value: Value, shift: int) -> tuple[Value, Value]:
        """The same for the indices value >> shift, and tables of low bytes and high bytes (vpermb).

        Both bytes of an index are eight bits of the value from `shift` on: vpmultishiftqb takes them from anywhere in four words.
        """
        b, places = self.builder, [16 * (k // 2) + shift for k in range(8)]
        bits = ir.Constant(_QUADS, [place % 64 for place in places] * 8)
        index = self.call("llvm.x86.avx512.pmultishift.qb.512", [bits, b.bitcast(value, _QUADS)])
        is_high = ir.Constant(ir.VectorType(ir.IntType(1), 4 * LANES), [0, 1] * (2 * LANES))

        def looked_up(table: Sequence[Value]) -> Value:
            low, high = (self.call("llvm.x86.avx512.permvar.qi.512", [b.bitcast(half, _QUADS), index]) for half in table)
            return b.bitcast(b.select(is_high, high, low), _WORDS)

        return looked_up(one), looked_up(other)

    def _per_register(self, name: str, arguments: Sequence[Value], shrink: int = 0, element: Any = None) -> Value:
        """An intrinsic that works on registers narrower than a vector, on all of them; the result joined.

        Its type is that of the first argument, or has `element` and half as many of them for each `shrink`.
        """
        pieces = 512 // self.machine.bits
        results = []
        for piece in range(pieces):
            parts = [self._part(argument, piece, pieces) for argument in arguments]
            first = parts[0].type
            result = ir.VectorType(element or first.element, first.count >> shrink)
            results.append(self.call(name, parts, result))
        while len(results) > 1:
            results = [self._joined(a, b) for a, b in zip(results[::2], results[1::2], strict=True)]
        return results[0]

    def _part(self, vector: Value, piece: int, pieces: int) -> Value:
        size = vector.type.count // pieces
        undefined = ir.Constant(vector.type, ir.Undefined)
        return vector if pieces == 1 else self.builder.shuffle_vector(vector, undefined, _indices(range(piece * size, (piece + 1) * size)))

    def _joined(self, a: Value, b: Value) -> Value:
        return self.builder.shuffle_vector(a, b, _indices(range(2 * a.type.count)))

    def call(self, name: str, arguments: Sequence[Value], result: Any = None) -> Value:
        """An intrinsic of LLVM; result: its type, if not that of the first argument."""
        function = ir.FunctionType(result or arguments[0].type, [a.type for a in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, function, name), list(arguments))
