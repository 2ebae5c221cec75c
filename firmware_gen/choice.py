"""Which strategy a layer is given when nobody names one: the one with the fewest instructions on the target, by the layer's activity.

The model counts what differs between strategies: columns that are added, elements that are gathered, dot products behind gates. Its
constants are instructions of the generated kernels, counted in an emulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.integer_network import IntegerRecurrent
from firmware_gen.activity import LayerActivity, assumed
from firmware_gen.columns import BLOCK, BYTES, PACKED, STRATEGIES, TABLES, Group, plan_columns, reads, row_bits
from firmware_gen.few_columns import BLOCK as FEW_BLOCK
from firmware_gen.few_columns import segments
from firmware_gen.schedule import schedule
from firmware_gen.simplify import Dataflow, simplify
from firmware_gen.vectors import obstacle

Lists = tuple[bool, bool, bool, int]  # lists_x, lists_lazy, few, tables of a `Choice`
VECTORS = "cortex-m55"  # the target that has vectors
CHOSEN_FROM = ("dense", "event", "delta")  # rows is only slower: it is for who wants the least memory
LISTING = ("event", "delta")  # those in which weights of few bits can share words
TABLE_ELEMENTS, TABLE_BYTES = (4, 6, 8), 512  # elements of x that may share a table; of RAM for all tables
AROUND_A_ROW, OF_AN_ENTRY = 8, 7  # instructions: a row that reads tables, but for what it reads; making an entry of one
FEW_CODE = 64  # bytes that the flash of the weights has to shrink by, since kernels for few bits are longer
PACKED_BITS = 5  # instructions: taking a weight behind a gate out of its byte
WORTH_ITS_FLASH = 1.1  # of instructions that packed weights may take, for a half to an eighth of the flash of the weights
WORTH_ITS_MEMORY = 0.9  # delta keeps all sums in RAM: it has to save a tenth, by measured activity


@dataclass(frozen=True)
class Instructions:
    """Instructions of the kernels on one kind of core.

    column, listed: a column of 8 weights, of those added always or of a list; block: around the columns of a block; gather, list, compare:
    of one element, when all are gathered, non-zero ones listed, or changed ones; dot, dot_listed, dot_values: one weight of a row behind
    a gate, byte by byte, along a list, or times what was gathered; few: bits -> of a listed column of 16 packed weights; segment: around
    the listed columns of 16 units; entry: of a table that a row adds; dot_at: as dot_listed where the list holds indexes alone; words:
    (of a column of x, around those of a block) where two weights share a word, None where they never do; wide: the same of x of 16 bits.
    """

    column: float
    listed: float
    block: float
    gather: float
    list: float
    compare: float
    dot: float
    dot_listed: float
    dot_values: float
    few: Mapping[int, float]
    segment: float
    entry: float
    dot_at: float
    words: tuple[float, float] | None = None
    wide: tuple[float, float] = (0, 0)


HALF_WORDS = Instructions(8.5, 13.5, 40, 6, 6, 7, 2.7, 8, 2.2, {4: 23, 2: 22, 1: 23}, 80, 4, 6, None, (11, 28))
THUMB_2 = Instructions(18, 21, 32, 6, 6, 10, 6, 9, 5, {4: 23, 2: 22, 1: 23}, 80, 4, 6, (7, 30), (20, 45))
TARGETS: Mapping[str, Instructions] = {
    "cortex-m0plus": Instructions(26.5, 29.5, 65, 9, 9, 15, 9, 11, 6, {4: 42, 2: 38, 1: 40}, 120, 5, 8, (14.5, 44), (26.5, 55)),
    "cortex-m3": THUMB_2, "cortex-m4": HALF_WORDS, "cortex-m4f": HALF_WORDS, "cortex-m7": HALF_WORDS, "cortex-m33": HALF_WORDS,
    "cortex-m55": HALF_WORDS,
    "rv32imc": Instructions(25, 28, 30, 6, 7, 10, 7, 9, 6, {4: 37, 2: 38, 1: 40}, 90, 5, 8, None, (27, 45)),
    "atmega328p": Instructions(84, 92, 260, 15, 22, 30, 20, 28, 20, {4: 128, 2: 166, 1: 94}, 300, 12, 25, None, (130, 330)),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The strategy of one layer. why: for the banner, empty where somebody named it; lists_x: whether it is meant for the input too;
    lists_lazy: whether rows behind a gate read lists too, of what is not zero, or all they read; few: whether weights of few bits share
    words, in rows whose weights all are; tables: elements of x whose sums are tabled together for binary weights, 0: none."""

    strategy: str
    why: tuple[str, ...] = ()
    lists_x: bool = False
    lists_lazy: bool = True
    few: bool = False
    tables: int = 0


