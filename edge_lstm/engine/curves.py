"""What the constants of a layer allow its kernel to leave out, without changing a bit of any result.

- Most curves and clips read a rescaled accumulator. Clamping the accumulator a little tighter than the rescale asks for, at the very
  values whose rescaled value is the end of the range, gives the same as clamping twice: the second clamp is dropped.
- An accumulator that only thresholds and rescales read needs no bias: a + b > 0 is a > -b, and a rescale takes b into its limits and
  its rounding term.
- A rescale whose limits and multiplier fit 16 bits is one dot product of pairs, which adds the rounding term as well.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.layout import Curve
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerRecurrent, IntOp
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


def signed_places(knots: Int64Array) -> Int64Array:
    """The knots below the segments of a table for which places are not masked: place - 2^15 in every second segment.

    There step (place - 2^15) is step place - step 2^15, whose multiple of 2^15 passes through every shift and rounding: the knot above,
    in place of the one below, makes up for it.
    """
    below = knots[:-1].copy()
    below[1::2] = knots[2::2]
    return below


def _range(layer: IntegerRecurrent, op: IntOp) -> tuple[int, int]:
    """The arguments that an interpolation or a clip does not change before it uses them."""
    if op.code == "clip":
        return op.numbers[0], op.numbers[1]
    return -table_reach(layer, op), table_reach(layer, op) - 1


def within_range(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[int, ...]:
    """Interpolations and clips whose argument cannot leave their range: clipped before, or rescaled within `rescale_limits`."""
    found = []
    tight = _tight_limits(layer, plan)
    for index, op in enumerate(plan.ops):
        if op.code in ("interpolate", "clip"):
            argument, (low, high) = plan.ops[op.args[0]], _range(layer, op)
            clipped = argument.code == "clip" and low <= argument.numbers[0] and argument.numbers[1] <= high
            if clipped or (argument.code == "rescale" and argument.name in tight):
                found.append(index)
    return tuple(found)


def rescale_limits(layer: IntegerRecurrent, plan: LayerPlan) -> dict[str, Limits]:
    """For each rescale the (lowest, highest) argument per unit, int64: those of the operator, or tighter ones for `within_range`."""
    limits: dict[str, Limits] = {}
    for name in plan.rescales:
        limit = layer.vectors[f"{name}.limit"].astype(np.int64)
        limits[name] = -limit, limit
    return limits | _tight_limits(layer, plan)


def bare_rows(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[int, ...]:
    """Rows that only thresholds and rescales of the same phase read, and whose constants stay within 32 bits with the bias taken in."""
    found = []
    for index, op in enumerate(plan.ops):
        users = [user for user in plan.ops if index in user.args]
        if op.code != "row" or index in plan.spilled or not users or _is_kept(layer, plan, index):
            continue
        rescales = [user.name for user in users if user.code == "rescale"]
        thresholds = sum(user.code == "positive" for user in users)
        if len(rescales) + thresholds == len(users) and all(used_once(plan, name) for name in rescales):
            row = layer.rows[op.name]
            # Sources are held as bytes with 128 added: 255 times the weights is as far as an accumulator without its bias can go.
            reach = np.abs(row.bias.astype(np.int64)) + sum(255 * np.abs(R.astype(np.int64)).sum(1) for R in row.R)
            if row.W is not None:
                halves = (1 << HALF_BITS) + 1 if layer.wide else 1
                reach = reach + (255 * halves * np.abs(row.W.astype(np.int64)).sum(1) << row.input_shift)
            widest = [layer.vectors[f"{name}.limit"].astype(np.int64) for name in rescales]
            if int(np.max(reach + np.maximum.reduce([np.zeros_like(reach), *widest]))) < 2**31:
                found.append(index)
    return tuple(found)


def short_rescales(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[int, ...]:
    """Rescales that clip to 16 bits and multiply by as many: a lane's high half then counts times the multiplier's, which is 0."""
    limits, bare = rescale_limits(layer, plan), bare_rows(layer, plan)
    found = []
    for index, op in enumerate(plan.ops):
        if op.code != "rescale" or op.args[0] in bare:  # without its bias an accumulator has limits of its own
            continue
        low, high = limits[op.name]
        widest = layer.vectors[f"{op.name}.multiplier"].max(initial=0)
        if low.min(initial=0) >= -(1 << 15) and max(high.max(initial=0), widest) < 1 << 15:
            found.append(index)
    return tuple(found)


def _is_kept(layer: IntegerRecurrent, plan: LayerPlan, index: int) -> bool:
    """Whether the value itself is stored: as a state, a source or the output."""
    kept = {layer.output, *(s.update for s in layer.states)}
    return index in kept or any(index in (s.at_end, s.source) for s in plan.segments)


def used_once(plan: LayerPlan, rescale: str) -> bool:
    """Whether only one operator has the limits and multipliers of this name."""
    return sum(op.code == "rescale" and op.name == rescale for op in plan.ops) == 1


def _tight_limits(layer: IntegerRecurrent, plan: LayerPlan) -> dict[str, Limits]:
    """Limits that end exactly at the ends of the range of the one operator that reads a rescale, where there are such limits."""
    found: dict[str, Limits] = {}
    for index, op in enumerate(plan.ops):
        if op.code != "rescale" or _is_kept(layer, plan, index) or index in plan.spilled or not used_once(plan, op.name):
            continue
        users = [user for user in plan.ops if index in user.args]
        if len(users) == 1 and users[0].code in ("interpolate", "clip"):
            limits = _ends_of_range(layer, op, *_range(layer, users[0]))
            if limits is not None:
                found[op.name] = limits
    return found


def _ends_of_range(layer: IntegerRecurrent, op: IntOp, lowest: int, highest: int) -> Limits | None:
    """Smallest and largest argument whose rescaled value is in lowest ... highest; None where a unit steps over an end."""
    limit, multiplier = (layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
    shift = op.numbers[0]

    def rescaled(v: Int64Array) -> Int64Array:
        return np.asarray((v * multiplier + half(shift)) >> shift)

    # v * multiplier + half < (highest + 1) << shift, and >= lowest << shift
    high = np.minimum(((highest + 1 << shift) - 1 - half(shift)) // multiplier, limit)
    low = np.maximum(-((half(shift) - (lowest << shift)) // multiplier), -limit)
    exact = ((high == limit) & (rescaled(high) <= highest)) | (rescaled(high) == highest)
    exact &= ((low == -limit) & (rescaled(low) >= lowest)) | (rescaled(low) == lowest)
    return (low, high) if bool(exact.all()) and bool((low <= high).all()) else None
