"""Whether an integer network that was read from a file is well formed, so that engines and generators may trust it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import check_features, prove_features
from edge_lstm.fixed_point.integer_network import (
    MOST_GAIN,
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
    IntOp,
    Normalize,
    input_width,
)
from edge_lstm.network import POOLS, READ_OUTS

# code -> (number of arguments, number of constants); a row has as many arguments as recurrent matrices
_SIGNATURE: dict[str, tuple[int, int]] = {
    "state": (0, 0), "vector": (0, 0), "positive": (1, 0), "select": (2, 0), "add": (2, 0), "subtract": (2, 0), "complement": (1, 1),
    "offset": (1, 1), "clip": (1, 2), "rescale": (1, 1), "multiply": (2, 1), "shift": (1, 1), "raise": (1, 1), "interpolate": (1, 2),
}  # fmt: skip
_SHIFTS = {"rescale": (0,), "multiply": (0,), "shift": (0,), "raise": (0,), "interpolate": (0, 1)}  # which constants are shifts
_MAX_SHIFT = 30


def check(network: IntegerNetwork) -> None:
    """Raises EdgeLstmError at the first thing that does not fit. Overflow is the business of `bounds.prove_network`."""
    _check_normalize(network.normalize)
    read_outs = [layer for layer in network.layers if isinstance(layer, IntegerReadOut)]
    _need(len(read_outs) == 1, f"the model has {len(read_outs)} read-outs, expected one")
    _need(bool(network.recurrent), "the model has no recurrent layer")
    width = network.normalize.width
    seen_read_out = False
    for index, layer in enumerate(network.layers):
        where = f"layer {index}"
        if isinstance(layer, IntegerReadOut):
            _need(layer.kind in READ_OUTS and layer.window >= 0, f"{where}: unknown read-out {layer.kind!r} with window {layer.window}")
            gains = layer.gain is None or (layer.kind == "mean" and 0 <= layer.gain <= MOST_GAIN)
            _need(gains, f"{where}: a gain of {layer.gain} for read-out {layer.kind!r}")
            seen_read_out = True
            continue
        directions = (layer.forward, layer.backward) if isinstance(layer, IntegerBidirectional) else (layer,)
        wide = [getattr(one, "wide", False) for one in directions]
        given = network.normalize.wide and not index
        _need(not any(one != given for one in wide), f"{where} reads {8 if given else 16} bits of an input that has {16 if given else 8}")
        found = input_width(layer)
        _need(found == width, f"{where} expects {found} inputs but the layer before gives {width}")
        _need(not seen_read_out or isinstance(layer, IntegerDense), f"{where}: a {type(layer).__name__} behind the read-out")
        if isinstance(layer, IntegerRecurrent):
            _check_recurrent(layer, where)
        elif isinstance(layer, IntegerBidirectional):
            _need(not layer.forward.reverse and layer.backward.reverse, f"{where}: its directions are not forward and backward")
            _need(input_width(layer.backward) == width, f"{where}: its two directions have different inputs")
            _check_recurrent(layer.forward, where)
            _check_recurrent(layer.backward, where)
        elif isinstance(layer, IntegerConv1d):
            _check_convolution(layer, where)
        elif isinstance(layer, IntegerPool):
            _check_pool(layer, where)
        else:
            last = index == len(network.layers) - 1
            _need(last or layer.limit is not None, f"{where}: a dense layer that is not the last gives 32 bits")
            _check_weighted(layer, where)
        width = layer.outputs
    _need(not network.classes or len(network.classes) == width, f"{len(network.classes)} class names for {width} outputs")


def _need(condition: bool, problem: str) -> None:
    if not condition:
        raise EdgeLstmError(f"{problem}; the file is damaged or was edited")


def _check_lengths(where: str, length: int, **arrays: npt.NDArray[np.generic]) -> None:
    for name, array in arrays.items():
        _need(array.shape == (length,), f"{where}: {name} has shape {list(array.shape)}, expected [{length}]")


def _check_positive(where: str, **arrays: npt.NDArray[np.floating] | float) -> None:
    for name, array in arrays.items():
        _need(bool(np.all(np.isfinite(array)) and np.all(np.asarray(array) > 0)), f"{where}: {name} must be positive and finite")


def _check_weights(where: str, weights: npt.NDArray[np.int8]) -> None:
    _need(int(weights.min(initial=0)) >= -127, f"{where}: a weight of -128, outside [-127, 127]")


def _check_requantizing(where: str, limit: npt.NDArray[np.int32], multiplier: npt.NDArray[np.int32], shift: int) -> None:
    _need(0 <= shift <= _MAX_SHIFT, f"{where}: shift {shift} is not in 0 ... {_MAX_SHIFT}")
    _need(bool((limit >= 0).all() and (multiplier >= 0).all()), f"{where}: a negative limit or multiplier")
    widest = int((limit.astype(np.int64) * multiplier).max(initial=0)) + (1 << shift >> 1)
    _need(widest < 2**31, f"{where}: limit and multiplier reach {widest}, beyond 32 bits")


def _check_normalize(front: Normalize) -> None:
    where, channels = "normalize", front.inputs
    _need(front.decimation >= 1 and channels >= 1, f"{where}: decimation {front.decimation} of {channels} channels")
    outputs = front.outputs
    if front.features is not None:
        check_features(front.features)
        _need(front.features.count == outputs, f"{where}: {front.features.count} features but {outputs} offsets")
    _check_lengths(where, outputs, limit=front.limit, multiplier=front.multiplier, scale=front.scale)
    _check_lengths(where, channels, units_per_count=front.units_per_count)
    _check_requantizing(where, front.limit, front.multiplier, front.shift)
    _check_positive(where, scale=front.scale, units_per_count=front.units_per_count)
    reach = 32768 * front.decimation
    if front.features is not None:
        reach = int(np.abs(prove_features(front.features, front.decimation)[1]).max())
    widest = int(np.abs(front.offset.astype(np.int64)).max()) + reach
    _need(widest < 2**31, f"{where}: the block sum or feature less its offset reaches {widest}, beyond 32 bits")


def _check_weighted(layer: IntegerDense | IntegerConv1d, where: str) -> None:
    _need(layer.W.size > 0, f"{where}: no weights")
    _check_lengths(where, layer.outputs, bias=layer.bias, scale=layer.scale)
    _check_weights(where, layer.W)
    _check_positive(where, scale=layer.scale)
    if layer.limit is not None and layer.multiplier is not None:
        _check_lengths(where, layer.outputs, limit=layer.limit, multiplier=layer.multiplier)
        _check_requantizing(where, layer.limit, layer.multiplier, layer.shift)
        _check_positive(where, output_scale=layer.output_scale)
        _check_curve(layer, where)
        _need(-127 <= layer.low <= layer.high <= 127, f"{where}: output range [{layer.low}, {layer.high}] is not within [-127, 127]")


def _check_curve(layer: IntegerDense | IntegerConv1d, where: str) -> None:
    if layer.curve is None:
        return
    knots, shifts = layer.curve.knots, (layer.curve.segment_shift, layer.curve.out_shift)
    _need(len(knots) >= 3 and len(knots) % 2 == 1, f"{where}: its curve has {len(knots)} knots, expected 3, 5, 7 ...")
    _need(min(shifts) >= 0 and sum(shifts) <= _MAX_SHIFT, f"{where}: its curve shifts by {list(shifts)}")
    _need((len(knots) - 1) << shifts[0] < 2**31, f"{where}: its curve spans more than 32 bits")


def _check_convolution(layer: IntegerConv1d, where: str) -> None:
    _check_weighted(layer, where)
    numbers = layer.stride >= 1 and layer.dilation >= 1 and min(layer.padding) >= 0
    _need(numbers, f"{where}: stride {layer.stride}, dilation {layer.dilation}, padding {list(layer.padding)}")


def _check_pool(layer: IntegerPool, where: str) -> None:
    sizes = layer.kind in POOLS and layer.size >= 1 and layer.stride >= 1
    _need(sizes, f"{where}: {layer.kind!r} pooling of {layer.size} steps every {layer.stride}")
    if layer.kind == "average":
        _need(0 <= layer.shift <= _MAX_SHIFT and layer.multiplier >= 0, f"{where}: multiplier {layer.multiplier} and shift {layer.shift}")
        largest = (127 * layer.size * layer.multiplier + (1 << layer.shift >> 1)) >> layer.shift
        _need(largest <= 127, f"{where}: its average may reach {largest}, beyond 127")


def _check_recurrent(layer: IntegerRecurrent, where: str) -> None:
    _need(bool(layer.states) and bool(layer.ops), f"{where}: no state or no operator")
    units = layer.units
    _need(units >= 1 and layer.inputs >= 1, f"{where}: {units} units and {layer.inputs} inputs")
    _check_positive(where, output_scale=layer.output_scale, input_scale=layer.input_scale)
    _need(not layer.order or sorted(layer.order) == list(range(units)), f"{where}: the order of its units does not name each of them once")
    for state in layer.states:
        _check_lengths(where, units, **{f"initial value of {state.name}": state.initial})
        _check_positive(where, **{f"scale of state {state.name}": state.scale})
        fits = state.bits in (8, 16, 32) and 0 < state.limit < 2 ** (state.bits - 1)
        _need(fits, f"{where}: state {state.name} has limit {state.limit} in {state.bits} bits")
        _need(0 <= state.update < len(layer.ops), f"{where}: state {state.name} is renewed by an operator that does not exist")
        _need(int(np.abs(state.initial.astype(np.int64)).max()) <= state.limit, f"{where}: state {state.name} begins outside its format")
    _need(len({s.name for s in layer.states}) == len(layer.states), f"{where}: two states have the same name")
    _need(0 <= layer.output < len(layer.ops), f"{where}: its output is an operator that does not exist")
    for row in layer.rows.values():
        _check_lengths(where, units, **{f"bias of row {row.name}": row.bias})
        _check_lengths(where, units, **{f"scale of row {row.name}": row.scale})
        _check_positive(where, **{f"scale of row {row.name}": row.scale})
        _need(0 <= row.input_shift <= 16, f"{where}: row {row.name} has input shift {row.input_shift}")
        for weights, width in [(R, units) for R in row.R] + ([] if row.W is None else [(row.W, layer.inputs)]):
            found = list(weights.shape)
            _need(found == [units, width], f"{where}: row {row.name} has a matrix {found}, expected [{units}, {width}]")
            _check_weights(where, weights)
    _check_lengths(where, units, **layer.vectors)
    for name, knots in layer.tables.items():
        _need(len(knots) >= 3 and len(knots) % 2 == 1, f"{where}: table {name} has {len(knots)} knots, expected 3, 5, 7 ...")
    for k, op in enumerate(layer.ops):
        _check_op(layer, k, op, f"{where}: operator {k} ({op.code} {op.name})")


def _check_op(layer: IntegerRecurrent, index: int, op: IntOp, where: str) -> None:
    if op.code == "row":
        _need(op.name in layer.rows, f"{where} names no row")
        signature = len(layer.rows[op.name].R), 0
    else:
        _need(op.code in _SIGNATURE, f"{where} is unknown")
        signature = _SIGNATURE[op.code]
    _need((len(op.args), len(op.numbers)) == signature, f"{where} has {len(op.args)} arguments and {len(op.numbers)} constants")
    _need(all(0 <= a < index for a in op.args), f"{where} reads an operator that comes later or does not exist")
    _need(all(abs(n) < 2**31 for n in op.numbers), f"{where} has a constant beyond 32 bits")
    shifts = [op.numbers[k] for k in _SHIFTS.get(op.code, ())]
    _need(all(s >= 0 for s in shifts) and sum(shifts) <= _MAX_SHIFT, f"{where} shifts by {shifts}")
    if op.code == "clip":
        _need(op.numbers[0] <= op.numbers[1], f"{where} clips to an empty range {list(op.numbers)}")
    known = {
        "state": {s.name for s in layer.states}, "vector": set(layer.vectors), "interpolate": set(layer.tables),
        "rescale": {name.removesuffix(".limit") for name in layer.vectors if name.removesuffix(".limit") + ".multiplier" in layer.vectors},
    }  # fmt: skip
    _need(op.name in known.get(op.code, {op.name}), f"{where} names nothing that the layer has")
    if op.code == "interpolate":
        _need((len(layer.tables[op.name]) - 1) << op.numbers[0] < 2**31, f"{where} spans more than 32 bits")
    if op.code == "rescale":
        limit, multiplier = layer.vectors[op.name + ".limit"], layer.vectors[op.name + ".multiplier"]
        _check_requantizing(where, limit, multiplier, op.numbers[0])
