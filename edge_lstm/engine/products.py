"""The dot products of a tile: sixteen units for a few sequences at once, or a few groups of sixteen for one sequence.

Accumulators stay in registers from the first product to the last; weights are loaded once for all sequences, sources once for all groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import (
    ASKED_UNITS,
    ENTRY,
    LANES,
    LINE,
    LISTED_COUNT,
    LISTED_FIRST,
    LISTED_FOURS,
    LayerStructure,
    Structure,
    Target,
)
from edge_lstm.engine.lists import four_columns
from edge_lstm.engine.plan import Pass, Phase, is_behind_gate
from edge_lstm.fixed_point.integer_network import HALF_BITS

Listed = Literal["", "tiles", "columns", "either"]  # what lists name in place of all tiles; either: one of both for each step


@dataclass(frozen=True)
class Places:
    """Addresses for one group. constants, units: of the group; current, following: the group's place in the segments; in the first record.

    model: start of the model; weights: first tile; segments: start of the current segments; inputs: of the layer.
    stride, input_stride: from one sequence to the next; segment_bytes: from one segment to the next; tiles: of x and of a segment;
    input_bytes: of x, or of each half of it; lists: what `list_tiles` made of the listed segment; columns: their weights, where it may list
    columns.
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
    columns: Value


@dataclass(frozen=True)
class Share:
    """The rows of a pass that are accumulated.

    rows: positions in `Phase.rows`; lines: theirs of a tile's weights; size: bytes of all weights of a tile.
    """

    rows: tuple[int, ...]
    lines: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, one: Pass, rows: Sequence[int]) -> Share:
        lines = tuple(line for line, (row, _) in enumerate(one.rows) if row in rows)
        return cls(tuple(one.rows[line][0] for line in lines), lines, LINE * len(one.rows))

    def flat(self, accumulators: list[list[Value]]) -> list[Value]:
        """The accumulators [row][column] of the rows, column by column."""
        return [value for column in zip(*(accumulators[row] for row in self.rows), strict=True) for value in column]

    def unflatten(self, accumulators: list[list[Value]], flat: list[Value]) -> None:
        for k, value in enumerate(flat):
            accumulators[self.rows[k % len(self.rows)]][k // len(self.rows)] = value


class Products:
    """Emits the dot products of one phase of a layer."""

    def __init__(self, code: Code, structure: Structure, index: int, phase: Phase, target: Target):
        self.code, self.structure, self.index, self.phase, self.target = code, structure, index, phase, target
        self.layer: LayerStructure = structure.layers[index]
        self.plan = self.layer.plan
        self.loaded: dict[str, Value] = {}  # what one tile has loaded

    def sums(
        self,
        groups: Sequence[Places],
        sequences: int,
        listed: Listed = "",
        block: bool = False,
        between: Sequence[Callable[[], object]] = (),
        only: Sequence[int] | None = None,
    ) -> list[list[Value]]:
        """The accumulators [row][sequence], or [row][group] of several groups for one sequence.

        listed: what each sequence has a list of; block: whether the list is made for few units too;
        between: emit what is to stand among the products with a state, each before an equal part of them;
        only: positions of the rows to accumulate, if not all; the others get none.
        """
        self.loaded = {}
        code, names, places = self.code, [self.plan.ops[index].name for index in self.phase.rows], groups[0]
        columns = len(groups) * sequences
        chosen, rolled = range(len(names)) if only is None else only, only is not None
        accumulators = [self._start(row, groups, sequences) if row in chosen else [] for row in range(len(names))]
        weights = [one.weights for one in groups]
        fed = {row for one in self.phase.passes if one.segment is None for row, _ in one.rows}
        passes = [(one.segment, Share.of(one, chosen)) for one in sorted(self.phase.passes, key=lambda one: one.segment is not None)]
        for _, share in [p for p in passes if p[0] is None]:
            inputs = places.inputs
            if self.plan.wide:  # the high halves, then the low ones by the same weights
                self._pass(share, accumulators, weights, inputs, places.input_stride, places.input_tiles, rolled=rolled)
                for row in share.rows:
                    accumulators[row] = [code.shift_left(value, code.constant(HALF_BITS)) for value in accumulators[row]]
                inputs = code.plus(inputs, places.input_bytes)
            weights = self._pass(share, accumulators, weights, inputs, places.input_stride, places.input_tiles, rolled=rolled)
        for row in chosen:
            for column in range(columns):
                value = accumulators[row][column]
                if row in fed:
                    value = code.shift_left(value, self.number(places, f"input_shift {names[row]}"))
                if self.phase.rows[row] not in self.layer.bare:
                    value = code.add(value, self.constant(groups[column // sequences], f"bias {names[row]}"))
                accumulators[row][column] = value
        for segment, share in [p for p in passes if p[0] is not None]:
            sources = code.plus(places.segments, code.times(places.segment_bytes, segment or 0))
            if listed and segment == self.layer.listed:
                if block:  # the listed segment is read by the only pass of this kind, so no weights follow
                    for s in range(sequences):
                        self._listed_sums(places, share, accumulators, weights[0], s, listed)
                    continue
                weights = [self._listed_pass(places, share, accumulators, weights[0], sources, listed)]
                continue
            if share.rows and len(between) > 1:
                weights = [self._parted_pass(places, share, accumulators, weights[0], sources, between)]
                between = ()
                continue
            if share.rows:
                for emit in between:
                    emit()
                between = ()
            skips = columns == 1 and self._is_sparse(segment or 0)
            weights = self._pass(share, accumulators, weights, sources, places.stride, places.unit_tiles, skips, rolled)
        for emit in between:  # nothing was multiplied with a state
            emit()
        return accumulators

    def _start(self, row: int, groups: Sequence[Places], sequences: int) -> list[Value]:
        """What the accumulators of a row begin with, for some sequences of each group."""
        if self.phase.rows[row] not in self.layer.started:
            return [self.code.constant(0)] * (len(groups) * sequences)
        name = f"start {self.plan.ops[self.phase.rows[row]].name}"
        return [value for places in groups for value in [self.constant(places, name)] * sequences]

    def _parted_pass(
        self, places: Places, share: Share, accumulators: list[list[Value]], weights: Value, sources: Value,
        between: Sequence[Callable[[], object]],
    ) -> Value:  # fmt: skip
        """As `_pass` of one group over a segment, in as many equal parts as there is to emit before them."""
        code, sequences = self.code, len(accumulators[share.rows[0]])

        def body(_: Value, carried: list[Value]) -> list[Value]:
            at, source, *sums = carried
            at = code.rolled(at)  # there are many such loops, and each makes but a few steps
            found = (code.tile_sources(code.plus(source, code.times(places.stride, s))) for s in range(sequences))
            return [code.plus(at, share.size), code.plus(source, 4), *self._products(sums, found, [at], share)]

        carried = [weights, sources, *share.flat(accumulators)]
        done = code.integer(0)
        for k, emit in enumerate(between, 1):
            emit()
            end = code.quotient(code.times(places.unit_tiles, k), len(between)) if k < len(between) else places.unit_tiles
            carried = code.loop(code.minus(end, done), carried, body)
            done = end
        share.unflatten(accumulators, carried[2:])
        return carried[0]

    def _pass(
        self,
        share: Share,
        accumulators: list[list[Value]],
        weights: list[Value],
        sources: Value,
        stride: Value,
        tiles: Value,
        skips: bool = False,
        rolled: bool = False,
    ) -> list[Value]:
        """Adds the products with one source vector to the accumulators of a share; returns the addresses behind the weights.

        weights: of each group; skips: for one sequence, whether tiles of zeros are left out where there are many units;
        rolled: whether the loop over the tiles is left as it is, which compiles faster.
        """
        code, groups = self.code, len(weights)
        if not share.rows:
            return [code.plus(address, code.times(tiles, share.size)) for address in weights]
        sequences = len(accumulators[share.rows[0]]) // groups
        starts = [sources]
        for _ in range(sequences - 1):
            starts.append(code.plus(starts[-1], stride))

        few = code.is_less(tiles, ASKED_UNITS // self.target.tile_sources) if skips else None

        def body(tile: Value, carried: list[Value]) -> list[Value]:
            at, sums = carried[:groups], carried[groups:]
            if rolled:
                at = [code.rolled(at[0]), *at[1:]]
            offset = code.times(tile, 4)
            if skips:
                source = code.plus(starts[0], offset)
                sums = code.where(code.is_busy(source, few), sums, lambda: self._products(sums, [code.tile_sources(source)], at, share))
            else:
                sums = self._products(sums, (code.tile_sources(code.plus(start, offset)) for start in starts), at, share)
            return [*(code.plus(address, share.size) for address in at), *sums]

        carried = [*weights, *share.flat(accumulators)]
        many = sequences > 1 and not (rolled or skips)
        turn = self.target.core.unrolled if many and self.target.instructions.quads else 1  # dot products of int16 take half as long again
        done = code.integer(0)
        if turn > 1:

            def turns(index: Value, carried: list[Value]) -> list[Value]:
                for k in range(turn):
                    carried = body(code.plus(code.times(index, turn), k), carried)
                return carried

            whole = code.quotient(tiles, turn)
            carried, done = code.loop(whole, carried, turns), code.times(whole, turn)
        carried = code.loop(code.minus(tiles, done), carried, lambda index, carried: body(code.plus(done, index), carried))
        share.unflatten(accumulators, carried[groups:])
        return carried[:groups]

    def _products(self, sums: list[Value], sources: Iterable[Value], weights: list[Value], share: Share) -> list[Value]:
        """One tile's products added to `sums`, which are flat; sources: of each sequence; weights: of each group."""
        code = self.code
        loaded = [[code.tile_weights(code.plus(at, LINE * line)) for line in share.lines] for at in weights]
        if len(weights) == 1:
            pairs = ((source, weight) for source in sources for weight in loaded[0])
        else:
            (source,) = sources
            pairs = ((source, weight) for group in loaded for weight in group)
        return [code.dot(total, source, weight) for total, (source, weight) in zip(sums, pairs, strict=True)]

    def _listed_pass(
        self, places: Places, share: Share, accumulators: list[list[Value]], weights: Value, sources: Value, listed: Listed
    ) -> Value:
        """As `_pass` for one sequence, of the listed tiles alone where there are many units; otherwise of all."""
        code, tiles = self.code, places.unit_tiles
        few = code.either_less(tiles, self.target.core.listed_tiles)
        self._pass(share, accumulators, [weights], sources, places.stride, code.times(few, tiles))
        flat = share.flat(accumulators)

        def by_list() -> list[Value]:
            self._listed_sums(places, share, accumulators, weights, 0, listed)
            return share.flat(accumulators)

        share.unflatten(accumulators, code.where(code.is_zero(few), flat, by_list))
        return code.plus(weights, code.times(tiles, share.size))

    def _listed_sums(
        self, places: Places, share: Share, accumulators: list[list[Value]], weights: Value, s: int, listed: Listed
    ) -> None:
        """Adds the products of what is listed of sequence s to its accumulators.

        Where sources are kept as bytes v + 128, zeros count. Here weights are kept as w + 128 and sources as v, and sum (w + 128) v
        - 128 sum v = sum w v.
        """
        code, raised = self.code, self.layer.raised
        lists = code.plus(places.lists, code.times(places.stride, s))
        if listed == "columns":
            lists = code.opaque(lists)

        def four(k: Value, sums: list[Value]) -> list[Value]:
            values, loaded = four_columns(code, lists, places.unit_tiles, k, places.columns)
            return [code.dot(total, weight, values) for total, weight in zip(sums, loaded, strict=True)]

        def one(k: Value, sums: list[Value]) -> list[Value]:
            return [total for part in range(at_once) for total in tile(code.plus(code.times(k, at_once), part), sums[part * rows :][:rows])]

        def tile(k: Value, sums: list[Value]) -> list[Value]:
            entry = code.load64(code.plus(lists, code.times(k, ENTRY), LISTED_FIRST))
            values = code.as_tile(code.splat_index(entry))
            at = code.plus(weights, code.times(code.upper_half(entry), share.size))
            loaded = [code.tile_weights(code.plus(at, LINE * line)) for line in share.lines]
            factors = [(weight, values) if raised else (values, weight) for weight in loaded]
            return [code.dot(total, *both) for total, both in zip(sums, factors, strict=True)]

        rows, at_once = len(share.rows), self.target.core.listed_at_once
        sums = [accumulators[row][s] for row in share.rows]
        if listed != "tiles":
            sums = code.loop(code.load_index(code.plus(lists, LISTED_FOURS)), sums, four)
        if listed != "columns":
            count = code.quotient(code.plus(code.load_index(code.plus(lists, LISTED_COUNT)), at_once - 1), at_once)
            parts = code.loop(count, [*sums, *[code.constant(0)] * (rows * (at_once - 1))], one)
            sums = [reduce(code.add, parts[row::rows]) for row in range(rows)]
        if not raised:
            for row, value in zip(share.rows, sums, strict=True):
                accumulators[row][s] = value
            return
        total = code.lanes_at(lists)
        for row, value in zip(share.rows, sums, strict=True):
            accumulators[row][s] = code.subtract(value, total)

    def _is_sparse(self, segment: int) -> bool:
        """Whether a segment holds values behind threshold gates, which are often zero, and zero is kept as zero."""
        return is_behind_gate(self.plan, segment) and self.target.instructions.offset == 0

    def number(self, places: Places, name: str) -> Value:
        """A number of the model in all lanes, loaded once for all sequences."""
        if name not in self.loaded:
            self.loaded[name] = self.code.splat_at(self.code.plus(places.model, self.structure.number(f"{self.index}.{name}")))
        return self.loaded[name]

    def constant(self, places: Places, name: str) -> Value:
        """A constant of the group, loaded once for all sequences."""
        return self._constant(places, name, self.code.lanes_at)

    def words_constant(self, places: Places, name: str) -> Value:
        """One that is words."""
        return self._constant(places, name, self.code.words_at)

    def _constant(self, places: Places, name: str, load: Callable[[Value], Value]) -> Value:
        key = f"{id(places.constants)} {name}"
        if key not in self.loaded:
            self.loaded[key] = load(self.code.plus(places.constants, LINE * self.layer.constant_names.index(name)))
        return self.loaded[key]


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
        code.plus(whole.columns, code.times(group, code.times(whole.unit_tiles, 4 * LINE))),
    )
