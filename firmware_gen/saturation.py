"""Saturation that is needed only where a gate is open: clip(a + select(gate, b)) is a itself where the gate is closed and a is in range."""

from __future__ import annotations

from edge_lstm.fixed_point.integer_network import IntOp
from firmware_gen.schedule import Schedule
from firmware_gen.simplify import Dataflow


def clips_behind_gates(flow: Dataflow, plan: Schedule, statements: set[int]) -> dict[int, int]:
    """Select -> the clip that can be done where its gate is open. statements: operators with a variable of their own."""
    found: dict[int, int] = {}
    for clip, op in flow.ops.items():
        if op.code != "clip" or clip not in statements or clip in plan.arrays:
            continue
        (total,) = flow.args[clip]
        if not isinstance(total, int) or flow.ops[total].code != "add" or total in statements:
            continue
        for select, other in (flow.args[total], flow.args[total][::-1]):
            if not isinstance(select, int) or not isinstance(other, int) or select not in statements:
                continue
            if _in_range(flow, other, op) and _belongs_to(flow, plan, statements, select, clip):
                found[select] = clip
                break
    return found


def _in_range(flow: Dataflow, value: int, clip: IntOp) -> bool:
    low, high = flow.range[value]
    return clip.numbers[0] <= low and high <= clip.numbers[1]


def _belongs_to(flow: Dataflow, plan: Schedule, statements: set[int], select: int, clip: int) -> bool:
    """Whether nothing but the clip needs the select, at the same place, and there is something to evaluate behind its gate."""
    alone = flow.ops[select].code == "select" and len(flow.users(select)) == 1 and select not in (*flow.roots(), *plan.arrays)
    together = plan.lazy[select] == plan.lazy[clip] and plan.pass_of[select] == plan.pass_of[clip]
    behind = (*plan.lazy[select], select)
    return alone and together and any(plan.lazy[index] == behind and index in statements for index in flow.ops)
