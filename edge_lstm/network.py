"""The float network: what the importer reads, the trainer trains and the converter turns into integers.

A network maps a sequence [batch, time, inputs] to outputs [batch, outputs], or [batch, time, outputs] when it reads out every step:

    (preprocess) -> [convolution | pooling | dense]* -> recurrent ... -> read-out -> dense ... -> (softmax)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import FEED_FORWARD_ONLY, Activation, Cell
from edge_lstm.cells.activations import IDENTITY
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Features

FloatArray = npt.NDArray[np.floating]
READ_OUTS = ("last", "mean", "every", "final")
POOLS = ("average", "max")


@dataclass(frozen=True)
class RowWeights:
    """Weights of one row for all units.

    W: [units, inputs], or None when the row does not read x; R: one [units, units] per source; b: [units].
    """

    W: FloatArray | None
    R: tuple[FloatArray, ...]
    b: FloatArray


@dataclass(frozen=True)
class Recurrent:
    """One recurrent layer.

    activations: role -> Activation; rows: row name -> RowWeights; parameters: name -> [units] (peepholes and the like);
    initial: state -> [units] value before the first step (zeros when missing).
    clip: bound of the preactivations of all roles that read a row (ONNX `clip`), None for none.
    reverse: whether the layer reads the sequence from its end; its output is in the order of its input either way.
    """

    cell: Cell
    activations: Mapping[str, Activation]
    rows: Mapping[str, RowWeights]
    parameters: Mapping[str, FloatArray] = field(default_factory=dict)
    initial: Mapping[str, FloatArray] = field(default_factory=dict)
    clip: float | None = None
    reverse: bool = False

    def __post_init__(self) -> None:
        missing = {r.name for r in self.cell.roles} - set(self.activations) | {r.name for r in self.cell.rows} - set(self.rows)
        missing |= set(self.cell.parameters) - set(self.parameters)
        if missing:
            raise EdgeLstmError(f"{self.cell.name}: nothing given for {', '.join(sorted(missing))}")
        for role, activation in self.activations.items():
            if activation.kind in FEED_FORWARD_ONLY:
                raise EdgeLstmError(f"{self.cell.name}: {role} cannot be {activation}, which is for dense layers and convolutions alone")
        for row in self.cell.rows:
            weights = self.rows[row.name]
            shapes = [None if weights.W is None else weights.W.shape[0], *(r.shape for r in weights.R), weights.b.shape]
            wanted = [self.units if row.input else None, *((self.units, self.units) for _ in row.sources), (self.units,)]
            if shapes != wanted:
                raise EdgeLstmError(f"{self.cell.name}: row {row.name} has weight shapes {shapes}, expected {wanted}")

    @property
    def units(self) -> int:
        """Number of hidden units."""
        return int(next(iter(self.rows.values())).b.shape[0])

    @property
    def inputs(self) -> int:
        """Number of inputs of one step."""
        return int(next(w.W.shape[1] for w in self.rows.values() if w.W is not None))

    @property
    def outputs(self) -> int:
        return self.units

    @property
    def hard_gates(self) -> tuple[str, ...]:
        """Names of the gates that are thresholds."""
        return tuple(g for g in self.cell.gates if self.activations[g].is_threshold)


@dataclass(frozen=True)
class Bidirectional:
    """Two recurrent layers over the same input, one of them reversed; the outputs are joined: [forward units, backward units]."""

    forward: Recurrent
    backward: Recurrent

    def __post_init__(self) -> None:
        if self.forward.reverse or not self.backward.reverse:
            raise EdgeLstmError("a bidirectional layer needs a forward layer and a reversed one, in this order")
        if self.forward.inputs != self.backward.inputs:
            raise EdgeLstmError(f"the two directions expect {self.forward.inputs} and {self.backward.inputs} inputs")

    @property
    def inputs(self) -> int:
        return self.forward.inputs

    @property
    def outputs(self) -> int:
        return self.forward.units + self.backward.units


@dataclass(frozen=True)
class Conv1d:
    """Convolution over time: y[t, o] = activation(b[o] + sum_{k, c} W[o, c, k] x[t * stride + k * dilation - padding[0], c]).

    W: [outputs, inputs, kernel]; b: [outputs]; padding: zero steps before and after the sequence. With padding ((kernel - 1) dilation, 0)
    it is causal and streams without delay.
    """

    W: FloatArray
    b: FloatArray
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    activation: Activation = IDENTITY

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
class Pool:
    """Average or largest value over `size` steps of each channel, every `stride` steps. An unfinished last window is dropped."""

    kind: str
    size: int
    stride: int
    channels: int

    def __post_init__(self) -> None:
        if self.kind not in POOLS or self.size < 1 or self.stride < 1:
            raise EdgeLstmError(
                f"pooling {self.kind!r} of {self.size} steps every {self.stride}: expected {' or '.join(POOLS)}, at least 1"
            )

    @property
    def inputs(self) -> int:
        return self.channels

    @property
    def outputs(self) -> int:
        return self.channels


@dataclass(frozen=True)
class ReadOut:
    """Which steps reach the layers behind. kind: "last", "mean" over all, "every" step, or "final".

    "final" is the state after the last step that each direction read: of a reversed layer the first step of the sequence (ONNX Y_h);
    of a forward layer it is the same as "last".
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in READ_OUTS:
            raise EdgeLstmError(f"unknown read-out {self.kind!r}: choose one of {', '.join(READ_OUTS)}")


