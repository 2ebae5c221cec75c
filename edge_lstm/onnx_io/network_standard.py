"""Recurrent layers that ONNX has an operator for: LSTM, GRU, RNN. Operator specification: onnx.ai/onnx/operators, opset 14.

LSTM  W, R: gates i, o, f, g stacked; B: their input biases and then recurrent ones; P: peepholes of i, o, f; input_forget couples f to i
GRU   W, R: z, r, n stacked; linear_before_reset = 1 where r multiplies the recurrent product
RNN   one row
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Cell
from edge_lstm.network import Recurrent, RowWeights
from edge_lstm.onnx_io.network_activations import parameters, standard

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Form:
    """How a cell maps to an ONNX operator.

    rows: rows in ONNX's order, "" for one that the cell does not have (zeros); roles: the roles that share each entry of `activations`;
    recurrent_row: row whose R and bias stand for the recurrent part of the last row (GRU); peepholes: parameters in ONNX's order.
    """

    operator: str
    rows: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    attributes: Mapping[str, int]
    recurrent_row: str = ""
    peepholes: tuple[str, ...] = ()


def _lstm(coupled: bool = False, peepholes: bool = False) -> Form:
    gates = ("i", "o") if coupled else ("i", "o", "f")
    P = tuple("P" + gate if gate in gates else "" for gate in "iof") if peepholes else ()
    rows = ("i", "o", "" if coupled else "f", "g")
    return Form("LSTM", rows, (gates, ("g",), ("h",)), {"input_forget": 1} if coupled else {}, peepholes=P)


_GRU_ROLES = (("z", "r"), ("n",))
FORMS: dict[str, Form] = {
    "lstm": _lstm(),
    "lstm_1999": _lstm(),
    "lstm_peephole": _lstm(peepholes=True),
    "lstm_2000": _lstm(peepholes=True),
    "lstm_coupled": _lstm(coupled=True),
    "lstm_coupled_peephole": _lstm(coupled=True, peepholes=True),
    "gru": Form("GRU", ("z", "r", "n"), _GRU_ROLES, {"linear_before_reset": 1}, "n_recurrent"),
    "gru_reset_before": Form("GRU", ("z", "r", "n"), _GRU_ROLES, {"linear_before_reset": 0}),
    "rnn": Form("RNN", ("h",), (("h",),), {}),
    "rnn_relu": Form("RNN", ("h",), (("h",),), {}),
}


def form_of(layer: Recurrent) -> Form | None:
    """The ONNX operator for the layer, or None: another cell, an activation ONNX lacks, gates that differ, or not float32 throughout."""
    form = FORMS.get(layer.cell.name)
    if form is None or any(standard(layer.activations[role.name]) is None for role in layer.cell.roles):
        return None
    if any(len({layer.activations[role] for role in roles}) > 1 for roles in form.roles):
        return None
    arrays = [a for w in layer.rows.values() for a in (w.W, *w.R, w.b) if a is not None]
    arrays += [*layer.parameters.values(), *layer.initial.values()]
    return form if all(a.dtype == np.float32 for a in arrays) else None


def attributes(layer: Recurrent, form: Form) -> dict[str, Any]:
    """Attributes of the node."""
    entries = [standard(layer.activations[roles[0]]) for roles in form.roles]
    found: dict[str, Any] = {"hidden_size": layer.units, **form.attributes, **parameters([entry for entry in entries if entry is not None])}
    if layer.reverse:
        found["direction"] = "reverse"
    if layer.clip is not None:
        found["clip"] = float(layer.clip)
    return found


def stack(layer: Recurrent, form: Form) -> dict[str, FloatArray]:
    """The node's constants: W [1, rows * units, inputs], R [1, rows * units, units], B [1, 2 * rows * units], and P [1, 3 * units]."""
    units, last = layer.units, form.rows[-1]
    nothing = RowWeights(np.zeros((units, layer.inputs), np.float32), (np.zeros((units, units), np.float32),), np.zeros(units, np.float32))
    rows = [layer.rows[name] if name else nothing for name in form.rows]
    recurrent = [
        layer.rows[form.recurrent_row] if name == last and form.recurrent_row else row for name, row in zip(form.rows, rows, strict=True)
    ]
    recurrent_bias = [row.b if form.recurrent_row and row is not given else nothing.b for row, given in zip(recurrent, rows, strict=True)]
    W = np.concatenate([row.W for row in rows if row.W is not None])
    R = np.concatenate([row.R[0] for row in recurrent])
    constants = {"W": W[None], "R": R[None], "B": np.concatenate([*(row.b for row in rows), *recurrent_bias])[None]}
    if form.peepholes:
        constants["P"] = np.concatenate([layer.parameters[p] if p else nothing.b for p in form.peepholes])[None]
    return constants


def unstack(cell: Cell, form: Form, constants: Mapping[str, FloatArray]) -> tuple[dict[str, RowWeights], dict[str, FloatArray]]:
    """The rows and parameters that `stack` stacked."""
    units, count = constants["R"].shape[2], len(form.rows)
    W, R = (np.split(constants[name][0], count) for name in "WR")
    B = np.split(constants["B"][0], 2 * count)
    rows = {}
    for k, name in enumerate(form.rows):
        if name:
            own_source = bool(cell.row(name).sources)
            rows[name] = RowWeights(W[k].copy(), (R[k].copy(),) if own_source else (), B[k].copy())
    if form.recurrent_row:
        rows[form.recurrent_row] = RowWeights(None, (R[-1].copy(),), B[-1].copy())
    parts = np.split(constants["P"][0], constants["P"].shape[1] // units) if form.peepholes else []
    return {row.name: rows[row.name] for row in cell.rows}, {p: part.copy() for p, part in zip(form.peepholes, parts, strict=True) if p}
