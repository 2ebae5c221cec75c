"""What a value of the graph is to the importer: a constant, the network's signal, several signals joined, or something refused.

The importer runs the graph once over these abstract values. A signal remembers which layers made it and which of its dimensions is the
time axis, the batch axis or the features; a transpose or a squeeze only rearranges that, so that any order of them is understood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.network import FloatArray, Layer
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_sizes import Size, product
from edge_lstm.onnx_io.read_vectors import Vector

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the input, except that sizes of the input may enter it.

    array: numbers, or Python objects (int or Symbolic) where a size of the input enters.
    shape: the shape in the graph; where it has an unknown size the array has 1 and is repeated.
    """

    array: Array
    shape: tuple[Size, ...]

    @property
    def is_concrete(self) -> bool:
        """Whether it is plain numbers of a known shape."""
        return self.array.dtype != object and self.array.shape == self.shape


DIRECTIONS = "directions"  # the axis of the two directions of a bidirectional layer


@dataclass(frozen=True)
class Axis:
    """One axis of the input that lives on through the layers. name: unique per input; features keep the name and change the size."""

    name: str
    size: Size


@dataclass(frozen=True)
class Signal:
    """The value of the network after `layers`.

    source: name of the graph input it comes from.
    axes: for each dimension the axes that it holds: none for a dimension of size 1, several when a Reshape has merged them.
    scale, offset: [features], applied to what the layers give (a normalisation not yet folded into a layer's weights); None for none.
    softmax: whether a softmax over the features has been applied.
    state: "h" for the final state of a recurrent layer (output Y_h), else "".
    half: 0 or 1 for the forward or the backward half of a bidirectional layer, the last of `layers`; None for all of it.
    padding: zero steps before and after the sequence that a convolution still has to take in.
    ragged: name of the graph input with the lengths of the sequences, "" when they are all as long as the time axis.
    """

    source: str
    axes: tuple[tuple[Axis, ...], ...]
    layers: tuple[Layer, ...] = ()
    scale: FloatArray | None = None
    offset: FloatArray | None = None
    softmax: bool = False
    state: str = ""
    half: int | None = None
    padding: tuple[int, int] = (0, 0)
    ragged: str = ""

    @property
    def shape(self) -> tuple[Size, ...]:
        return tuple(product(axis.size for axis in dimension) for dimension in self.axes)


@dataclass(frozen=True)
class Step(Signal):
    """One step of a sequence, in a loop that the exporter has unrolled.

    vector: formula of the step's features; steps: length of the sequence; is_input: whether it is a step of the graph's input as it is.
    """

    vector: Vector | None = None
    steps: int = 0
    is_input: bool = False


@dataclass(frozen=True)
class Joined:
    """Signals concatenated along dimension `axis`, until a Gather or Slice takes one of them out again."""

    parts: tuple[Signal, ...]
    axis: int

    @property
    def shape(self) -> tuple[Size, ...]:
        first = self.parts[0].shape
        total = sum((part.shape[self.axis] for part in self.parts[1:]), start=first[self.axis])
        return (*first[: self.axis], total, *first[self.axis + 1 :])


@dataclass(frozen=True)
class Quantized:
    """A part of a signal quantized at run time (DynamicQuantizeLinear), on its way back to real units.

    part: "values", "scale", "zero point", or "product" of the values with integer weights; signal: what it stands for in real units, but
    for the scale; factor: what the scale has been multiplied by; origin: of a product the signal that was quantized.
    """

    part: str
    signal: Signal
    factor: FloatArray
    origin: Signal | None = None

    @property
    def shape(self) -> tuple[Size, ...]:
        return self.signal.shape if self.part in ("values", "product") else ()


@dataclass(frozen=True)
class Refused:
    """A value that cannot be read; whoever reads it is refused for `reason` (empty: it is on the list already).

    source: the graph input it is a part of, when it is nothing else (a state input, for instance, may be cut into pieces).
    state: whether it holds nothing but final states of recurrent layers; as an output of the graph it is not needed.
    """

    reason: str = ""
    source: str = ""
    state: bool = False


