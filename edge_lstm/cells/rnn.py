"""Cells without a multiplicative memory: the vanilla recurrent network, and FastGRNN."""

from __future__ import annotations

from collections.abc import Callable

from edge_lstm.cells.activations import SIGMOID, TANH, Activation
from edge_lstm.cells.dataflow import Cell, CellBuilder


def _rnn(name: str, default: Activation) -> Cell:
    cell = CellBuilder()
    new_h = cell.activate("h", cell.row("h", cell.state("h")), default)
    return cell.build(name, f"Vanilla recurrent network ({default})", "Elman 1990", ("h' = squash(W x + R h + b)",), {"h": new_h})


def _fastgrnn() -> Cell:
    """W and R are shared by gate and candidate, which differ in the bias only; zeta and nu are scalars, repeated per unit."""
    cell = CellBuilder()
    h = cell.state("h")
    a = cell.row("a", h, bias=False)
    z = cell.activate("z", cell.add(a, cell.parameter("bz")), SIGMOID, gate=True)
    n = cell.activate("n", cell.add(a, cell.parameter("bn")), TANH)
    mix = cell.add(cell.multiply(cell.parameter("zeta"), cell.complement(z)), cell.parameter("nu"))
    new_h = cell.add(cell.multiply(mix, n), cell.multiply(z, h))
    equations = ("a = W x + R h", "z = gate(a + bz)", "n = candidate(a + bn)", "h' = (zeta (1 - z) + nu) n + z h")
    return cell.build("fastgrnn", "FastGRNN", "Kusupati et al. 2018", equations, {"h": new_h})


CELLS: dict[str, Callable[[], Cell]] = {
    "rnn": lambda: _rnn("rnn", TANH),
    "rnn_relu": lambda: _rnn("rnn_relu", Activation("relu")),
    "fastgrnn": _fastgrnn,
}
