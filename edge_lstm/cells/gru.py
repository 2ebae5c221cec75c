"""Gated units without a separate cell state: GRU in both forms, minimal gated unit.

GRU   h' = z h + (1 - z) n,  written as  n + z (h - n):  a threshold z makes it a select
"""

from __future__ import annotations

from collections.abc import Callable

from edge_lstm.cells.activations import SIGMOID, TANH
from edge_lstm.cells.dataflow import Cell, CellBuilder


def _gru(reset_after: bool) -> Cell:
    cell = CellBuilder()
    h = cell.state("h")
    r = cell.activate("r", cell.row("r", h), SIGMOID, gate=True)
    z = cell.activate("z", cell.row("z", h), SIGMOID, gate=True)
    if reset_after:
        a = cell.add(cell.row("n", input=True), cell.multiply(r, cell.row("n_recurrent", h, input=False)))
    else:
        a = cell.row("n", cell.multiply(r, h))
    n = cell.activate("n", a, TANH)
    new_h = cell.add(n, cell.multiply(z, cell.subtract(h, n)))
    candidate = "n = candidate(Wn x + bn + r (Rn h + bRn))" if reset_after else "n = candidate(Wn x + Rn (r h) + bn)"
    equations = ("r = gate(Wr x + Rr h + br)", "z = gate(Wz x + Rz h + bz)", candidate, "h' = n + z (h - n)")
    name, form = (
        ("gru", "reset after the product (linear_before_reset = 1)") if reset_after else ("gru_reset_before", "reset before the product")
    )
    return cell.build(name, f"GRU, {form}", "Cho et al. 2014; Chung et al. 2014", equations, {"h": new_h})


def _minimal_gated_unit() -> Cell:
    cell = CellBuilder()
    h = cell.state("h")
    f = cell.activate("f", cell.row("f", h), SIGMOID, gate=True)
    n = cell.activate("n", cell.row("n", cell.multiply(f, h)), TANH)
    new_h = cell.add(h, cell.multiply(f, cell.subtract(n, h)))
    equations = ("f = gate(Wf x + Rf h + bf)", "n = candidate(Wn x + Rn (f h) + bn)", "h' = h + f (n - h)")
    return cell.build("mgu", "Minimal gated unit", "Zhou et al. 2016", equations, {"h": new_h})


CELLS: dict[str, Callable[[], Cell]] = {"gru": lambda: _gru(True), "gru_reset_before": lambda: _gru(False), "mgu": _minimal_gated_unit}
