"""A recurrent cell as data: the dataflow of one hidden unit during one time step.

A cell is a list of operators; each value is one number per hidden unit. Operators:

    row(name, *sources)  W x + sum_k R_k s_k + b: dot products with the layer's input x and with whole vectors over all units
    state(name)          the unit's own state of the step before
    parameter(name)      a learned number per unit (a peephole weight, a second bias)
    activate(role, a)    the activation function that the layer binds to `role` (a gate or a squashing)
    add, subtract, multiply (a, b)
    complement(a)        1 - a

Float inference, gradients, the integer dataflow, its bounds and every back end are derived from this list.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_lstm.cells.activations import Activation

CODES = ("row", "state", "parameter", "activate", "add", "subtract", "multiply", "complement")


@dataclass(frozen=True)
class Op:
    """One operator. args: indices of earlier operators; name: of the row, state, parameter or role."""

    code: str
    args: tuple[int, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Row:
    """A weight row of each unit. sources: operators whose values over all units are read; `input`: whether x is read too."""

    name: str
    sources: tuple[int, ...]
    input: bool = True
    bias: bool = True


@dataclass(frozen=True)
class Role:
    """A place for an activation function. gate: True where the value is in [0, 1] and may be made a threshold."""

    name: str
    gate: bool
    default: Activation


@dataclass(frozen=True)
class Cell:
    """One member of the family.

    updates: (state, operator that renews it) pairs; output: the state that the next layer and the read-out see.
    equations: the textbook form, one line each, for banners and `inspect`.
    """

    name: str
    title: str
    paper: str
    equations: tuple[str, ...]
    ops: tuple[Op, ...]
    rows: tuple[Row, ...]
    roles: tuple[Role, ...]
    updates: tuple[tuple[str, int], ...]
    output: str = "h"

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.updates)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(op.name for op in self.ops if op.code == "parameter"))

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(role.name for role in self.roles if role.gate)

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def default_activations(self, gates: Activation | None = None) -> dict[str, Activation]:
        """Role -> activation: the paper's own, with every gate replaced by `gates` where given."""
        return {role.name: gates if gates is not None and role.gate else role.default for role in self.roles}

    def phases(self) -> tuple[int, ...]:
        """For each operator the pass over the units it belongs to.

        A row reads whole vectors, so all units must have finished the operators it reads before any unit computes the row;
        vectors that are last step's states are ready at once. A modern LSTM has one phase, a GRU that multiplies r and h
        before the recurrent product has two.
        """
        phase: list[int] = []
        for op in self.ops:
            level = max((phase[a] for a in op.args), default=0)
            if op.code == "row" and any(self.ops[a].code != "state" for a in op.args):
                level = max(phase[a] for a in op.args) + 1
            phase.append(level)
        return tuple(phase)


class CellBuilder:
    """Records a cell's dataflow; each method returns the index of its operator."""

    def __init__(self) -> None:
        self._ops: list[Op] = []
        self._rows: list[Row] = []
        self._roles: dict[str, Role] = {}

    def _add(self, code: str, args: tuple[int, ...] = (), name: str = "") -> int:
        self._ops.append(Op(code, args, name))
        return len(self._ops) - 1

    def row(self, name: str, *sources: int, input: bool = True, bias: bool = True) -> int:
        self._rows.append(Row(name, sources, input, bias))
        return self._add("row", sources, name)

    def state(self, name: str) -> int:
        return self._add("state", (), name)

    def parameter(self, name: str) -> int:
        return self._add("parameter", (), name)

    def activate(self, role: str, a: int, default: Activation, gate: bool = False) -> int:
        self._roles.setdefault(role, Role(role, gate, default))
        return self._add("activate", (a,), role)

    def add(self, a: int, b: int) -> int:
        return self._add("add", (a, b))

    def subtract(self, a: int, b: int) -> int:
        return self._add("subtract", (a, b))

    def multiply(self, a: int, b: int) -> int:
        return self._add("multiply", (a, b))

    def complement(self, a: int) -> int:
        return self._add("complement", (a,))

    def build(self, name: str, title: str, paper: str, equations: tuple[str, ...], updates: dict[str, int], output: str = "h") -> Cell:
        return Cell(
            name, title, paper, equations, tuple(self._ops), tuple(self._rows), tuple(self._roles.values()), tuple(updates.items()), output
        )
