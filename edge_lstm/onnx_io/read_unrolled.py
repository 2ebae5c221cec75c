"""Recognising loops that an exporter has unrolled: LSTMCell, GRUCell, RNNCell in a Python loop, and recurrent layers of Keras 3.

Taking many steps out of one sequence gives `Step` values, which carry the formula of what is computed instead of layers. As soon as
something other than a step's arithmetic reads one (a softmax, the output, a layer over all steps again), the formula is turned back into
recurrent and dense layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edge_lstm.cells import Activation
from edge_lstm.cells.activations import IDENTITY
from edge_lstm.network import Dense, Recurrent, RowWeights
from edge_lstm.onnx_io.read_layers import add_activation, add_dense, add_recurrent, read_out
from edge_lstm.onnx_io.read_node import Node, Operator, Roles, operator, resolve_axis
from edge_lstm.onnx_io.read_recurrent import as_float
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_rerolling import reroll, unrolled_outputs
from edge_lstm.onnx_io.read_shapes import with_axes
from edge_lstm.onnx_io.read_values import Axis, Constant, Signal, Step, Value, concrete, describe, sizes
from edge_lstm.onnx_io.read_vectors import Float64Array, Vector, Vectors

_FAR = 2**31 - 2


@dataclass
class Unrolled:
    """What is known of the unrolled loops of one graph.

    names: values from which several steps are taken; bases: number of an atom -> the sequence and the step that it is the input of.
    """

    names: set[str] = field(default_factory=set)
    vectors: Vectors = field(default_factory=Vectors)
    bases: dict[int, tuple[Signal, int]] = field(default_factory=dict)

    def step(self, signal: Signal, dimension: int, step: int, roles: Roles) -> Step:
        """Step number `step` of the sequence, whose time is in `dimension`; the dimension stays, with size 1."""
        time, features = signal.axes[dimension], signal.axes[-1]
        steps, width = time[0].size, features[0].size
        if not isinstance(steps, int) or not isinstance(width, int) or not -steps <= step < steps:
            raise Refusal(f"takes step {step} of {describe(signal)}")
        roles.bind(signal.source, "time", time[0])
        roles.bind(signal.source, "features", features[0])
        base, matrix, bias = split_off_linear(signal, width)
        inputs = self.vectors.input((base.source, *(id(layer) for layer in base.layers)), step % steps, matrix.shape[1])
        self.bases[next(iter(inputs.linear))] = (base, step % steps)
        vector = self.vectors.add(self.vectors.product(inputs, matrix), Vector(width, {}, {(): bias} if bias.any() else {}))
        axes = (*signal.axes[:dimension], (), *signal.axes[dimension + 1 :])
        return Step(signal.source, axes, vector=vector, steps=steps, is_input=not signal.layers and signal.scale is None)

    # -- from formulas to layers

    def sequence(self, outputs: Sequence[Vector], roles: Roles) -> Signal:
        """The sequence whose steps are these formulas, as a recurrent layer behind what it reads."""
        rolled = reroll(self.vectors, outputs)
        if all(number in self.bases for number in rolled.inputs):
            found = [self.bases[number] for number in rolled.inputs]
            chains = {(base.source, *(id(layer) for layer in base.layers)) for base, _ in found}
            if [step for _, step in found] != list(range(len(found))) or len(chains) != 1:
                raise Refusal("the unrolled loop does not go through the steps of one sequence in their order")
            below = found[0][0]
        else:
            below = self.sequence([self._inside(number) for number in rolled.inputs], roles)
        after = add_recurrent(below, single_precision(rolled.layer))
        return with_axes(after, _resized(after, roles, rolled.layer.units))

    def _inside(self, number: int) -> Vector:
        value = self.vectors.atoms[number].value
        if value is None:
            raise Refusal("the unrolled loop reads several inputs")
        return value

    def final(self, v: Vector, steps: int, roles: Roles) -> Signal:
        """The value of a formula of the last step: a recurrent layer's last step, dense layers and activations behind it."""
        if v.is_linear and len(v.linear) == 1:
            (number, matrix), *_ = v.linear.items()
            if number in self.bases:
                base, step = self.bases[number]
                if step != steps - 1:
                    raise Refusal(f"step {step} of a sequence goes on alone; only the last step does in a network")
                signal = read_out(base, "last")
            else:
                signal = self.final(self._inside(number), steps, roles)
            signal = with_axes(signal, (signal.axes[0], (Axis(roles.axis(signal.source, "features"), matrix.shape[1]),)))
            return add_dense(signal, matrix.astype(np.float32), v.bias.astype(np.float32), 1, roles)
        try:
            signal = self.sequence(unrolled_outputs(self.vectors, v, steps), roles)
            return read_out(signal, "last")
        except Refusal:
            if v.linear or len(v.terms) != 1:
                raise
            (factors, scale), *_ = v.terms.items()
            atom = self.vectors.atoms[factors[0]]
            if len(factors) != 1 or atom.activation is None or atom.value is None or not (scale == 1).all() or not atom.value.is_linear:
                raise
            return add_activation(self.final(atom.value, steps, roles), atom.activation, v.width)

    def closed(self, step: Step, roles: Roles) -> Signal:
        """The step as an ordinary signal, with the axes it has in the graph."""
        if step.vector is None or step.vector.is_constant:
            raise Refusal("an unrolled loop gives a constant")
        return with_axes(self.final(step.vector, step.steps, roles), step.axes)