@dataclass(frozen=True)
class IntegerInput:
    """An input of the graph that holds integers: the lengths of the sequences, if anything."""

    name: str


@dataclass(frozen=True)
class Labels:
    """The number of the class with the highest score (ArgMax). As an output of the graph it stands for the scores it is taken from."""

    scores: Signal


@dataclass(frozen=True)
class Magnitude:
    """|of| + plus, on the way to a softsign, which some exporters write as x / (1 + |x|)."""

    of: Signal
    plus: float = 0.0


@dataclass(frozen=True)
class StepNumber:
    """Inside a loop: the number of the step, 0 for the first one, plus `start`."""

    start: int


@dataclass(frozen=True)
class Condition:
    """Inside a loop, whether it goes on: the number of the step plus `start` is below `bound`, for each pair (start, bound)."""

    bounds: tuple[tuple[int, Size], ...]


Readable = Constant | Signal | Joined | Quantized
Value = Readable | Refused | IntegerInput | Labels | Magnitude | StepNumber | Condition


def constant(array: object) -> Constant:
    """A concrete constant, or one of sizes: an object array becomes int64 as soon as all its elements are numbers."""
    values = np.asarray(array)
    if values.dtype == object and all(isinstance(v, (int, np.integer)) for v in values.flat):
        values = values.astype(np.int64)
    return Constant(values, values.shape)


def sizes_constant(sizes: tuple[Size, ...]) -> Constant:
    """The one-dimensional constant of these sizes, as the operator Shape gives it."""
    values = np.empty(len(sizes), object)
    values[:] = sizes
    return constant(values)


def holds_states(value: Value | None) -> bool:
    """Whether the value is made of final states of recurrent layers and nothing else."""
    if isinstance(value, Joined):
        return all(part.state for part in value.parts)
    return bool(value.state) if isinstance(value, (Signal, Refused)) else False


def describe(value: Value) -> str:
    """A few words for an error message."""
    if isinstance(value, Constant):
        return f"a constant of shape {shape_text(value.shape)}"
    if isinstance(value, (Refused, IntegerInput)):
        return "a value that cannot be read"
    if isinstance(value, Labels):
        return "class numbers"
    if isinstance(value, Magnitude):
        return "the magnitude of the signal"
    if isinstance(value, (StepNumber, Condition)):
        return "the number of a loop's step"
    kind = {Joined: "several signals side by side", Quantized: "quantized values"}.get(type(value), "a signal")
    return f"{kind} of shape {shape_text(value.shape)}"


def shape_text(shape: tuple[Size, ...]) -> str:
    """The shape as an error message shows it."""
    return "[" + ", ".join(str(size) for size in shape) + "]"


def concrete(value: Value | None, what: str, rank: int | None = None) -> Array:
    """The numbers of `value`. Raises Refusal, naming `what`, if it depends on the input or has another rank."""
    if isinstance(value, Constant) and value.is_concrete:
        if rank is not None and value.array.ndim != rank:
            raise Refusal(f"{what} has shape {shape_text(value.shape)}, expected rank {rank}")
        return value.array
    if isinstance(value, Refused):
        raise Refusal(value.reason)
    raise Refusal(f"{what} is computed from the input; it must be a constant")


def sizes(value: Value | None, what: str) -> tuple[Size, ...]:
    """The elements of a one-dimensional (or scalar) integer constant in which sizes of the input may enter."""
    if isinstance(value, Refused):
        raise Refusal(value.reason)
    if not isinstance(value, Constant) or value.array.shape != value.shape or value.array.dtype.kind not in "iuO":
        raise Refusal(f"{what} is computed from the input; it must be a constant")
    return tuple(v if not isinstance(v, np.integer) else int(v) for v in value.array.ravel().tolist())
