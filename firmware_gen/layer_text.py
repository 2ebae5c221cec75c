"""What the C of one recurrent layer consists of, for the templates, the struct and the banner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntegerRow
from firmware_gen.choice import Choice
from firmware_gen.column_text import ColumnText
from firmware_gen.columns import PACKED, TABLES, Plan
from firmware_gen.simplify import Dataflow
from firmware_gen.tables import BYTES
from firmware_gen.vectors import VectorText


@dataclass(frozen=True)
class Pass:
    """One loop over the units. before: lines in front of it; first: lines at the start of each block of units, none for a loop without
    blocks; body: lines for unit u."""

    before: tuple[str, ...]
    first: tuple[str, ...]
    body: tuple[str, ...]


@dataclass(frozen=True)
class LayerText:
    """The C of one layer.

    infix: distinguishes its names from other layers' ("" for the only one); passes: the loops over its units;
    arrays: (type, name) of the local arrays of all units; fields: state -> (type, field of the struct); buffers: (field, local array)
    of the states that are copied back when the last pass is over; output: the layer's output of unit u, from the struct `state`;
    output_field: the int8 field that holds it as it is, None if it takes an expression; output_stored: whether that field exists for
    this purpose alone; lazy_rows: rows computed only where a gate is open; flow: the simplified dataflow, for the banner;
    choice: how its rows are summed, and why; columns, column_plan: the C of rows by columns, and which rows these are;
    vectors: the same layer for cores with vectors, None if it has no such form; obstacle: why it has none.
    """

    infix: str
    layer: IntegerRecurrent
    flow: Dataflow
    passes: tuple[Pass, ...]
    arrays: tuple[tuple[str, str], ...]
    fields: dict[str, tuple[str, str]]
    buffers: tuple[tuple[str, str], ...]
    output: str
    output_field: str | None
    output_stored: bool
    lazy_rows: tuple[str, ...]
    choice: Choice
    columns: ColumnText
    column_plan: Plan
    vectors: VectorText | None
    obstacle: str = ""

    @property
    def strategy(self) -> str:
        """How its rows are summed: one of `columns.STRATEGIES`, with `columns.PACKED` behind it where weights share words by columns, or
        `columns.TABLES` where these read tables, too."""
        groups = self.column_plan.groups
        return self.choice.strategy + (TABLES if any(g.tables for g in groups) else PACKED if any(g.bits < 8 for g in groups) else "")

    def local_bytes(self, target: str | None, narrow: bool, index_bytes: int) -> int:
        """What its local arrays take on the stack of `target`; narrow: whether entries of lists take two bytes where they can; index_bytes:
        of the index of an element."""
        portable = sum(BYTES[kind] for kind, _ in self.arrays) * self.units + self.columns.locals.bytes(target, narrow, index_bytes)
        return max(portable, self.vectors.bytes if self.vectors else 0)

    @property
    def blocks(self) -> int:
        """Number of blocks of units."""
        return -(-self.units // self.columns.block)

    @property
    def units(self) -> int:
        """Number of hidden units."""
        return self.layer.units

    @property
    def matrices(self) -> list[np.ndarray]:
        """The weight matrices of the rows that are left; one that is zero throughout costs nothing."""
        return [matrix for row in self._rows for matrix in (row.W, *row.R) if matrix is not None and matrix.any()]

    @property
    def reads_x(self) -> bool:
        """Whether any row reads the layer's input."""
        return any(row.W is not None and row.W.any() for row in self._rows)

    @property
    def _rows(self) -> list[IntegerRow]:
        return [self.layer.rows[op.name] for op in self.flow.ops.values() if op.code == "row"]

    @property
    def multiply_accumulates(self) -> int:
        """Multiply-accumulates of the rows in one step with all gates open; x of 16 bits by halves counts twice."""
        whole = {self.flow.ops[index].name for group in self.column_plan.groups for index in (*group.rows, *group.lazy)}
        halves = [row.W for row in self._rows if self.layer.wide and row.name not in whole]
        twice = [int(W.size) for W in halves if W is not None and W.any()]
        return sum(int(matrix.size) for matrix in self.matrices) + sum(twice)
