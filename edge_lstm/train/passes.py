"""Forward and backward pass of a whole network over a batch, with the float network or with its integers in the forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Dense, Network, ReadOut, Recurrent, front_layers, steps_through
from edge_lstm.train import head
from edge_lstm.train.directions import turned, turning
from edge_lstm.train.float_kernels import backward_source, forward_source
from edge_lstm.train.front import Front
from edge_lstm.train.gate_methods import logistic
from edge_lstm.train.kernels import compiled
from edge_lstm.train.parameters import layer_vector, slices, with_vector
from edge_lstm.train.plan import Plan, plan

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerMemory:
    """What one recurrent layer keeps of a batch (see `plan`), and its kernels for float weights."""

    layer: Recurrent
    plan: Plan
    part: slice
    initial: Array
    tape: Array
    states: Array
    d_rows: Array
    forward: Any
    backward: Any

    @property
    def output(self) -> int:
        """Index of the state that the next layer reads."""
        return self.layer.cell.states.index(self.layer.cell.output)

    @property
    def h(self) -> Array:
        """[time, units, batch] the layer's output of the last forward pass."""
        return self.states[self.output, 1:].reshape(self.tape.shape[0], self.layer.units, -1)


def require_trainable(network: Network) -> None:
    """Raises EdgeLstmError, naming the layer, unless the network is made of layers that can be trained, in their order.

    That is: convolutions, poolings and dense layers; recurrent layers in either or both directions; a read-out; dense layers.
    """
    front, seen_read_out = front_layers(network), False
    for index, layer in enumerate(network.layers):
        kind = type(layer).__name__
        if index < front:
            continue
        if not isinstance(layer, Recurrent | Bidirectional | ReadOut | Dense) or (isinstance(layer, Dense) and not seen_read_out):
            raise EdgeLstmError(
                f"layer {index} ({kind}) cannot be trained yet: only convolution, pooling and dense layers in front, recurrent layers, a "
                "read-out and dense layers behind it"
            )
        seen_read_out |= isinstance(layer, ReadOut)


def _directions(layer: Recurrent | Bidirectional, part: slice) -> list[tuple[Recurrent, slice]]:
    """The one or two recurrent layers, and their parts of the trained numbers."""
    if isinstance(layer, Recurrent):
        return [(layer, part)]
    middle = part.start + len(layer_vector(layer.forward, np.float32))
    return [(layer.forward, slice(part.start, middle)), (layer.backward, slice(middle, part.stop))]


