"""One step of a stack for one record or a block of them: layers, phases, groups and sequences as loops around tiles.

`advance` makes Numba intrinsics for one structure; generated modules bind them and call them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import LANES, LINE, PLAIN, Structure, Target
from edge_lstm.engine.lists import list_columns, list_either, list_tiles
from edge_lstm.engine.products import Listed, Places, group_places
from edge_lstm.engine.tiles import Tile

Emit = Callable[..., Value | None]


PAIRED_GROUPS = 8  # from so many on their weights come from the second-level cache: one sequence visits one group after the other


class Walk:
    """Reads the header of a model and walks over its layers."""

    def __init__(self, code: Code, structure: Structure, target: Target, model: Value):
        self.code, self.structure, self.target, self.model = code, structure, target, model

    def slot(self, name: str) -> Value:
        return self.code.load64(self.code.plus(self.model, self.structure.slot(name)))

    def segments(self, layer: int, half: Value) -> Value:
        """Offset in a record of a layer's segments; half: 0 or 1."""
        return self.code.plus(self.slot(f"{layer}.segments"), self.code.times(half, self.slot(f"{layer}.half_bytes")))

    def output(self, layer: int, half: Value) -> Value:
        """Offset in a record of a layer's output."""
        segment = self.structure.layers[layer].plan.output
        return self.code.plus(self.segments(layer, half), self.code.times(self.slot(f"{layer}.segment_bytes"), segment))

    def step(
        self, layer: int, records: Value, count: Value, stride: Value, parity: Value, inputs: Value, input_stride: Value, block: bool,
        lists: Listed, in_words: bool,
    ) -> None:  # fmt: skip
        """One step of one layer. The segments of the step before are at `parity`, the new ones in the other half.

        lists: how each sequence leaves out its own zeros, where the layer has a listed segment; in_words: as of `Tile`.
        """
        code, plan = self.code, self.structure.layers[layer].plan
        current = code.plus(records, self.segments(layer, parity))
        following = code.plus(records, self.segments(layer, code.minus(1, parity)))
        groups = self.slot(f"{layer}.groups")
        for p, phase in enumerate(plan.phases):
            whole = Places(
                self.model, code.plus(self.model, self._raised(layer, f"weights{p}", "raised_weights", lists, block)),
                code.plus(self.model, self._raised(layer, "constants", "raised_constants", lists, block)),
                code.plus(records, self.slot(f"{layer}.units")),
                current, current, following, inputs, stride, input_stride,
                self.slot(f"{layer}.segment_bytes"), self.slot(f"{layer}.input_tiles"), self.slot(f"{layer}.unit_tiles"),
                self.slot(f"{layer}.input_bytes"), code.plus(records, self.slot("values")),
                code.plus(self.model, self.slot(f"{layer}.column_weights") if self.structure.layers[layer].columns else 0),
            )  # fmt: skip
            tile = Tile(code, self.structure, layer, phase, self.target, in_words)
            listed: Listed = "" if tile.layer.listed is None else lists
            if listed and not tile.layer.columns:
                listed = "tiles"
            if listed:
                self._list(tile.layer.listed or 0, whole, count if block else code.integer(1), listed, block)
            self._groups(tile, whole, groups, self.slot(f"{layer}.group_weights{p}"), parity, count if block else None, listed)

    def _raised(self, layer: int, plain_name: str, raised_name: str, lists: Listed, block: bool) -> Value:
        """Offset of weights or constants, those for sources by lists where there are lists."""
        plain = self.slot(f"{layer}.{plain_name}")
        if not (lists and self.structure.layers[layer].raised):
            return plain
        raised = self.slot(f"{layer}.{raised_name}")
        few = self.code.either_less(self.slot(f"{layer}.unit_tiles"), self.target.core.listed_tiles)
        return raised if block else self.code.either(few, plain, raised)

    def _list(self, segment: int, whole: Places, count: Value, listed: Listed, always: bool) -> None:
        """Lists what is not zero in a segment, for each sequence (`lists`); a list lies where read-outs keep values."""
        code = self.code

        def body(_: Value, at: list[Value]) -> list[Value]:
            if listed == "tiles":
                list_tiles(code, at[0], whole.unit_tiles, at[1], always)
            else:
                (list_columns if listed == "columns" else list_either)(code, at[0], whole.unit_tiles, at[1])
            return [code.plus(address, whole.stride) for address in at]

        code.loop(count, [code.plus(whole.segments, code.times(whole.segment_bytes, segment)), whole.lists], body)

    def _groups(
        self, tile: Tile, whole: Places, groups: Value, group_weights: Value, parity: Value, count: Value | None, listed: Listed
    ) -> None:
        """A tile for every group, for `count` sequences or for one. Sequences with lists share the weights in the cache."""
        code, size, least = self.code, tile.sequences, tile.least
        if listed:
            size = self.target.sequences(len(tile.phase.rows)) // least * least

        def places_of(first: Value, size: int = 1) -> list[Places]:
            # Odd steps visit the groups backwards: what the step before used last is still in the cache.
            group = code.either(parity, code.minus(code.minus(groups, size), first), first)
            return [group_places(code, whole, tile.layer, self.target, code.plus(group, k), group_weights) for k in range(size)]

        if count is None:
            pairs = code.integer(0)
            if tile.pairs:
                most = self.target.core.listed_tiles * self.target.tile_sources // LANES if listed else PAIRED_GROUPS
                pairs = code.times(code.either_less(groups, most), code.quotient(groups, 2))

            def visit_pair(index: Value, _: list[Value]) -> list[Value]:
                tile.emit_pair(places_of(code.times(index, 2), 2))
                return []

            def visit_one(index: Value, _: list[Value]) -> list[Value]:
                tile.emit(places_of(code.plus(code.times(pairs, 2), index))[0], 1, listed)
                return []

            if tile.pairs:
                code.loop(pairs, [], visit_pair)
            code.loop(code.minus(groups, code.times(pairs, 2)), [], visit_one)
            return

        overlaps = tile.overlaps and not listed
        in_parts = overlaps and tile.parts > 1
        if overlaps and not in_parts:  # the accumulators of two tiles are then at work at once
            size //= 2
        tiles = code.quotient(count, size)
        done = code.times(tiles, size)
        if in_parts:
            self._in_parts(tile, lambda group: places_of(group)[0], groups, tiles, size)

        def visit(index: Value, _: list[Value]) -> list[Value]:
            (places,) = places_of(index)
            if overlaps and not in_parts:
                self._overlapping(tile, places, tiles, size)
            elif not in_parts:
                self._sequences(tile, places, tiles, size, listed)
            if size > least:
                behind = _moved(places, self._ahead(places, _moving(places), done))
                rest = code.minus(count, done)
                self._sequences(tile, behind, rest if least == 1 else code.quotient(rest, least), least, listed)
            return []

        code.loop(groups, [], visit)

    def _sequences(self, tile: Tile, places: Places, count: Value, size: int, listed: Listed) -> None:
        """`count` times `size` sequences of one group."""

        def body(_: Value, carried: list[Value]) -> list[Value]:
            tile.emit(_moved(places, carried), size, listed, block=True)
            return self._ahead(places, carried, size)

        self.code.loop(count, _moving(places), body)

    def _overlapping(self, tile: Tile, places: Places, count: Value, size: int) -> None:
        """`count` times `size` sequences of one group, with the units of each tile among the dot products of the next."""
        code, moving = self.code, len(_MOVING)

        def finish(carried: list[Value]) -> list[Value]:
            """The units of the tile before."""
            loaded, tile.loaded = tile.loaded, {}  # what is loaded in a branch is not there behind it
            sums = [carried[first : first + size] for first in range(moving, len(carried), size)]
            tile.finish(_moved(places, self._ahead(places, carried[:moving], -size)), sums)
            tile.loaded = loaded
            return []

        def body(index: Value, carried: list[Value]) -> list[Value]:
            sums = tile.sums(
                [_moved(places, carried[:moving])], size,
                between=[lambda: code.where(code.is_positive(index), [], lambda: finish(carried))],
            )  # fmt: skip
            return [*self._ahead(places, carried[:moving], size), *chain(*sums)]

        start = [*_moving(places), *[code.constant(0)] * (len(tile.phase.rows) * size)]
        ends = code.loop(count, start, body)
        code.where(code.is_positive(count), [], lambda: finish(ends))

    def _in_parts(self, tile: Tile, places_of: Callable[[Value], Places], groups: Value, count: Value, size: int) -> None:
        """`count` times `size` sequences of all groups; the units of each tile among the rest of its dot products and the next one's."""
        code, first_sum = self.code, 2 + len(_MOVING)
        first, others, early = tile.halves

        # Carried: the group of a tile, which of the group's tiles it is, and the addresses of its first sequence; then accumulators.

        def at_start(group: Value) -> list[Value]:
            return [group, code.integer(0), *_moving(places_of(group))]

        def place(at: list[Value]) -> Places:
            return _moved(places_of(at[0]), at[2:first_sum])

        def after(at: list[Value]) -> list[Value]:
            following = [at[0], code.plus(at[1], 1), *self._ahead(place(at), at[2:first_sum], size)]
            is_not_last = code.minus(following[1], count)
            return [code.either(is_not_last, *both) for both in zip(following, at_start(code.plus(at[0], 1)), strict=True)]

        def begin(at: list[Value], between: Sequence[Callable[[], object]]) -> list[Value]:
            """Where a tile is, and the accumulators of the first half, row by row."""
            sums = tile.sums([place(at)], size, between=between, only=first)
            return [*at, *chain(*(sums[row] for row in first))]

        def begun(carried: list[Value]) -> list[list[Value]]:
            """The accumulators by row."""
            sums: list[list[Value]] = [[] for _ in tile.phase.rows]
            for k, row in enumerate(first):
                sums[row] = carried[first_sum + k * size : first_sum + (k + 1) * size]
            return sums

        def complete(here: Places, sums: list[list[Value]], between: Sequence[Callable[[], object]]) -> None:
            """Puts the accumulators of the other rows in their place."""
            if others:
                more = tile.sums([here], size, between=between, only=others)
                for row in others:
                    sums[row] = more[row]

        def body(_: Value, carried: list[Value]) -> list[Value]:
            here, sums = place(carried), begun(carried)
            part = partial(next, tile.units(here, sums, in_parts=True), None)
            complete(here, sums, [part] * early)
            return begin(after(carried), [part] * (tile.parts - early))

        def all_tiles() -> list[Value]:
            carried = code.loop(code.minus(code.times(count, groups), 1), begin(at_start(code.integer(0)), ()), body)
            here, sums = place(carried), begun(carried)
            tile.loaded = {}  # what is loaded in a loop is not there behind it
            complete(here, sums, ())
            tile.finish(here, sums)
            return []

        code.where(code.is_positive(code.times(count, groups)), [], all_tiles)

    def _ahead(self, places: Places, moving: list[Value], sequences: int | Value) -> list[Value]:
        """Addresses that many sequences further on."""
        code = self.code
        step, input_step = code.times(places.stride, sequences), code.times(places.input_stride, sequences)
        return [code.plus(at, input_step if name == "inputs" else step) for name, at in zip(_MOVING, moving, strict=True)]


