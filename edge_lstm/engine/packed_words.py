"""Words as one instruction packs the lanes of two sequences: four units of one, four of the other, the next four of the first, and so on.

Of the same names and arguments as what `Code` has for words that are interleaved unit by unit, but for a second sequence, which is
always there. Needs AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import LANES

_I16, _I32 = ir.IntType(16), ir.IntType(32)
_WORDS, _BYTES, _LANES = ir.VectorType(_I16, 2 * LANES), ir.VectorType(ir.IntType(8), 4 * LANES), ir.VectorType(_I32, LANES)
FOUR = 4  # units of a sequence that lie together: what 128 bits hold of each of two


class PackedWords:
    """Between lanes and words."""

    def __init__(self, code: Code):
        self.code = code

    def words_of(self, even: Value, odd: Value) -> Value:
        """What leaves 16 bits saturates."""
        return self.code.call("llvm.x86.avx512.packssdw.512", [even, odd], _WORDS)

    def upper_words(self, even: Value, odd: Value) -> Value:
        """The upper halves of lanes."""
        sixteen = self.code.constant(16)
        return self.words_of(*(self.code.shift_right(lanes, sixteen) for lanes in (even, odd)))

    def lanes_of(self, words: Value, odd: bool) -> Value:
        """The lanes of one of the two sequences."""
        first = FOUR if odd else 0
        order = [place for start in range(first, 2 * LANES, 2 * FOUR) for k in range(FOUR) for place in (start + k, start + k)]
        twice = self.code.builder.shuffle_vector(words, words, ir.Constant(ir.VectorType(_I32, 2 * LANES), order))
        return self.code.shift_right(self.code.builder.bitcast(twice, _LANES), self.code.constant(16))

    def low_bits_of(self, words: Value, odd: bool) -> Value:
        return self.lanes_of(words, odd)

    def store_sources(self, words: Sequence[Value], addresses: Sequence[Value], clips: bool) -> None:
        """Stores the words of two or four sequences as bytes plus 128, sixteen at each address; clips: to -127 ... 127.

        Bytes come out as four of each sequence in turn, as lanes of 32 bits.
        """
        code, build = self.code, self.code.builder
        packed = code.call("llvm.x86.avx512.packsswb.512", [words[0], words[-1]], _BYTES)
        if clips:
            lowest = ir.Constant(_BYTES, [-127] * (4 * LANES))
            packed = code.maximum(packed, lowest)
        sources = build.bitcast(build.xor(packed, code.bias_bytes()), _LANES)
        order = [lane for first in range(FOUR) for lane in range(first, LANES, FOUR)]
        sorted_by_sequence = code.whole(build.shuffle_vector(sources, sources, ir.Constant(_LANES, order)))
        for k, address in enumerate(addresses):
            some = ir.Constant(ir.VectorType(_I32, FOUR), list(range(FOUR * k, FOUR * k + FOUR)))
            code.store(build.shuffle_vector(sorted_by_sequence, sorted_by_sequence, some), address)

    def copy_lanes(self, words: Value, odd: Value, to: Value) -> None:
        """Copies int32 lanes of one sequence to an address; words: address of the words; odd: 0 or 1."""
        code, size = self.code, 2 * FOUR
        wide = ir.VectorType(_I32, FOUR)
        for k in range(LANES // FOUR):
            at = code.plus(words, code.times(odd, size), 2 * size * k)
            code.store(code.builder.sext(code.load(ir.VectorType(_I16, FOUR), at), wide), code.plus(to, 4 * FOUR * k))
