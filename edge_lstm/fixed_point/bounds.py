"""The proof that nothing overflows: the exact worst case of every operator for ANY input, from the weights alone (guarantee G3).

x and h may be any value in [-127, 127] at any step and every state any value in its format, so the bounds hold for ever, not only for
the data that were seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import prove_features
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerRecurrent,
    IntegerRow,
    IntOp,
    Normalize,
)
from edge_lstm.fixed_point.operators import INTERVAL, Interval, half, interpolate_interval
from edge_lstm.fixed_point.weights import WIDEST

INT32 = 2**31 - 1
Int64Array = npt.NDArray[np.int64]


def x_reach(wide: bool) -> int:
    """Largest magnitude of an input, for any int8 halves where it has 16 bits; of W high and W low, added, none is ever larger."""
    return WIDEST if wide else 127


def row_interval(row: IntegerRow, sources: list[Interval], wide: bool = False) -> tuple[Interval, Interval]:
    """Interval of the accumulator, per unit, and of its widest partial sum.

    x may be anything (within 127, or of 16 bits), and sources anything in their own intervals.

    A partial sum in any order lies within bias +- (sum of the magnitudes), which is what the second interval states.
    """
    bias = row.bias.astype(np.int64)
    reach: Int64Array = np.zeros_like(bias)
    low: Int64Array = bias.copy()
    high: Int64Array = bias.copy()
    if row.W is not None:
        part = (x_reach(wide) * np.abs(row.W.astype(np.int64)).sum(1)) << row.input_shift
        low, high, reach = np.asarray(low - part), np.asarray(high + part), np.asarray(reach + part)
    for weights, (source_low, source_high) in zip(row.R, sources, strict=True):
        long = weights.astype(np.int64)
        positive, negative = np.maximum(long, 0), np.minimum(long, 0)
        low = np.asarray(low + positive @ source_low + negative @ source_high)
        high = np.asarray(high + positive @ source_high + negative @ source_low)
        reach = np.asarray(reach + np.abs(long) @ np.maximum(np.abs(source_low), np.abs(source_high)))
    return (low, high), (np.minimum(bias, 0) - reach, np.maximum(bias, 0) + reach)


def op_interval(op: IntOp, layer: IntegerRecurrent, arguments: list[Interval]) -> tuple[Interval, Interval]:
    """(interval of the result, interval of the widest intermediate value) of one operator, per unit."""
    units = layer.units
    if op.code == "row":
        return row_interval(layer.rows[op.name], arguments, layer.wide)
    if op.code == "state":
        limit = np.full(units, layer.state(op.name).limit, np.int64)
        return (-limit, limit), (-limit, limit)
    if op.code == "vector":
        values = layer.vectors[op.name].astype(np.int64)
        return (values, values), (values, values)
    return INTERVAL[op.code](op, layer, arguments)


@dataclass(frozen=True)
class Bound:
    """Worst case of one value. what: operator and name; low, high: of the result; widest: magnitude of the widest intermediate value."""

    what: str
    low: int
    high: int
    widest: int

    @property
    def bits(self) -> int:
        """Bits of a signed integer that holds the widest intermediate value."""
        return self.widest.bit_length() + 1


def intervals(layer: IntegerRecurrent) -> list[tuple[Interval, Interval]]:
    """`op_interval` of every operator of the layer, in order."""
    found: list[tuple[Interval, Interval]] = []
    for op in layer.ops:
        found.append(op_interval(op, layer, [found[a][0] for a in op.args]))
    return found


def _bound(what: str, result: Interval, widest: Interval) -> Bound:
    bound = Bound(what, int(result[0].min()), int(result[1].max()), int(max(-widest[0].min(), widest[1].max())))
    if bound.widest > INT32:
        raise EdgeLstmError(
            f"{what}: the worst case {bound.widest} needs {bound.bits} bits, more than 32; use smaller weights or fewer inputs"
        )
    return bound


def prove(layer: IntegerRecurrent) -> list[Bound]:
    """The bounds of a recurrent layer. Raises EdgeLstmError where 32 bits do not suffice, or a state or output leaves its format."""
    found = intervals(layer)
    bounds = [_bound(f"{op.code} {op.name}".strip(), *both) for op, both in zip(layer.ops, found, strict=True)]
    for state in layer.states:
        if max(-bounds[state.update].low, bounds[state.update].high) > state.limit:
            raise EdgeLstmError(f"state {state.name} may reach {bounds[state.update]} but its format ends at {state.limit}")
    for index in (a for op in layer.ops if op.code == "row" for a in op.args):
        if max(-bounds[index].low, bounds[index].high) > 127:
            raise EdgeLstmError(
                f"{layer.ops[index].code} {layer.ops[index].name} is read by a row but may reach {bounds[index]}, beyond 127"
            )
    if max(-bounds[layer.output].low, bounds[layer.output].high) > 127:
        raise EdgeLstmError(f"the layer's output may reach {bounds[layer.output]}, beyond 127")
    return bounds


def prove_normalize(front: Normalize) -> list[Bound]:
    """The bounds of the front end: the block sum or feature less its offset, for any counts, and the product of the rescaling."""
    offset = front.offset.astype(np.int64)
    if front.features is None:
        reach = 32768 * front.decimation + np.abs(offset)
        return [_bound("block sum", (-reach, reach), (-reach, reach)), _prove_rescaling("input", front)]
    found, (low, high) = prove_features(front.features, front.decimation)
    bounds = [Bound(f"feature {one.what}", one.low, one.high, one.widest) for one in found]
    centred = low - offset, high - offset
    return [*bounds, _bound("feature less its offset", centred, centred), _prove_rescaling("input", front)]


def needs_clamp(front: Normalize) -> bool:
    """Whether the front end's clamp before the multiplication changes anything: without it some product of a feature would leave 32 bits,
    or some result beyond the limit would not be clipped anyway. True for raw counts, whose range is not known from a program."""
    if front.features is None:
        return True
    _, (low, high) = prove_features(front.features, front.decimation)
    offset, multiplier = front.offset.astype(np.int64), front.multiplier.astype(np.int64)
    widest = np.maximum(np.abs(low - offset), np.abs(high - offset)) * multiplier + half(front.shift)
    clipped = front.limit.astype(np.int64) * multiplier - half(front.shift) >= front.limit_of_x << front.shift
    return bool(widest.max() >= 2**31 or not (clipped | (front.limit >= np.maximum(np.abs(low - offset), np.abs(high - offset)))).all())


def _prove_rescaling(what: str, layer: Normalize | IntegerDense | IntegerConv1d) -> Bound:
    if layer.limit is None or layer.multiplier is None:
        raise EdgeLstmError(f"{what}: no rescaling")
    product = layer.limit.astype(np.int64) * layer.multiplier + half(layer.shift)
    return _bound(f"{what} rescaling", (-product >> layer.shift, product >> layer.shift), (-product, product))


def _prove_requantizing(what: str, layer: IntegerDense | IntegerConv1d) -> list[Bound]:
    """The bounds of a rescaling and, where there is one, of the curve behind it."""
    if layer.limit is None:
        return []
    rescaled = _prove_rescaling(what, layer)
    if layer.curve is None:
        return [rescaled]
    v = np.array([rescaled.low], np.int64), np.array([rescaled.high], np.int64)
    curve = interpolate_interval(v, layer.curve.knots, layer.curve.segment_shift, layer.curve.out_shift)
    return [rescaled, _bound(f"{what} {layer.curve.kind}", *curve)]


def prove_dense(layer: IntegerDense, input_limit: int, steps: int = 1) -> Bound:
    """The bound of a dense accumulator whose inputs lie in [-input_limit, input_limit] and whose bias is added `steps` times."""
    reach = np.abs(layer.W.astype(np.int64)).sum(1) * input_limit + np.abs(layer.bias.astype(np.int64)) * steps
    return _bound("dense accumulator", (-reach, reach), (-reach, reach))


def prove_convolution(layer: IntegerConv1d) -> Bound:
    """The bound of a convolution's accumulator."""
    reach = np.abs(layer.W.astype(np.int64)).sum((1, 2)) * x_reach(layer.wide) + np.abs(layer.bias.astype(np.int64))
    return _bound("convolution accumulator", (-reach, reach), (-reach, reach))