class Passes:
    """The passes of one network over batches of `batch` sequences of `steps` steps.

    The arrays of the last forward pass are kept for the backward pass; every method works on `vector`, the trained numbers in the order of
    `parameters.network_vector`. thresholds, truncated: as in `plan.Plan`; soft and noisy thresholds have the noise and the sharpness of the
    last `relax`.
    """

    def __init__(
        self, network: Network, steps: int, batch: int, dtype: type = np.float32, *, thresholds: str = "hard", truncated: bool = False
    ) -> None:
        require_trainable(network)
        count = front_layers(network)
        self.network, self.input_steps, self.batch, self.dtype = network, steps, batch, dtype
        self.kind = network.read_out.kind
        self.parts = slices(network)
        self.steps = steps = steps_through(network.layers[:count], steps)  # of the recurrent layers
        if steps < 1:
            raise EdgeLstmError(f"sequences of {self.input_steps} steps are shorter than what convolutions and poolings in front span")
        self.front = Front(network.layers[:count], self.parts[:count], self.input_steps, batch, dtype)
        self.memory: list[LayerMemory] = []
        self.stages: list[tuple[int, ...]] = []  # indices into memory: the layers, one above the other; of both directions two
        self.dense: list[tuple[Dense, slice]] = []
        name = np.dtype(dtype).name
        for layer, part in zip(network.layers[count:], self.parts[count:], strict=True):
            if isinstance(layer, Recurrent | Bidirectional) and part is not None:
                self.stages.append(tuple(range(len(self.memory), len(self.memory) + (1 if isinstance(layer, Recurrent) else 2))))
                for one, own in _directions(layer, part):
                    shape, size = plan(one, thresholds, truncated), one.units * batch
                    states = one.cell.states
                    initial: Array = np.array([one.initial.get(s, np.zeros(one.units)) for s in states], dtype)
                    self.memory.append(
                        LayerMemory(
                            one, shape, own, initial,
                            np.zeros((steps, shape.slot_count, size), dtype),
                            np.zeros((len(states), steps + 1, size), dtype),
                            np.zeros((steps, len(one.cell.rows), size), dtype),
                            compiled(forward_source(shape, name), "forward"),
                            compiled(backward_source(shape, name), "backward"),
                        )
                    )  # fmt: skip
            elif isinstance(layer, Dense) and part is not None:
                self.dense.append((layer, part))
        self.noise: list[Array] = [np.zeros((1, len(memory.plan.noisy), memory.layer.units * batch), dtype) for memory in self.memory]
        self.sharpness = 1.0
        # What the last forward pass leaves for the backward pass, besides the memories of the recurrent layers.
        self.inputs: list[Array] = []  # what each recurrent layer reads, in its own direction
        self.lengths = np.full(batch, steps)
        self.shares: Array = np.zeros((steps, batch), dtype)  # of each step in the read-out
        self.dense_values: list[Array] = []  # the read-out, then the output of each dense layer

    def relax(self, rng: np.random.Generator, noise: float, sharpness: float) -> None:
        """Draws the noise of the thresholds, times `noise`, and sets their sharpness, for the forward passes that follow."""
        self.sharpness = sharpness
        self.noise = [logistic(rng, (self.steps, *old.shape[1:]), noise) for old in self.noise]

    def scores(self, vector: Array, x: Array, lengths: npt.NDArray[np.int64]) -> Array:
        """Outputs before any softmax, [outputs, columns]. x: [time, inputs, batch]; lengths: [batch] steps of the recurrent layers
        that count."""
        x, sharpness = self.front.forward(vector, x), self.dtype(self.sharpness)
        self.begin(lengths)
        for stage in self.stages:
            for memory, noise in ((self.memory[k], self.noise[k]) for k in stage):
                self.inputs.append(self.in_direction(memory, x))
                memory.forward(
                    self.inputs[-1], vector[memory.part], memory.initial, memory.tape, memory.states, noise, sharpness
                )  # fmt: skip
            x = self.output(stage)
        v = self.read_out(x, self.shares)
        self.dense_values = [v]
        for layer, part in self.dense:
            v = head.dense(with_vector(layer, vector[part]), v)
            self.dense_values.append(v)
        return v

    def begin(self, lengths: npt.NDArray[np.int64]) -> None:
        """Before the recurrent layers of a forward pass."""
        self.lengths, self.inputs = lengths, []
        self.order = turning(lengths, self.steps)
        self.shares = head.step_weights(self.kind, lengths, self.steps, self.dtype)

    def in_direction(self, memory: LayerMemory, v: Array) -> Array:
        """v [time, features, batch] in the order in which a layer reads, and back."""
        return turned(v, self.order) if memory.layer.reverse else v

    def output(self, stage: tuple[int, ...]) -> Array:
        """[time, units, batch] real output of one layer, in the order of the sequences."""
        parts = [self.in_direction(self.memory[k], self.memory[k].h) for k in stage]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)

    def read_out(self, h: Array, shares: Array) -> Array:
        """[time, units, batch] -> [units, columns]."""
        v = head.read_out(self.kind, h, shares)
        if self._ends_at_first:
            v[-self._ends_at_first :] = h[0, -self._ends_at_first :]
        return v

    @property
    def _ends_at_first(self) -> int:
        """How many of the last units have their final state at the first step."""
        last = self.memory[self.stages[-1][-1]].layer
        return last.units if self.kind == "final" and last.reverse else 0

    def gradient(
        self, vector: Array, d_scores: Array, slope: float, penalties: Sequence[Mapping[str, float]] = (), mask: Array | None = None
    ) -> Array:
        """Gradient of the loss by `vector`, from its gradient by the scores of the last forward pass.

        slope: of the surrogate of threshold gates; penalties: for each recurrent layer gate -> what is added to the derivative by each
        value of the gate in the steps of mask [time, batch] (1: valid).
        """
        gradient = np.zeros_like(vector)
        d = d_scores
        for (layer, part), v, y in reversed(list(zip(self.dense, self.dense_values[:-1], self.dense_values[1:], strict=True))):
            d = head.dense_adjoint(with_vector(layer, vector[part]), v, y, d, gradient[part])
        d_final = d[-self._ends_at_first :]
        d = head.read_out_adjoint(self.kind, d, self.shares)
        if self._ends_at_first:
            d[:, -self._ends_at_first :] = 0
            d[0, -self._ends_at_first :] = d_final
        for index, stage in reversed(list(enumerate(self.stages))):
            wanted = bool(index or self.front.layers)
            first, below = 0, None
            for k in stage:
                memory = self.memory[k]
                own = self.in_direction(memory, np.ascontiguousarray(d[:, first : first + memory.layer.units]))
                first += memory.layer.units
                to_input = self._backward(k, vector, own, slope, penalties[k] if penalties else {}, mask, gradient, wanted)
                if wanted:
                    to_input = self.in_direction(memory, to_input)
                    below = to_input if below is None else below + to_input
            d = d if below is None else below
        if self.front.layers:
            self.front.backward(vector, d, gradient)
        return gradient

    def _backward(
        self, k: int, vector: Array, d: Array, slope: float, cost: Mapping[str, float], mask: Array | None, gradient: Array, wanted: bool
    ) -> Array:
        """Through layer k, in its own direction: adds to `gradient`; returns the adjoint of its input, without steps if not wanted."""
        memory, below = self.memory[k], self.inputs[k]
        penalty: Array = np.array([cost.get(gate, 0.0) for gate in memory.layer.cell.gates], self.dtype)
        counted: Array = np.zeros((1, d[0].size), self.dtype)
        if mask is not None and penalty.any():
            counted = np.repeat(mask[:, None], memory.layer.units, 1).reshape(self.steps, -1).astype(self.dtype)
        d_below: Array = np.zeros((self.steps if wanted else 0, below.shape[1], self.batch), self.dtype)
        memory.backward(
            below, vector[memory.part], memory.tape, memory.states, d.reshape(self.steps, -1), penalty, counted,
            self.dtype(slope), memory.d_rows, gradient[memory.part], d_below,
        )  # fmt: skip
        return d_below

    def ranges(self) -> list[dict[str, float]]:
        """For each recurrent layer state -> largest magnitude in valid steps of the last forward pass."""
        found = []
        for memory in self.memory:
            outer = np.abs(memory.states).reshape(len(memory.states), self.steps + 1, memory.layer.units, self.batch)
            valid = np.arange(self.steps + 1)[:, None] <= self.lengths
            largest = np.where(valid[:, None], outer, 0).max((1, 2, 3))
            found.append({s: float(largest[k]) for k, s in enumerate(memory.layer.cell.states)})
        return found

    def dense_ranges(self) -> list[float]:
        """For each layer with weights but the recurrent ones the largest magnitude of its output in the last forward pass."""
        return self.front.ranges() + [float(np.abs(y).max()) for y in self.dense_values[1:]]
