"""How a recurrent layer is computed step by step for many units at once: which vectors rows read, and in which passes over the units.

All rows of a phase are accumulated together, one group of units after the other, so a row can only read vectors that all units have
finished: what the step before left (carried segments), or what an earlier phase of this step made (computed segments).

A source that depends on states alone, such as the int8 view of a 16-bit state, is computed at the end of the step before. So a GRU
whose h has 16 bits needs one phase, not two. Nothing here changes a result: the operators and their order per unit stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp


@dataclass(frozen=True)
class Segment:
    """A whole vector over the units that rows read.

    source: the operator that rows name; at_end: for a carried segment, the operator of `LayerPlan.ops` that renews it at the end of the
    step, None for a segment that is computed within the step.
    """

    source: int
    at_end: int | None


@dataclass(frozen=True)
class Pass:
    """One run over a source vector. segment: index into `LayerPlan.segments`, or None for the layer's input x.

    rows: (position in `Phase.rows`, index of the matrix in the row's R, or -1 for W) of every row that reads it.
    """

    segment: int | None
    rows: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Phase:
    """One pass over the units. rows: row operators; passes: x first; ops: operators to evaluate, in order;

    loads, spills: values that come from an earlier phase or are needed in a later one; computed: (operator, segment) to store.
    """

    rows: tuple[int, ...]
    passes: tuple[Pass, ...]
    ops: tuple[int, ...]
    loads: tuple[int, ...]
    spills: tuple[int, ...]
    computed: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LayerPlan:
    """The schedule of one layer.

    ops: the layer's operators, followed by those that prepare carried segments for the next step;
    updates: state -> operator that renews it;
    stored: states kept as int32 per unit; in_segment: states that need no such store -> the segment that holds them as int8;
    output: the segment that the next layer and the read-out read; wide: whether x has 16 bits, in two halves.
    """

    ops: tuple[IntOp, ...]
    segments: tuple[Segment, ...]
    phases: tuple[Phase, ...]
    updates: dict[str, int]
    stored: tuple[str, ...]
    in_segment: dict[str, int]
    spilled: tuple[int, ...]
    output: int
    wide: bool = False

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the constant vectors that operators read, each once."""
        return tuple(dict.fromkeys(op.name for op in self.ops if op.code == "vector"))

    @property
    def rescales(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(op.name for op in self.ops if op.code == "rescale"))

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(op.name for op in self.ops if op.code == "interpolate"))


def plan(layer: IntegerRecurrent) -> LayerPlan:
    """The schedule of `layer`. It depends on the layer's dataflow only, never on its weights."""
    updates = {state.name: state.update for state in layer.states}
    ops = list(layer.ops)
    from_states = _from_states(layer.ops)
    sources = tuple(dict.fromkeys(a for op in layer.ops if op.code == "row" for a in op.args))
    segments = [Segment(s, _at_end(ops, s, updates) if from_states[s] else None) for s in sources]
    output = next((k for k, segment in enumerate(segments) if segment.at_end == layer.output), None)
    if output is None:
        segments.append(Segment(-1, layer.output))
        output = len(segments) - 1

    read_as_value = {a for op in ops if op.code != "row" for a in op.args} | set(updates.values())
    read_as_value |= {s.at_end for s in segments if s.at_end is not None}
    in_segment = {
        layer.ops[s.source].name: k
        for k, s in enumerate(segments)
        if s.source >= 0 and layer.ops[s.source].code == "state" and s.source not in read_as_value
    }
    stored = tuple(s.name for s in layer.states if s.name not in in_segment)
    phase_of, count = _phases(ops, segments)
    return _assemble(layer, tuple(ops), tuple(segments), phase_of, count, updates, stored, in_segment, output)


def listed_segment(layer: LayerPlan) -> int | None:
    """The one segment behind threshold gates, often zero, that every row of a single phase reads, and reads once; else None."""
    found = [k for k in range(len(layer.segments)) if is_behind_gate(layer, k)]
    if len(found) != 1 or len(layer.phases) != 1:
        return None
    rows = layer.phases[0].rows
    reads = [one for one in layer.phases[0].passes if one.segment is not None]
    whole = len(reads) == 1 and reads[0].segment == found[0] and [row for row, _ in reads[0].rows] == list(range(len(rows)))
    return found[0] if whole else None


def is_behind_gate(layer: LayerPlan, segment: int) -> bool:
    """Whether a segment holds values that a threshold gate lets through or not."""
    index = layer.segments[segment].at_end
    return index is not None and layer.ops[index].code == "select"


