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
from firmware_gen.columns import BLOCK, STRATEGIES, Group, plan_columns, reads
from firmware_gen.schedule import schedule
from firmware_gen.simplify import simplify

CHOSEN_FROM = ("dense", "event", "delta")  # rows is only slower: it is for who wants the least memory
WORTH_ITS_MEMORY = 0.9  # delta keeps all sums in RAM: it has to save a tenth, by measured activity


@dataclass(frozen=True)
class Instructions:
    """Instructions of the kernels on one kind of core.

    column, listed: a column of 8 weights, of those added always or of a list; block: around the columns of a block; gather, list, compare:
    of one element, when all are gathered, non-zero ones listed, or changed ones; dot, dot_listed, dot_values: one weight of a row behind
    a gate, byte by byte, along a list, or times what was gathered.
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


HALF_WORDS = Instructions(8.5, 13.5, 40, 6, 6, 7, 2.7, 8, 2.2)
THUMB_2 = Instructions(18, 20, 32, 6, 6, 9, 6, 9, 5)
TARGETS: Mapping[str, Instructions] = {
    "cortex-m0plus": Instructions(26.5, 29.5, 65, 9, 9, 15, 9, 11, 6),
    "cortex-m3": THUMB_2, "cortex-m4": HALF_WORDS, "cortex-m4f": HALF_WORDS, "cortex-m7": HALF_WORDS, "cortex-m33": HALF_WORDS,
    "cortex-m55": HALF_WORDS,
    "rv32imc": Instructions(25, 28, 30, 6, 7, 10, 7, 9, 6), "atmega328p": Instructions(84, 92, 260, 15, 22, 30, 20, 28, 20),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The strategy of one layer. why: for the banner, empty where somebody named it; lists_x: whether it is meant for the input too;
    lists_lazy: whether rows behind a gate read lists too, of what is not zero, or all they read."""

    strategy: str
    why: tuple[str, ...] = ()
    lists_x: bool = False
    lists_lazy: bool = True


def choose(layer: IntegerRecurrent, strategy: str | None, target: str | None = None, activity: LayerActivity | None = None) -> Choice:
    """The strategy of a layer: `strategy`, or the best one for `target` (all targets alike when None) when that is None.

    activity: None to assume one. Raises UsageError for a strategy or a target that does not exist.
    """
    if target is not None and target not in TARGETS:
        raise UsageError(f"no cost model for the target {target!r}; choose one of {', '.join(TARGETS)}")
    if strategy is not None:
        if strategy not in STRATEGIES:
            raise UsageError(f"there is no strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")
        return Choice(strategy, (), *_lists(layer, strategy, activity or assumed(layer), (target,) if target else tuple(TARGETS)))
    on = (target,) if target is not None else tuple(TARGETS)
    found = activity or assumed(layer)
    costs = {name: {s: cost(layer, s, found, TARGETS[name]) for s in CHOSEN_FROM} for name in on}
    total = {s: sum(of[s] / max(of["dense"], 1.0) for of in costs.values()) / len(on) for s in CHOSEN_FROM}
    best = min(("dense", "event"), key=total.__getitem__)
    if found.steps and total["delta"] < WORTH_ITS_MEMORY * total[best]:
        best = "delta"
    return Choice(best, _reasons(best, total, costs, target, found), *_lists(layer, best, found, on))


def _lists(layer: IntegerRecurrent, strategy: str, activity: LayerActivity, on: Sequence[str]) -> tuple[bool, bool]:
    """What else is best listed, besides the states that rows without a gate read: x, and states for rows behind gates. Sensor inputs are
    hardly ever zero or unchanged, and a sum along a list costs more an element than one over all of them."""
    return min(_variants(strategy), key=lambda lists: sum(_cost(layer, strategy, lists, activity, TARGETS[name]) for name in on))


def _variants(strategy: str) -> tuple[tuple[bool, bool], ...]:
    if strategy == "event":
        return (False, True), (True, True)
    if strategy == "delta":
        return (False, True), (False, False), (True, True), (True, False)
    return ((False, False),)


def _reasons(
    best: str, total: Mapping[str, float], costs: Mapping[str, Mapping[str, float]], target: str | None, activity: LayerActivity
) -> tuple[str, ...]:  # fmt: skip
    source = f"measured over {activity.steps} steps" if activity.steps else "assumed: give recordings to have it measured"
    vectors = list(activity.vectors.values())
    states = f"; vectors of the layer {_range([v.nonzero for v in vectors])} not zero, {_range([v.changed for v in vectors])} changed"
    x = f"x {activity.x.nonzero:.0%} not zero, {activity.x.changed:.0%} changed"
    if target is not None:
        sums = ", ".join(f"{s} {costs[target][s]:.0f}" for s in CHOSEN_FROM)
        compared = f"chosen for {target}; instructions of its sums a step, estimated: {sums}"
    else:
        sums = ", ".join(f"{s} {total[s]:.2f}" for s in CHOSEN_FROM)
        compared = f"chosen for all targets alike; instructions of its sums against dense, estimated: {sums}"
    return compared, f"activity {source}: {x}{states if vectors else ''}"


def _range(fractions: list[float]) -> str:
    low, high = min(fractions), max(fractions)
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"


def cost(layer: IntegerRecurrent, strategy: str, activity: LayerActivity, of: Instructions) -> float:
    """Instructions of the sums of one step, for the rows that can go by columns; the others cost the same under all strategies."""
    return min(_cost(layer, strategy, lists, activity, of) for lists in _variants(strategy))


def _cost(layer: IntegerRecurrent, strategy: str, lists: tuple[bool, bool], activity: LayerActivity, of: Instructions) -> float:
    flow = simplify(layer)
    order = schedule(flow)
    total, shared = 0.0, set()
    for group in plan_columns(flow, order, strategy, *lists).groups:
        total += _sums(layer, group, strategy, activity, of)
        if group.lists_x or (group.pass_, group.sources) not in shared:
            total += group.listed(layer.inputs, layer.units) * (of.compare if strategy == "delta" else of.list)
        if not group.lists_x:  # groups that list the same states share the list
            shared.add((group.pass_, group.sources))
        for index in group.lazy:
            often = min(activity.open.get(flow.layer.ops[select].args[0], 1.0) for select in order.lazy[index])
            row = layer.rows[flow.ops[index].name]
            own = (of.dot if group.lists_x else of.dot_values) * layer.inputs if reads(row.W) else 0.0
            states = len(group.sources) * layer.units * (of.dot if group.lists_sources else of.dot_values)
            if group.lists_lazy:
                states = of.dot_listed * sum(layer.units * _nonzero(activity, source) for source in group.sources)
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
    added = of.block + paired * of.column + active * of.listed
    return blocks * added + paired * of.gather
