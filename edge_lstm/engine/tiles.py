"""The dataflow of a tile: from the dot products of sixteen units, for a few sequences at once, to their new states.

Every integer operator has one line in `_OPERATORS`. Accumulators stay in registers from the first product to the last operator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, takewhile
from typing import Any

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.instructions import BYTE_OFFSET
from edge_lstm.engine.layout import FLOAT_PARTS, LINE, PERMUTED_SEGMENTS, Structure, Target, blended
from edge_lstm.engine.narrow_tiles import IN_TWO, Narrow, Stages, Values
from edge_lstm.engine.packed_words import PackedWords
from edge_lstm.engine.plan import Phase
from edge_lstm.engine.products import Listed, Places, Products
from edge_lstm.fixed_point.integer_network import IntOp

Place = Callable[[str], Value]

MOST_SEQUENCES = 12  # of a tile: more would make longer code, not faster

# (code, arguments, numbers or constants by name) -> result
_OPERATORS: dict[str, Callable[[Code, list[Value], Place], Value]] = {
    "positive": lambda code, a, at: code.positive(a[0]),
    "select": lambda code, a, at: code.select(a[0], a[1]),
    "add": lambda code, a, at: code.add(a[0], a[1]),
    "subtract": lambda code, a, at: code.subtract(a[0], a[1]),
    "offset": lambda code, a, at: code.add(a[0], at("offset")),
    "clip": lambda code, a, at: code.minimum(code.maximum(a[0], at("low")), at("high")),
    "rescale": lambda code, a, at: _round_shift(
        code, code.multiply(code.minimum(code.maximum(a[0], at("low")), at("high")), at("multiplier")), at
    ),
    "multiply": lambda code, a, at: _round_shift(code, code.multiply(a[0], a[1]), at),
    "shift": lambda code, a, at: _round_shift(code, a[0], at),
    "raise": lambda code, a, at: code.shift_left(a[0], at("shift")),
}


def _round_shift(code: Code, value: Value, at: Place) -> Value:
    return code.shift_right(code.add(value, at("half")), at("shift"))


class Tile(Products):
    """Emits the code of one phase of a layer for one group and some sequences, or for two groups and one."""

    def __init__(self, code: Code, structure: Structure, index: int, phase: Phase, target: Target, in_words: bool = False):
        """in_words: whether the sequences of a batch keep their states in words, two by two, where the layer can (`engine.words`)."""
        super().__init__(code, structure, index, phase, target)
        self.is_last = phase is self.plan.phases[-1]
        self.in_words = in_words and bool(self.layer.words)
        self.forms = self.layer.words if self.in_words else self.layer.narrow
        self.layout: Code | PackedWords = PackedWords(code) if self.in_words else code

    @property
    def pairs(self) -> bool:
        """Whether one sequence visits the groups of a small layer in pairs. (Measured: dot products of int16 lose by it.)"""
        return self._holds_two and bool(self.target.instructions.quads)

    @property
    def _holds_two(self) -> bool:
        """Whether registers hold the accumulators of two tiles."""
        return self.target.is_avx512 and self.target.sequences(len(self.phase.rows)) > 1

    @cached_property
    def sequences(self) -> int:
        """How many sequences share one load of the weights, where none has a list; those of a block without a remainder.

        Registers hold more accumulators where units wait for all products.
        """
        rows, core = len(self.phase.rows), self.target.core
        most = self.target.sequences(rows)
        if core.halves or not self.target.is_avx512:
            return most
        if self.target.instructions.quads and self.parts == 1:
            most = max(1, min(MOST_SEQUENCES, core.whole_accumulators // max(rows, 1)))
        return max(size for size in range(self.least, most + 1, self.least) if core.block % size == 0)

    @property
    def least(self) -> int:
        """How many sequences are never stepped alone."""
        return 2 if self.in_words else 1

    @property
    def overlaps(self) -> bool:
        """Whether the units of one tile are computed among the dot products of the next.

        A processor looks ahead over some hundred instructions. Behind all dot products of a tile the units wait for the last of them,
        with the next tile's out of sight.
        """
        return self._holds_two and (self.parts > 1 or (self.target.core.halves and self._curves < 3))

    @cached_property
    def parts(self) -> int:
        """In how many parts the units of a tile stand among as many parts of dot products.

        What is multiplied, looked up or interpolated ends a part, where tables fit registers: what follows would wait for it, and fill
        the processor's queues meanwhile. (Measured: where every lane of a curve is loaded by itself, parts lose.)
        """
        return 1 + sum(map(self._stops, self.phase.ops)) if self._curves and self.target.instructions.permutes else 1

    def _stops(self, index: int) -> int:
        """How many parts end in an operator or behind it."""
        return (self.forms.get(index) in IN_TWO) + (self.plan.ops[index].code == "interpolate")

    @cached_property
    def _curves(self) -> int:
        return sum(self.plan.ops[index].code == "interpolate" for index in self.phase.ops)

    @cached_property
    def halves(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """(rows, the others, parts of the units that read none of the others): half of the rows are accumulated at a time, or all.

        All rows of two tiles would fill the registers: what the units of one tile still read is then spilled by the next.
        """
        if not self.target.core.halves:
            return tuple(range(len(self.phase.rows))), (), 0
        readers = [[a for a in self.plan.ops[index].args if a in self.phase.rows] for index in self.phase.ops]
        order = [self.phase.rows.index(row) for row in dict.fromkeys(chain(*readers, self.phase.rows))]
        half = max(1, len(order) // 2)
        first, others = tuple(order[:half]), tuple(order[half:])
        late = {self.phase.rows[row] for row in others}
        early = takewhile(lambda k: not late & set(readers[k]), range(len(readers)))
        return first, others, sum(self._stops(self.phase.ops[k]) for k in early) if others else 0

    def emit(self, places: Places, sequences: int, listed: Listed = "", block: bool = False) -> None:
        """One group for some sequences; listed, block: as in `sums`."""
        self.finish(places, self.sums([places], sequences, listed, block))

    def emit_pair(self, pair: Sequence[Places]) -> None:
        """Two groups for one sequence, which read each source once; twice the accumulators hide how long a dot product takes."""
        sums = self.sums(pair, 1)
        for k, places in enumerate(pair):
            self.finish(places, [[row[k]] for row in sums])

    def finish(self, places: Places, sums: list[list[Value]]) -> None:
        """From the accumulators to the new states."""
        for _ in self.units(places, sums, in_parts=False):
            pass

    def units(self, places: Places, accumulators: list[list[Value]], in_parts: bool) -> Iterator[None]:
        """`finish`, in_parts: a step of the iterator for each of its `parts`; rows may then get their accumulators in time.

        Operator by operator, each for all sequences: they share the constants, and fill each other's waiting times.
        """
        code, sequences = self.code, max(map(len, accumulators))
        shifts = [code.times(places.stride, s) for s in range(sequences)]

        def unit(name: str, s: int) -> Value:
            return code.plus(places.units, shifts[s], LINE * self.layer.unit_names.index(name))

        def source(start: Value, segment: int, s: int) -> Value:
            return code.plus(start, shifts[s], code.times(places.segment_bytes, segment))

        every = range(sequences)
        values = Values(code, self.layout, sequences)

        def fetch(indices: Iterable[int]) -> None:
            """Loads what operators do not make when it is read."""
            for index in indices:
                if index in values:
                    continue
                name = self.plan.ops[index].name
                if index in self.phase.rows:
                    values.keep(index, accumulators[self.phase.rows.index(index)])
                elif index in self.phase.loads:
                    values.keep(index, [code.lanes_at(unit(f"spill {index}", s)) for s in every])
                elif self.forms.get(index) == "state":
                    values.keep_words(index, [code.words_at(unit(f"state {name}", s)) for s in every[::2]])
                elif self.plan.ops[index].code == "state":
                    values.keep(index, [code.lanes_at(unit(f"state {name}", s)) for s in every])
                elif self.plan.ops[index].code == "vector":
                    values.keep(index, [self.constant(places, f"vector {name}")] * sequences)

        at_end = self._read_at_end
        for position, index in enumerate(self.phase.ops):
            op = self.plan.ops[index]
            if op.code in ("state", "vector") or self.forms.get(index) == "part":
                continue
            fetch(self.arguments(index))
            needed = at_end.union(*(self.arguments(later) for later in self.phase.ops[position + 1 :]))
            if index in self.forms:
                words = Narrow(self, places, index, op).words(values)
                values.keep_words(index, (yield from self._staged(words, values, needed, in_parts)))
            else:
                values.keep(index, [self._operator(places, index, op, [values.lanes(a)[s] for a in op.args]) for s in every])
            if op.code == "interpolate" and in_parts:
                self._end_part(values, needed)
                yield
        fetch(at_end)
        for s in every:
            for index in self.phase.spills:
                code.store(values.lanes(index)[s], unit(f"spill {index}", s))
            for index, k in self.phase.computed:
                code.store_source(values.low_bits(index)[s], source(places.current, k, s))
            if self.is_last:
                for name in self.plan.stored:
                    if not (self.in_words and name in self.layer.word_states):
                        code.store(values.lanes(self.plan.updates[name])[s], unit(f"state {name}", s))
                    elif s % 2 == 0:
                        code.store(values.words(self.plan.updates[name])[s // 2], unit(f"state {name}", s))
                for k, segment in enumerate(self.plan.segments):
                    if segment.at_end is not None:
                        self._store_source(values, segment.at_end, s, partial(source, places.following, k))

    def arguments(self, index: int) -> tuple[int, ...]:
        """The operators whose values one reads."""
        if self.forms.get(index) == "part":
            return ()
        return blended(self.plan, index) if self.forms.get(index) == "blend" else self.plan.ops[index].args

    def _store_source(self, values: Values, index: int, s: int, address: Callable[[int], Value]) -> None:
        """Stores what rows of the next step read of sequence s, or, where it is words, of two or four from each second or fourth one."""
        code = self.code
        if isinstance(self.layout, PackedWords) and index in self.forms:
            if s % 4 == 0:
                words = values.words(index)[s // 2 : s // 2 + 2]
                addresses = [address(k) for k in range(s, s + 2 * len(words))]
                self.layout.store_sources(words, addresses, "stored" in {self.forms.get(k) for k in (index, *self.plan.ops[index].args)})
        elif self.layer.saturated is not None and index == self.layer.saturated.output:
            code.store_saturating(values.lanes(index)[s], address(s))
        elif not (self.target.packs_words and values.has_words(index)):
            code.store_source(values.low_bits(index)[s], address(s))
        elif s % 2 == 0:
            code.store_two_sources(values.words(index)[s // 2], address(s), address(s + 1) if s + 1 < values.sequences else None)

    @cached_property
    def _read_at_end(self) -> set[int]:
        """Operators whose values are stored."""
        read = {*self.phase.spills, *(index for index, _ in self.phase.computed)}
        if self.is_last:
            read |= {self.plan.updates[name] for name in self.plan.stored}
            read |= {segment.at_end for segment in self.plan.segments if segment.at_end is not None}
        return read

    def _staged(self, words: Stages, values: Values, needed: set[int], in_parts: bool) -> Generator[None, None, list[Value]]:
        """The result of an operator; in_parts: yields where a part ends in it."""
        stage: Any = None
        while True:
            try:
                stage = words.send(stage)
            except StopIteration as done:
                return done.value
            if in_parts:
                stage = [self.code.pinned(value) for value in stage]
                self._end_part(values, needed)
                yield

    def _end_part(self, values: Values, needed: set[int]) -> None:
        """What is there stays there, and what is loaded is loaded again: dot products take the registers."""
        values.pin(needed)
        self.loaded = {}

    def _operator(self, places: Places, index: int, op: IntOp, arguments: list[Value]) -> Value:
        code = self.code

        def place(what: str) -> Value:
            if op.code == "rescale" and what != "shift":
                return self.constant(places, f"{op.name}.{what}")
            return self.number(places, f"{index} {what}")

        if op.code == "complement":  # its number is part of the structure: LLVM then sees through the complement of a threshold
            return code.subtract(code.constant(op.numbers[0]), arguments[0])
        if op.code == "positive" and op.args[0] in self.layer.bare:
            return code.greater(arguments[0], self.constant(places, f"threshold {self.plan.ops[op.args[0]].name}"))
        saturated = self.layer.saturated
        if op.code == "clip" and (index in self.layer.within or (saturated and index == saturated.clip)):
            return arguments[0]
        if op.code == "interpolate":
            return self._interpolate(places, index, op, arguments[0], place)
        if saturated and index == saturated.output:
            closed = code.constant(BYTE_OFFSET)
            return code.where_open(arguments[0], code.maximum(arguments[1], code.constant(1)), closed)
        if index in self.layer.floats:
            return code.rescale_in_float(arguments[0], *(self.constant(places, f"{op.name}.{part}") for part in FLOAT_PARTS))
        if index in self.layer.short:
            value = arguments[0]
            if saturated is None or index != saturated.rescale:
                value = code.minimum(code.maximum(value, place("low")), place("high"))
            return code.shift_right(code.line_of_pair(place("half"), value, place("multiplier")), place("shift"))
        return _OPERATORS[op.code](code, arguments, place)

    def table_start(self, places: Places, name: str) -> Value:
        slot = self.structure.slot(f"{self.index}.table {name}")
        return self.code.plus(places.model, self.code.load64(self.code.plus(places.model, slot)))

    def table_middle(self, places: Places, name: str, segments: int, part: int) -> Value:
        """Address of the entry for value 0 in a table of int32 (in its second half for part 1)."""
        key = f"table {name} {part}"
        if key not in self.loaded:
            self.loaded[key] = self.code.plus(self.table_start(places, name), 2 * segments + 4 * segments * part)
        return self.loaded[key]

    def _table(self, places: Places, name: str, segments: int, part: int) -> Callable[[Value], Value]:
        """Lookup in the middle of a table (of its second half for part 1), loaded once for all sequences where it fits registers."""
        code, key = self.code, f"table {name} {part}"
        middle = self.table_middle(places, name, segments, part)
        if not (self.target.instructions.permutes and segments == PERMUTED_SEGMENTS):
            return lambda segment: code.lookup(middle, segment)
        quarters = []
        for k in (-2, -1, 0, 1):
            if f"{key} {k}" not in self.loaded:
                self.loaded[f"{key} {k}"] = code.lanes_at(code.plus(middle, LINE * k))
            quarters.append(self.loaded[f"{key} {k}"])
        return lambda segment: code.lookup64(quarters, segment)

    def _interpolate(self, places: Places, index: int, op: IntOp, value: Value, number: Place) -> Value:
        code, curve = self.code, self.layer.curves[op.name]
        if index not in self.layer.within:
            value = code.minimum(code.maximum(value, number("low")), number("high"))
        # Tables are centred on zero: the segment is negative for negative values, and the place within a segment never is.
        segment, within = code.shift_right(value, number("segment_shift")), code.both(value, number("segment_mask"))
        if curve.paired:
            pair = self._table(places, op.name, curve.segments, 0)(segment)
            line = code.line_of_pair(number("half"), pair, code.either_bits(within, number("segment_one")))
        else:
            knots, steps = (self._table(places, op.name, curve.segments, part)(segment) for part in (0, 1))
            line = code.add(code.add(code.shift_left(knots, number("segment_shift")), code.multiply(steps, within)), number("half"))
        return code.shift_right(line, number("shift"))