def split_off_linear(signal: Signal, width: int) -> tuple[Signal, Float64Array, Float64Array]:
    """The sequence without the linear layers at its end, and what those do: matrix and bias."""
    matrix, bias = np.eye(width), np.zeros(width)
    if signal.scale is not None and signal.offset is not None:
        matrix, bias = matrix * signal.scale[:, None], np.asarray(signal.offset, np.float64)
    layers = list(signal.layers)
    while layers and isinstance(last := layers[-1], Dense) and last.activation == IDENTITY:
        layers.pop()
        bias = bias + matrix @ last.b.astype(np.float64)
        matrix = matrix @ last.W.astype(np.float64)
    name = signal.axes[-1][0].name
    axes = (*signal.axes[:-1], (Axis(name, matrix.shape[1]),))
    return replace(signal, layers=tuple(layers), scale=None, offset=None, axes=axes, state=""), matrix, bias


def _resized(signal: Signal, roles: Roles, size: int) -> tuple[tuple[Axis, ...], ...]:
    name = roles.axis(signal.source, "features")
    return tuple(tuple(Axis(name, size) if axis.name == name else axis for axis in axes) for axes in signal.axes)


def single_precision(layer: Recurrent) -> Recurrent:
    """The layer with weights in float32, which the formulas have computed in float64."""

    def row(weights: RowWeights) -> RowWeights:
        W = None if weights.W is None else weights.W.astype(np.float32)
        return RowWeights(W, tuple(R.astype(np.float32) for R in weights.R), weights.b.astype(np.float32))

    return replace(layer, rows={name: row(weights) for name, weights in layer.rows.items()})


# -- readers of the operators of a step


def _like(node: Node, step: Step, vector: Vector) -> Step:
    """The step with another formula, and the size of the features that goes with it."""
    return replace(step, vector=vector, axes=_resized(step, node.roles, vector.width), is_input=False)


def _formula(step: Step) -> Vector:
    if step.vector is None:
        raise Refusal("an unrolled loop has lost its formula")
    return step.vector


def _operand(node: Node, value: Value | None, width: int) -> Vector:
    """An operand of elementwise arithmetic: a step, or constants that are the same for every sequence of the batch."""
    if isinstance(value, Step):
        return _formula(value)
    if not isinstance(value, Constant) or value.array.dtype.kind not in "fiu":
        raise Refusal(f"combines a step of a sequence with {'nothing' if value is None else describe(value)}")
    rows = value.array.reshape(-1, value.array.shape[-1] if value.array.ndim else 1)
    if (rows != rows[:1]).any() or rows.shape[1] not in (1, width) or not len(rows):
        raise Refusal(f"combines a step of {width} features with {describe(value)}")
    numbers = np.broadcast_to(np.asarray(rows[0], np.float64), (width,))
    return Vector(width, {}, {(): numbers} if numbers.any() else {})


