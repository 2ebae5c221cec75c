"""The order of work of one layer: passes over the units, values that cross them, and what is evaluated only where a gate is open.

A row reads whole vectors, so every unit must have finished the sources of a row before any unit computes it: each such dependency
starts another pass over the units. An operator is evaluated in the latest pass that still serves all its readers, which leaves most
cells one pass in which everything happens; values that a later pass reads again are kept in an array of all units. New states replace
the old ones at the end of the last pass, when nobody reads the old ones any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_gen.simplify import Dataflow

Path = tuple[int, ...]  # the selects around a value, outermost first: it is needed only where all of them are open


@dataclass(frozen=True)
class Schedule:
    """How the dataflow of a layer is evaluated.

    passes: number of passes over the units; pass_of: operator -> its pass; arrays: operators whose values of all units are kept
    for rows or for later passes; lazy: operator -> the selects under which alone it is needed (exact: elsewhere its value is not read);
    buffered: states whose new values wait in a second array until the last pass is over, since its rows still read the old vector.
    """

    passes: int
    pass_of: dict[int, int]
    arrays: tuple[int, ...]
    lazy: dict[int, Path]
    buffered: tuple[str, ...]


def stored_as_read(flow: Dataflow, index: int) -> bool:
    """True for a state that a row can read as it is stored."""
    return flow.ops[index].code == "state" and flow.layer.state(flow.ops[index].name).bits == 8


def schedule(flow: Dataflow, listed: frozenset[int] = frozenset()) -> Schedule:
    """The schedule of a simplified dataflow. listed: rows that read their sources at the start of their pass, once and for all units."""
    earliest: dict[int, int] = {}
    for index, op in flow.ops.items():
        sources = [a for a in flow.args[index] if isinstance(a, int)]
        level = max((earliest[a] for a in sources), default=0)
        earliest[index] = level + (op.code == "row" and any(not stored_as_read(flow, a) for a in sources))
    last = max(earliest.values(), default=0)

    pass_of: dict[int, int] = {}
    for index in reversed(flow.ops):
        waits = not stored_as_read(flow, index)
        readers = [pass_of[user] - (waits and flow.ops[user].code == "row") for user in flow.users(index)]
        pass_of[index] = min([last, *readers])

    def kept(index: int) -> bool:
        if stored_as_read(flow, index):
            return False
        if flow.vector_users(index):
            return True
        again = any(pass_of[user] > pass_of[index] for user in flow.users(index)) or (index in flow.roots() and pass_of[index] < last)
        return again and flow.ops[index].code not in ("state", "vector")  # these are simply read again

    arrays = tuple(filter(kept, flow.ops))
    read_last = {flow.ops[a].name for row, op in flow.ops.items() if op.code == "row" and row not in listed and pass_of[row] == last
                 for a in flow.args[row] if isinstance(a, int) and stored_as_read(flow, a)}  # fmt: skip
    buffered = tuple(state for state in flow.updates if state in read_last)
    return Schedule(last + 1, pass_of, arrays, _lazy_paths(flow, pass_of, arrays), buffered)


def _lazy_paths(flow: Dataflow, pass_of: dict[int, int], arrays: tuple[int, ...]) -> dict[int, Path]:
    """For each operator the selects that all its readers lie under."""
    paths: dict[int, Path] = {}
    needed_always = set(flow.roots()) | set(arrays)
    for index in reversed(flow.ops):
        uses: list[Path] = [()] if index in needed_always else []
        for user in dict.fromkeys(flow.users(index)):
            if pass_of[user] != pass_of[index]:
                uses.append(())
            elif flow.ops[user].code == "select" and flow.args[user][0] != index:
                uses.append((*paths[user], user))
            else:
                uses.append(paths[user])
        paths[index] = () if flow.ops[index].code == "state" else _common_prefix(uses)  # a load costs less than a branch
    return paths


def _common_prefix(paths: list[Path]) -> Path:
    shortest = min(paths, key=len)
    for depth, select in enumerate(shortest):
        if any(path[depth] != select for path in paths):
            return shortest[:depth]
    return shortest
