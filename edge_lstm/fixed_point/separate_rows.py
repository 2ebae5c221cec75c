"""Rows in two: what comes from the input and what comes from the states, each with a scale of its own.

A row of [W | R] has one scale, up to a power of two for all units (docs/arithmetic.md, Rows). Where an input channel of great magnitude
needs a large one, the recurrent weights of that unit are left with few levels. As two rows, W x + b and R h, brought to one unit before
they are added, each has all of its 8 bits. The operators are those that a GRU needs anyway, so every engine has them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_lstm.cells.dataflow import Cell, Op, Row
from edge_lstm.fixed_point.weights import WeightBits
from edge_lstm.network import Recurrent, RowWeights

RECURRENT = "_recurrent"  # ends the name of the row that reads the states


def separated(layer: Recurrent, thresholds: bool = False) -> Recurrent:
    """The same layer with W x + b and R s of each row in rows of their own.

    A threshold gate keeps its row, unless `thresholds` says otherwise: it is compared with zero in the row's own unit, without rounding.
    So does a row without input or without sources, as the candidate of a GRU has.
    """
    cell = layer.cell
    rows: list[Row] = []
    weights = dict(layer.rows)
    divided = {row.name for row in cell.rows if row.input and row.sources and (thresholds or not behind_a_threshold(layer, row.name))}
    for row in cell.rows:
        if row.name not in divided:
            rows.append(row)
            continue
        rows += [Row(row.name, (), True, row.bias), Row(row.name + RECURRENT, row.sources, False, False)]
        whole = layer.rows[row.name]
        weights[row.name] = RowWeights(whole.W, (), whole.b)
        weights[row.name + RECURRENT] = RowWeights(None, whole.R, np.zeros_like(whole.b))
    ops: list[Op] = []
    place: list[int] = []  # operator -> where it is now
    for op in cell.ops:
        args = tuple(place[a] for a in op.args)
        if op.code == "row" and op.name in divided:
            ops += [Op("row", (), op.name), Op("row", args, op.name + RECURRENT)]
            ops.append(Op("add", (len(ops) - 2, len(ops) - 1)))
        else:
            ops.append(Op(op.code, args, op.name))
        place.append(len(ops) - 1)
    moved = tuple(replace(row, sources=tuple(place[s] for s in row.sources)) for row in rows)
    updates = tuple((state, place[op]) for state, op in cell.updates)
    return replace(layer, cell=replace(cell, ops=tuple(ops), rows=moved, updates=updates), rows=weights)


def formats_of_parts(cell: Cell, bits: WeightBits) -> WeightBits:
    """The formats of `weights.row_formats` for a separated cell: a format asked for a row is that of both its parts."""
    parts = {row.name + RECURRENT: bits[row.name] for row in cell.rows if row.name in bits and not row.sources}
    return {**bits, **{part: one for part, one in parts.items() if any(row.name == part for row in cell.rows)}}


def behind_a_threshold(layer: Recurrent, row: str) -> bool:
    """Whether a gate with a sign in place of a curve reads the row, alone or in a sum."""
    reached: set[int] = set()
    for index, op in enumerate(layer.cell.ops):
        if (op.code == "row" and op.name == row) or (op.code in ("add", "multiply") and reached & set(op.args)):
            reached.add(index)
        elif op.code == "activate" and reached & set(op.args) and layer.activations[op.name].kind in ("threshold", "three_level"):
            return True
    return False