def _width(node: Node) -> int:
    return next(_formula(value).width for value in node.inputs if isinstance(value, Step))


def _place(node: Node) -> Step:
    """A step with the axes that the result has: NumPy's broadcasting of the operands. Raises Refusal if their axes differ."""
    operands = [value for value in node.inputs if isinstance(value, (Step, Constant))]
    steps = [value for value in operands if isinstance(value, Step)]
    rank = max(len(value.shape) for value in operands)
    axes: list[tuple[Axis, ...]] = []
    for dimension in range(-rank, 0):
        found = {tuple(a.name for a in step.axes[dimension]): step.axes[dimension] for step in steps if -dimension <= len(step.axes)}
        found.pop((), None)
        if len(found) > 1:
            raise Refusal("combines steps of sequences whose axes are not in the same order")
        axes.append(next(iter(found.values()), ()))
    return replace(steps[0], axes=tuple(axes))


def _arithmetic(node: Node) -> Value:
    vectors, width = node.unrolled.vectors, _width(node)
    a, b = (_operand(node, node.inputs[k], width) for k in (0, 1))
    if node.operator == "Mul":
        return _like(node, _place(node), vectors.multiply(a, b))
    if node.operator == "Div":
        if not b.is_constant or not b.bias.all():
            raise Refusal("divides by a value of the sequence, or by zero")
        return _like(node, _place(node), vectors.scale(a, 1 / b.bias))
    return _like(node, _place(node), vectors.add(a, b, -1.0 if node.operator == "Sub" else 1.0))


def _weights(node: Node, transposed: bool) -> Float64Array:
    B = as_float(concrete(node.value(1), "the weight matrix", 2)).astype(np.float64)
    return B if transposed else B.T


def _matmul(node: Node) -> Value:
    step = node.value(0)
    if not isinstance(step, Step):
        raise Refusal("multiplies a matrix by a step of a sequence from the left")
    return _like(node, step, node.unrolled.vectors.product(_formula(step), _weights(node, False)))


def _gemm(node: Node) -> Value:
    step = node.value(0)
    if not isinstance(step, Step) or node.attribute("transA", 0):
        raise Refusal("multiplies a matrix by a step of a sequence from the left, or transposed")
    W = _weights(node, bool(node.attribute("transB", 0))) * float(node.attribute("alpha", 1.0))
    vector = node.unrolled.vectors.product(_formula(step), W)
    if node.input(2) is not None:
        bias = node.unrolled.vectors.scale(_operand(node, node.input(2), len(W)), float(node.attribute("beta", 1.0)))
        vector = node.unrolled.vectors.add(vector, bias)
    return _like(node, step, vector)


def _activation(make: Callable[[Node], Activation]) -> Callable[[Node], Value]:
    def read(node: Node) -> Value:
        return _like(node, _place(node), node.unrolled.vectors.activate(_formula(_place(node)), make(node)))

    return read


def _hard_sigmoid(node: Node) -> Activation:
    return Activation("hard_sigmoid", float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5)))


def _clip(node: Node) -> Value:
    """-1 ... 1 is a hard tanh, 0 ... infinity a ReLU, and 0 ... n is n times a hard sigmoid, as in relu6(x + 3) / 6."""
    low = node.attribute("min", -math.inf) if node.input(1) is None else float(concrete(node.value(1), "min").item())
    high = node.attribute("max", math.inf) if node.input(2) is None else float(concrete(node.value(2), "max").item())
    vectors, v = node.unrolled.vectors, _formula(_place(node))
    if (low, high) == (-1, 1):
        return _like(node, _place(node), vectors.activate(v, Activation("hard_tanh")))
    if low == 0 and high > 1e38:
        return _like(node, _place(node), vectors.activate(v, Activation("relu")))
    if low != 0 or not high > 0:
        raise Refusal(f"clips to {low:g} ... {high:g}; read are -1 ... 1, 0 ... infinity and 0 ... n")
    centred = vectors.add(v, Vector(v.width, {}, {(): np.full(v.width, high / 2)}), -1.0)
    return _like(node, _place(node), vectors.scale(vectors.activate(centred, Activation("hard_sigmoid", 1 / high, 0.5)), high))


