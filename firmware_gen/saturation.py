"""Saturation that can be done elsewhere, or by one number for all units, without changing a bit.

clip(a + select(gate, b)) is a itself where the gate is closed and a is in range: the clip is needed only where the gate is open
a rescaling whose clamp takes effect only where all readers saturate anyway may clamp elsewhere in that range
"""

from __future__ import annotations

import numpy as np

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


def clamp_is_lost(flow: Dataflow, rescale: int) -> bool:
    """Whether all readers of a rescaling saturate wherever its clamp takes effect, so that any wider clamp gives the same bits."""
    op, reach = flow.ops[rescale], _reach(flow, rescale)
    if reach is None:
        return False
    limit, multiplier = _factors(flow, op)
    half = (1 << op.numbers[0]) >> 1
    lowest, highest = (-limit * multiplier + half) >> op.numbers[0], (limit * multiplier + half) >> op.numbers[0]
    return bool(lowest.max() <= reach[0] and highest.min() >= reach[1])


def common_clamp(flow: Dataflow, rescale: int) -> int | None:
    """One limit for all units of a rescaling, in place of a table; None where there is none within 32 bits.

    The result may then leave its interval, by which an array of it would be declared."""
    op, reach = flow.ops[rescale], _reach(flow, rescale)
    multiplier = _factors(flow, op)[1]
    if reach is None or multiplier.min() < 1 or not clamp_is_lost(flow, rescale):
        return None
    half = (1 << op.numbers[0]) >> 1
    # -limit * m + half <= reach[0] * 2^s takes more than limit * m + half >= reach[1] * 2^s does of a reach that is alike on both sides.
    needed = max(max(-reach[0], reach[1]) * 2 ** op.numbers[0] + half, 0)
    common = int((-(-needed // multiplier)).max())
    return common if common * int(multiplier.max()) + half < 2**31 else None


def _factors(flow: Dataflow, op: IntOp) -> tuple[np.ndarray, np.ndarray]:
    return flow.layer.vectors[op.name + ".limit"].astype(np.int64), flow.layer.vectors[op.name + ".multiplier"].astype(np.int64)


def _reach(flow: Dataflow, index: int) -> tuple[int, int] | None:
    """(low, high): values at which, and beyond which, all readers of an operator saturate; None where one does not, or it is kept."""
    users = flow.users(index)
    if not users or index in flow.roots():
        return None
    found = []
    for user in users:
        op = flow.ops[user]
        if op.code == "interpolate":
            reach = (len(flow.layer.tables[op.name]) - 1) << op.numbers[0] >> 1
            found.append((-reach, reach - 1))
        elif op.code == "clip":
            found.append((op.numbers[0], op.numbers[1]))
        else:
            return None
    return min(low for low, _ in found), max(high for _, high in found)