# What differs from one sequence to the next.
_MOVING = ("units", "segments", "current", "following", "inputs", "lists")


def _moving(places: Places) -> list[Value]:
    return [getattr(places, name) for name in _MOVING]


def _moved(places: Places, addresses: list[Value]) -> Places:
    return replace(places, **dict(zip(_MOVING, addresses, strict=True)))


def step_of_all_layers(
    code: Code, structure: Structure, target: Target, block: bool, lists: Listed, places: Sequence[Value], in_words: bool = False
) -> Value:
    """Code of one step of all layers for `places` as `advance` takes them; returns the address of the output in the first record."""
    model, records, count, stride, parity, inputs, input_stride = places
    stack = Walk(code, structure, target, model)
    for layer in range(len(structure.layers)):
        stack.step(layer, records, count, stride, parity, inputs, input_stride, block, lists, in_words)
        inputs, input_stride = code.plus(records, stack.output(layer, code.minus(1, parity))), stride
    return inputs


def advance(structure: Structure, target: Target, block: bool, lists: Listed, in_words: bool = False) -> Any:
    """(model, records, count, stride, parity, inputs, input_stride) -> address of the output in the first record: one step of all layers.

    block: for `count` records; otherwise for one. lists: what each sequence lists to leave out zeros. inputs: of the first record;
    input_stride: from one record's inputs to the next. in_words: as of `Tile`; `count` is then even where the structure steps in pairs.
    """
    return as_intrinsic(7, lambda code, *places: step_of_all_layers(code, structure, target, block, lists, places, in_words), target)


