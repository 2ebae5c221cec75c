"""What becomes of a cell in integers: the operators that the lowering gives, the formats of its states, and when it forgets nothing.

Everything is read off a small layer whose weights are multiples of 1/8, so that no rounding of a machine can change a word.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation, Cell
from edge_lstm.fixed_point.formats import Format, state_formats
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.lowering import LoweredLayer, lower
from edge_lstm.fixed_point.operators import VALUE
from edge_lstm.network import Recurrent, RowWeights

UNITS, INPUTS = 3, 2
CELL_RANGE = 4.0  # |c| that the example's calibration saw
SOFT, HARD = Activation("sigmoid"), Activation("threshold")


@dataclass(frozen=True)
class Integers:
    """One lowered layer. listing: its operators as text; work: operator code -> number per unit outside the rows."""

    lowered: LoweredLayer
    formats: dict[str, Format]
    listing: tuple[str, ...]
    work: Counter[str]


def example(cell: Cell, gates: Activation) -> Integers:
    """The cell with these gates, lowered."""
    layer = example_layer(cell, cell.default_activations(gates))
    bounded = all(max(map(abs, a.bounds)) <= 1 for a in layer.activations.values())
    ranges = {state: CELL_RANGE if state == "c" or not bounded else 1.0 for state in cell.states}
    formats = state_formats(layer, ranges)
    lowered = lower(layer, np.full(INPUTS, 4 / 127), formats)
    needed = _needed(lowered.layer)
    work = Counter(op.code for index, op in enumerate(lowered.layer.ops) if index in needed and op.code != "row")
    return Integers(lowered, formats, tuple(_listing(cell, lowered, needed)), work)


def _needed(layer: IntegerRecurrent) -> set[int]:
    """The operators that a state or the output depends on; all others are dropped by whoever emits code."""
    found = {layer.output, *(state.update for state in layer.states)}
    for index in reversed(range(len(layer.ops))):
        if index in found:
            found.update(layer.ops[index].args)
    return found


def example_layer(
    cell: Cell, activations: dict[str, Activation], inputs: int = INPUTS, initial: dict[str, npt.NDArray[np.float64]] | None = None
) -> Recurrent:
    """A layer of the cell with weights that are multiples of 1/8."""
    count = itertools.count()

    def dyadic(*shape: int) -> npt.NDArray[np.float64]:
        return np.array([(7 * next(count)) % 13 - 6 for _ in range(int(np.prod(shape)))], np.float64).reshape(shape) / 8

    rows = {
        row.name: RowWeights(
            dyadic(UNITS, inputs) if row.input else None,
            tuple(dyadic(UNITS, UNITS) for _ in row.sources),
            dyadic(UNITS) if row.bias else np.zeros(UNITS),
        )
        for row in cell.rows
    }
    return Recurrent(cell, activations, rows, {name: np.full(UNITS, 0.5) for name in cell.parameters}, initial or {})


def _listing(cell: Cell, lowered: LoweredLayer, needed: set[int]) -> list[str]:
    """One line for each operator, with the names of the equations where a value has one."""
    names = _names(cell, lowered, needed)
    layer = lowered.layer
    width = max(len(name) for name in names)
    lines = []
    for index, op in enumerate(layer.ops):
        if index not in needed:
            continue
        roles = [f"{state.name}'" for state in layer.states if state.update == index and names[index] != f"{state.name}'"]
        roles += ["output"] if layer.output == index else []
        text = f"{names[index]:{width}} = {_text(op, [names[a] for a in op.args], layer)}"
        lines.append(f"{text:58} -> {', '.join(roles)}" if roles else text)
    return lines


def _names(cell: Cell, lowered: LoweredLayer, needed: set[int]) -> list[str]:
    layer = lowered.layer
    given: dict[int, str] = {}
    for state in layer.states:
        given.setdefault(state.update, f"{state.name}'")
    for index, value in lowered.values.items():
        node = cell.ops[index]
        if (
            node.code == "activate"
            and value.op in needed
            and layer.ops[value.op].code not in ("row", "state")
            and node.name not in cell.states
        ):
            given[value.op] = node.name
    temporary = itertools.count(1)
    found = []
    for index, op in enumerate(layer.ops):
        if op.code == "row":
            found.append(f"a_{op.name}")
        elif op.code == "state" or op.code == "vector":
            found.append(op.name)
        else:
            found.append(given.get(index) or (f"t{next(temporary)}" if index in needed else ""))
    return found


def _text(op: IntOp, args: list[str], layer: IntegerRecurrent) -> str:
    """The operator as docs/arithmetic.md writes it; constants that depend on the weights are letters."""
    constants = [str(number) for number in op.numbers]
    if op.code == "row":
        reads = ["x"] if layer.rows[op.name].W is not None else []
        return f"row({', '.join(reads + args)})"
    if op.code == "state":
        return "state of the step before"
    if op.code == "vector":
        return "vector, one constant per unit"
    if op.code == "rescale":
        constants = ["limit", "m", "s"]
    elif op.code == "multiply" and any(other.code == "vector" for other in (layer.ops[a] for a in op.args)):
        constants = ["s"]
    elif op.code == "interpolate":
        segments = len(layer.tables[op.name]) - 1
        constants = [f"{op.name.split('_', 1)[1].strip('_')} in {segments} segments"]
    return f"{op.code}({', '.join(args)}{'; ' + ', '.join(constants) if constants else ''})"


def exact_holds(cell: Cell) -> tuple[str, ...]:
    """The settings of the threshold gates under which a state stays as it is to the last bit, whatever the rows and the states are.

    Found by trying: the gates are forced, the rows and states are random over all that they may be.
    """
    hard = example(cell, HARD)
    layer = hard.lowered.layer
    gate_ops = {op.name: hard.lowered.values[k].op for k, op in enumerate(cell.ops) if op.code == "activate" and op.name in cell.gates}
    kept = next((s for s in layer.states if s.name == "c"), layer.state(cell.output))
    holding = [setting for setting in _settings(tuple(gate_ops)) if _holds(layer, {gate_ops[g]: v for g, v in setting}, kept.name)]
    smallest = [s for s in holding if not any(set(other) < set(s) for other in holding)]
    return tuple(f"{kept.name} stays while " + " and ".join(f"{gate} = {value}" for gate, value in setting) for setting in smallest)


def _settings(gates: tuple[str, ...]) -> list[tuple[tuple[str, int], ...]]:
    """Every way to fix some of the gates."""
    options = itertools.product(*(((gate, None), (gate, 0), (gate, 1)) for gate in gates))
    return [tuple((gate, value) for gate, value in chosen if value is not None) for chosen in options]


def _holds(layer: IntegerRecurrent, forced: dict[int, int], state: str) -> bool:
    rng = np.random.default_rng(1)
    trials = (64, layer.units)
    states = {s.name: rng.integers(-s.limit, s.limit + 1, trials) for s in layer.states}
    values: list[npt.NDArray[np.int64]] = []
    for index, op in enumerate(layer.ops):
        if index in forced:
            value = np.full(trials, forced[index])
        elif op.code == "row":
            value = rng.integers(-(2**20), 2**20, trials)
        elif op.code == "state":
            value = states[op.name]
        elif op.code == "vector":
            value = np.tile(layer.vectors[op.name].astype(np.int64), (trials[0], 1))
        else:
            value = VALUE[op.code](op, layer, [values[a] for a in op.args])
        values.append(value)
    return bool((values[layer.state(state).update] == states[state]).all())