class _Columns:
    """A layer and its plans by columns, each made once: the costs on all targets come from the same ones."""

    def __init__(self, layer: IntegerRecurrent):
        self.layer, self.flow = layer, simplify(layer)
        self.order = schedule(self.flow)
        self._groups: dict[tuple[str, Lists], tuple[Group, ...]] = {}

    def groups(self, strategy: str, lists: Lists) -> tuple[Group, ...]:
        """The groups of rows under a strategy, with or without an ending."""
        key = _plain(strategy), lists
        if key not in self._groups:
            self._groups[key] = plan_columns(self.flow, self.order, key[0], *lists).groups
        return self._groups[key]


def choose(layer: IntegerRecurrent, strategy: str | None, target: str | None = None, activity: LayerActivity | None = None) -> Choice:
    """The strategy of a layer: `strategy`, or the best one for `target` (all targets alike when None) when that is None.

    strategy: one of STRATEGIES; "event" and "delta" also with the ending PACKED, TABLES or BYTES, else weights of few bits share words
    where the cost model has it worth its instructions; activity: None to assume one.
    Raises UsageError for a strategy or a target that does not exist.
    """
    if target is not None and target not in TARGETS:
        raise UsageError(f"no cost model for the target {target!r}; choose one of {', '.join(TARGETS)}")
    on = (target,) if target is not None else tuple(TARGETS)
    found, columns = activity or assumed(layer), _Columns(layer)
    if strategy is not None:
        return _named(columns, strategy, found, on)
    packed = _packed_forms(columns)
    names = (*CHOSEN_FROM, *(s + ending for ending in packed for s in LISTING))
    costs = {name: {s: _least(columns, s, found, TARGETS[name]) for s in names} for name in on}
    total = {s: sum(of[s] / max(of["dense"], 1.0) for of in costs.values()) / len(on) for s in names}
    if target == VECTORS and not obstacle(columns.flow):  # whose vectors sum rows in their own way: kept sums would be memory for nothing
        best = min(("dense", "event"), key=total.__getitem__)
        return Choice(best, ("its vectors sum rows in a way of their own, whatever the strategy",), *_lists(columns, best, found, on))
    best = _less(total, ("dense", "event"), "delta", found)
    best = _packed_or(columns, best, total, {ending: _less(total, ("event" + ending,), "delta" + ending, found) for ending in packed})
    reasons = _reasons(best, total, costs, target, found)
    if packed:
        in_bytes, shared = (_column_bytes(columns, few=few) for few in (False, True))
        reasons += (f"flash of its weights by columns: {in_bytes} bytes, {shared} packed",)
    return Choice(_plain(best), reasons, *_lists(columns, best, found, on))


def _named(columns: _Columns, strategy: str, activity: LayerActivity, on: Sequence[str]) -> Choice:
    """The choice that somebody made; what is left open is chosen."""
    known = (*STRATEGIES, *(s + ending for s in LISTING for ending in (PACKED, TABLES, BYTES)))
    if strategy not in known:
        raise UsageError(f"there is no strategy {strategy!r}; choose one of {', '.join(known)}")
    packed = _packed_forms(columns)
    if strategy in LISTING:
        forms = {ending: strategy + ending for ending in packed}
        total = {s: sum(_least(columns, s, activity, TARGETS[name]) for name in on) for s in (strategy, *forms.values())}
        strategy = _packed_or(columns, strategy, total, forms)
    elif strategy.endswith(TABLES) and TABLES not in packed:
        strategy = strategy.removesuffix(TABLES) + PACKED
    return Choice(_plain(strategy), (), *_lists(columns, strategy.removesuffix(BYTES), activity, on))


def _plain(strategy: str) -> str:
    return strategy.removesuffix(PACKED).removesuffix(TABLES).removesuffix(BYTES)


