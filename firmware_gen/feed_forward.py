"""Layers before the read-out that have no recurrent state, as they stream: convolution over time, pooling over time, dense.

A convolution or a pooling keeps the steps that its next output needs in a ring, and counts the steps until that output is due. For a
convolution padded by p steps of zeros at its start the ring starts as zeros, and the first output is due after reach - p steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import (
    HALF_BITS,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)
from firmware_gen.tables import Tables

FeedForward = IntegerConv1d | IntegerPool | IntegerDense


@dataclass(frozen=True)
class FeedForwardText:
    """The C of one such layer.

    name: of its function, without prefix, and of its fields; tables: part (W, b, limit, multiplier) -> table;
    kept: number of steps in its ring (0: it keeps none); first, every: steps until the first output, and from one to the next;
    dot: function that sums one row of W, without prefix.
    """

    layer: FeedForward
    name: str
    tables: dict[str, str]
    kept: int
    first: int
    every: int
    dot: str = ""

    @property
    def wide(self) -> bool:
        """Whether its input has 16 bits, in two halves."""
        return not isinstance(self.layer, IntegerPool) and self.layer.wide

    def sum(self, weights: str, x: str, length: str, p: str) -> str:
        """C text of the sum of one row of weights times x."""
        return dot_of_input(f"{p}_{self.dot}", weights, x, length, self.wide)

    @property
    def kind(self) -> str:
        return {IntegerConv1d: "convolution", IntegerPool: "pooling", IntegerDense: "dense"}[type(self.layer)]

    @property
    def units(self) -> int:
        """Number of outputs."""
        return self.layer.outputs

    @property
    def multiply_accumulates(self) -> int:
        """Per output step."""
        if isinstance(self.layer, IntegerPool):
            return self.layer.channels if self.layer.kind == "average" else 0
        return int(self.layer.W.size) * (2 if self.wide else 1)

    def squashed(self, value: str, p: str) -> str:
        """C text of the rescaled accumulator behind the activation, before the clip."""
        return value if isinstance(self.layer, IntegerPool) else curve_call(self.layer, value, self.tables.get("curve"), p)

    @property
    def title(self) -> str:
        """What the layer does, in one line."""
        layer = self.layer
        squashed = f", then {layer.curve.kind}" if not isinstance(layer, IntegerPool) and layer.curve is not None else ""
        if isinstance(layer, IntegerConv1d):
            span = f"{layer.W.shape[2]} steps" + (f" {layer.dilation} apart" if layer.dilation > 1 else "")
            return f"convolution over {span}, every {layer.stride}, {layer.inputs} -> {layer.outputs} channels{squashed}"
        if isinstance(layer, IntegerPool):
            return f"{layer.kind} of {layer.size} steps, every {layer.stride}, {layer.channels} channels"
        return f"dense layer, {layer.inputs} -> {layer.outputs}{squashed}"


def dot_of_input(dot: str, weights: str, x: str, length: str, wide: bool) -> str:
    """C text of the sum of a row of weights times a vector x of bytes, or of 16 bits in two halves. dot: function that sums one row."""
    high = f"{dot}({weights}, {x}, {length})"
    return f"({high} * {2**HALF_BITS} + {dot}({weights}, &{x}[{length}], {length}))" if wide else high


def add_curve(layer: IntegerDense | IntegerConv1d, tables: Tables) -> str | None:
    """Adds the knots of the layer's curve to `tables`; their name, None for a layer without a curve."""
    if layer.curve is None:
        return None
    comment = f"curve {layer.curve.kind}: {len(layer.curve.knots) - 1} segments of width 2^{layer.curve.segment_shift}"
    return tables.add((layer.curve.kind.partition("(")[0], "curve"), layer.curve.knots, comment, at_least="int16_t")


def curve_call(layer: IntegerDense | IntegerConv1d, value: str, table: str | None, p: str) -> str:
    """C text of `value` behind the layer's curve, whose knots are `table`; the value itself where there is none."""
    if layer.curve is None:
        return value
    return f"{p}_curve({value}, {table}, {len(layer.curve.knots) - 1}, {layer.curve.segment_shift}, {layer.curve.out_shift})"


def due_steps(network: IntegerNetwork, steps: int) -> tuple[list[npt.NDArray[np.intp]], npt.NDArray[np.intp]]:
    """When `steps` enter the network: those at which each recurrent layer makes a step, and those at which the read-out does."""
    due, recurrent = np.arange(steps), []
    for layer in network.layers:
        if isinstance(layer, IntegerConv1d):
            due = due[layer.reach - layer.padding[0] - 1 :: layer.stride]
        elif isinstance(layer, IntegerPool):
            due = due[layer.size - 1 :: layer.stride]
        elif isinstance(layer, IntegerRecurrent):
            recurrent.append(due)
        elif isinstance(layer, IntegerReadOut):
            break
    return recurrent, due


def feed_forward_text(layer: FeedForward, number: int, tables: Tables, *, pack_weights: bool = False) -> FeedForwardText:
    """The C of `layer`, the number-th layer of the network; its constants are added to `tables`.

    pack_weights: whether weights of few bits share bytes.

    Raises EdgeLstmError for a dense layer that gives no int8.
    """
    if isinstance(layer, IntegerPool):
        return FeedForwardText(layer, f"pool{number}", {}, layer.size, layer.size, layer.stride)
    name = f"conv{number}" if isinstance(layer, IntegerConv1d) else f"dense{number}"
    if layer.limit is None or layer.multiplier is None:
        raise EdgeLstmError(f"layer {number}: a dense layer before the read-out has to requantize to 8 bits; quantize the network again")
    # The weights of one tap stand together, as the inputs of one step do in the ring.
    weights = layer.W.transpose(0, 2, 1) if isinstance(layer, IntegerConv1d) else layer.W
    shape = "[outputs][taps][inputs]" if isinstance(layer, IntegerConv1d) else "[outputs][inputs]"
    W, dot = tables.add_weights((f"{name}_W",), weights, f"{shape} weights of {name}", "dot", pack_them=pack_weights)
    parts = {
        "W": W,
        "b": tables.add((f"{name}_b",), layer.bias, f"[outputs] bias of {name}"),
        "limit": tables.add((f"{name}_limit",), layer.limit, f"[outputs] rescaling of {name}: clamp before the multiplication"),
        "multiplier": tables.add((f"{name}_multiplier",), layer.multiplier, f"[outputs] rescaling of {name}: factor * 2^{layer.shift}"),
    }
    if (curve := add_curve(layer, tables)) is not None:
        parts["curve"] = curve
    if isinstance(layer, IntegerDense):
        return FeedForwardText(layer, name, parts, 0, 1, 1, dot)
    first = layer.reach - layer.padding[0]
    return FeedForwardText(layer, name, parts, layer.reach, first, layer.stride, dot)