def _prove_pool(layer: IntegerPool) -> Bound:
    reach = np.array([127 * layer.size * max(layer.multiplier, 1) + half(layer.shift)], np.int64)
    return _bound(f"{layer.kind} pooling", (np.array([-127]), np.array([127])), (-reach, reach))


def prove_network(network: IntegerNetwork) -> list[list[Bound]]:
    """The bounds of every layer, in order (one list per layer; a read-out has none but the running sum of a mean)."""
    proofs: list[list[Bound]] = []
    limit, steps = 127, 1
    prove_normalize(network.normalize)
    for layer in network.layers:
        if isinstance(layer, IntegerRecurrent):
            proofs.append(prove(layer))
        elif isinstance(layer, IntegerBidirectional):
            proofs.append([*prove(layer.forward), *prove(layer.backward)])
        elif isinstance(layer, IntegerConv1d):
            proofs.append([prove_convolution(layer), *_prove_requantizing("convolution", layer)])
        elif isinstance(layer, IntegerPool):
            proofs.append([_prove_pool(layer)])
        elif isinstance(layer, IntegerDense):
            proofs.append([prove_dense(layer, x_reach(True) if layer.wide else limit, steps), *_prove_requantizing("dense", layer)])
            limit, steps = 127, 1
        elif layer.kind == "mean":
            if layer.window < 1:
                raise EdgeLstmError("a mean read-out needs a window: without one its running sum has no bound")
            reach = np.array([127 * layer.window], np.int64)
            proofs.append([_bound("running sum", (-reach, reach), (-reach, reach))])
            if layer.gain is None:
                limit, steps = 127 * layer.window, layer.window
            else:  # 2 (clip + 127 steps) + steps is the widest value on the way to the mean where the gain is small
                wide, eight = np.maximum(reach << layer.gain, 509 * layer.window), np.array([127], np.int64)
                proofs[-1].append(_bound("mean", (-eight, eight), (-wide, wide)))
        else:
            proofs.append([])
    return proofs
