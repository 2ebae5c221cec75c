"""The operator Loop, as tf2onnx writes it for cells that it does not know: its body is one step of a recurrent layer.

The body is read once, with a symbol for each state before the step and the number of the step as a `StepNumber`. It must take the steps of
one sequence in their order, all of them; the formulas of its states must be those of known cells (read_rerolling), which are the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edge_lstm.network import FloatArray
from edge_lstm.onnx_io.read_layers import add_recurrent, read_out
from edge_lstm.onnx_io.read_node import Roles, label, resolve_axis
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_rerolling import evaluate, guess_cell
from edge_lstm.onnx_io.read_sizes import Size, Symbolic
from edge_lstm.onnx_io.read_unrolled import Unrolled, single_precision, split_off_linear
from edge_lstm.onnx_io.read_values import Axis, Condition, Constant, Refused, Signal, Step, StepNumber, Value, describe
from edge_lstm.onnx_io.read_vectors import Vector

STEP = 1  # the step that the body is read as; the states before it belong to step 0
_ENDLESS = 2**31 - 1
Body = Callable[[Mapping[str, Value]], Mapping[str, Value]]
Axes = tuple[tuple[Axis, ...], ...]


@dataclass(frozen=True)
class Sequence:
    """What the loop goes through: the signal, the dimension of its steps, and the axes of one step."""

    signal: Signal
    dimension: int

    @property
    def time(self) -> Axis:
        return self.signal.axes[self.dimension][0]

    @property
    def axes(self) -> Axes:
        return tuple(d for k, d in enumerate(self.signal.axes) if k != self.dimension)


@dataclass(frozen=True)
class State:
    """One state that the loop carries. number: symbol of its value before a step; start: [units]; after: formula after the step."""

    number: int
    start: FloatArray
    after: Vector


def counted(operator: str, proto: onnx.NodeProto, inputs: tuple[Value | None, ...], unrolled: Unrolled, roles: Roles) -> Value:
    """The value of a node that reads the number of a step, or what has been made of it."""
    if operator in ("Cast", "Identity", "Squeeze", "Reshape"):
        if isinstance(inputs[0], (StepNumber, Condition)):
            return inputs[0]
    elif operator == "Add":
        counter, other = inputs if isinstance(inputs[0], StepNumber) else (inputs[1], inputs[0])
        if isinstance(counter, StepNumber) and isinstance(number := _number(other), int):
            return StepNumber(counter.start + number)
    elif operator == "Less" and isinstance(inputs[0], StepNumber) and (bound := _number(inputs[1])) is not None:
        return Condition(((inputs[0].start, bound),))
    elif operator == "And" and all(isinstance(value, Condition) or _is_true(value) for value in inputs):
        return Condition(tuple(pair for value in inputs if isinstance(value, Condition) for pair in value.bounds))
    elif operator == "Gather" and isinstance(inputs[0], Signal) and isinstance(inputs[1], StepNumber):
        axis = next((attribute.i for attribute in proto.attribute if attribute.name == "axis"), 0)
        if inputs[1].start != 0:
            raise Refusal("takes the steps of a sequence in another order than the first to the last")
        return _step(Sequence(inputs[0], resolve_axis(axis, len(inputs[0].axes))), unrolled, roles)
    raise Refusal("computes with the number of a loop's step in a way that is not read")


def read_loop(proto: onnx.NodeProto, body: onnx.GraphProto, inputs: tuple[Value | None, ...], walk: Body, outside: Mapping[str, Value],
              unrolled: Unrolled, roles: Roles) -> tuple[Value, ...]:  # fmt: skip
    """The values of the outputs of the Loop node `proto`.

    inputs: those of the node; walk: gives the values inside the body for those of its inputs; outside: values around the loop.
    Raises Refusal for a loop that is no recurrent layer.
    """
    carried = inputs[2:]
    names = [value.name for value in body.input]
    results = [value.name for value in body.output]
    if len(names) != len(carried) + 2 or len(results) < len(names) - 1:
        raise Refusal("has a body whose inputs do not fit")
    if not (inputs[1] is None or _is_true(inputs[1])):
        raise Refusal("begins with a condition that is not known to be true")
    sequence = _sequence(body, outside, roles)
    given: dict[str, Value] = {names[0]: StepNumber(0)}
    symbols: dict[int, tuple[int, FloatArray]] = {}
    for k, (name, value) in enumerate(zip(names[2:], carried, strict=True)):
        if value is None or isinstance(value, Refused):
            raise Refusal(value.reason if isinstance(value, Refused) else f"carries nothing in {name}")
        if _unchanged(body, name, results[k + 1]):
            given[name] = value
        elif isinstance(start := _number(value), int):
            given[name] = StepNumber(start)
        else:
            before, start_values = _state(value, (proto.output[0] or proto.name, k), sequence, unrolled, roles)
            given[name] = before
            symbols[k] = next(iter(_formula(before).terms))[0], start_values
    inside = walk(given)
    ended = inside.get(results[0])
    if not isinstance(ended, Condition) and not _is_true(ended):
        raise Refusal("goes on as long as a condition holds that is not the number of the step")
    for k, name in enumerate(names[2:]):
        counter, after = given[name], inside.get(results[k + 1])
        if isinstance(counter, StepNumber) and after != StepNumber(counter.start + 1):
            raise Refusal(f"counts {name} otherwise than one up in each step")
    _check_count(inputs[0], ended if isinstance(ended, Condition) else Condition(()), sequence)
    states = {number: State(number, start, _formula(inside.get(results[k + 1]))) for k, (number, start) in symbols.items()}
    reader = _Reader(states, unrolled, roles, sequence)
    finals = [reader.final(inside.get(name), label(proto)) for name in results[1 : len(names) - 1]]
    scans = [reader.scan(inside.get(name), label(proto)) for name in results[len(names) - 1 :]]
    return (*finals, *scans)


@dataclass(frozen=True)
class _Reader:
    """Turns formulas of one step into signals."""

    states: Mapping[int, State]
    unrolled: Unrolled
    roles: Roles
    sequence: Sequence

    def layers(self, v: Vector) -> Signal:
        """The recurrent layers whose output after the step is `v`."""
        vectors = self.unrolled.vectors
        guess = guess_cell(vectors, v, STEP)
        layer = guess.layer
        if any(number not in self.states for number in guess.states.values()):
            raise Refusal(f"computes a step of {layer.cell.name} from something other than the states that the loop carries")
        after = evaluate(vectors, layer, guess.x, {s: vectors.state(n, layer.units) for s, n in guess.states.items()})
        expected = {s: self.states[n].after for s, n in guess.states.items()}
        if any(vectors.digest(after[s]) != vectors.digest(value) for s, value in expected.items()) or vectors.digest(
            after[layer.cell.output]
        ) != vectors.digest(v):
            raise Refusal(f"computes something other than {layer.cell.name}")
        initial = {s: self.states[n].start for s, n in guess.states.items() if self.states[n].start.any()}
        if guess.x in self.unrolled.bases:
            below = self.unrolled.bases[guess.x][0]
        else:
            inner = vectors.atoms[guess.x].value
            if inner is None:
                raise Refusal("reads several inputs")
            below = self.layers(inner)
        return add_recurrent(below, single_precision(replace(layer, initial=initial)))

    def scan(self, value: Value | None, where: str) -> Value:
        """The steps of a value one behind the other, in a new first dimension."""
        try:
            step = _formula(value)
            signal = self.layers(step)
        except Refusal as refusal:
            return Refused(f"{where}: {refusal}")
        return replace(signal, axes=((self.sequence.time,), *self._axes(step.width)))

    def final(self, value: Value | None, where: str) -> Value:
        """A carried value after the last step."""
        if not isinstance(value, Step):
            return value if isinstance(value, (Constant, Signal)) else Refused(f"{where}: gives back how often it has run")
        try:
            step = _formula(value)
            signal = read_out(self.layers(step), "final")
        except Refusal as refusal:
            return Refused(f"{where}: {refusal}", state=True)
        return replace(signal, axes=self._axes(step.width), state="h")

    def _axes(self, units: int) -> Axes:
        name = self.roles.axis(self.sequence.signal.source, "features")
        return tuple(tuple(Axis(name, units) if a.name == name else a for a in dimension) for dimension in self.sequence.axes)


def _sequence(body: onnx.GraphProto, outside: Mapping[str, Value], roles: Roles) -> Sequence:
    """The sequence of which the body takes one step after the other."""
    for node in body.node:
        value = outside.get(node.input[0]) if node.op_type == "Gather" else None
        if isinstance(value, Signal):
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            sequence = Sequence(value, resolve_axis(axis, len(value.axes)))
            one = len(value.axes) == 3 and len(value.axes[sequence.dimension]) == 1 and len(value.axes[2]) == 1
            if not one or sequence.dimension == 2 or value.softmax or value.half is not None or any(value.padding) or value.ragged:
                raise Refusal(f"goes through {describe(value)}; expected a sequence with axes of time, batch and features")
            roles.bind(value.source, "time", sequence.time)
            roles.bind(value.source, "features", value.axes[2][0])
            return sequence
    raise Refusal("goes through no sequence step by step (operator Gather with the number of the step)")


def _step(sequence: Sequence, unrolled: Unrolled, roles: Roles) -> Step:
    """The input of the step that the body is."""
    signal = sequence.signal
    width = signal.axes[-1][0].size
    if not isinstance(width, int):
        raise Refusal(f"the number of features {width} is unknown: export the model with a fixed number of input channels")
    roles.bind(signal.source, "time", sequence.time)
    base, matrix, bias = split_off_linear(signal, width)
    vectors = unrolled.vectors
    inputs = vectors.input(("loop", base.source, *(id(layer) for layer in base.layers)), STEP, matrix.shape[1])
    unrolled.bases[next(iter(inputs.linear))] = (base, STEP)
    vector = vectors.add(vectors.product(inputs, matrix), Vector(width, {}, {(): bias} if bias.any() else {}))
    return Step(signal.source, sequence.axes, vector=vector)


def _state(value: Value, key: tuple[object, ...], sequence: Sequence, unrolled: Unrolled, roles: Roles) -> tuple[Step, FloatArray]:
    """The symbol of a state before the step, and the numbers [units] that it starts with."""
    if not isinstance(value, Constant) or value.array.dtype.kind != "f" or len(value.shape) != 2 or not isinstance(value.shape[1], int):
        raise Refusal(f"starts a state with {describe(value)}; expected a constant of shape [batch, units]")
    if (value.array != value.array[:1]).any():
        raise Refusal("starts a state with values that differ between the sequences of a batch; they must be the same for all")
    units = value.shape[1]
    start = np.broadcast_to(value.array[0], (units,)).copy()
    name = roles.axis(sequence.signal.source, "features")
    axes = tuple(tuple(Axis(name, units) if a.name == name else a for a in dimension) for dimension in sequence.axes)
    return Step(sequence.signal.source, axes, vector=unrolled.vectors.unknown(("loop", *key), STEP - 1, units)), start


def _formula(value: Value | None) -> Vector:
    if not isinstance(value, Step) or value.vector is None:
        raise Refusal(f"carries {'nothing' if value is None else describe(value)}, which is no state of a cell")
    return value.vector


def _check_count(most: Value | None, condition: Condition, sequence: Sequence) -> None:
    """Refuses a loop that does not run exactly once for each step. It runs on behind step t while t + start < bound."""
    length = sequence.time.size
    runs: list[Size] = [bound - start + 1 for start, bound in condition.bounds]
    limit = _number(most) if most is not None else None
    if limit is not None and not (isinstance(limit, int) and limit >= _ENDLESS):
        runs.append(limit)
    spare = [count - length for count in runs]
    if not any(more == 0 for more in spare) or any(isinstance(more, Symbolic) or more < 0 for more in spare):
        raise Refusal(f"does not run exactly once for each of the {length} steps of the sequence")


def _number(value: Value | None) -> Size | None:
    """The one integer, or size of the input, that a constant holds; also where it has been cast to a float."""
    if not isinstance(value, Constant) or value.array.size != 1 or len(value.shape) > 1:
        return None
    number = value.array.reshape(-1)[0]
    if isinstance(number, Symbolic):
        return number
    whole = value.array.dtype.kind in "iufO" and float(number).is_integer()
    return int(number) if whole and not (value.array.dtype.kind == "f" and value.array.ndim) else None


def _is_true(value: Value | None) -> bool:
    return isinstance(value, Constant) and value.is_concrete and value.array.dtype == np.bool_ and bool(value.array.all())


def _unchanged(body: onnx.GraphProto, name: str, result: str) -> bool:
    """Whether the body hands its input on as it is."""
    makers = {output: node for node in body.node for output in node.output}
    while result in makers and makers[result].op_type == "Identity":
        result = makers[result].input[0]
    return result == name
