"""Threshold gates that never change are folded away: an open gate passes its value on, a closed one gives 0, and its row is not needed.

Where the interval analysis proves a gate constant for any input, or where a row that is zero anyway makes it so, not a bit changes. A gate
that was only seen to be constant, on recordings, stays what it was on these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.bounds import intervals
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntegerRow, IntOp
from edge_lstm.fixed_point.liveness import live_operators, without_dead_operators

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Constant:
    """In which units a threshold gate is always open, and always closed. row: name of the row whose sign it is; opened, closed: [units]."""

    row: str
    opened: Mask
    closed: Mask

    @property
    def count(self) -> int:
        """Units in which the gate never changes."""
        return int((self.opened | self.closed).sum())

    def joined(self, other: Constant) -> Constant:
        """Constant by either of two reasons."""
        return Constant(self.row, self.opened | other.opened, self.closed | other.closed)


def thresholds(layer: IntegerRecurrent) -> dict[str, int]:
    """Row -> operator that is its sign, for rows that nothing else reads."""
    readers: dict[int, list[int]] = {}
    for index, op in enumerate(layer.ops):
        for argument in op.args:
            readers.setdefault(argument, []).append(index)
    results = {layer.output, *(state.update for state in layer.states)}
    return {
        op.name: readers[k][0]
        for k, op in enumerate(layer.ops)
        if op.code == "row" and k not in results and len(readers.get(k, [])) == 1 and layer.ops[readers[k][0]].code == "positive"
    }


def proved_constant(layer: IntegerRecurrent) -> dict[str, Constant]:
    """Row -> where interval analysis proves its gate constant for any input."""
    found = intervals(layer)
    proved = {}
    for name, index in thresholds(layer).items():
        low, high = found[layer.ops[index].args[0]][0]
        proved[name] = Constant(name, np.broadcast_to(low, layer.units) > 0, np.broadcast_to(high, layer.units) <= 0)
    return proved


def folded(layer: IntegerRecurrent, constants: Mapping[str, Constant]) -> IntegerRecurrent:
    """The layer with these gates constant.

    Where a gate is constant in every unit, and alike, its row and its operator are gone. Else the row's weights become zero in the units
    where it is constant. A layer whose output would be constant is left with zero rows, since it must have a row.
    """
    signs = thresholds(layer)
    rows = dict(layer.rows)
    fixed: dict[int, int] = {}
    for name, constant in constants.items():
        if name not in signs or not constant.count:
            continue
        if constant.opened.all() or constant.closed.all():
            fixed[signs[name]] = int(constant.opened.all())
        rows[name] = _without_weights(rows[name], constant)
    layer = replace(layer, rows=rows)
    return _Folding(layer, fixed).run() if fixed else layer


def _without_weights(row: IntegerRow, constant: Constant) -> IntegerRow:
    """The row with zero weights where its sign is constant; its bias is that sign: 1 for open, 0 for closed."""
    still = constant.opened | constant.closed
    W = None if row.W is None else np.where(still[:, None], 0, row.W).astype(np.int8)
    R = tuple(np.where(still[:, None], 0, one).astype(np.int8) for one in row.R)
    return replace(row, W=W, R=R, bias=np.where(still, constant.opened, row.bias).astype(np.int32))


class _Folding:
    """One pass over the operators; an operator becomes a constant, another operator's value, or a copy with new arguments."""

    def __init__(self, layer: IntegerRecurrent, fixed: Mapping[int, int]) -> None:
        self.layer, self.fixed = layer, fixed
        self.ops: list[IntOp] = []
        self.place: dict[int, int] = {}  # old operator -> new one
        self.constant: dict[int, int] = dict(fixed)  # old operator -> its value in every unit
        self.vectors = dict(layer.vectors)

    def run(self) -> IntegerRecurrent:
        for index, op in enumerate(self.layer.ops):
            if index not in self.constant:
                self._visit(index, op)
        results = [self.layer.output, *(state.update for state in self.layer.states)]
        places = [self._at(index) for index in results]
        made = replace(
            self.layer,
            ops=tuple(self.ops),
            vectors=self.vectors,
            states=tuple(replace(state, update=at) for state, at in zip(self.layer.states, places[1:], strict=True)),
            output=places[0],
            activations={**self.layer.activations, **self._texts()},
        )
        live = {made.ops[k].name for k in live_operators(made.ops, places) if made.ops[k].code == "row"}
        if not live:
            return self.layer
        return without_dead_operators(replace(made, rows={name: row for name, row in made.rows.items() if name in live}))[0]

    def _texts(self) -> dict[str, str]:
        """What banners say of the gates that are gone."""
        names = {self.layer.ops[self.layer.ops[index].args[0]].name: value for index, value in self.fixed.items()}
        return {
            name: f"{self.layer.activations[name]}, always {'open' if value else 'closed'}"
            for name, value in names.items()
            if name in self.layer.activations
        }

    def _visit(self, index: int, op: IntOp) -> None:
        known = [self.constant.get(a) for a in op.args]
        if op.code == "select" and known[0] is not None:
            self._become(index, op.args[1] if known[0] else None)
        elif (op.code in ("select", "shift", "raise", "rescale") and known[-1] == 0) or (op.code == "multiply" and 0 in known):
            self._become(index, None)
        elif op.code == "add" and 0 in known:
            self._become(index, op.args[1 - known.index(0)])
        elif op.code == "subtract" and known[1] == 0:
            self._become(index, op.args[0])
        elif op.code == "complement" and known[0] is not None:
            self.constant[index] = op.numbers[0] - known[0]
        elif op.code == "offset" and known[0] is not None:
            self.constant[index] = op.numbers[0] + known[0]
        elif op.code == "clip" and known[0] is not None:
            self.constant[index] = min(max(known[0], op.numbers[0]), op.numbers[1])
        else:
            self.place[index] = self._add(replace(op, args=tuple(self._at(a) for a in op.args)))

    def _become(self, index: int, other: int | None) -> None:
        """The value of another operator, or 0 for None."""
        if other is None:
            self.constant[index] = 0
        elif other in self.constant:
            self.constant[index] = self.constant[other]
        else:
            self.place[index] = self.place[other]

    def _at(self, index: int) -> int:
        """Where the value of an old operator is; a constant becomes a vector."""
        if index in self.constant:
            name = f"constant_{self.constant[index]}"
            self.vectors.setdefault(name, np.full(self.layer.units, self.constant[index], np.int32))
            self.place[index] = self._add(IntOp("vector", name=name))
        return self.place[index]

    def _add(self, op: IntOp) -> int:
        if op in self.ops and op.code in ("vector", "state"):
            return self.ops.index(op)
        self.ops.append(op)
        return len(self.ops) - 1