def _from_states(ops: tuple[IntOp, ...]) -> list[bool]:
    """For each operator whether it depends on nothing but states and constants."""
    found: list[bool] = []
    for op in ops:
        found.append(op.code != "row" and all(found[a] for a in op.args))
    return found


def _at_end(ops: list[IntOp], source: int, updates: dict[str, int]) -> int:
    """The operator that gives `source` of the next step: the same operators on the renewed states, added to `ops` where missing."""
    op = ops[source]
    if op.code == "state":
        return updates[op.name]
    renewed = IntOp(op.code, tuple(_at_end(ops, a, updates) for a in op.args), op.name, op.numbers)
    if renewed not in ops:
        ops.append(renewed)
    return ops.index(renewed)


def _phases(ops: list[IntOp], segments: list[Segment]) -> tuple[list[int], int]:
    """(the phase of each operator, the number of phases): as few phases as possible, and each operator as late as its readers allow."""
    carried = {s.source for s in segments if s.at_end is not None}
    earliest: list[int] = []
    for op in ops:
        waits = op.code == "row" and any(a not in carried for a in op.args)
        ready = 0 if op.code == "row" and not waits else max((earliest[a] for a in op.args), default=0)
        earliest.append(ready + 1 if waits else ready)
    last = max(earliest)
    latest = [last] * len(ops)
    for index in reversed(range(len(ops))):
        op = ops[index]
        for a in op.args:
            if op.code != "row":
                latest[a] = min(latest[a], latest[index])
            elif a not in carried:
                latest[a] = min(latest[a], latest[index] - 1)
    return latest, last + 1


def _assemble(
    layer: IntegerRecurrent,
    ops: tuple[IntOp, ...],
    segments: tuple[Segment, ...],
    phase_of: list[int],
    count: int,
    updates: dict[str, int],
    stored: tuple[str, ...],
    in_segment: dict[str, int],
    output: int,
) -> LayerPlan:
    needed = [[index for index, op in enumerate(ops) if phase_of[index] == k and not _is_leaf(op)] for k in range(count)]
    leaves: list[set[int]] = [set() for _ in range(count)]
    imported: list[set[int]] = [set() for _ in range(count)]
    for k in range(count):
        readers = [a for index in needed[k] if ops[index].code != "row" for a in ops[index].args]
        if k == count - 1:
            readers += [s.at_end for s in segments if s.at_end is not None] + [updates[name] for name in stored]
        readers += [s.source for s in segments if s.at_end is None and phase_of[s.source] == k]
        for a in readers:
            if _is_leaf(ops[a]):
                leaves[k].add(a)
            elif phase_of[a] != k:
                imported[k].add(a)
    spilled = tuple(sorted(set().union(*imported)))
    phases = []
    for k in range(count):
        rows = tuple(index for index in needed[k] if ops[index].code == "row")
        computed = tuple((s.source, j) for j, s in enumerate(segments) if s.at_end is None and phase_of[s.source] == k)
        values = tuple(sorted(leaves[k] | {index for index in needed[k] if ops[index].code != "row"}))
        spills = tuple(index for index in spilled if phase_of[index] == k)
        phases.append(Phase(rows, _passes(layer, ops, rows, segments), values, tuple(sorted(imported[k])), spills, computed))
    return LayerPlan(ops, segments, tuple(phases), updates, stored, in_segment, spilled, output, layer.wide)


def _is_leaf(op: IntOp) -> bool:
    """A value that every phase can read anew."""
    return op.code in ("state", "vector")


def _passes(layer: IntegerRecurrent, ops: tuple[IntOp, ...], rows: tuple[int, ...], segments: tuple[Segment, ...]) -> tuple[Pass, ...]:
    """One pass for each vector that rows of the phase read; a row that reads the same vector twice has two passes over it."""
    segment_of = {s.source: k for k, s in enumerate(segments) if s.source >= 0}
    passes: dict[tuple[int | None, int], list[tuple[int, int]]] = {}
    for position, index in enumerate(rows):
        if layer.rows[ops[index].name].W is not None:
            passes.setdefault((None, 0), []).append((position, -1))
    for position, index in enumerate(rows):
        seen: dict[int, int] = {}
        for k, a in enumerate(ops[index].args):
            segment = segment_of[a]
            passes.setdefault((segment, seen.get(segment, 0)), []).append((position, k))
            seen[segment] = seen.get(segment, 0) + 1
    return tuple(Pass(segment, tuple(members)) for (segment, _), members in passes.items())