def _is_features(node: Node, step: Step, axis: int) -> bool:
    return [a.name for a in step.axes[axis]] == [node.roles.axis(step.source, "features")]


def _slice(node: Node) -> Value:
    step = node.value(0)
    if not isinstance(step, Step) or "starts" in node.attributes:
        raise Refusal("cuts a step of a sequence in a way that is not read")
    starts, ends = sizes(node.value(1), "starts"), sizes(node.value(2), "ends")
    axes = tuple(range(len(starts))) if node.input(3) is None else tuple(int(a) for a in concrete(node.value(3), "axes").ravel())
    strides = (1,) * len(starts) if node.input(4) is None else tuple(concrete(node.value(4), "steps").ravel().tolist())
    if not len(starts) == len(ends) == len(axes) == len(strides) or any(s != 1 for s in strides):
        raise Refusal("cuts a step of a sequence in a way that is not read")
    for axis, start, end in zip((resolve_axis(a, len(step.axes)) for a in axes), starts, ends, strict=True):
        size = step.shape[axis]
        if start == 0 and (end == size or (isinstance(end, int) and end >= (size if isinstance(size, int) else _FAR))):
            continue
        if not _is_features(node, step, axis) or not isinstance(start, int) or not isinstance(end, int):
            raise Refusal(f"takes elements {start} to {end} along axis {axis} of one step")
        step = _like(node, step, node.unrolled.vectors.part(_formula(step), slice(start, end)))
    return step


def _split(node: Node) -> Value | tuple[Value, ...]:
    step = node.value(0)
    axis = resolve_axis(node.attribute("axis", 0), len(step.shape))
    if not isinstance(step, Step) or not _is_features(node, step, axis):
        raise Refusal("splits a step of a sequence along an axis other than the features")
    width, count = _formula(step).width, len(node.proto.output)
    lengths = sizes(node.value(1), "the lengths") if node.input(1) is not None else node.attribute("split")
    each = [-(-width // count)] * count if lengths is None else [int(n) for n in np.asarray(lengths, np.int64)]
    ends = np.minimum(np.cumsum(each), width).tolist()
    parts = [slice(end - n, end) for n, end in zip(each, ends, strict=True)]
    return tuple(_like(node, step, node.unrolled.vectors.part(_formula(step), part)) for part in parts)


def _concat(node: Node) -> Value:
    parts = [node.value(index) for index in range(len(node.inputs))]
    steps = [part for part in parts if isinstance(part, Step)]
    axis = resolve_axis(node.attribute("axis"), len(steps[0].axes))
    if all(isinstance(part, (Step, Constant)) for part in parts) and _is_features(node, steps[0], axis):
        widths = [part.shape[axis] for part in parts]
        joined = [_operand(node, part, width) for part, width in zip(parts, widths, strict=True) if isinstance(width, int)]
        if len(joined) == len(parts):
            place = _place(node)
            return _like(node, place, node.unrolled.vectors.join(joined))
    if len(steps) == len(parts) == steps[0].steps and not any(step.axes[axis] for step in steps):
        signal = node.unrolled.sequence([_formula(step) for step in steps], node.roles)
        name = node.roles.axis(signal.source, "time")
        time = next(a for dimension in signal.axes for a in dimension if a.name == name)
        return with_axes(signal, (*steps[0].axes[:axis], (time,), *steps[0].axes[axis + 1 :]))
    raise Refusal("joins steps of a sequence other than all of them in their order")


STEP_OPERATORS: dict[str, Operator] = {
    **{name: operator(_arithmetic) for name in ("Add", "Sub", "Mul", "Div")},
    "MatMul": operator(_matmul),
    "Gemm": operator(_gemm),
    "Sigmoid": operator(_activation(lambda node: Activation("sigmoid"))),
    "Tanh": operator(_activation(lambda node: Activation("tanh"))),
    "Relu": operator(_activation(lambda node: Activation("relu"))),
    "Softsign": operator(_activation(lambda node: Activation("softsign"))),
    "HardSigmoid": operator(_activation(_hard_sigmoid)),
    "Clip": operator(_clip),
    "Slice": operator(_slice),
    "Split": operator(_split),
    "Concat": operator(_concat),
}
