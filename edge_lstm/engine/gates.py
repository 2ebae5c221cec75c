"""The gates of an integer layer: which operators they are, and how open each is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm import cells
from edge_lstm.fixed_point.integer_network import IntegerRecurrent

Int64Array = npt.NDArray[np.int64]
Gates = dict[str, npt.NDArray[np.float32]]
GateOperators = dict[str, tuple[int, float]]


def gate_operators(layer: IntegerRecurrent) -> GateOperators:
    """Gate -> (operator that holds its opening, value of that operator when fully open).

    A threshold gate is the sign of its row; a soft one is a curve or a clip that follows its row. Gates that share one row
    with something else (FastGRNN) are found by being the only gate; a gate that cannot be told apart is left out.
    """
    if layer.cell not in cells.family():
        return {}
    found: GateOperators = {}
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


def openings(operators: GateOperators, values: list[Int64Array]) -> Gates:
    """Gate -> float32 opening in [0, 1], 0 or 1 for a threshold gate, from the value of every operator."""
    return {gate: (values[index] / fully_open).astype(np.float32) for gate, (index, fully_open) in operators.items()}
