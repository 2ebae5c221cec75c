"""The forward pass of the integer network inside training, bit for bit, with a float tape for the backward pass.

In every iteration the weights are quantized by the converter's own lowering; formats stay as they were calibrated when the integers
came in. The backward pass is the gradient of the float network, evaluated at the real values of the integers (straight-through across
rounding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.feed_forward import integer_dense
from edge_lstm.fixed_point.formats import INT8, Format, state_formats
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerReadOut, IntegerRecurrent
from edge_lstm.fixed_point.lowering import LoweredLayer, lower
from edge_lstm.fixed_point.operators import average, requantize
from edge_lstm.fixed_point.quantize import Options, Ranges, left_to_the_host, normalization, read_out
from edge_lstm.fixed_point.weights import DENSE
from edge_lstm.network import Network
from edge_lstm.train.front import IntegerFront
from edge_lstm.train.integer_kernels import constants, integer_plan, integer_source
from edge_lstm.train.kernels import compiled
from edge_lstm.train.parameters import with_vector
from edge_lstm.train.passes import LayerMemory, Passes
from edge_lstm.train.products import accumulate

Array = npt.NDArray[Any]
_EXACT = 2**24  # integers of smaller magnitude are exact in float32


@dataclass(frozen=True)
class _Layer:
    """One recurrent layer in integers, as its kernel takes it."""

    lowered: LoweredLayer
    kernel: Any
    arguments: tuple[Array, ...]
    product_type: type


class IntegerPasses:
    """`Passes` with the integer network in the forward pass. Scores are those of `engine.reference`, in every bit."""

    def __init__(self, passes: Passes, network: Network, ranges: Ranges, options: Options) -> None:
        if options.input_bits != 8:
            raise EdgeLstmError(f"training with the integers in the loop takes inputs of 8 bits, not of {options.input_bits}")
        if left_to_the_host(network) is not network:
            raise EdgeLstmError(
                "with the integers in the loop the function behind the last dense layer is left to the host and cannot be trained through;"
                " train the network without it"
            )
        self.passes, self.network, self.ranges, self.options = passes, network, ranges, options
        self._read_out = IntegerReadOut(passes.kind, 0)
        self.normalize = normalization(network, ranges.input)
        self.formats: list[dict[str, Format]] = [
            state_formats(memory.layer, seen, options.cell_bits) for memory, seen in zip(passes.memory, ranges.states, strict=True)
        ]
        count = len(passes.front.ranges())
        self.front = IntegerFront(passes.front, ranges.outputs[:count], options.weight_bits.get(DENSE, "8"))
        self._outputs = ranges.outputs[count:]
        self._layers: list[_Layer] = []
        self._scale: Array = np.zeros(0)  # real value of one unit of what the read-out reads
        self._dense: list[IntegerDense] = []
        self.last_scores: npt.NDArray[np.int32] = np.zeros((0, 0), np.int32)

    @property
    def input_scale(self) -> Array:
        """[channels] real value of one unit of x."""
        return self.normalize.scale

    def refresh(self, vector: Array) -> Array:
        """Quantizes the trained numbers; returns the same vector as the integers represent it, for the backward pass."""
        represented = vector.copy()
        scale = self.front.refresh(vector, represented, self.normalize.scale)
        self._layers, self._dense = [], []
        for stage in self.passes.stages:
            below, scale = scale, np.zeros(0)
            for memory, formats in ((self.passes.memory[k], self.formats[k]) for k in stage):
                layer = with_vector(memory.layer, vector[memory.part])
                lowered = lower(layer, np.broadcast_to(below, (layer.inputs,)), formats, self.options.weight_bits)
                self._layers.append(_prepared(lowered, memory))
                represented[memory.part] = _represented(lowered, memory, vector[memory.part])
                scale = np.concatenate([scale, np.full(layer.units, lowered.layer.output_scale)])
        self._scale = scale
        self._read_out = read_out(self.network, self.ranges, float(scale.min()))
        scale, bits = scale / 2 ** (self._read_out.gain or 0), self.options.weight_bits.get(DENSE, "8")
        for index, ((dense, part), seen) in enumerate(zip(self.passes.dense, self._outputs, strict=True)):
            last = index == len(self.passes.dense) - 1
            floats = with_vector(dense, vector[part])
            integers = integer_dense(floats, scale, seen, last=last, bits=bits)
            self._dense.append(integers)
            W = integers.W * integers.scale[:, None] / scale
            represented[part] = np.concatenate([W.ravel(), integers.bias * integers.scale])
            scale = np.full(integers.outputs, integers.output_scale)
        return represented

    def integer_scores(self, x8: npt.NDArray[np.int8], x: Array, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Scores [outputs, columns] of the weights last refreshed. x8: [time, inputs, batch]; x: its real values; lengths: [batch]."""
        passes = self.passes
        v, x = self.front.forward(x8, x)
        passes.begin(lengths)
        for stage in passes.stages:
            made = []
            for layer, memory in ((self._layers[k], passes.memory[k]) for k in stage):
                passes.inputs.append(passes.in_direction(memory, x))
                outputs: Array = np.empty((passes.steps, memory.layer.units * passes.batch), layer.product_type)
                read: Array = np.ascontiguousarray(passes.in_direction(memory, v), layer.product_type)
                layer.kernel(read, *layer.arguments, outputs, memory.tape, memory.states)
                made.append(passes.in_direction(memory, outputs.reshape(passes.steps, memory.layer.units, passes.batch)))
            v, x = made[0] if len(made) == 1 else np.concatenate(made, 1), passes.output(stage)
        summed = passes.read_out(v.astype(np.float32), (passes.shares > 0).astype(np.float32))  # exact: below 2^24
        return self._through_dense(summed.astype(np.int32), lengths)

    def scores(self, x8: npt.NDArray[np.int8], x: Array, lengths: npt.NDArray[np.int64]) -> Array:
        """The same in real values, float32, for the loss."""
        integers = self.last_scores = self.integer_scores(x8, x, lengths)
        scale = self._dense[-1].scale[:, None] if self._dense else self._scale[:, None]
        real = integers * scale
        if self._read_out.sums:
            real = real / lengths
        self.passes.dense_values[-1] = np.asarray(real, np.float32)
        return self.passes.dense_values[-1]

    def _through_dense(self, v: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        steps = lengths if self._read_out.sums else np.ones(v.shape[1], np.int64)
        scale = self._scale[:, None]
        if self._read_out.gain is not None:
            v, scale = average(v.astype(np.int64), lengths, self._read_out.gain).astype(np.int32), scale / 2**self._read_out.gain
        self.passes.dense_values = [np.asarray(v * scale / steps, np.float32)]
        for layer in self._dense:
            total = np.ascontiguousarray((layer.bias[:, None].astype(np.int64) * steps).astype(np.int32))
            accumulate(total, np.ascontiguousarray(layer.W, np.int32), np.ascontiguousarray(v))
            v, steps = total, np.ones(v.shape[1], np.int64)
            if layer.limit is not None:
                v = np.ascontiguousarray(requantize(layer, total.T.astype(np.int64)).T, np.int32)
            self.passes.dense_values.append(np.asarray(v * layer.output_scale, np.float32))
        if not self._dense:
            self.passes.dense_values.append(self.passes.dense_values[0])
        return v


def _prepared(lowered: LoweredLayer, memory: LayerMemory) -> _Layer:
    layer = lowered.layer
    plan = integer_plan(lowered, memory.plan)
    product_type = np.float32 if _widest(layer) < _EXACT else np.int32
    order = [layer.ops[k].name for k in plan.row_order]
    parts: list[Array] = []
    for group, _ in plan.groups:
        rows = [layer.rows[layer.ops[k].name] for k in group]
        parts += [(row.W.astype(np.int32) << row.input_shift).ravel() for row in rows if row.W is not None]
        for source in range(len(rows[0].R)):
            parts += [row.R[source].ravel() for row in rows]
    units = layer.units
    vectors = np.array([layer.vectors[name] for name in plan.vectors], np.int32).reshape(-1, units)
    scales = np.empty((len(plan.kept), units), np.float32)
    for k, op in enumerate(sorted(memory.plan.saved)):
        scales[k] = lowered.values[op].scale
    arguments = (
        np.concatenate(parts).astype(product_type), np.array([layer.rows[name].bias for name in order], product_type), vectors,
        np.array(constants(layer) or [0], np.int32), np.array([s.initial for s in layer.states], np.int32), scales,
        np.array([s.scale for s in layer.states], np.float32),
    )  # fmt: skip
    return _Layer(lowered, compiled(integer_source(plan), "forward_integers"), arguments, product_type)


def _widest(layer: IntegerRecurrent) -> int:
    """Largest magnitude that a row can reach, in any order of its products (inputs and sources lie in [-127, 127])."""
    widest = 0
    for row in layer.rows.values():
        reach = np.zeros(layer.units, np.int64)
        if row.W is not None:
            reach += np.abs(row.W.astype(np.int64)).sum(1) << row.input_shift
        for R in row.R:
            reach += np.abs(R.astype(np.int64)).sum(1)
        widest = max(widest, int((INT8 * reach + np.abs(row.bias.astype(np.int64))).max()))
    return widest


def _represented(lowered: LoweredLayer, memory: LayerMemory, vector: Array) -> Array:
    """The trained numbers of a layer as its integers represent them; parameters (peepholes and the like) as they are."""
    layer = lowered.layer
    own = vector.copy()
    for name, weights in with_vector(memory.layer, own).rows.items():  # views into own
        row = layer.rows[name]
        if row.W is not None:
            weights.W[:] = (row.W.astype(np.float64) * 2**row.input_shift) * row.scale[:, None] / layer.input_scale
        sources = next(op.args for op in memory.layer.cell.ops if op.code == "row" and op.name == name)
        for R, integers, source in zip(weights.R, row.R, sources, strict=True):
            R[:] = integers * row.scale[:, None] / _source_scale(lowered, memory, source)
        weights.b[:] = row.bias * row.scale
    return own


def _source_scale(lowered: LoweredLayer, memory: LayerMemory, source: int) -> float:
    """Real value of one unit of what a row reads: a state, its int8 view, or a vector made like the layer's output."""
    node = memory.layer.cell.ops[source]
    state = lowered.layer.state(node.name if node.code == "state" else memory.layer.cell.output)
    return state.scale * (256 if state.limit > INT8 else 1)
