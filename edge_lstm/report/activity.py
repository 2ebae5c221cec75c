"""What the gates do: how often each is open, which outputs are zero, which change; and the course of one sequence.

Read off the reference engine, operator by operator, so that nothing here recomputes the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_lstm import cells
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GateCourse:
    """The course of one recurrent layer over sequences.

    gates: name -> opening [batch, time, units] in [0, 1] (0 or 1 for a threshold gate); hard: names of the threshold gates;
    output: [batch, time, units] output of the layer, integers of an integer layer.
    states: name -> [batch, time + 1, units] value before the first step and after every step, in the layer's own numbers;
    scales: name -> real value of one unit of that state.
    """

    gates: dict[str, Float64Array]
    hard: tuple[str, ...]
    output: npt.NDArray[np.number]
    states: Mapping[str, npt.NDArray[np.number]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Activity:
    """Fractions over all sequences, steps and units of one layer.

    open: gate -> mean opening (for a threshold gate: how often it is open); constant: gate -> fraction of its units that never move.
    zero: output is 0; unchanged: output equals that of the step before; steps: number of steps looked at.
    """

    open: dict[str, float]
    constant: dict[str, float]
    hard: tuple[str, ...]
    zero: float
    unchanged: float
    steps: int


def gate_operators(layer: IntegerRecurrent) -> dict[str, tuple[int, float]]:
    """Gate -> (operator that holds its opening, value of that operator when fully open).

    A threshold gate is the sign of its row; a soft one is a curve or a clip that follows its row. Gates that share one row
    with something else (FastGRNN) are found by being the only gate; a gate that cannot be told apart is left out.
    """
    members = cells.family()
    if layer.cell not in members:
        return {}
    found: dict[str, tuple[int, float]] = {}
    names = cells.cell(layer.cell).gates
    rows = [_rows_behind(layer, index) for index in range(len(layer.ops))]
    for gate in names:
        kind = layer.activations[gate].partition("(")[0]
        for index, op in enumerate(layer.ops):
            own_row = gate in rows[index] or (len(names) == 1 and bool(rows[index]))
            if kind == "threshold" and op.code == "positive" and own_row:
                found[gate] = index, 1.0
            elif op.code == "interpolate" and op.name.startswith(f"{gate}_"):
                found[gate] = index, float(layer.tables[op.name].max()) / 2 ** op.numbers[1]
            elif kind == "hard_sigmoid" and op.code == "clip" and op.numbers[0] == 0 and own_row:
                found[gate] = index, float(op.numbers[1])
            elif kind == "three_level" and op.code == "add" and own_row and all(layer.ops[a].code == "positive" for a in op.args):
                found[gate] = index, 2.0
            if gate in found:
                break
    return found


def _rows_behind(layer: IntegerRecurrent, index: int) -> set[str]:
    """Names of the rows that the operator is computed from, not looking through another row or through an activation's result."""
    op = layer.ops[index]
    if op.code == "row":
        return {op.name}
    names: set[str] = set()
    for argument in op.args:
        if layer.ops[argument].code not in ("select", "state"):
            names |= _rows_behind(layer, argument)
    return names


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
        elif isinstance(layer, IntegerConv1d):
            v = reference.convolve(layer, v)
        elif isinstance(layer, IntegerPool):
            v = reference.pool(layer, v)
        else:
            v = reference.dense(layer, v, 1)
    return found, v


def _layer_course(layer: IntegerRecurrent, x: npt.NDArray[np.int64]) -> GateCourse:
    operators = gate_operators(layer)
    state = reference.initial_state(layer, len(x))
    output = np.empty((*x.shape[:2], layer.units), np.int64)
    gates = {gate: np.empty(output.shape) for gate in operators}
    states = {name: [value] for name, value in state.items()}
    order = range(x.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, output[:, t], values = reference.step(layer, x[:, t], state)
        for name, value in state.items():
            states[name].append(value)
        for gate, (operator, fully_open) in operators.items():
            gates[gate][:, t] = values[operator] / fully_open
    hard = tuple(gate for gate in operators if layer.activations[gate] == "threshold")
    return GateCourse(
        gates,
        hard,
        output,
        {name: in_order(values, layer.reverse) for name, values in states.items()},
        {s.name: s.scale for s in layer.states},
    )


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
        int(np.prod(layer.output.shape[:2])),
    )