def _packed_or(columns: _Columns, best: str, total: Mapping[str, float], packed: Mapping[str, str]) -> str:
    """A packed form of those given, ending -> strategy, where it is worth its instructions and saves flash; else `best`."""
    if not packed or _column_bytes(columns, few=True) + FEW_CODE > _column_bytes(columns, few=False):
        return best
    found = packed[PACKED]
    if TABLES in packed and total[packed[TABLES]] < WORTH_ITS_MEMORY * total[found]:
        found = packed[TABLES]
    return found if total[found] <= WORTH_ITS_FLASH * total[best] else best


def _less(total: Mapping[str, float], plain: Sequence[str], kept: str, activity: LayerActivity) -> str:
    """The best of `plain`, or `kept`, which takes memory, where that is worth it."""
    best = min(plain, key=total.__getitem__)
    return kept if activity.steps and total[kept] < WORTH_ITS_MEMORY * total[best] else best


def _packed_forms(columns: _Columns) -> tuple[str, ...]:
    """PACKED if any row by columns has weights that can share words, TABLES too if any reads x with binary ones."""
    groups = columns.groups("event", (False, True, True, 0))
    tabled = any(group.bits == 1 and group.reads_x for group in groups) and bool(_table_sizes(columns.layer))
    return (PACKED,) * any(group.bits < 8 for group in groups) + (TABLES,) * tabled


def column_bytes(layer: IntegerRecurrent, *, few: bool) -> int:
    """Flash of the weights by columns, a byte each or in words of `few` bits; blocks of units are filled up."""
    return _column_bytes(_Columns(layer), few=few)


