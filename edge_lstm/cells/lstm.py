"""The LSTM family: 1997, 1999, 2000 (peepholes), the modern cell, and its reduced forms.

preactivations   a_k = W_k x + R_k h + b_k  (+ P_k c for peepholes)          k = i, f, o, g
cell state       c' = f c + i g(a_g)
output           h' = o h(c')
"""

from __future__ import annotations

from collections.abc import Callable

from edge_lstm.cells.activations import IDENTITY, SIGMOID, TANH, Activation
from edge_lstm.cells.dataflow import Cell, CellBuilder

_CANDIDATE_1997, _OUTPUT_1997 = Activation("scaled_sigmoid", 4.0, -2.0), Activation("scaled_sigmoid", 2.0, -1.0)
_SMALL_CANDIDATE = Activation("scaled_sigmoid", 0.5, -0.25)  # tanh(x / 2) / 4: many events fit into the range where the output is not flat


def _lstm(
    name: str,
    title: str,
    paper: str,
    *,
    forget: str = "gate",
    input_gate: bool = True,
    output_gate: bool = True,
    peepholes: bool = False,
    gate_recurrence: bool = False,
    candidate: Activation = TANH,
    squash: Activation = TANH,
    open_output: bool = False,
) -> Cell:
    """One LSTM form. forget: "gate", "none" (f = 1), "coupled" (f = 1 - i) or "input" (i = 1 - f, JANET).

    open_output: layers behind see y' = squash(c') without the output gate, which then guards the recurrence only.
    """
    cell = CellBuilder()
    c, h = cell.state("c"), cell.state("h")
    gate_names = [
        g for g, present in (("i", input_gate and forget != "input"), ("f", forget in ("gate", "input")), ("o", output_gate)) if present
    ]
    sources = [h, *(cell.state(g) for g in gate_names)] if gate_recurrence else [h]

    def gate(which: str, state: int) -> int:
        a = cell.row(which, *sources)
        if peepholes:
            a = cell.add(a, cell.multiply(cell.parameter("P" + which), state))
        return cell.activate(which, a, SIGMOID, gate=True)

    gates: dict[str, int] = {}
    for which in ("i", "f"):
        if which in gate_names:
            gates[which] = gate(which, c)
    if forget == "input":
        gates["i"] = cell.complement(gates["f"])
    if forget == "coupled":
        gates["f"] = cell.complement(gates["i"])
    g = cell.activate("g", cell.row("g", *sources), candidate)
    kept = cell.multiply(gates["f"], c) if "f" in gates else c
    entering = cell.multiply(gates["i"], g) if "i" in gates else g
    new_c = cell.add(kept, entering)
    updates = {"c": new_c}
    if output_gate:
        gates["o"] = gate("o", new_c)
        squashed = cell.activate("h", new_c, squash)
        new_h = cell.multiply(gates["o"], squashed)
    else:
        new_h = cell.activate("h", new_c, squash)

    term = {
        w: f"{w} = gate(W{w} x + R{w} h{' + S' + w + ' [i, f, o]' if gate_recurrence else ''}{f' + P{w} c' if peepholes else ''} + b{w})"
        for w in "ifo"
    }
    if peepholes:
        term["o"] = term["o"].replace("Po c", "Po c'")
    coupled = {"input": ("i = 1 - f",), "coupled": ("f = 1 - i",)}.get(forget, ())
    equations = (
        *(term[w] for w in gate_names),
        *coupled,
        "g = candidate(Wg x + Rg h + bg)",
        f"c' = {'f c' if 'f' in gates else 'c'} + {'i g' if 'i' in gates else 'g'}",
        f"h' = {'o ' if output_gate else ''}squash(c')",
        *(("y' = squash(c')",) if open_output else ()),
    )
    updates |= {"h": new_h, **({g: gates[g] for g in gate_names} if gate_recurrence else {}), **({"y": squashed} if open_output else {})}
    return cell.build(name, title, paper, equations, updates, "y" if open_output else "h")


CELLS: dict[str, Callable[[], Cell]] = {
    "lstm": lambda: _lstm(
        "lstm", "LSTM with forget gate, no peepholes (the modern cell)", "Gers, Schmidhuber & Cummins 1999; Greff et al. 2017"
    ),
    "lstm_1997": lambda: _lstm(
        "lstm_1997",
        "LSTM of 1997: no forget gate",
        "Hochreiter & Schmidhuber 1997",
        forget="none",
        candidate=_CANDIDATE_1997,
        squash=_OUTPUT_1997,
    ),
    "lstm_1997_gate_recurrence": lambda: _lstm(
        "lstm_1997_gate_recurrence",
        "LSTM of 1997 whose gates are recurrent sources too",
        "Hochreiter & Schmidhuber 1997",
        forget="none",
        gate_recurrence=True,
        candidate=_CANDIDATE_1997,
        squash=_OUTPUT_1997,
    ),
    "lstm_1999": lambda: _lstm(
        "lstm_1999", "LSTM of 1999: forget gate", "Gers, Schmidhuber & Cummins 1999", candidate=_CANDIDATE_1997, squash=_OUTPUT_1997
    ),
    "lstm_peephole": lambda: _lstm("lstm_peephole", "LSTM with peepholes", "Gers & Schmidhuber 2000; Greff et al. 2017", peepholes=True),
    "lstm_2000": lambda: _lstm(
        "lstm_2000",
        "LSTM of 2000: peepholes, identity output",
        "Gers & Schmidhuber 2000",
        peepholes=True,
        candidate=_CANDIDATE_1997,
        squash=IDENTITY,
    ),
    "lstm_coupled": lambda: _lstm("lstm_coupled", "LSTM with coupled input and forget gate (CIFG)", "Greff et al. 2017", forget="coupled"),
    "lstm_coupled_peephole": lambda: _lstm(
        "lstm_coupled_peephole", "LSTM with coupled gates and peepholes", "Greff et al. 2017", forget="coupled", peepholes=True
    ),
    "lstm_no_input_gate": lambda: _lstm(
        "lstm_no_input_gate", "LSTM without input gate", "Greff et al. 2017; Jozefowicz et al. 2015", input_gate=False
    ),
    "lstm_no_output_gate": lambda: _lstm(
        "lstm_no_output_gate", "LSTM without output gate", "Greff et al. 2017; Jozefowicz et al. 2015", output_gate=False
    ),
    "lstm_long_lag": lambda: _lstm(
        "lstm_long_lag",
        "LSTM for long lags: the read-out sees the cell state, the output gate guards the recurrence only",
        "Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 1999",
        candidate=_SMALL_CANDIDATE,
        open_output=True,
    ),
    "janet": lambda: _lstm(
        "janet", "JANET: forget gate only", "van der Westhuizen & Lasenby 2018", forget="input", output_gate=False, squash=IDENTITY
    ),
}
