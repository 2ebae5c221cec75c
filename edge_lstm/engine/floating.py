"""Rescales in floating point, with the bits of the integers: for cores on which every instruction takes a dot product's place.

A rescale is (clip(a, low, high) m + half) >> s. The float (a m + half) / 2^s, made by one fused multiply-add that rounds down, lies above
an integer n exactly if the true quotient does, since every n up to 2^24 is itself a float and rounding is monotonic. Cut off at +-limit and
converted rounding down it is the same integer: four instructions in place of six, two of which are those of one multiplication of 32 bits.
What must hold, and is checked here: a, m and the addend are floats (integers up to 2^24, times a power of two), and the ends of the result
lie at -n, n or at -n - 1, n, so that one instruction cuts it off at n or at n + 1/2.

An accumulator then needs its bias, of which no constant of a rescale can hold more than a few bits: `started_rows` begin with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.curves import bare_rows, rescale_limits, used_once
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.bounds import intervals
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.operators import half

EXACT = 1 << 24  # integers up to here are floats
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


def float_rescales(layer: IntegerRecurrent, plan: LayerPlan, short: tuple[int, ...]) -> tuple[int, ...]:
    """Rescales whose result a float gives exactly; short: those that are one dot product already."""
    limits, bare, ranges = rescale_limits(layer, plan), bare_rows(layer, plan), intervals(layer)
    found = []
    for index, op in enumerate(plan.ops[: len(layer.ops)]):
        if op.code != "rescale" or index in short or not used_once(plan, op.name):
            continue
        argument, left = op.args[0], 0
        if argument in bare:
            if layer.wide:  # the bias would have to come between the two halves of x
                continue
            left = (1 << start_shift(layer, plan, argument)) - 1
        reach = max(int(np.abs(end).max(initial=0)) for end in ranges[argument][0])
        most = int(layer.vectors[f"{op.name}.multiplier"].max(initial=0))
        exact = max(reach + left, most, half(op.numbers[0]) + left * most) < EXACT
        if exact and _ends(layer, op, *limits[op.name]) is not None:
            found.append(index)
    return tuple(found)


def started_rows(layer: IntegerRecurrent, plan: LayerPlan, readers: Iterable[int]) -> tuple[int, ...]:
    """Bare rows that these operators read: their accumulators begin with the bias, but for the bits that x's shift loses."""
    read = {plan.ops[index].args[0] for index in readers}
    return tuple(index for index in bare_rows(layer, plan) if index in read)


def start_of(layer: IntegerRecurrent, plan: LayerPlan, row: int, bias: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(what the accumulator of a started row begins with, what is left of the bias: 0 to 2^shift - 1)."""
    shift = start_shift(layer, plan, row)
    return bias >> shift, bias & (1 << shift) - 1


def float_constants(layer: IntegerRecurrent, plan: LayerPlan, index: int, left: Int64Array) -> dict[str, Float32Array]:
    """The parts "multiplier", "addend" and "cut" of a rescale, per unit; left: of the bias, what the argument lacks."""
    op = plan.ops[index]
    multiplier = layer.vectors[f"{op.name}.multiplier"].astype(np.int64)
    ends = _ends(layer, op, *rescale_limits(layer, plan)[op.name])
    assert ends is not None
    scale = 2.0 ** -op.numbers[0]
    addend = (left * multiplier + half(op.numbers[0])) * scale
    return {"multiplier": (multiplier * scale).astype(np.float32), "addend": addend.astype(np.float32), "cut": ends}


def start_shift(layer: IntegerRecurrent, plan: LayerPlan, row: int) -> int:
    """By how many bits an accumulator is shifted after the products with x."""
    found = layer.rows[plan.ops[row].name]
    return 0 if found.W is None else found.input_shift


def _ends(layer: IntegerRecurrent, op: IntOp, low: Int64Array, high: Int64Array) -> Float32Array | None:
    """Where the result is cut off on both sides, per unit, before it is rounded down; None where it has other ends."""
    multiplier, shift = layer.vectors[f"{op.name}.multiplier"].astype(np.int64), op.numbers[0]
    least, most = ((end * multiplier + half(shift)) >> shift for end in (low, high))
    if not bool(((least == -most) | (least == -most - 1)).all() and (most < EXACT >> 1).all() and (most >= 0).all()):
        return None
    return (most + (least == -most - 1) / 2).astype(np.float32)
