"""The update gate recurrent network: one gate decides how much of the state stays and how much the candidate replaces."""

from __future__ import annotations

from collections.abc import Callable

from edge_lstm.cells.activations import SIGMOID, TANH
from edge_lstm.cells.dataflow import Cell, CellBuilder


def _ugrnn() -> Cell:
    """h' = g h + (1 - g) n, written as n + g (h - n), so that a threshold gate makes it a select."""
    cell = CellBuilder()
    h = cell.state("h")
    g = cell.activate("g", cell.row("g", h), SIGMOID, gate=True)
    n = cell.activate("n", cell.row("n", h), TANH)
    new_h = cell.add(n, cell.multiply(g, cell.subtract(h, n)))
    equations = ("g = gate(Wg x + Rg h + bg)", "n = candidate(Wn x + Rn h + bn)", "h' = n + g (h - n)")
    return cell.build("ugrnn", "Update gate recurrent network", "Collins, Sohl-Dickstein & Sussillo 2017", equations, {"h": new_h})


CELLS: dict[str, Callable[[], Cell]] = {"ugrnn": _ugrnn}
