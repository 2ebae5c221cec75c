"""What the gates do: how often each is open, which outputs are zero, which change, how much work is left; and the course of one sequence.

Read off the reference engine, operator by operator, so that nothing here recomputes the arithmetic.

Work. One multiply-accumulate is one product of a row: a step of a layer has units * sum over rows (inputs of the row) of them. A product
is left over when

    its column is not zero   the element of x, or of the vector that the row reads, differs from 0 at this step, and
    its row is needed        the row's value reaches a new state, a row or the output by a way on which every select is open.

So a candidate row is lazy exactly where its input gate is closed. The share left is the number of products left over, divided by all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.gates import gate_operators
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerNetwork,
    IntegerReadOut,
    IntegerRecurrent,
    IntOp,
    input_width,
)

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GateCourse:
    """The course of one recurrent layer over sequences.

    gates: name -> opening [batch, time, units] in [0, 1] (0 or 1 for a threshold gate); hard: names of the threshold gates;
    output: [batch, time, units] output of the layer, integers of an integer layer.
    states: name -> [batch, time + 1, units] value before the first step and after every step, in the layer's own numbers;
    scales: name -> real value of one unit of that state. products_left: share of the multiply-accumulates left, see above; None of floats.
    """

    gates: dict[str, Float64Array]
    hard: tuple[str, ...]
    output: npt.NDArray[np.number]
    states: Mapping[str, npt.NDArray[np.number]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    products_left: float | None = None


@dataclass(frozen=True)
class Activity:
    """Fractions over all sequences, steps and units of one layer.

    open: gate -> mean opening (for a threshold gate: how often it is open); constant: gate -> fraction of its units that never move.
    zero: output is 0; unchanged: output equals that of the step before; products_left: as in the course; steps: number of steps looked at.
    """

    open: dict[str, float]
    constant: dict[str, float]
    hard: tuple[str, ...]
    zero: float
    unchanged: float
    products_left: float | None
    steps: int


def course(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> list[GateCourse]:
    """The course of every recurrent layer for int16 counts raw: [batch, samples, channels], from reset states."""
    return course_and_features(network, raw)[0]


def course_and_features(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[list[GateCourse], npt.NDArray[np.int64]]:
    """The courses, and what reaches the read-out: [batch, time, features]."""
    v = reference.normalize(network.normalize, raw).astype(np.int64)
    found: list[GateCourse] = []
    for layer in network.layers:
        if isinstance(layer, IntegerReadOut):
            break
        if isinstance(layer, IntegerRecurrent):
            found.append(_layer_course(layer, v))
            v = np.asarray(found[-1].output, np.int64)
        elif isinstance(layer, IntegerBidirectional):
            both = [_layer_course(layer.forward, v), _layer_course(layer.backward, v)]
            found += both
            v = np.concatenate([one.output for one in both], axis=2)
        else:
            v = reference.feed_forward(layer, v)
    return found, v


def _layer_course(layer: IntegerRecurrent, x: npt.NDArray[np.int64]) -> GateCourse:
    operators = gate_operators(layer)
    state = reference.initial_state(layer, len(x))
    output = np.empty((*x.shape[:2], layer.units), np.int64)
    gates = {gate: np.empty(output.shape) for gate in operators}
    states = {name: [value] for name, value in state.items()}
    left = products = 0
    order = range(x.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, output[:, t], values = reference.step(layer, x[:, t], state)
        for name, value in state.items():
            states[name].append(value)
        for gate, (operator, fully_open) in operators.items():
            gates[gate][:, t] = values[operator] / fully_open
        left += _products_left(layer, x[:, t], values)
        products += len(x) * sum(layer.units * _width(layer, op) for op in layer.ops if op.code == "row")
    hard = tuple(gate for gate in operators if layer.activations[gate] == "threshold")
    return GateCourse(
        gates,
        hard,
        output,
        {name: in_order(values, layer.reverse) for name, values in states.items()},
        {s.name: s.scale for s in layer.states},
        left / products,
    )


def _width(layer: IntegerRecurrent, row: IntOp) -> int:
    """Number of products of one unit of a row."""
    return (input_width(layer) if layer.rows[row.name].W is not None else 0) + layer.units * len(row.args)


def _products_left(layer: IntegerRecurrent, x: npt.NDArray[np.int64], values: list[npt.NDArray[np.int64]]) -> int:
    """Products of one step that are left over, for the value of every operator, [batch, units]."""
    needed = _needed(layer, values)
    left = 0
    for index, op in enumerate(layer.ops):
        if op.code == "row":
            columns = sum((values[a] != 0).sum(1) for a in op.args) + ((x != 0).sum(1) if layer.rows[op.name].W is not None else 0)
            left += int((needed[index].sum(1) * columns).sum())
    return left


def _needed(layer: IntegerRecurrent, values: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.bool_]]:
    """For each operator [steps, units] whether its value is needed: whether a way without a closed select leads to a result."""
    needed = [np.zeros(value.shape, np.bool_) for value in values]
    for index in {state.update for state in layer.states} | {layer.output} | {a for op in layer.ops if op.code == "row" for a in op.args}:
        needed[index][:] = True
    for index in reversed(range(len(layer.ops))):
        op = layer.ops[index]
        if op.code == "select":
            switch, value = op.args
            needed[switch] |= needed[index]
            needed[value] |= needed[index] & (values[switch] != 0)
        elif op.code != "row":
            for a in op.args:
                needed[a] |= needed[index]
    return needed


def in_order(states: Sequence[npt.NDArray[np.number]], reverse: bool) -> npt.NDArray[np.number]:
    """[batch, time + 1, units] from values in the order of the steps; a reversed layer's value before its first step stays first."""
    return np.stack([states[0], *(reversed(states[1:]) if reverse else states[1:])], 1)


def activity(layer: GateCourse) -> Activity:
    """The fractions of one layer's course."""
    constant = {gate: float((np.ptp(opening, axis=(0, 1)) == 0).mean()) for gate, opening in layer.gates.items()}
    unchanged = float((layer.output[:, 1:] == layer.output[:, :-1]).mean()) if layer.output.shape[1] > 1 else 0.0
    return Activity(
        {gate: float(opening.mean()) for gate, opening in layer.gates.items()},
        constant,
        layer.hard,
        float((layer.output == 0).mean()),
        unchanged,
        layer.products_left,
        int(np.prod(layer.output.shape[:2])),
    )
