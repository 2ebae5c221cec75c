"""What is left of a layer's integer dataflow when everything that the interval analysis proves constant is folded away.

Three rewrites, applied to each operator in order; each keeps every bit:

    1. a value whose interval is one number, the same for all units, becomes that number (a gate that never closes is 1)
    2. a select under a gate that is always open, a clip that never acts and the addition of zero become their argument
    3. what no state and no output needs any more is dropped, weights included
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from edge_lstm.fixed_point.bounds import intervals
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp


@dataclass(frozen=True)
class Constant:
    """A value known at generation time, the same for all units."""

    value: int


Value = int | Constant  # an operator, by index, or a number


@dataclass(frozen=True)
class Dataflow:
    """The simplified dataflow of one layer.

    ops: index in the layer -> operator, in order of evaluation; args: index -> its arguments after the rewrites;
    range: index -> (lowest, highest) value over all units; updates: state -> new value; output: value that the next layer sees, None
    where it is read from the states; folded: gates (rows) that were proved constant, with their value, for the banner.
    """

    layer: IntegerRecurrent
    ops: dict[int, IntOp]
    args: dict[int, tuple[Value, ...]]
    range: dict[int, tuple[int, int]]
    updates: dict[str, Value]
    output: Value | None
    folded: tuple[tuple[str, int], ...]

    def users(self, index: int) -> list[int]:
        """Operators that read the value, once per argument."""
        return self._users.get(index, [])

    @cached_property
    def _users(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for user, args in self.args.items():
            for a in args:
                if isinstance(a, int):
                    found.setdefault(a, []).append(user)
        return found

    def vector_users(self, index: int) -> list[int]:
        """Rows that read the value of all units."""
        return [user for user in self.users(index) if self.ops[user].code == "row"]

    def roots(self) -> list[int]:
        """Operators whose value outlives the step."""
        return [v for v in (*self.updates.values(), self.output) if isinstance(v, int)]


def simplify(layer: IntegerRecurrent, *, with_output: bool = True) -> Dataflow:
    """The dataflow of `layer` after the rewrites above. with_output: whether the step has to compute the output besides the states."""
    found = [result for result, _ in intervals(layer)]
    ranges = [(int(low.min()), int(high.max())) for low, high in found]
    # A source of a row has to exist as a vector, so a constant one (a state that is never anything but 0) stays an operator.
    sources = {a for op in layer.ops if op.code == "row" for a in op.args}
    value: list[Value] = []
    for index, op in enumerate(layer.ops):
        args = tuple(value[a] for a in op.args)
        if index in sources:
            value.append(index)
        elif ranges[index][0] == ranges[index][1]:
            value.append(Constant(ranges[index][0]))
        else:
            value.append(_shortcut(op, args, ranges, index))
    args_of = {index: tuple(value[a] for a in op.args) for index, op in enumerate(layer.ops)}
    updates = {s.name: value[s.update] for s in layer.states}
    output = value[layer.output] if with_output else None
    alive = _reachable(args_of, [v for v in (*updates.values(), output) if isinstance(v, int)])
    folded = tuple(
        (layer.ops[op.args[0]].name, v.value)
        for op, v in zip(layer.ops, value, strict=True)
        if op.code == "positive" and isinstance(v, Constant) and layer.ops[op.args[0]].code == "row"
    )
    return Dataflow(
        layer, {k: layer.ops[k] for k in alive}, {k: args_of[k] for k in alive}, {k: ranges[k] for k in alive}, updates, output, folded
    )


def _shortcut(op: IntOp, args: tuple[Value, ...], ranges: list[tuple[int, int]], index: int) -> Value:
    if op.code == "select" and isinstance(args[0], Constant) and args[0].value != 0:
        return args[1]
    if op.code == "clip" and isinstance(args[0], int) and op.numbers[0] <= ranges[args[0]][0] and ranges[args[0]][1] <= op.numbers[1]:
        return args[0]
    if op.code == "add" and Constant(0) in args:
        return args[0] if args[1] == Constant(0) else args[1]
    if op.code == "subtract" and args[1] == Constant(0):
        return args[0]
    return index


def _reachable(args_of: dict[int, tuple[Value, ...]], roots: list[int]) -> list[int]:
    found: set[int] = set()
    pending = list(roots)
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += [a for a in args_of[current] if isinstance(a, int)]
    return sorted(found)
