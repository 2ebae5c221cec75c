"""Rows over an input of 16 bits by columns: one sum of weights times whole elements, and where the row of the states is added to it.

Halves are for engines that multiply bytes. A sum of W x over elements of 16 bits is the same number, ((W high) << 7) + W low, and fits
32 bits in any order of its terms, as the proof of the layer says. A threshold gate is the sign of W x + b plus a power of two times the
row R s: a `Joint`, whose two rows leave the kernels as one sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edge_lstm.fixed_point.bounds import INT32, x_reach
from firmware_gen.simplify import Dataflow, Value

Path = tuple[int, ...]


@dataclass(frozen=True)
class Joint:
    """Operators with add = of_input + of_states * 2^shift that nothing else reads the arguments of. raised: that of the factor, if there is
    one."""

    add: int
    of_input: int
    of_states: int
    shift: int = 0
    raised: int | None = None

    @property
    def absorbed(self) -> tuple[int, ...]:
        """The operators that have no value of their own."""
        return (self.of_input, self.of_states, *(() if self.raised is None else (self.raised,)))


def unfit(flow: Dataflow, index: int, sources: tuple[int, ...]) -> str:
    """Why a row that reads x of 16 bits cannot be summed by columns; empty if it can. sources: the vectors that it reads besides."""
    row = flow.layer.rows[flow.ops[index].name]
    if sources:
        return "its input has 16 bits, in two halves, and it reads more than that"
    if x_reach(True) << row.input_shift > 2**15 - 1:
        return "its inputs leave 16 bits once they are shifted"
    if _reach(flow, index) + _excess(flow, index) > INT32:
        return "its sums may need more than 32 bits"
    return ""


def joints(
    flow: Dataflow, of_input: Iterable[int], of_states: dict[int, tuple[int, ...]], together: dict[int, tuple[int, Path]]
) -> list[Joint]:  # fmt: skip
    """Where a row of the input and one of the states are added. of_input, of_states: rows by columns that are needed in every unit, and
    what the latter read; together: pass and selects of each operator."""
    found, inputs = [], set(of_input)
    for index, op in flow.ops.items():
        if op.code != "add":
            continue
        for first, second in (flow.args[index], flow.args[index][::-1]):
            joint = _joint(flow, index, first, second)
            if joint is None or joint.of_input not in inputs or joint.of_states not in of_states:
                continue
            alone = all(len(flow.users(k)) == 1 and k not in flow.roots() for k in joint.absorbed)
            if alone and len({together[k] for k in (index, *joint.absorbed)}) == 1 and _fits(flow, joint, of_states[joint.of_states]):
                found.append(joint)
    return found


def _joint(flow: Dataflow, index: int, first: Value, second: Value) -> Joint | None:
    if not isinstance(first, int) or not isinstance(second, int) or flow.ops[first].code != "row":
        return None
    if flow.ops[second].code == "row":
        return Joint(index, first, second)
    (row, *_) = flow.args[second] or (second,)
    if flow.ops[second].code != "raise" or not isinstance(row, int) or flow.ops[row].code != "row":
        return None
    return Joint(index, first, row, flow.ops[second].numbers[0], second)


def _fits(flow: Dataflow, joint: Joint, sources: tuple[int, ...]) -> bool:
    """Whether the sum of both rows fits 32 bits with what is left of their terms, and with what some targets subtract in the end."""
    row = flow.layer.rows[flow.ops[joint.of_states].name]
    states = 127 * sum(np.abs(R.astype(np.int64)).sum(1) for R in row.R) + np.abs(row.bias.astype(np.int64))
    excess = 128 * 127 * len(sources) * flow.layer.units
    reach = _reach(flow, joint.of_input) + _excess(flow, joint.of_input) + ((int(states.max()) + excess) << joint.shift)
    return reach <= INT32


def _reach(flow: Dataflow, index: int) -> int:
    """Largest magnitude of a part of the sum of a row over x."""
    row = flow.layer.rows[flow.ops[index].name]
    assert row.W is not None
    weights = np.abs(row.W.astype(np.int64)).sum(1)
    return int((((x_reach(True) * weights) << row.input_shift) + np.abs(row.bias.astype(np.int64))).max())


def _excess(flow: Dataflow, index: int) -> int:
    """Largest magnitude of what a sum has too much where weights are stored as weight + 128."""
    return (128 * x_reach(True) * flow.layer.inputs) << flow.layer.rows[flow.ops[index].name].input_shift
