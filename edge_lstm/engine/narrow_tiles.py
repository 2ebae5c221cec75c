"""Operators of a tile in lanes of 16 bits: the forms of `engine.narrow` as code, for two sequences at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_lstm.engine.code import Code, Value
from edge_lstm.engine.layout import LINE, PERMUTED_SEGMENTS
from edge_lstm.fixed_point.integer_network import IntOp

if TYPE_CHECKING:
    from edge_lstm.engine.products import Places
    from edge_lstm.engine.tiles import Tile

FRACTION = 0x7FFF  # the place within a segment, as a fraction of 2^15


class Values:
    """Results of operators: lanes for each sequence, words for each two sequences, or both. A missing one is made from the other, once."""

    def __init__(self, code: Code, sequences: int):
        self.code, self.sequences = code, sequences
        self.pairs = [(s, s + 1 if s + 1 < sequences else None) for s in range(0, sequences, 2)]
        self._lanes: dict[int, list[Value]] = {}
        self._words: dict[int, list[Value]] = {}

    def keep(self, index: int, lanes: list[Value]) -> None:
        self._lanes[index] = lanes

    def keep_words(self, index: int, words: list[Value]) -> None:
        self._words[index] = words

    def lanes(self, index: int) -> list[Value]:
        if index not in self._lanes:
            self._lanes[index] = [self.code.lanes_of(self._words[index][s // 2], s % 2 == 1) for s in range(self.sequences)]
        return self._lanes[index]

    def words(self, index: int) -> list[Value]:
        if index not in self._words:
            lanes = self._lanes[index]
            self._words[index] = [self.code.words_of(lanes[even], None if odd is None else lanes[odd]) for even, odd in self.pairs]
        return self._words[index]

    def low_bits(self, index: int) -> list[Value]:
        """Lanes of which only the 16 lowest bits count."""
        if index in self._lanes:
            return self._lanes[index]
        return [self.code.low_bits_of(self._words[index][s // 2], s % 2 == 1) for s in range(self.sequences)]


class Narrow:
    """One operator in 16 bits."""

    def __init__(self, tile: Tile, places: Places, index: int, op: IntOp):
        self.tile, self.places, self.index, self.op = tile, places, index, op
        self.code, self.form = tile.code, tile.layer.narrow[index]

    def words(self, values: Values) -> list[Value]:
        """The result for each two sequences."""
        if self.form == "upper":
            lanes = [self._scaled(value) for value in values.lanes(self.op.args[0])]
            return [self.code.upper_words(lanes[even], None if odd is None else lanes[odd]) for even, odd in values.pairs]
        arguments = [values.words(a) for a in self.op.args]
        return [self._word(list(some), odd is not None) for *some, (_, odd) in zip(*arguments, values.pairs, strict=True)]

    def _scaled(self, value: Value) -> Value:
        code = self.code
        low, high, multiplier, half = (
            self.tile.constant(self.places, f"{self.op.name}.{what}") for what in ("low", "high", "multiplier", "half")
        )
        return code.add(code.multiply(code.minimum(code.maximum(value, low), high), multiplier), half)

    def _word(self, a: list[Value], odd: bool) -> Value:
        code = self.code
        if self.form == "saturate":
            return code.add_saturating(*a) if self.op.code == "add" else code.subtract_saturating(*a)
        if self.form == "round15":
            return code.multiply_round(*a)
        numbers = self.op.numbers
        if self.form == "high":
            return code.multiply_round(code.multiply_high(*a), code.word(1 << 31 - numbers[0]))
        if self.form == "round":
            return code.multiply_round(a[0], code.word(1 << 15 - numbers[0]))
        if self.op.code == "offset":
            return code.add(a[0], code.word(numbers[0]))
        if self.op.code == "complement":
            return code.subtract(code.word(numbers[0]), a[0])
        if self.op.code == "clip":
            return code.minimum(code.maximum(a[0], code.word(numbers[0])), code.word(numbers[1]))
        return self._line(a[0], odd)

    def _line(self, value: Value, odd: bool) -> Value:
        """The curve's value. Where tables lie in registers, only the six lowest bits of a segment's number count."""
        code, (segment, out) = self.code, self.op.numbers
        if self.index not in self.tile.layer.within:
            reach = self.tile.layer.curves[self.op.name].segments << segment >> 1
            value = code.minimum(code.maximum(value, code.word(-reach)), code.word(reach - 1))
        within = code.both(code.shift_left(value, code.word(15 - segment)), code.word(FRACTION))
        knot, step = self._table(odd)(code.shift_right(value, code.word(segment)))
        if self.form == "nearest":
            return code.add(knot, code.multiply_round(step, within))
        return code.shift_right(code.add(knot, code.multiply_high(step, within)), code.word(out))

    def _table(self, odd: bool) -> Callable[[Value], tuple[Value, Value]]:
        tile, code, name = self.tile, self.code, self.op.name
        segments, loaded = tile.layer.curves[name].segments, tile.loaded
        if not (tile.target.instructions.permutes and segments == PERMUTED_SEGMENTS):
            middle = tile.table_middle(self.places, name, segments, 0)
            return lambda index: code.knots_and_steps(middle, index, odd)
        if f"words {name} 0" not in loaded:
            start = tile.table_start(self.places, name)
            loaded.update({f"words {name} {k}": code.words_at(code.plus(start, LINE * k)) for k in range(4)})
        knots, steps = ([loaded[f"words {name} {k}"] for k in halves] for halves in ((0, 1), (2, 3)))
        return lambda index: (code.lookup64_words(knots, index), code.lookup64_words(steps, index))
