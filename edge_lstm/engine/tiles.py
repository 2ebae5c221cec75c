"""The heart of the kernels: one group of sixteen units for a few sequences at once, from dot products to the new state.

Every integer operator has one line in `_OPERATORS`. A tile of weights is loaded once for all sequences; their accumulators stay in
registers from the first product to the last operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_lstm.engine.code import Code, Value
from edge_lstm.engine.layout import LANES, LINE, PERMUTED_SEGMENTS, SPARSE_UNITS, LayerStructure, Structure, Target
from edge_lstm.engine.narrow_tiles import Narrow, Values
from edge_lstm.engine.plan import Phase, is_behind_gate
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntOp

Place = Callable[[str], Value]

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


@dataclass(frozen=True)
class Places:
    """Addresses for one group. constants, units: of the group; current, following: the group's place in the segments; in the first record.

    model: start of the model; weights: first tile; segments: start of the current segments; inputs: of the layer.
    stride, input_stride: from one sequence to the next; segment_bytes: from one segment to the next; tiles: of x and of a segment;
    input_bytes: of x, or of each half of it; lists: what `list_tiles` made of the listed segment.
    """

    model: Value
    weights: Value
    constants: Value
    units: Value
    segments: Value
    current: Value
    following: Value
    inputs: Value
    stride: Value
    input_stride: Value
    segment_bytes: Value
    input_tiles: Value
    unit_tiles: Value
    input_bytes: Value
    lists: Value


LISTED_COUNT, LISTED_FIRST = LINE, LINE + 8  # where a list of tiles holds their number, and the first of them


def list_tiles(code: Code, sources: Value, tiles: Value, to: Value, always: bool) -> None:
    """Lists the tiles of sources, kept as v + 128, that hold more than zeros. Made once a step, and read by every group.

    A list is 128 sum v in all lanes, the number of tiles, then the sources of each tile, signed, and its position, 4 bytes both.
    always: also where there are few units; otherwise the list is then empty.
    """

    def body(tile: Value, carried: list[Value]) -> list[Value]:
        entry = code.plus(to, code.times(carried[0], 8), LISTED_FIRST)
        code.store_index(tile, code.plus(entry, 4))
        busy = code.copy_signed(code.plus(sources, code.times(tile, 4)), entry)
        return [code.plus(carried[0], busy), code.add(carried[1], code.dot(code.constant(0), code.bias_bytes(), code.tile_sources(entry)))]

    many = code.integer(1) if always else code.minus(1, code.either_less(tiles, SPARSE_UNITS // 4))
    count, total = code.loop(code.times(many, tiles), [code.integer(0), code.constant(0)], body)
    code.store(total, to)
    code.store_index(count, code.plus(to, LISTED_COUNT))


class Tile:
    """Emits the code of one phase of a layer for one group and `sequences` sequences."""

    def __init__(self, code: Code, structure: Structure, index: int, phase: Phase, target: Target):
        self.code, self.structure, self.index, self.phase, self.target = code, structure, index, phase, target
        self.layer: LayerStructure = structure.layers[index]
        self.plan = self.layer.plan
        self.is_last = phase is self.plan.phases[-1]
        self.loaded: dict[str, Value] = {}  # what one tile has loaded

    @property
    def overlaps(self) -> bool:
        """Whether the units of one tile are computed among the dot products of the next.

        A processor looks ahead over some hundred instructions. Behind all dot products of a tile the units wait for the last of them,
        with the next tile's out of sight. Half of the accumulators then wait, so two tiles of half the sequences are at work. Three
        curves and more need the registers, and take longer than those dot products.
        """
        curves = sum(self.plan.ops[index].code == "interpolate" for index in self.phase.ops)
        return self.target.is_wide and self.target.sequences(len(self.phase.rows)) > 1 and curves < 3

    def emit(self, places: Places, sequences: int, listed: bool = False, block: bool = False) -> None:
        """listed: whether each sequence has a list of its tiles that are not zero; block: whether the list is made for few units too."""
        self.finish(places, self.sums(places, sequences, listed, block))

    def sums(
        self, places: Places, sequences: int, listed: bool = False, block: bool = False, between: Callable[[], None] | None = None
    ) -> list[list[Value]]:
        """The accumulators [row][sequence]. between: emits what is to stand between the products with x and those with the states."""
        self.loaded, self.listed, self.block = {}, listed, block
        return self._dot_products(places, sequences, between)

    def finish(self, places: Places, sums: list[list[Value]]) -> None:
        """From the accumulators to the new states."""
        loaded, self.loaded = self.loaded, {}  # what is loaded in a branch is not there behind it
        self._units(places, len(sums[0]), sums)
        self.loaded = loaded

    # ---- dot products -----------------------------------------------------------------------------------------------------

    def _dot_products(self, places: Places, sequences: int, between: Callable[[], None] | None) -> list[list[Value]]:
        code, names = self.code, [self.plan.ops[index].name for index in self.phase.rows]
        accumulators: list[list[Value]] = [[code.constant(0)] * sequences for _ in names]
        weights = places.weights
        fed = {row for one in self.phase.passes if one.segment is None for row, _ in one.rows}
        passes = sorted(self.phase.passes, key=lambda one: one.segment is not None)
        for one in [p for p in passes if p.segment is None]:
            inputs = places.inputs
            if self.plan.wide:  # the high halves, then the low ones by the same weights
                self._pass(one.rows, accumulators, weights, inputs, places.input_stride, places.input_tiles)
                for row, _ in one.rows:
                    accumulators[row] = [code.shift_left(value, code.constant(HALF_BITS)) for value in accumulators[row]]
                inputs = code.plus(inputs, places.input_bytes)
            weights = self._pass(one.rows, accumulators, weights, inputs, places.input_stride, places.input_tiles)
        for row, name in enumerate(names):
            bias = code.constant(0) if self.phase.rows[row] in self.layer.bare else self.constant(places, f"bias {name}")
            for s in range(sequences):
                start = accumulators[row][s]
                if row in fed:
                    start = code.shift_left(start, self.number(places, f"input_shift {name}"))
                accumulators[row][s] = code.add(start, bias) if self.phase.rows[row] not in self.layer.bare else start
        if between is not None:
            between()
        for one in [p for p in passes if p.segment is not None]:
            sources = code.plus(places.segments, code.times(places.segment_bytes, one.segment or 0))
            if self.listed and one.segment == self.layer.listed:
                if self.block:  # the listed segment is read by the only pass of this kind, so no weights follow
                    for s in range(sequences):
                        for (row, _), total in zip(one.rows, self._listed_sums(places, one.rows, accumulators, weights, s), strict=True):
                            accumulators[row][s] = total
                    continue
                weights = self._listed_pass(places, one.rows, accumulators, weights, sources)
                continue
            skips = sequences == 1 and self._is_sparse(one.segment or 0)
            weights = self._pass(one.rows, accumulators, weights, sources, places.stride, places.unit_tiles, skips)
        return accumulators

    def _pass(
        self,
        rows: tuple[tuple[int, int], ...],
        accumulators: list[list[Value]],
        weights: Value,
        sources: Value,
        stride: Value,
        tiles: Value,
        skips: bool = False,
    ) -> Value:
        """Adds the products with one source vector to the accumulators of `rows`; returns the address behind the weights.

        skips: for one sequence, whether tiles of zeros are left out where there are many units.
        """
        code = self.code
        sequences = len(accumulators[0])
        starts = [sources]
        for _ in range(sequences - 1):
            starts.append(code.plus(starts[-1], stride))

        few = code.is_less(tiles, SPARSE_UNITS // self.target.tile_sources) if skips else None

        def body(tile: Value, carried: list[Value]) -> list[Value]:
            address, sums = carried[0], carried[1:]
            if skips:
                at = code.plus(starts[0], code.times(tile, 4))
                busy = code.is_busy(at, few)
                added = code.where(busy, sums, lambda: self._products(sums, code.tile_sources(at), address))
                return [code.plus(address, LINE * len(rows)), *added]
            loaded = [code.tile_weights(code.plus(address, LINE * k)) for k in range(len(rows))]
            offset = code.times(tile, 4)
            added = []
            for s in range(sequences):
                values = code.tile_sources(code.plus(starts[s], offset))
                added += [code.dot(sums[s * len(rows) + k], values, loaded[k]) for k in range(len(rows))]
            return [code.plus(address, LINE * len(rows)), *added]

        flat = [accumulators[row][s] for s in range(sequences) for row, _ in rows]
        weights, *flat = code.loop(tiles, [weights, *flat], body)
        for s in range(sequences):
            for k, (row, _) in enumerate(rows):
                accumulators[row][s] = flat[s * len(rows) + k]
        return weights

    def _listed_pass(
        self, places: Places, rows: tuple[tuple[int, int], ...], accumulators: list[list[Value]], weights: Value, sources: Value
    ) -> Value:
        """As `_pass` for one sequence, of the listed tiles alone where there are many units; otherwise of all."""
        code = self.code
        size = LINE * len(rows)
        few = code.either_less(places.unit_tiles, SPARSE_UNITS // self.target.tile_sources)
        flat = [accumulators[row][0] for row, _ in rows]

        def plain(tile: Value, carried: list[Value]) -> list[Value]:
            values = code.tile_sources(code.plus(sources, code.times(tile, 4)))
            return [code.plus(carried[0], size), *self._products(carried[1:], values, carried[0])]

        _, *flat = code.loop(code.times(few, places.unit_tiles), [weights, *flat], plain)

        flat = code.where(code.is_zero(few), flat, lambda: self._listed_sums(places, rows, accumulators, weights, 0))
        for k, (row, _) in enumerate(rows):
            accumulators[row][0] = flat[k]
        return code.plus(weights, code.times(places.unit_tiles, size))

    def _listed_sums(
        self, places: Places, rows: tuple[tuple[int, int], ...], accumulators: list[list[Value]], weights: Value, s: int
    ) -> list[Value]:
        """The accumulators of sequence s with the products of its listed tiles.

        Sources are kept as bytes v + 128, so zeros count. Here weights become w + 128 and sources v, and sum (w + 128) v - 128 sum v
        = sum w v; the constants of the rows count on 128 sum w beside it, which is added.
        """
        code, size = self.code, LINE * len(rows)
        lists = code.plus(places.lists, code.times(places.stride, s))

        def one(k: Value, sums: list[Value]) -> list[Value]:
            entry = code.plus(lists, code.times(k, 8), LISTED_FIRST)
            values = code.tile_sources(entry)
            at = code.plus(weights, code.times(code.load_index(code.plus(entry, 4)), size))
            loaded = [code.raised_weights(code.plus(at, LINE * r)) for r in range(len(rows))]
            return [code.dot(total, weight, values) for total, weight in zip(sums, loaded, strict=True)]

        sums = code.loop(code.load_index(code.plus(lists, LISTED_COUNT)), [accumulators[row][s] for row, _ in rows], one)
        total = code.lanes_at(lists)
        zeros = [self.constant(places, f"zeros {self.plan.ops[self.phase.rows[row]].name}") for row, _ in rows]
        return [code.add(code.subtract(value, total), zero) for value, zero in zip(sums, zeros, strict=True)]

    def _products(self, sums: list[Value], sources: Value, weights: Value) -> list[Value]:
        """One tile's products added to the sums of one sequence."""
        return [
            self.code.dot(total, sources, self.code.tile_weights(self.code.plus(weights, LINE * k))) for k, total in enumerate(sums)
        ]

    def _is_sparse(self, segment: int) -> bool:
        """Whether a segment holds values behind threshold gates, which are often zero, and zero is kept as zero."""
        return is_behind_gate(self.plan, segment) and self.target.instructions.offset == 0

    # ---- the dataflow of the units ------------------------------------------------------------------------------------------

    def number(self, places: Places, name: str) -> Value:
        """A number of the model in all lanes, loaded once for all sequences."""
        if name not in self.loaded:
            self.loaded[name] = self.code.splat_at(self.code.plus(places.model, self.structure.number(f"{self.index}.{name}")))
        return self.loaded[name]

    def constant(self, places: Places, name: str) -> Value:
        """A constant of the group, loaded once for all sequences."""
        if name not in self.loaded:
            self.loaded[name] = self.code.lanes_at(self.code.plus(places.constants, LINE * self.layer.constant_names.index(name)))
        return self.loaded[name]

    def _units(self, places: Places, sequences: int, accumulators: list[list[Value]]) -> None:
        """Operator by operator, each for all sequences: they share the constants, and fill each other's waiting times."""
        code = self.code
        shifts = [code.times(places.stride, s) for s in range(sequences)]

        def unit(name: str, s: int) -> Value:
            return code.plus(places.units, shifts[s], LINE * self.layer.unit_names.index(name))

        def source(start: Value, segment: int, s: int) -> Value:
            return code.plus(start, shifts[s], code.times(places.segment_bytes, segment))

        every = range(sequences)
        values = Values(code, sequences)
        for index, row in zip(self.phase.rows, accumulators, strict=True):
            values.keep(index, row)
        for index in self.phase.loads:
            values.keep(index, [code.lanes_at(unit(f"spill {index}", s)) for s in every])
        for index in self.phase.ops:
            op = self.plan.ops[index]
            if op.code == "state":
                values.keep(index, [code.lanes_at(unit(f"state {op.name}", s)) for s in every])
            elif op.code == "vector":
                values.keep(index, [self.constant(places, f"vector {op.name}")] * sequences)
            elif index in self.layer.narrow:
                values.keep_words(index, Narrow(self, places, index, op).words(values))
            else:
                values.keep(index, [self._operator(places, index, op, [values.lanes(a)[s] for a in op.args]) for s in every])
        for s in every:
            for index in self.phase.spills:
                code.store(values.lanes(index)[s], unit(f"spill {index}", s))
            for index, k in self.phase.computed:
                code.store_source(values.low_bits(index)[s], source(places.current, k, s))
            if self.is_last:
                for name in self.plan.stored:
                    code.store(values.lanes(self.plan.updates[name])[s], unit(f"state {name}", s))
                for k, segment in enumerate(self.plan.segments):
                    if segment.at_end is not None:
                        code.store_source(values.low_bits(segment.at_end)[s], source(places.following, k, s))

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
        if op.code == "clip" and index in self.layer.within:
            return arguments[0]
        if op.code == "interpolate":
            return self._interpolate(places, index, op, arguments[0], place)
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


def group_places(code: Code, whole: Places, layer: LayerStructure, target: Target, group: Value, group_weights: Value) -> Places:
    """The places of one group, from those of the layer."""
    lanes = code.times(group, LANES * target.source_bytes)
    return Places(
        whole.model,
        code.plus(whole.weights, code.times(group, group_weights)),
        code.plus(whole.constants, code.times(group, LINE * len(layer.constant_names))),
        code.plus(whole.units, code.times(group, LINE * len(layer.unit_names))),
        whole.segments,
        code.plus(whole.current, lanes),
        code.plus(whole.following, lanes),
        whole.inputs,
        whole.stride,
        whole.input_stride,
        whole.segment_bytes,
        whole.input_tiles,
        whole.unit_tiles,
        whole.input_bytes,
        whole.lists,
    )
