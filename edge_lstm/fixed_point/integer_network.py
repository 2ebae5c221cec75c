"""The integer network: what every engine and the C generator read. Plain data; no arithmetic lives here.

All values of a step are 32-bit signed integers. The operators of `IntOp.code` are defined once, in `operators.py` and docs/arithmetic.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_lstm.features import Features
from edge_lstm.fixed_point.curve import Curve
from edge_lstm.fixed_point.decisions import gives_numbers, left_to_host

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]

MOST_GAIN = 6  # of a mean: a power of two, beyond which its steps would be finer than those of what it is the mean of allow
# An input of 16 bits is two int8 halves, x = (high << 7) + low with low in [-64, 63], so that every engine goes on multiplying bytes.
HALF_BITS = 7
WIDE_LIMIT = (127 << HALF_BITS) + (1 << HALF_BITS >> 1) - 1  # 16319: the largest x whose high half is within 127
CODES = (
    "row", "state", "vector", "positive", "select", "add", "subtract", "complement", "offset", "clip", "rescale", "multiply", "shift",
    "raise", "interpolate",
)  # fmt: skip


@dataclass(frozen=True)
class IntOp:
    """One integer operator on one number per unit.

    args: indices of earlier operators; name: of the row, state, vector, table or (for rescale) the pair of vectors
    `name.limit` and `name.multiplier`; numbers: constants common to all units. The meaning of each code is in operators.py.
    """

    code: str
    args: tuple[int, ...] = ()
    name: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class IntegerRow:
    """Weights of one row: accumulator = ((W x) << input_shift) + sum_k R_k s_k + bias.

    W: int8 [units, inputs] or None; R: int8 [units, units] for each source in the order of the operator's args; bias: int32 [units].
    All weights lie in [-127, 127], and so do x and the sources. scale: [units] float64, the real value of one accumulator unit.
    """

    name: str
    W: Int8Array | None
    R: tuple[Int8Array, ...]
    bias: Int32Array
    input_shift: int
    scale: Float64Array


@dataclass(frozen=True)
class StateFormat:
    """A state between two steps: an integer of `bits` in [-limit, limit], real value = integer * scale.

    update: operator whose value becomes the state after the step; initial: int32 [units], its value after a reset.
    """

    name: str
    bits: int
    limit: int
    scale: float
    update: int
    initial: Int32Array


@dataclass(frozen=True)
class IntegerRecurrent:
    """One recurrent layer in integers.

    cell: name of the float cell it came from; activations: role -> text, for banners; equations: textbook form.
    ops: the dataflow of one unit; output: operator whose value, in [-127, 127], is what the next layer and the read-out see,
    with real value = integer * output_scale. input_scale: [inputs] real value of one unit of x. reverse: reads the sequence from its end.
    wide: x has 16 bits and comes as two int8 vectors, the high halves before the low ones: W x = ((W high) << 7) + W low.
    order: all units, in the order in which kernels do best to keep them (`unit_order`), () as they are; no result depends on it.
    """

    cell: str
    activations: Mapping[str, str]
    equations: tuple[str, ...]
    ops: tuple[IntOp, ...]
    rows: Mapping[str, IntegerRow]
    vectors: Mapping[str, Int32Array]
    tables: Mapping[str, Int16Array]
    states: tuple[StateFormat, ...]
    output: int
    output_scale: float
    input_scale: Float64Array
    reverse: bool = False
    wide: bool = False
    order: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        return int(self.states[0].initial.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.input_scale.shape[0])

    @property
    def outputs(self) -> int:
        return self.units

    def state(self, name: str) -> StateFormat:
        return next(s for s in self.states if s.name == name)

    def phases(self) -> tuple[int, ...]:
        """For each operator the pass over the units it belongs to (a row waits until all units have finished its sources)."""
        phase: list[int] = []
        for op in self.ops:
            level = max((phase[a] for a in op.args), default=0)
            if op.code == "row" and any(self.ops[a].code != "state" for a in op.args):
                level += 1
            phase.append(level)
        return tuple(phase)


@dataclass(frozen=True)
class IntegerBidirectional:
    """Two recurrent layers over the same whole sequence, the second reversed; the int8 outputs are joined: [forward, backward]."""

    forward: IntegerRecurrent
    backward: IntegerRecurrent

    @property
    def inputs(self) -> int:
        return self.forward.inputs

    @property
    def outputs(self) -> int:
        return self.forward.units + self.backward.units


@dataclass(frozen=True)
class IntegerConv1d:
    """Convolution over time, requantized to int8 (see `IntegerDense`, `operators.requantize`).

    accumulator[t, o] = bias[o] + sum_{k, c} W[o, c, k] x[t * stride + k * dilation - padding[0], c], with x = 0 outside the sequence;
    result = clip(curve((clip(accumulator, -limit, limit) * multiplier + half) >> shift), low, high). W: int8 [outputs, inputs, kernel].
    wide: x has 16 bits, in two halves (see `IntegerRecurrent`).
    With padding[1] = 0 it streams: output t is due as soon as its last input step is there.
    """

    W: Int8Array
    bias: Int32Array
    scale: Float64Array
    limit: Int32Array
    multiplier: Int32Array
    shift: int
    low: int
    high: int
    output_scale: float
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    curve: Curve | None = None
    wide: bool = False

    @property
    def inputs(self) -> int:
        return int(self.W.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.W.shape[0])

    @property
    def reach(self) -> int:
        """Number of input steps that one output step spans."""
        return (int(self.W.shape[2]) - 1) * self.dilation + 1


@dataclass(frozen=True)
class IntegerPool:
    """Over `size` steps of each channel, every `stride` steps; an unfinished last window is dropped.

    kind "max": the largest int8; "average": (sum * multiplier + half) >> shift with multiplier = round(2^shift / size).
    """

    kind: str
    size: int
    stride: int
    channels: int
    multiplier: int = 0
    shift: int = 0

    @property
    def inputs(self) -> int:
        return self.channels

    @property
    def outputs(self) -> int:
        return self.channels


@dataclass(frozen=True)
class IntegerReadOut:
    """Which steps reach the layers behind. kind: "last", "mean", "every", or "final" (see `network.ReadOut`).

    "mean" without a gain passes on the int32 sum over the steps, not the mean: the dense layer behind multiplies its bias by the number
    of steps instead, so that no division is needed and argmax is unchanged. With a gain, before hidden dense layers, it passes on the
    mean times 2^gain, rounded to int8 (`operators.average`). window: number of steps after which a decision is due (0: whenever the
    caller asks); a mean needs a window, the largest number of steps that may be summed: later steps are ignored.
    """

    kind: str
    window: int
    gain: int | None = None

    @property
    def sums(self) -> bool:
        """Whether what it passes on, and so the scores, grow with the number of steps."""
        return self.kind == "mean" and self.gain is None


@dataclass(frozen=True)
class IntegerDense:
    """accumulator = W v + bias (times the number of steps behind a read-out that sums), int32.

    W: int8 [outputs, inputs]; bias: int32 [outputs]; scale: float64 [outputs], the real value of one accumulator unit (behind a read-out
    that sums: of the accumulator divided by the number of steps).
    Hidden dense layers requantize to int8: clip(curve((clip(accumulator, -limit, limit) * multiplier + half) >> shift), low, high) with
    vectors of [outputs]; without a `curve` the activation is a straight line between low and high. The last layer leaves `limit` None,
    has one scale for all outputs, and gives its accumulators as scores. wide: v has 16 bits, in two halves (see `IntegerRecurrent`).
    """

    W: Int8Array
    bias: Int32Array
    scale: Float64Array
    limit: Int32Array | None = None
    multiplier: Int32Array | None = None
    shift: int = 0
    low: int = -127
    high: int = 127
    output_scale: float = 0.0
    curve: Curve | None = None
    wide: bool = False

    @property
    def inputs(self) -> int:
        return int(self.W.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.W.shape[0])


def input_width(layer: IntegerRecurrent | IntegerBidirectional | IntegerConv1d | IntegerPool | IntegerDense) -> int:
    """Number of int8 values that the layer reads in a step: two for each input of 16 bits."""
    first = layer.forward if isinstance(layer, IntegerBidirectional) else layer
    return layer.inputs * (2 if not isinstance(first, IntegerPool) and first.wide else 1)


IntegerLayer = IntegerRecurrent | IntegerBidirectional | IntegerConv1d | IntegerPool | IntegerReadOut | IntegerDense


@dataclass(frozen=True)
class Normalize:
    """From raw sensor counts to x: x = clip((clip(F - offset, -limit, limit) * multiplier + half) >> shift, -127, 127).

    F: features of the sums S of `decimation` consecutive int16 counts of each channel, or S itself without `features`; half = 2^(shift-1).
    offset, limit, multiplier: int32 [outputs], one each for every value of x; outputs = channels without `features`.
    scale: [outputs] float64, the real value (in the float network's input unit) of one unit of x.
    units_per_count: [channels] float64: physical units of one count, used on the host only, to turn floats into counts.
    wide: x lies within +-WIDE_LIMIT instead, and is handed on as two int8 vectors: high = (x + 64) >> 7, then low = x - (high << 7).
    """

    decimation: int
    offset: Int32Array
    limit: Int32Array
    multiplier: Int32Array
    shift: int
    scale: Float64Array
    units_per_count: Float64Array
    features: Features | None = None
    wide: bool = False

    @property
    def limit_of_x(self) -> int:
        """Largest magnitude of x."""
        return WIDE_LIMIT if self.wide else 127

    @property
    def width(self) -> int:
        """Number of int8 values that x is handed on as."""
        return self.outputs * (2 if self.wide else 1)

    @property
    def inputs(self) -> int:
        """Number of sensor channels."""
        return int(self.offset.shape[0]) if self.features is None else self.features.channels

    @property
    def outputs(self) -> int:
        """Number of values of x."""
        return int(self.offset.shape[0])


@dataclass(frozen=True)
class IntegerNetwork:
    """An integer network: normalize -> [convolution | pooling | dense]* -> recurrent ... -> read-out -> dense ... (scores int32).

    softmax: whether the float network ended in a softmax (scores are left before it; argmax is the same).
    classes: names of the outputs; metadata: text that travels with the model.
    """

    normalize: Normalize
    layers: tuple[IntegerLayer, ...]
    softmax: bool = False
    classes: tuple[str, ...] = ()
    name: str = "network"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Number of sensor channels; the first layer reads `normalize.outputs` values."""
        return self.normalize.inputs

    @property
    def recurrent(self) -> tuple[IntegerRecurrent, ...]:
        """All recurrent layers in order, the two directions of a bidirectional one as two."""
        found: list[IntegerRecurrent] = []
        for layer in self.layers:
            if isinstance(layer, IntegerRecurrent):
                found.append(layer)
            elif isinstance(layer, IntegerBidirectional):
                found += [layer.forward, layer.backward]
        return tuple(found)

    @property
    def streams(self) -> bool:
        """Whether the network can be fed step by step."""
        return not self.stream_obstacle

    @property
    def stream_obstacle(self) -> str:
        """Why the network cannot be fed step by step, and what to do; "" where it can."""
        if any(layer.reverse for layer in self.recurrent):
            return "a layer reads the sequence from its end: use forward layers, or run whole sequences"
        for layer in self.layers:
            if isinstance(layer, IntegerConv1d) and layer.padding[1]:
                return "a convolution is padded at its end, so it reads the sequence from its end: pad in front, or run whole sequences"
            if isinstance(layer, IntegerConv1d) and layer.padding[0] >= layer.reach:
                return (
                    f"a convolution padded by {layer.padding[0]} steps has outputs before the first of its {layer.reach} steps: "
                    f"pad by at most {layer.reach - 1}, or run whole sequences"
                )
        return ""

    @property
    def read_out(self) -> IntegerReadOut:
        return next(layer for layer in self.layers if isinstance(layer, IntegerReadOut))

    @property
    def outputs(self) -> int:
        return next(layer.outputs for layer in reversed(self.layers) if not isinstance(layer, IntegerReadOut))

    @property
    def gives_numbers(self) -> bool:
        """Whether the scores are numbers and name no class: those of a network that was trained on numbers, or one score without a sigmoid.

        Of a single sigmoid output, which the host applies or leaves out, a score above 0 (a value above 0.5) is class 1, else 0.
        """
        return gives_numbers(self.outputs, self.classes, self.metadata)

    @property
    def host_function(self) -> str:
        """What the network ended in and is left to the host, on the real values of the scores: softmax, sigmoid ...; "" where nothing."""
        return "softmax" if self.softmax else left_to_host(self.metadata)

    @property
    def score_scale(self) -> float:
        """Real value of one unit of the scores (behind a read-out that sums: of the score divided by the number of steps)."""
        last = self.layers[-1]
        if isinstance(last, IntegerDense):
            return float(last.scale[0]) if last.limit is None else last.output_scale
        return self.recurrent[-1].output_scale

    def __call__(self, x: npt.NDArray[np.generic], lengths: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
        """Real-valued outputs for x: [batch, time, inputs], integer counts or floats in physical units; see `engine.outputs`."""
        from edge_lstm.engine import outputs

        return outputs(self, x, lengths)
