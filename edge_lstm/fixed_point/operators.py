"""The integer operators: their one normative definition, and the exact interval of their results.

`VALUE[code](op, layer, a)` gives the result for int64 arrays `a` of the arguments; no intermediate value may leave 32 bits, which
`INTERVAL` proves: `INTERVAL[code](op, layer, a)` takes (low, high) pairs per unit and returns ((low, high) of the result, (low, high) of
the widest intermediate value). `row`, `state` and `vector` read the layer and are handled by their callers.

Rounding is half up: (v + 2^(s-1)) >> s with an arithmetic shift; s = 0 leaves v as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerConv1d, IntegerDense, IntegerRecurrent, IntOp

Int64Array = npt.NDArray[np.int64]
Interval = tuple[Int64Array, Int64Array]


def half(shift: int) -> int:
    """The rounding term of a right shift."""
    return 1 << (shift - 1) if shift else 0


def round_shift(v: Int64Array, shift: int) -> Int64Array:
    """(v + half) >> shift, arithmetic."""
    return np.asarray((v + half(shift)) >> shift)


def rescale(v: Int64Array, limit: npt.NDArray[np.int32], multiplier: npt.NDArray[np.int32], shift: int) -> Int64Array:
    """Clamp, then multiply, then rounding shift: everything fits 32 bits because the clamp comes first."""
    wide = limit.astype(np.int64)
    return round_shift(np.clip(v, -wide, wide) * multiplier, shift)


def interpolate(v: Int64Array, knots: npt.NDArray[np.int16], segment_shift: int, out_shift: int) -> Int64Array:
    """A curve of straight segments, each 2^segment_shift wide, centred on v = 0 and constant outside.

    u = clip(v, -reach, reach - 1) + reach with reach = segments * 2^(segment_shift - 1)
    k = u >> segment_shift,  r = u mod 2^segment_shift
    result = round_shift((knots[k] << segment_shift) + (knots[k + 1] - knots[k]) * r, segment_shift + out_shift)
    """
    table = knots.astype(np.int64)
    reach = (len(table) - 1) << segment_shift >> 1
    u = np.clip(v, -reach, reach - 1) + reach
    k, r = u >> segment_shift, u & ((1 << segment_shift) - 1)
    return round_shift((table[k] << segment_shift) + (table[k + 1] - table[k]) * r, segment_shift + out_shift)


def split(x: Int64Array) -> Int64Array:
    """The halves [..., 2 n] of inputs of 16 bits [..., n] within +-WIDE_LIMIT: high = (x + 64) >> 7 and low = x - (high << 7)."""
    high = round_shift(x, HALF_BITS)
    return np.concatenate([high, x - (high << HALF_BITS)], -1)


def join(halves: npt.NDArray[np.integer]) -> Int64Array:
    """The reverse of `split`: (high << 7) + low."""
    high, low = np.split(halves.astype(np.int64), 2, -1)
    return np.asarray((high << HALF_BITS) + low)


def average(total: Int64Array, steps: int | Int64Array, gain: int) -> Int64Array:
    """total * 2^gain / steps, rounded half up and clipped to int8.

    c = clip(total << gain, -127 steps, 127 steps);  result = (2 c + steps) div (2 steps), towards minus infinity
    """
    reach = 127 * steps
    return (2 * np.clip(total << gain, -reach, reach) + steps) // (2 * steps)


def requantize(layer: IntegerDense | IntegerConv1d, accumulator: Int64Array) -> Int64Array:
    """int8 outputs of a dense or convolutional layer from its accumulators [..., outputs]: rescale, curve, clip.

    Without `limit` the accumulators are the result.
    """
    if layer.limit is None or layer.multiplier is None:
        return accumulator
    v = rescale(accumulator, layer.limit, layer.multiplier, layer.shift)
    if layer.curve is not None:
        v = interpolate(v, layer.curve.knots, layer.curve.segment_shift, layer.curve.out_shift)
    return np.clip(v, layer.low, layer.high)


Value = Callable[[IntOp, IntegerRecurrent, list[Int64Array]], Int64Array]

VALUE: dict[str, Value] = {
    "positive": lambda op, layer, a: (a[0] > 0).astype(np.int64),
    "select": lambda op, layer, a: np.where(a[0] != 0, a[1], 0),
    "add": lambda op, layer, a: a[0] + a[1],
    "subtract": lambda op, layer, a: a[0] - a[1],
    "complement": lambda op, layer, a: op.numbers[0] - a[0],
    "offset": lambda op, layer, a: a[0] + op.numbers[0],
    "clip": lambda op, layer, a: np.clip(a[0], op.numbers[0], op.numbers[1]),
    "rescale": lambda op, layer, a: rescale(a[0], layer.vectors[op.name + ".limit"], layer.vectors[op.name + ".multiplier"], op.numbers[0]),
    "multiply": lambda op, layer, a: round_shift(a[0] * a[1], op.numbers[0]),
    "shift": lambda op, layer, a: round_shift(a[0], op.numbers[0]),
    "raise": lambda op, layer, a: a[0] << op.numbers[0],
    "interpolate": lambda op, layer, a: interpolate(a[0], layer.tables[op.name], op.numbers[0], op.numbers[1]),
}


def _products(a: Interval, b: Interval) -> Interval:
    corners = [x * y for x in a for y in b]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _shifted(wide: Interval, shift: int) -> tuple[Interval, Interval]:
    rounded = wide[0] + half(shift), wide[1] + half(shift)
    return (rounded[0] >> shift, rounded[1] >> shift), (np.minimum(wide[0], rounded[0]), rounded[1])


def _same(interval: Interval) -> tuple[Interval, Interval]:
    return interval, interval


def _rescale_interval(op: IntOp, layer: IntegerRecurrent, a: list[Interval]) -> tuple[Interval, Interval]:
    limit, multiplier = (layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
    clamped = np.clip(a[0][0], -limit, limit), np.clip(a[0][1], -limit, limit)
    return _shifted((clamped[0] * multiplier, clamped[1] * multiplier), op.numbers[0])


def interpolate_interval(v: Interval, table: npt.NDArray[np.int16], segment_shift: int, out_shift: int) -> tuple[Interval, Interval]:
    """Intervals of the result and of the widest intermediate value of `interpolate` for arguments in v."""
    knots = table.astype(np.int64)
    reach = (len(knots) - 1) << segment_shift >> 1
    first, last = ((np.clip(edge, -reach, reach - 1) + reach) >> segment_shift for edge in v)
    pairs = list(zip(first.tolist(), last.tolist(), strict=True))
    extremes = {(f, e): (knots[f : e + 2].min(), knots[f : e + 2].max()) for f, e in set(pairs)}  # most units reach alike
    low, high = np.array([extremes[pair] for pair in pairs], np.int64).T
    result, widest = _shifted((low << segment_shift, high << segment_shift), segment_shift + out_shift)
    point = v[0] == v[1]
    if point.any():
        value = interpolate(v[0], table, segment_shift, out_shift)
        result = np.where(point, value, result[0]), np.where(point, value, result[1])
    slope = int(np.abs(np.diff(knots)).max()) << segment_shift  # the product of a knot's difference and the place within the segment
    return result, (np.minimum(widest[0], -slope), np.maximum(widest[1], slope))


def _select_interval(op: IntOp, layer: IntegerRecurrent, a: list[Interval]) -> tuple[Interval, Interval]:
    always, never = a[0][0] > 0, a[0][1] <= 0
    low = np.where(never, 0, np.where(always, a[1][0], np.minimum(a[1][0], 0)))
    high = np.where(never, 0, np.where(always, a[1][1], np.maximum(a[1][1], 0)))
    return _same((low, high))


INTERVAL: dict[str, Callable[[IntOp, IntegerRecurrent, list[Interval]], tuple[Interval, Interval]]] = {
    "positive": lambda op, layer, a: _same(((a[0][0] > 0).astype(np.int64), (a[0][1] > 0).astype(np.int64))),
    "select": _select_interval,
    "add": lambda op, layer, a: _same((a[0][0] + a[1][0], a[0][1] + a[1][1])),
    "subtract": lambda op, layer, a: _same((a[0][0] - a[1][1], a[0][1] - a[1][0])),
    "complement": lambda op, layer, a: _same((op.numbers[0] - a[0][1], op.numbers[0] - a[0][0])),
    "offset": lambda op, layer, a: _same((a[0][0] + op.numbers[0], a[0][1] + op.numbers[0])),
    "clip": lambda op, layer, a: _same((np.clip(a[0][0], op.numbers[0], op.numbers[1]), np.clip(a[0][1], op.numbers[0], op.numbers[1]))),
    "rescale": _rescale_interval,
    "multiply": lambda op, layer, a: _shifted(_products(a[0], a[1]), op.numbers[0]),
    "shift": lambda op, layer, a: _shifted(a[0], op.numbers[0]),
    "raise": lambda op, layer, a: _same((a[0][0] << op.numbers[0], a[0][1] << op.numbers[0])),
    "interpolate": lambda op, layer, a: interpolate_interval(a[0], layer.tables[op.name], *op.numbers),
}
