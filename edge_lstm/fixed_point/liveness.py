"""Operators that nobody reads are dropped: lowering may try a form of a value that another reader makes unnecessary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp


def live_operators(ops: Sequence[IntOp], results: Iterable[int]) -> list[int]:
    """Indices, in order, of the operators that `results` depend on."""
    needed = set(results)
    for index in reversed(range(len(ops))):
        if index in needed:
            needed.update(ops[index].args)
    return sorted(needed)


def without_dead_operators(layer: IntegerRecurrent) -> tuple[IntegerRecurrent, dict[int, int]]:
    """The same layer with only the operators, constants and tables that its states and its output depend on; old index -> new index."""
    live = live_operators(layer.ops, [*(state.update for state in layer.states), layer.output])
    place = {old: new for new, old in enumerate(live)}
    ops = tuple(replace(layer.ops[old], args=tuple(place[a] for a in layer.ops[old].args)) for old in live)
    read = {op.name for op in ops}
    return replace(
        layer,
        ops=ops,
        vectors={name: v for name, v in layer.vectors.items() if name.rpartition(".")[0] in read or name in read},
        tables={name: t for name, t in layer.tables.items() if name in read},
        states=tuple(replace(state, update=place[state.update]) for state in layer.states),
        output=place[layer.output],
    ), place
