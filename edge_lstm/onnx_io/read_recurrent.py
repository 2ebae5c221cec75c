"""Readers of the operators LSTM, GRU and RNN (ONNX operator specification, versions 7, 14 and 22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from edge_lstm.cells import Activation, cell
from edge_lstm.network import Bidirectional, FloatArray, Recurrent, RowWeights
from edge_lstm.onnx_io.read_activations import read_activations
from edge_lstm.onnx_io.read_layers import add_recurrent, features_of, opened, read_out
from edge_lstm.onnx_io.read_node import Node, Operator, label, operator
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import (
    DIRECTIONS,
    Array,
    Axis,
    Constant,
    IntegerInput,
    Refused,
    Signal,
    Step,
    Value,
    concrete,
    describe,
    shape_text,
)

# Inputs of the three operators after X.
T = TypeVar("T")
_W, _R, _B, _LENGTHS, _STATE_H, _STATE_C, _P = range(1, 8)


@dataclass(frozen=True)
class Weights:
    """The tensors of one direction.

    W: [gates * units, inputs], R: [gates * units, units], Wb, Rb: [gates * units], P: [3 * units] or None.
    """

    W: FloatArray
    R: FloatArray
    Wb: FloatArray
    Rb: FloatArray
    P: FloatArray | None

    def gate(self, k: int) -> RowWeights:
        """Gate number k with both its biases."""
        rows = self.rows(k)
        return RowWeights(self.W[rows], (self.R[rows],), self.Wb[rows] + self.Rb[rows])

    def rows(self, k: int) -> slice:
        units = self.R.shape[1]
        return slice(k * units, (k + 1) * units)


def _lstm(node: Node, w: Weights, activations: tuple[Activation, ...], states: dict[str, FloatArray], clip: float | None) -> Recurrent:
    gate, candidate, squash = activations
    coupled = bool(node.attribute("input_forget", 0))
    name = {(False, False): "lstm", (False, True): "lstm_peephole", (True, False): "lstm_coupled", (True, True): "lstm_coupled_peephole"}
    found = cell(name[coupled, w.P is not None])
    rows = {which: w.gate("iofg".index(which)) for which in (row.name for row in found.rows)}
    peepholes = {} if w.P is None else {"P" + which: w.P[w.rows("iof".index(which))] for which in "iof"}
    roles = {"i": gate, "f": gate, "o": gate, "g": candidate, "h": squash}
    parameters = {p: peepholes[p] for p in found.parameters}
    return Recurrent(found, {r.name: roles[r.name] for r in found.roles}, rows, parameters, states, clip)


def _gru(node: Node, w: Weights, activations: tuple[Activation, ...], states: dict[str, FloatArray], clip: float | None) -> Recurrent:
    gate, candidate = activations
    rows = {"z": w.gate(0), "r": w.gate(1)}
    n = w.rows(2)
    if node.attribute("linear_before_reset", 0):
        rows |= {"n": RowWeights(w.W[n], (), w.Wb[n]), "n_recurrent": RowWeights(None, (w.R[n],), w.Rb[n])}
        found = cell("gru")
    else:
        rows |= {"n": w.gate(2)}
        found = cell("gru_reset_before")
    return Recurrent(found, {"z": gate, "r": gate, "n": candidate}, rows, {}, states, clip)


def _rnn(node: Node, w: Weights, activations: tuple[Activation, ...], states: dict[str, FloatArray], clip: float | None) -> Recurrent:
    (squash,) = activations
    return Recurrent(cell("rnn_relu" if squash.kind == "relu" else "rnn"), {"h": squash}, {"h": w.gate(0)}, {}, states, clip)


@dataclass(frozen=True)
class Kind:
    """What sets the three operators apart.

    gates: rows per unit; activations: the defaults of a direction; states: its states, with the number of the input that starts each.
    """

    gates: int
    activations: tuple[str, ...]
    states: dict[str, int]
    build: Callable[[Node, Weights, tuple[Activation, ...], dict[str, FloatArray], float | None], Recurrent]


KINDS = {
    "LSTM": Kind(4, ("Sigmoid", "Tanh", "Tanh"), {"h": _STATE_H, "c": _STATE_C}, _lstm),
    "GRU": Kind(3, ("Sigmoid", "Tanh"), {"h": _STATE_H}, _gru),
    "RNN": Kind(1, ("Tanh",), {"h": _STATE_H}, _rnn),
}


def read_recurrent(node: Node) -> tuple[Value, ...]:
    """Adds the layer to the signal; gives Y [steps, directions, batch, units], Y_h, and for an LSTM Y_c, which cannot be read further.

    Raises Refusal with all the reasons that this node gives, on one line.
    """
    kind = KINDS[node.operator]
    signal = opened(node.signal(0))
    batch_first = bool(node.attribute("layout", 0))
    reasons: list[str] = []

    def checked(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Refusal as refusal:
            reasons.append(str(refusal))
            return None

    directions = checked(lambda: _directions(node)) or ("forward",)
    count = len(directions)
    activations = checked(lambda: _activations(node, kind, count))
    weights = checked(lambda: _weights(node, kind, signal, count))
    states = checked(lambda: _states(node, kind, signal, count, batch_first))
    axes = checked(lambda: _time_and_batch(node, signal, batch_first))
    lengths = checked(lambda: _lengths(node, signal, batch_first))
    clip = node.attribute("clip")
    if clip is not None and not 0 < float(clip) < np.inf:
        reasons.append(f"attribute clip = {clip:g}; expected a positive number")
    if reasons or activations is None or weights is None or states is None or axes is None or lengths is None:
        raise Refusal("; ".join(dict.fromkeys(reasons)))
    layers = [
        replace(kind.build(node, weights[k], activations[k], states[k], None if clip is None else float(clip)), reverse=way == "reverse")
        for k, way in enumerate(directions)
    ]
    after = replace(add_recurrent(signal, layers[0] if count == 1 else Bidirectional(*layers)), ragged=lengths)
    final = read_out(after, "final")
    time, batch = axes
    units = (Axis(node.roles.axis(signal.source, "features"), layers[0].units),)
    both = (Axis(DIRECTIONS, 2),) if count == 2 else ()
    y = replace(after, axes=(batch, time, both, units) if batch_first else (time, both, batch, units))
    y_h = replace(final, axes=(batch, both, units) if batch_first else (both, batch, units), state="h")
    if node.operator != "LSTM":
        return y, y_h
    advice = "take the hidden state instead, in PyTorch h_n and not c_n of `output, (h_n, c_n)`"
    reason = f"{label(node.proto)}: the final cell state (output Y_c) is read; only the hidden state can go on: {advice}"
    return y, y_h, Refused(reason, state=True)


def _directions(node: Node) -> tuple[str, ...]:
    direction = _text(node.attribute("direction", "forward"))
    if direction not in ("forward", "reverse", "bidirectional"):
        raise Refusal(f"attribute direction = {direction} is unknown")
    return ("forward", "reverse") if direction == "bidirectional" else (direction,)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _activations(node: Node, kind: Kind, directions: int) -> tuple[tuple[Activation, ...], ...]:
    """The activations of each direction. Parameters are given in the order of all functions."""
    each = len(kind.activations)
    names = [_text(name) for name in node.attribute("activations", kind.activations * directions)]
    if len(names) != each * directions:
        expected = f"{directions} direction(s) of a {node.operator} have {each * directions}"
        raise Refusal(f"attribute activations has {len(names)} functions; {expected}")
    found = read_activations(names, node.attribute("activation_alpha", ()), node.attribute("activation_beta", ()))
    return tuple(found[k * each : (k + 1) * each] for k in range(directions))


def _units(node: Node) -> int:
    """Number of hidden units: the attribute hidden_size, or the last axis of R where it is left out."""
    shape = node.value(_R).shape
    if len(shape) != 3:
        raise Refusal(f"weight input R is {describe(node.value(_R))}, expected rank 3")
    units = node.attribute("hidden_size", shape[2])
    if not isinstance(units, int) or units < 1:
        raise Refusal(f"hidden_size is {units}; expected a positive number")
    return units


def _weights(node: Node, kind: Kind, signal: Signal, directions: int) -> tuple[Weights, ...]:
    W, R = (concrete(node.value(i), f"weight input {name}", 3) for i, name in ((_W, "W"), (_R, "R")))
    units = _units(node)
    gates = kind.gates * units
    width = features_of(signal, 2, node.roles) if len(signal.axes) == 3 else W.shape[2]
    B = np.zeros((directions, 2 * gates), W.dtype) if node.input(_B) is None else concrete(node.value(_B), "bias input B")
    expected = {"W": (directions, gates, width), "R": (directions, gates, units), "B": (directions, 2 * gates)}
    wrong = [f"{n} {list(a.shape)} (expected {list(expected[n])})" for n, a in (("W", W), ("R", R), ("B", B)) if a.shape != expected[n]]
    if wrong:
        hint = "; a projection (proj_size in PyTorch) is not read" if R.shape[1] == gates and R.shape[2] != units else ""
        raise Refusal(f"weights {', '.join(wrong)} do not fit {directions} direction(s), {units} units and {width} inputs{hint}")
    P = np.zeros((directions, 0), W.dtype)
    if node.operator == "LSTM" and node.input(_P) is not None:
        P = concrete(node.value(_P), "peephole input P")
        if P.shape != (directions, 3 * units):
            raise Refusal(f"peepholes P {list(P.shape)} do not fit hidden_size {units} (expected [{directions}, {3 * units}])")
    W, R, B, P = as_float(W), as_float(R), as_float(B), as_float(P)
    return tuple(Weights(W[k], R[k], B[k, :gates], B[k, gates:], P[k] if P[k].any() else None) for k in range(directions))


def as_float(array: Array) -> FloatArray:
    """float64 stays, float16 becomes float32. Raises Refusal for what is no float, or not finite."""
    if array.dtype.kind != "f":
        raise Refusal(f"has weights of type {array.dtype}; weights must be floats")
    if not np.isfinite(array).all():
        raise Refusal("has weights that are NaN or infinite")
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def _states(node: Node, kind: Kind, signal: Signal, directions: int, batch_first: bool) -> tuple[dict[str, FloatArray], ...]:
    """For each direction: state -> [units] before the first step, where it is not zero.

    A state that is an input of the graph starts at zero.
    """
    found: tuple[dict[str, FloatArray], ...] = tuple({} for _ in range(directions))
    units = _units(node)
    for name, position in kind.states.items():
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is None or _starts_at_zero(node, value, signal):
            continue
        if not isinstance(value, Constant):
            raise Refusal(f"the initial state {name} comes from another layer; it must be a constant or an input of the graph")
        sequences = signal.shape[0 if batch_first else 1] if len(signal.axes) == 3 else 1
        expected = (sequences, directions, units) if batch_first else (directions, sequences, units)
        if value.shape != expected:
            hint = "; a projection (proj_size in PyTorch) is not read" if name == "c" else ""
            raise Refusal(f"the initial state {name} is {describe(value)}, expected {shape_text(expected)}{hint}")
        numbers = value.array.swapaxes(0, 1) if batch_first else value.array
        if (numbers != numbers[:, :1]).any():
            raise Refusal(f"the initial state {name} differs between the sequences of a batch; it must be the same for all")
        for k, states in enumerate(found):
            row = np.broadcast_to(as_float(numbers)[k, 0], (units,))
            if row.any():
                states[name] = row.copy()
    return found


def _starts_at_zero(node: Node, value: Value, signal: Signal) -> bool:
    """Whether the initial state is an input of the graph, or a piece of one, and nothing that the network computes; noted if so."""
    whole = isinstance(value, Signal) and not value.layers and value.scale is None
    if isinstance(value, Step) and not value.is_input:
        return False
    if not whole and not isinstance(value, Refused):
        return False
    source = value.source if isinstance(value, (Signal, Refused)) else ""
    if source in ("", signal.source):
        return False
    if source not in node.roles.states:
        node.roles.states.append(source)
    return True


def _time_and_batch(node: Node, signal: Signal, batch_first: bool) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    if len(signal.axes) != 3:
        raise Refusal(f"reads {describe(signal)}; expected three axes: time, batch, features")
    batch, time = signal.axes[:2] if batch_first else signal.axes[1::-1]
    if len(time) != 1 or len(batch) > 1:
        wrong = "time" if len(time) != 1 else "batch"
        raise Refusal(f"reads {describe(signal)}, whose {wrong} axis is not one axis of the graph's input")
    node.roles.bind(signal.source, "time", time[0])
    if batch:
        node.roles.bind(signal.source, "batch", batch[0])
    return time, batch


def _lengths(node: Node, signal: Signal, batch_first: bool) -> str:
    """Name of the graph input with the lengths of the sequences; "" when none is given, or all are as long as the time axis."""
    value = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    name = ""
    if isinstance(value, IntegerInput):
        name = value.name
    elif value is not None:
        steps = signal.shape[1 if batch_first else 0]
        if not isinstance(value, Constant) or any(length != steps for length in value.array.ravel().tolist()):
            raise Refusal("input sequence_lens holds fixed lengths; leave it out, or make it an input of the graph")
    if signal.ragged not in ("", name) or (name and not signal.ragged and signal.layers):
        raise Refusal("input sequence_lens differs from that of the layer before, or comes behind other layers")
    return name


_ATTRIBUTES = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "layout")
RECURRENT_OPERATORS: dict[str, Operator] = {
    "LSTM": operator(read_recurrent, *_ATTRIBUTES, "input_forget"),
    "GRU": operator(read_recurrent, *_ATTRIBUTES, "linear_before_reset"),
    "RNN": operator(read_recurrent, *_ATTRIBUTES),
}