def _column_bytes(columns: _Columns, *, few: bool) -> int:
    layer = columns.layer
    return sum(
        group.bits * -(-layer.units // (block := BLOCK if group.bits == 8 else FEW_BLOCK)) * block * len(group.rows)
        * (len(group.sources) * layer.units + group.reads_x * layer.inputs) // 8
        for group in columns.groups("event", (False, True, few, 0))
    )  # fmt: skip


def _table_sizes(layer: IntegerRecurrent) -> tuple[int, ...]:
    return tuple(n for n in TABLE_ELEMENTS if 2 * (-(-layer.inputs // n) << n) <= TABLE_BYTES)


def _lists(columns: _Columns, strategy: str, activity: LayerActivity, on: Sequence[str]) -> Lists:
    """What else is best listed, besides the states that rows without a gate read: x, and states for rows behind gates. Sensor inputs are
    hardly ever zero or unchanged, and a sum along a list costs more an element than one over all of them."""

    def instructions(lists: Lists) -> float:
        memory = WORTH_ITS_MEMORY if lists[0] and lists[2] else 1.0  # packed sums of x would be kept beside those of states
        return sum(_cost(columns, strategy, lists, activity, TARGETS[name]) for name in on) / memory

    variants = _variants(columns.layer, strategy)
    return variants[0] if len(variants) == 1 else min(variants, key=instructions)


def _variants(layer: IntegerRecurrent, strategy: str) -> tuple[Lists, ...]:
    if strategy.endswith(TABLES):
        return tuple((False, lazy, True, n) for n in _table_sizes(layer) for lazy in (True, False)[: 1 + strategy.startswith("delta")])
    few = strategy.endswith(PACKED)
    if strategy.startswith("event"):
        return ((False, True, few, 0),) if few else ((False, True, few, 0), (True, True, few, 0))
    if strategy.startswith("delta"):
        return tuple((x, lazy, few, 0) for x in (False, True) for lazy in (True, False))
    return ((False, False, few, 0),)


def _reasons(
    best: str, total: Mapping[str, float], costs: Mapping[str, Mapping[str, float]], target: str | None, activity: LayerActivity
) -> tuple[str, ...]:  # fmt: skip
    source = f"measured over {activity.steps} steps" if activity.steps else "assumed: give recordings to have it measured"
    vectors = list(activity.vectors.values())
    states = f"; vectors of the layer {_range([v.nonzero for v in vectors])} not zero, {_range([v.changed for v in vectors])} changed"
    x = f"x {activity.x.nonzero:.0%} not zero, {activity.x.changed:.0%} changed"
    if target is not None:
        sums = ", ".join(f"{s} {costs[target][s]:.0f}" for s in total)
        compared = f"chosen for {target}; instructions of its sums a step, estimated: {sums}"
    else:
        sums = ", ".join(f"{s} {total[s]:.2f}" for s in total)
        compared = f"chosen for all targets alike; instructions of its sums against dense, estimated: {sums}"
    return compared, f"activity {source}: {x}{states if vectors else ''}"


def _range(fractions: list[float]) -> str:
    low, high = min(fractions), max(fractions)
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"


def cost(layer: IntegerRecurrent, strategy: str, activity: LayerActivity, of: Instructions) -> float:
    """Instructions of the sums of one step, for the rows that can go by columns; the others cost the same under all strategies."""
    return _least(_Columns(layer), strategy, activity, of)


def _least(columns: _Columns, strategy: str, activity: LayerActivity, of: Instructions) -> float:
    return min(_cost(columns, strategy, lists, activity, of) for lists in _variants(columns.layer, strategy))


def _cost(columns: _Columns, strategy: str, lists: Lists, activity: LayerActivity, of: Instructions) -> float:
    layer, flow, order = columns.layer, columns.flow, columns.order
    total, shared = 0.0, set()
    strategy = _plain(strategy)
    for group in columns.groups(strategy, lists):
        if group.bits < 8:
            total += _few_sums(flow, layer, group, strategy, activity, of)
        else:
            total += _sums(layer, group, strategy, activity, of)
            if group.lists_x or (group.pass_, group.sources) not in shared:
                total += group.listed(layer.inputs, layer.units) * (of.compare if strategy == "delta" else of.list)
            if not group.lists_x:  # groups that list the same states share the list
                shared.add((group.pass_, group.sources))
        for index in group.lazy:
            often = min(activity.open.get(flow.layer.ops[select].args[0], 1.0) for select in order.lazy[index])
            row = layer.rows[flow.ops[index].name]
            bits = PACKED_BITS if group.bits < 8 and row_bits(flow, index) < 8 else 0
            own = (of.dot + bits if group.lists_x or group.bits < 8 else of.dot_values) * layer.inputs if reads(row.W) else 0.0
            states = len(group.sources) * layer.units * (of.dot + bits if group.lists_sources else of.dot_values)
            if group.lists_lazy:
                states = ((of.dot_at if strategy == "delta" else of.dot_listed) + bits) * sum(
                    layer.units * _nonzero(activity, source) for source in group.sources
                )
            total += layer.units * often * (own + states)
    return total


def _nonzero(activity: LayerActivity, source: int) -> float:
    return activity.vectors[source].nonzero if source in activity.vectors else 1.0


def _sums(layer: IntegerRecurrent, group: Group, strategy: str, activity: LayerActivity, of: Instructions) -> float:
    vectors = [(layer.units, activity.vectors.get(source)) for source in group.sources if group.lists_sources]
    vectors += [(layer.inputs, activity.x)] if group.lists_x else []
    kept = strategy == "delta"
    active = sum(n * ((v.changed if kept else v.nonzero) if v else 1.0) for n, v in vectors)
    paired = group.paired(layer.inputs, layer.units)
    blocks = -(-layer.units // BLOCK) * len(group.rows)
    if group.wide:
        return blocks * (of.wide[0] * (paired + paired % 2) + of.wide[1]) + paired * of.gather
    always = paired * of.column if of.words is None or not group.x_in_words else of.words[0] * (paired + paired % 2) + of.words[1]
    added = of.block + always + active * of.listed
    return blocks * added + paired * of.gather


def _few_sums(flow: Dataflow, layer: IntegerRecurrent, group: Group, strategy: str, activity: LayerActivity, of: Instructions) -> float:
    kept, rows = strategy == "delta", -(-layer.units // FEW_BLOCK) * len(group.rows)
    total = 0.0
    for part in segments(flow, group):
        if part.elements:
            total += FEW_BLOCK * rows * (AROUND_A_ROW + part.tables * of.entry) + OF_AN_ENTRY * (part.tables << part.elements)
            continue
        keeps, length = kept and (part.source is not None or group.lists_x), part.last - part.first
        vector = activity.x if part.source is None else activity.vectors.get(part.source)
        active = length * ((vector.changed if keeps else vector.nonzero) if vector else 1.0)
        around = 0.0 if part.joined else of.segment
        total += rows * (around + active * of.few[group.bits]) + length * (of.compare if keeps else of.list)
    return total
