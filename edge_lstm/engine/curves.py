"""What can be said about the curves of a layer before it runs: the shape of their tables, and which arguments cannot leave them.

Most curves read a rescaled accumulator. Clamping the accumulator a little tighter than the rescale asks for, at the very values whose
rescaled value is the end of the table, gives the same result as clamping twice; wherever such values exist, the second clamp is dropped.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.layout import Curve
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.operators import half

Int64Array = npt.NDArray[np.int64]
Limits = tuple[Int64Array, Int64Array]


def curve_of(layer: IntegerRecurrent, name: str) -> Curve:
    """The structure of a table of `layer`."""
    knots = layer.tables[name].astype(int)
    shifts = [op.numbers[0] for op in layer.ops if op.code == "interpolate" and op.name == name]
    steepest = max((abs(int(b) - int(a)) for a, b in pairwise(knots)), default=0)
    return Curve(len(knots) - 1, steepest <= 32767 and max(shifts) <= 14)


def table_reach(layer: IntegerRecurrent, op: IntOp) -> int:
    """The table of an interpolation covers -reach ... reach - 1."""
    return (len(layer.tables[op.name]) - 1) << op.numbers[0] >> 1


def within_tables(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[int, ...]:
    """Interpolations whose argument cannot leave the table: clipped to it by the operator before, or rescaled within `rescale_limits`."""
    found = []
    tight = _tight_limits(layer, plan)
    for index, op in enumerate(plan.ops):
        if op.code == "interpolate":
            argument, reach = plan.ops[op.args[0]], table_reach(layer, op)
            clipped = argument.code == "clip" and -reach <= argument.numbers[0] and argument.numbers[1] < reach
            if clipped or (argument.code == "rescale" and argument.name in tight):
                found.append(index)
    return tuple(found)


def rescale_limits(layer: IntegerRecurrent, plan: LayerPlan) -> dict[str, Limits]:
    """For each rescale the (lowest, highest) argument per unit, int64: those of the operator, or tighter ones for `within_tables`."""
    limits: dict[str, Limits] = {}
    for name in plan.rescales:
        limit = layer.vectors[f"{name}.limit"].astype(np.int64)
        limits[name] = -limit, limit
    return limits | _tight_limits(layer, plan)


def _tight_limits(layer: IntegerRecurrent, plan: LayerPlan) -> dict[str, Limits]:
    """Limits that end exactly at the ends of the table, for every rescale that only one interpolation reads and that has such limits."""
    found: dict[str, Limits] = {}
    kept = {state.update for state in layer.states} | {s.at_end for s in plan.segments} | {s.source for s in plan.segments} | {layer.output}
    for index, op in enumerate(plan.ops):
        readers = [user for user in plan.ops if index in user.args]
        if op.code != "rescale" or index in kept or len(readers) != 1 or readers[0].code != "interpolate":
            continue
        limits = _ends_of_table(layer, op, table_reach(layer, readers[0]))
        if limits is not None and sum(other.code == "rescale" and other.name == op.name for other in plan.ops) == 1:
            found[op.name] = limits
    return found


def _ends_of_table(layer: IntegerRecurrent, op: IntOp, reach: int) -> Limits | None:
    """Smallest and largest argument whose rescaled value is in the table; None where a unit steps over the end of the table."""
    limit, multiplier = (layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
    shift = op.numbers[0]

    def rescaled(v: Int64Array) -> Int64Array:
        return np.asarray((v * multiplier + half(shift)) >> shift)

    # v * multiplier + half < reach << shift, and >= -reach << shift
    high = np.minimum(((reach << shift) - 1 - half(shift)) // multiplier, limit)
    low = np.maximum(-(((reach << shift) + half(shift)) // multiplier), -limit)
    exact = ((high == limit) | (rescaled(high) == reach - 1)) & ((low == -limit) | (rescaled(low) == -reach))
    return (low, high) if bool(exact.all()) else None
