"""Operators of a tile in lanes of 16 bits: the forms of `engine.narrow` as code, for two sequences at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from itertools import chain
from typing import TYPE_CHECKING

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import FLOAT_PARTS, LINE, PERMUTED_SEGMENTS
from edge_lstm.engine.packed_words import PackedWords
from edge_lstm.fixed_point.integer_network import IntOp

if TYPE_CHECKING:
    from edge_lstm.engine.products import Places
    from edge_lstm.engine.tiles import Tile

FRACTION = 0x7FFF  # the place within a segment, as a fraction of 2^15
IN_TWO = ("upper", "nearest", "floor")  # forms that stop once: behind their multiplications or look-ups
Stages = Generator[list[Value], list[Value], list[Value]]


class Values:
    """Results of operators: lanes for each sequence, words for each two sequences, or both. A missing one is made from the other, once.

    layout: how words lie.
    """

    def __init__(self, code: Code, layout: Code | PackedWords, sequences: int):
        self.code, self.layout, self.sequences = code, layout, sequences
        self.pairs = [(s, s + 1 if s + 1 < sequences else None) for s in range(0, sequences, 2)]
        self._lanes: dict[int, list[Value]] = {}
        self._words: dict[int, list[Value]] = {}
        self._pinned_lanes: set[int] = set()
        self._pinned_words: set[int] = set()

    def keep(self, index: int, lanes: list[Value]) -> None:
        self._lanes[index] = lanes

    def keep_words(self, index: int, words: list[Value]) -> None:
        self._words[index] = words

    def __contains__(self, index: int) -> bool:
        return index in self._lanes or index in self._words

    def has_words(self, index: int) -> bool:
        """Whether the result was made as words."""
        return index in self._words and index not in self._lanes

    def pin(self, needed: Collection[int]) -> None:
        """What is needed later is computed where it stands, see `Code.pinned`."""
        for kind, pinned in ((self._lanes, self._pinned_lanes), (self._words, self._pinned_words)):
            for index in (kind.keys() & needed) - pinned:
                kind[index] = [self.code.pinned(value) for value in kind[index]]
                pinned.add(index)

    def lanes(self, index: int) -> list[Value]:
        if index not in self._lanes:
            self._lanes[index] = [self.layout.lanes_of(self._words[index][s // 2], s % 2 == 1) for s in range(self.sequences)]
        return self._lanes[index]

    def words(self, index: int) -> list[Value]:
        if index not in self._words:
            lanes = self._lanes[index]
            self._words[index] = [self.layout.words_of(lanes[even], None if odd is None else lanes[odd]) for even, odd in self.pairs]
        return self._words[index]

    def low_bits(self, index: int) -> list[Value]:
        """Lanes of which only the 16 lowest bits count."""
        if index in self._lanes:
            return self._lanes[index]
        return [self.layout.low_bits_of(self._words[index][s // 2], s % 2 == 1) for s in range(self.sequences)]


class Narrow:
    """One operator in 16 bits."""

    def __init__(self, tile: Tile, places: Places, index: int, op: IntOp):
        self.tile, self.places, self.index, self.op = tile, places, index, op
        self.code, self.layout, self.form = tile.code, tile.layout, tile.forms[index]

    def words(self, values: Values) -> Stages:
        """Returns the result for each two sequences. On the way it yields, where a form is `IN_TWO`, what it has, and takes it back."""
        odd = [second is not None for _, second in values.pairs]
        if self.form == "upper":
            in_float = self.index in self.tile.layer.floats
            interleaves = not self.tile.in_words
            lanes = yield [
                self._in_float(value, interleaves and s % 2 == 1) if in_float else self._scaled(value)
                for s, value in enumerate(values.lanes(self.op.args[0]))
            ]
            joined = self.layout.upper_words
            if in_float:
                joined = self.code.lower_and_upper if interleaves else self.layout.words_of
            return [joined(lanes[even], None if second is None else lanes[second]) for even, second in values.pairs]
        indices = self.tile.arguments(self.index)
        arguments = [values.words(a) for a in indices]
        if self.form in ("gated", "blend"):
            row = self.tile.plan.ops[self.tile.plan.ops[indices[0]].args[0]].name
            threshold = self.tile.words_constant(self.places, f"words threshold {row}")
            closed = arguments[2] if self.form == "blend" else [self.code.word(0)] * len(odd)
            return [self.code.where_greater(sign, threshold, *both) for sign, *both in zip(*arguments[:2], closed, strict=True)]
        if self.form == "scaled":
            multiplier = self.tile.words_constant(self.places, f"words {self.op.name}.multiplier")
            return [self.code.multiply_round(word, multiplier) for word in arguments[0]]
        if self.op.code == "interpolate":
            return (yield from self._lines(arguments[0], odd))
        return [self._word(list(some)) for some in zip(*arguments, strict=True)]

    def _scaled(self, value: Value) -> Value:
        code = self.code
        low, high, multiplier, half = (
            self.tile.constant(self.places, f"{self.op.name}.{what}") for what in ("low", "high", "multiplier", "half")
        )
        return code.add(code.multiply(code.minimum(code.maximum(value, low), high), multiplier), half)

    def _in_float(self, value: Value, odd: bool) -> Value:
        """The result in the lower half of a lane, or in the upper one."""
        names = (f"{self.op.name}.{'odd ' if odd else ''}{part}" for part in FLOAT_PARTS)
        return self.code.rescale_in_float(value, *(self.tile.constant(self.places, name) for name in names))

    def _word(self, a: list[Value]) -> Value:
        code = self.code
        if self.form in ("sign", "stored", "same"):  # what follows compares, or clips
            return a[0]
        if self.form == "saturate":
            return code.add_saturating(*a) if self.op.code == "add" else code.subtract_saturating(*a)
        if self.form == "round15":
            return code.multiply_round(*a)
        numbers = self.op.numbers
        if self.form == "high":
            return code.shift_right(code.add(code.multiply_high(*a), code.word(1 << numbers[0] - 17)), code.word(numbers[0] - 16))
        if self.form == "round":
            return code.multiply_round(a[0], code.word(1 << 15 - numbers[0]))
        if self.op.code == "offset":
            return code.add(a[0], code.word(numbers[0]))
        if self.op.code == "complement":
            return code.subtract(code.word(numbers[0]), a[0])
        return code.minimum(code.maximum(a[0], code.word(numbers[0])), code.word(numbers[1]))  # a clip

    def _lines(self, values: list[Value], odd: list[bool]) -> Stages:
        """The curve's values. Where tables lie in registers, only the six lowest bits of a segment's number count."""
        code, (segment, out) = self.code, self.op.numbers
        if self.index not in self.tile.layer.within:
            reach = self.tile.layer.curves[self.op.name].segments << segment >> 1
            values = [code.minimum(code.maximum(value, code.word(-reach)), code.word(reach - 1)) for value in values]
        within = [self._place(value, segment) for value in values]
        found = [self._table(second)(value) for value, second in zip(values, odd, strict=True)]
        count = len(values)
        kept = yield [*within, *chain(*zip(*found, strict=True))]
        within, knots, steps = (kept[first : first + count] for first in (0, count, 2 * count))
        lines = zip(within, knots, steps, strict=True)
        if self.form == "nearest":
            return [code.add(knot, code.multiply_round(step, place)) for place, knot, step in lines]
        return [code.shift_right(code.add(knot, code.multiply_high(step, place)), code.word(out)) for place, knot, step in lines]

    def _place(self, value: Value, segment: int) -> Value:
        """The place within a segment, as a fraction of 2^15; minus 2^15 in odd ones where their knots make up for it, `signed_places`."""
        place = self.code.shift_left(value, self.code.word(15 - segment))
        return place if self._permutes and self.tile.target.looks_up_bytes else self.code.both(place, self.code.word(FRACTION))

    @property
    def _permutes(self) -> bool:
        """Whether the curve's table lies in registers."""
        return self.tile.target.instructions.permutes and self.tile.layer.curves[self.op.name].segments == PERMUTED_SEGMENTS

    def _table(self, odd: bool) -> Callable[[Value], tuple[Value, Value]]:
        """From values to the knots of their segments and the steps to the next."""
        tile, code, name, segment = self.tile, self.code, self.op.name, self.op.numbers[0]
        loaded = tile.loaded
        if not self._permutes:
            middle = tile.table_middle(self.places, name, tile.layer.curves[name].segments, 0)
            return lambda value: self._knots_and_steps(middle, code.shift_right(value, code.word(segment)), odd)
        if f"words {name} 0" not in loaded:
            start = tile.table_start(self.places, name)
            loaded.update({f"words {name} {k}": code.words_at(code.plus(start, LINE * k)) for k in range(4)})
        knots, steps = ([loaded[f"words {name} {k}"] for k in halves] for halves in ((0, 1), (2, 3)))
        if tile.target.looks_up_bytes:
            return lambda value: code.lookup64_bytes(knots, steps, value, segment)
        return lambda value: code.lookup64_words(knots, steps, code.shift_right(value, code.word(segment)))

    def _knots_and_steps(self, table: Value, index: Value, odd: bool) -> tuple[Value, Value]:
        """Words of both halves of the entries (step below, knot above) of an int32 table at an address; sixteen loads a sequence."""
        even = self.code.lookup(table, self.layout.lanes_of(index, odd=False))
        other = self.code.lookup(table, self.layout.lanes_of(index, odd=True)) if odd else None
        if not self.tile.in_words:
            return self.code.upper_words(even, other), self.code.words_of(even, other)
        return self.layout.upper_words(even, other), self.layout.words_of(*map(self.code.sign_extended, (even, other)))
