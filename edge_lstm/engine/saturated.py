"""An output whose clip is left to the instruction that stores its bytes, which saturates: for cores on which every instruction counts.

A hard output is select(gate, clip((c m + half) >> s, -127, 127)), and is kept as an unsigned byte, the value plus 128. Its rescale clips c
before it multiplies. Clipping the result alone gives the same where the clipped c reaches both ends of the range, since the result only
grows with c. 128 << s joins the rounding term; a maximum with 1 is then the lower end, the saturating store the upper one, and a gate that
is closed leaves 128: one instruction in place of four.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.engine.instructions import BYTE_OFFSET
from edge_lstm.engine.layout import Saturated
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.integer_network import IntegerRecurrent
from edge_lstm.fixed_point.operators import half


def saturated_output(layer: IntegerRecurrent, plan: LayerPlan, short: tuple[int, ...]) -> Saturated | None:
    """The first output of `layer` that can be stored so; short: its rescales of 16 bits by 16."""
    for segment in plan.segments:
        output = segment.at_end
        if output is None or plan.ops[output].code != "select":
            continue
        clip = plan.ops[output].args[1]
        if plan.ops[clip].code != "clip" or plan.ops[clip].numbers != (-127, 127):
            continue
        rescale = plan.ops[clip].args[0]
        alone = _readers(plan, output) == [] and _readers(plan, clip) == [output] and _readers(plan, rescale) == [clip]
        if rescale in short and alone and not {rescale, clip, output} & _kept(plan) and _ends_are_reached(layer, plan, rescale):
            return Saturated(rescale, clip, output)
    return None


def _readers(plan: LayerPlan, index: int) -> list[int]:
    return [reader for reader, op in enumerate(plan.ops) if index in op.args]


def _kept(plan: LayerPlan) -> set[int]:
    """Operators whose values are stored as they are."""
    computed = {index for phase in plan.phases for index, _ in phase.computed}
    return {*plan.spilled, *computed, *(plan.updates[name] for name in plan.stored)}


def _ends_are_reached(layer: IntegerRecurrent, plan: LayerPlan, rescale: int) -> bool:
    """Whether the clipped argument reaches both ends of the range in every unit, and the argument as it comes overflows nothing."""
    op, argument = plan.ops[rescale], plan.ops[plan.ops[rescale].args[0]]
    if argument.code != "clip":
        return False
    limit, multiplier = (layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
    shift, widest = op.numbers[0], max(abs(number) for number in argument.numbers)
    reached = (limit * multiplier + half(shift) >> shift >= 127) & (half(shift) - limit * multiplier >> shift <= -127)
    most = widest * int(multiplier.max()) + half(shift) + (BYTE_OFFSET << shift)
    return bool(reached.all()) and widest < 1 << 15 and most < 1 << 31