@dataclass(frozen=True)
class Dense:
    """y = activation(W x + b). W: [outputs, inputs], b: [outputs]."""

    W: FloatArray
    b: FloatArray
    activation: Activation = IDENTITY

    @property
    def inputs(self) -> int:
        return int(self.W.shape[1])

    @property
    def outputs(self) -> int:
        return int(self.W.shape[0])


Layer = Recurrent | Bidirectional | Conv1d | Pool | ReadOut | Dense


def front_layers(network: Network) -> int:
    """How many layers lie in front of the first recurrent one."""
    return next(k for k, layer in enumerate(network.layers) if not isinstance(layer, Conv1d | Pool | Dense))


def steps_through(layers: Sequence[Layer], steps: int) -> int:
    """How many steps convolutions and poolings among the layers make of `steps`; below 1 where these are too few."""
    for layer in layers:
        if isinstance(layer, Conv1d):
            steps = (steps + sum(layer.padding) - layer.reach) // layer.stride + 1
        elif isinstance(layer, Pool):
            steps = (steps - layer.size) // layer.stride + 1
    return steps


def steps_before(layers: Sequence[Layer], steps: int) -> int:
    """The fewest steps of which `steps_through` makes `steps`."""
    for layer in reversed(layers):
        if isinstance(layer, Conv1d):
            steps = max(1, (steps - 1) * layer.stride + layer.reach - sum(layer.padding))
        elif isinstance(layer, Pool):
            steps = (steps - 1) * layer.stride + layer.size
    return steps


@dataclass(frozen=True)
class Preprocess:
    """From sensor counts to the network's input: x = (mean of `decimation` counts - offset) * scale, per channel.

    With `features`: x = (feature - offset) * scale, where the features are integers, computed from the sums of `decimation` counts.
    offset, scale: [inputs of the first layer] float64, in counts (or units of the features) and 1 / counts.
    units_per_count: [channels], physical units of one count, for callers who hold floats in physical units; None if the network
    only ever sees counts.
    """

    decimation: int
    offset: FloatArray
    scale: FloatArray
    units_per_count: FloatArray | None = None
    features: Features | None = None


@dataclass(frozen=True)
class Network:
    """A float network.

    classes: names of the outputs (empty when unnamed); softmax: whether the output is a softmax of the last layer.
    window: number of steps of one decision after decimation (0: any); metadata: free text that travels with the model file.
    """

    layers: tuple[Layer, ...]
    preprocess: Preprocess | None = None
    softmax: bool = False
    classes: tuple[str, ...] = ()
    window: int = 0
    name: str = "network"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.recurrent:
            raise EdgeLstmError("the network has no recurrent layer")
        if sum(isinstance(layer, ReadOut) for layer in self.layers) != 1:
            raise EdgeLstmError("the network needs exactly one read-out (last, mean or every step)")
        width = self.step_inputs
        if self.preprocess is not None and self.preprocess.features is not None and self.preprocess.features.count != width:
            raise EdgeLstmError(f"the first layer expects {width} inputs but there are {self.preprocess.features.count} features")
        for index, layer in enumerate(self.layers):
            if isinstance(layer, ReadOut):
                continue
            if layer.inputs != width:
                raise EdgeLstmError(
                    f"layer {index} ({type(layer).__name__}) expects {layer.inputs} inputs but the layer before gives {width}"
                )
            width = layer.outputs
        if self.classes and len(self.classes) != width:
            raise EdgeLstmError(f"{len(self.classes)} class names for {width} outputs")

    @property
    def recurrent(self) -> tuple[Recurrent, ...]:
        """All recurrent layers in order, the two directions of a bidirectional one as two."""
        found: list[Recurrent] = []
        for layer in self.layers:
            found += (
                [layer] if isinstance(layer, Recurrent) else [layer.forward, layer.backward] if isinstance(layer, Bidirectional) else []
            )
        return tuple(found)

    @property
    def streams(self) -> bool:
        """Whether the network can be fed step by step: nothing in it reads the sequence from its end."""
        return not any(layer.reverse for layer in self.recurrent)

    @property
    def read_out(self) -> ReadOut:
        return next(layer for layer in self.layers if isinstance(layer, ReadOut))

    @property
    def inputs(self) -> int:
        """Number of channels of the input."""
        features = self.preprocess.features if self.preprocess is not None else None
        return self.step_inputs if features is None else features.channels

    @property
    def step_inputs(self) -> int:
        """Number of values that the first layer reads in a step."""
        return next(layer.inputs for layer in self.layers if not isinstance(layer, ReadOut))

    @property
    def outputs(self) -> int:
        return next(layer.outputs for layer in reversed(self.layers) if not isinstance(layer, ReadOut))

    def with_layers(self, layers: tuple[Layer, ...]) -> Network:
        return replace(self, layers=layers)

    def __call__(self, x: FloatArray) -> FloatArray:
        """Output for x: [batch, time, inputs] in physical units (or integer counts when the network preprocesses)."""
        from edge_lstm.float_inference import run

        return run(self, x)
