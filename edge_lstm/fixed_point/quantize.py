"""Float network -> integer network: calibration, formats, lowering, proof."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edge_lstm import float_inference
from edge_lstm.cells import Activation
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.decisions import HOST_ACTIVATION
from edge_lstm.fixed_point.feed_forward import gives_scores, integer_convolution, integer_dense, pooling
from edge_lstm.fixed_point.formats import INT8, state_formats
from edge_lstm.fixed_point.integer_network import (
    MOST_GAIN,
    WIDE_LIMIT,
    IntegerBidirectional,
    IntegerLayer,
    IntegerNetwork,
    IntegerReadOut,
    IntegerRecurrent,
    Normalize,
)
from edge_lstm.fixed_point.lowering import lower
from edge_lstm.fixed_point.rescaling import rescaling
from edge_lstm.fixed_point.separate_rows import formats_of_parts, separated
from edge_lstm.fixed_point.unit_order import Orders, looked_at, unit_orders
from edge_lstm.fixed_point.weights import DENSE, WeightBits
from edge_lstm.network import (
    Bidirectional,
    Conv1d,
    Dense,
    FloatArray,
    Layer,
    Network,
    Pool,
    Preprocess,
    ReadOut,
    Recurrent,
    front_layers,
    steps_through,
)

Float64Array = npt.NDArray[np.float64]
INPUT_RANGE = 4.0  # standardized inputs are clipped at +-4 standard deviations
COUNTS_PER_UNIT = 128  # for networks whose inputs are no sensor counts: int16 then holds twice the calibrated range
RISING = ("sigmoid", "tanh", "hard_sigmoid", "hard_tanh", "softsign", "scaled_sigmoid")
MEAN_WINDOW = 4096  # steps that a mean read-out may sum when the network names no window


@dataclass(frozen=True)
class Options:
    """How to quantize.

    weight_bits: matrix -> format, as in `weights.row_formats`, 8 bits where missing; cell_bits: 16, or 32 for
    cells that count, whose states grow far beyond 16.
    separate_rows: weights of the input and of the states have scales of their own in soft gates and candidates (`separate_rows`).
    input_bits: 8, or 16 for inputs whose magnitudes span more than 8 bits resolve; those of the first layer are then separate.
    """

    weight_bits: WeightBits = field(default_factory=dict)
    cell_bits: int = 16
    separate_rows: bool = False
    input_bits: int = 8

    def __post_init__(self) -> None:
        if self.input_bits not in (8, 16):
            raise UsageError(f"inputs of {self.input_bits} bits: choose 8 or 16")
        if self.cell_bits not in (16, 32):
            raise UsageError(f"cell states of {self.cell_bits} bits: choose 16 or 32")


@dataclass(frozen=True)
class Ranges:
    """What calibration saw.

    input: [channels] largest |x| of the network's own input; states: per recurrent layer, state -> largest magnitude;
    outputs: per dense or convolutional layer, largest |output|; mean: largest magnitude that a mean read-out passed on, 0 if unknown.
    """

    input: Float64Array
    states: tuple[dict[str, float], ...]
    outputs: tuple[float, ...]
    mean: float = 0.0


def calibrate(network: Network, x: npt.NDArray[np.generic]) -> Ranges:
    """Runs the float network over x: [batch, time, inputs] and notes the largest magnitudes.

    Raises EdgeLstmError for NaN, a wrong channel count or an empty array.
    """
    float_inference.check_input(x, network.inputs)
    v = _read_by_the_first_layer(network, x)
    inputs = np.abs(v).max((0, 1))
    states: list[dict[str, float]] = []
    outputs: list[float] = []
    mean = 0.0
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Recurrent):
            states.append(_largest_states(layer, v))
        elif isinstance(layer, Bidirectional):
            states += [_largest_states(direction, v) for direction in (layer.forward, layer.backward)]
        v = float_inference.apply(network, index, v)
        if isinstance(layer, (Dense, Conv1d)):
            outputs.append(float(np.abs(v).max()))
        elif isinstance(layer, ReadOut) and layer.kind == "mean":
            mean = float(np.abs(v).max())
    return Ranges(inputs, tuple(states), tuple(outputs), mean)


def _read_by_the_first_layer(network: Network, x: npt.NDArray[np.generic]) -> FloatArray:
    return np.asarray(x, np.float64) if network.preprocess is None else float_inference.preprocess(network.preprocess, x)


def _largest_states(layer: Recurrent, v: FloatArray) -> dict[str, float]:
    state = float_inference.initial_state(layer, len(v), np.float64)
    seen = dict.fromkeys(layer.cell.states, 0.0)
    order = range(v.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, _ = float_inference.step(layer, v[:, t], state)
        seen = {s: max(seen[s], float(np.abs(state[s]).max())) for s in seen}
    return seen


def harden(network: Network, gates: Sequence[str] | None = None) -> Network:
    """The same weights with threshold gates (all gates of every layer, or those named). Accuracy suffers unless training follows."""

    def hardened(layer: Recurrent) -> Recurrent:
        names = layer.cell.gates if gates is None else gates
        unknown = set(names) - set(layer.cell.gates)
        if unknown:
            raise EdgeLstmError(f"{layer.cell.name} has no gate {', '.join(sorted(unknown))}; it has {', '.join(layer.cell.gates)}")
        return replace(layer, activations={**layer.activations, **{g: Activation("threshold") for g in names}})

    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, Recurrent):
            layers.append(hardened(layer))
        elif isinstance(layer, Bidirectional):
            layers.append(Bidirectional(hardened(layer.forward), hardened(layer.backward)))
        else:
            layers.append(layer)
    return network.with_layers(tuple(layers))


def quantize(network: Network, calibration: npt.NDArray[np.generic], options: Options | None = None) -> IntegerNetwork:
    """The integer network of `network`, with formats from the calibration input [batch, time, inputs], proved not to overflow.

    Raises EdgeLstmError where the calibration input does not fit or 32 bits do not suffice.
    """
    x = np.asarray(calibration)
    ranges = calibrate(network, x)
    orders = unit_orders(network, _read_by_the_first_layer(network, x[looked_at(len(x))]))
    return quantize_with_ranges(network, ranges, options or Options(), orders)


def quantize_with_ranges(network: Network, ranges: Ranges, options: Options, orders: Orders = ()) -> IntegerNetwork:
    """`quantize` for ranges that are known already (the trainer keeps them fixed while the integers are in the loop).

    orders: of the units of each layer (`unit_orders`); () as they are.
    """
    normalize = normalization(network, ranges.input, options.input_bits == 16)
    network = left_to_the_host(network)
    layers = _layers(network, normalize, ranges, options, orders)
    integer = IntegerNetwork(normalize, layers, network.softmax, network.classes, network.name, dict(network.metadata))
    prove_network(integer)
    return integer


def left_to_the_host(network: Network) -> Network:
    """The network without a rising function behind its last dense layer, which is noted in the metadata (`HOST_ACTIVATION`).

    Like a softmax it changes no order, and the integer scores are exact without it; `engine.outputs` applies it to their real values.
    """
    last = network.layers[-1]
    if not isinstance(last, Dense) or last.activation.kind not in RISING:
        return network
    one = last.activation
    text = f"{one.kind} {one.alpha!r} {one.beta!r}"
    layers = (*network.layers[:-1], replace(last, activation=Activation("identity")))
    return replace(network, layers=layers, metadata={**network.metadata, HOST_ACTIVATION: text})


def _layers(network: Network, normalize: Normalize, ranges: Ranges, options: Options, orders: Orders) -> tuple[IntegerLayer, ...]:
    layers: list[IntegerLayer] = []
    scale: Float64Array = normalize.scale  # real value of one unit of each channel that the next layer reads
    states, outputs = iter(ranges.states), iter(ranges.outputs)

    def recurrent(layer: Recurrent) -> IntegerRecurrent:
        formats = state_formats(layer, next(states), options.cell_bits)
        bits = options.weight_bits
        if options.separate_rows or wide:
            layer = separated(layer, thresholds=wide)
            bits = formats_of_parts(layer.cell, bits)
        return replace(lower(layer, scale, formats, bits, wide).layer, reverse=layer.reverse)

    for index, layer in enumerate(network.layers):
        wide = normalize.wide and not index
        if isinstance(layer, Recurrent):
            one = replace(recurrent(layer), order=orders[index] if orders else ())
            layers.append(one)
            scale = np.full(one.units, one.output_scale)
        elif isinstance(layer, Bidirectional):
            both = IntegerBidirectional(recurrent(layer.forward), recurrent(layer.backward))
            layers.append(both)
            scale = np.concatenate([np.full(one.units, one.output_scale) for one in (both.forward, both.backward)])
        elif isinstance(layer, ReadOut):
            read = read_out(network, ranges, float(scale.min()))
            layers.append(read)
            scale = scale / 2 ** (read.gain or 0)
        elif isinstance(layer, Pool):
            if wide:
                raise EdgeLstmError("pooling as the first layer takes inputs of 8 bits, not of 16")
            layers.append(pooling(layer))
        elif isinstance(layer, Conv1d):
            convolution = integer_convolution(layer, scale, next(outputs), wide)
            layers.append(convolution)
            scale = np.full(layer.outputs, convolution.output_scale)
        else:
            last = index == len(network.layers) - 1
            bits = options.weight_bits.get(DENSE, "8")
            dense = integer_dense(layer, scale, next(outputs), last=last, bits=bits, wide=wide)
            layers.append(dense)
            scale = np.full(layer.outputs, dense.output_scale)
    return tuple(layers)


def read_out(network: Network, ranges: Ranges, unit: float) -> IntegerReadOut:
    """The read-out in integers. unit: smallest real value of one unit of what it reads.

    Scores may grow with the number of steps; a hidden dense layer needs the mean itself, times the power of two that uses its 8 bits.
    """
    kind = "last" if network.read_out.kind == "final" and network.streams else network.read_out.kind
    # The read-out counts its own steps: of a window's, those that layers in front leave.
    window = steps_through(network.layers[: front_layers(network)], network.window) if network.window else 0
    if network.window and window < 1:
        raise EdgeLstmError(f"a window of {network.window} steps is shorter than what the convolutions and poolings in front span")
    window = window or (MEAN_WINDOW if kind == "mean" else 0)
    behind = network.layers[network.layers.index(network.read_out) + 1 :]
    first = behind[0] if behind else None
    if kind != "mean" or not isinstance(first, Dense) or gives_scores(first, len(behind) == 1):
        return IntegerReadOut(kind, window)
    seen = max(ranges.mean, 2.0**-6) if ranges.mean else INT8 * unit
    room = (2**31 - 1) // (INT8 * window)  # for the sum times 2^gain
    return IntegerReadOut(kind, window, max(0, min(MOST_GAIN, math.floor(math.log2(INT8 * unit / seen)), room.bit_length() - 1)))


def normalization(network: Network, seen: Float64Array, wide: bool = False) -> Normalize:
    """The integer front end: x = (block sum - decimation * offset) * gain, or (feature - offset) * gain, as int8, or 16 bits if `wide`.

    With a `Preprocess` the input is standardized and clipped at +-INPUT_RANGE. Without one, the network's inputs are floats of its own:
    x spans the largest value that calibration saw, and one unit of x is COUNTS_PER_UNIT counts.
    """
    channels, largest = network.step_inputs, WIDE_LIMIT if wide else INT8
    if network.preprocess is not None:
        front = network.preprocess
        scale = np.full(channels, INPUT_RANGE / largest)
        units = np.ones(network.inputs) if front.units_per_count is None else np.asarray(front.units_per_count, np.float64)
    else:
        scale = np.maximum(seen, 2.0**-20) / largest
        units = scale / (1 if wide else COUNTS_PER_UNIT)
        front = Preprocess(1, np.zeros(channels), units)
    summed = 1 if front.features is not None else front.decimation  # features are in units of the block sum, other offsets of its mean
    gain = np.asarray(front.scale, np.float64) / scale / summed  # units of x per unit of the block sum or feature
    if not (np.isfinite(gain).all() and (gain > 0).all()):
        raise EdgeLstmError("the preprocessing scale must be positive and finite for every channel")
    # features stay within 18 bits, so with a multiplier of 14 their product mostly needs no clamp (see `bounds.needs_clamp`)
    most = 2**30 if front.features is None else 2**21 if wide else 2**14
    limit, multiplier, shift = rescaling(gain, largest, most)
    offset = np.floor(np.asarray(front.offset, np.float64) * summed + 0.5)
    if np.abs(offset).max() + 32768 * front.decimation >= 2**31:
        raise EdgeLstmError("decimation and offset are too large: the block sum would leave 32 bits")
    return Normalize(front.decimation, offset.astype(np.int32), limit, multiplier, shift, scale, units, front.features, wide)