def shared_weights(structure: Structure, target: Target) -> int:
    """How many sequences of a batch take as long as half of them do one by one; 1 where that is as fast.

    Where two dot products are made a cycle, those of one sequence alone wait for each other: it has too few accumulators.
    """
    if target.core.halves:
        return 1
    code: Any = None  # no code is written
    phases = [(k, phase) for k, layer in enumerate(structure.layers) for phase in layer.plan.phases]
    tiles = [Tile(code, structure, k, phase, target, in_words=True) for k, phase in phases]
    return max((tile.sequences for tile in tiles), default=1)


def _add_products(code: Code, weights: Value, values: Value, inputs: Value, sums: Value, groups: Value) -> None:
    def group_body(group: Value, carried: list[Value]) -> list[Value]:
        def input_body(k: Value, total: list[Value]) -> list[Value]:
            weight = code.lanes_at(code.plus(carried[0], code.times(k, LINE)))
            return [code.add(total[0], code.multiply(code.splat_at(code.plus(values, code.times(k, 4))), weight))]

        at = code.plus(sums, code.times(group, LINE))
        code.store(code.loop(inputs, [code.lanes_at(at)], input_body)[0], at)
        return [code.plus(carried[0], code.times(inputs, LINE))]

    code.loop(groups, [weights], group_body)


def as_intrinsic(arity: int, emit: Emit, target: Target = PLAIN) -> Any:
    """An intrinsic of int64 arguments that returns an int64, 0 where `emit` gives nothing."""

    def typed(*arguments: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[Value]) -> Value:
            wide = [context.cast(builder, value, given, types.intp) for value, given in zip(values, signature.args, strict=True)]
            produced = emit(Code(builder, target), *wide)
            return Code.integer(0) if produced is None else produced

        return types.intp(*arguments), code

    # Numba reads the number of arguments off the function's own signature.
    if arity == 2:
        return intrinsic(lambda typing_context, a, b: typed(a, b))
    if arity == 3:
        return intrinsic(lambda typing_context, a, b, c: typed(a, b, c))
    if arity == 7:
        return intrinsic(lambda typing_context, a, b, c, d, e, f, g: typed(a, b, c, d, e, f, g))
    return intrinsic(lambda typing_context, a, b, c, d, e: typed(a, b, c, d, e))


# (weights, values, inputs, sums, groups): sums += W values, int32, for weights [group, input, 16].
add_products = as_intrinsic(5, _add_products)
