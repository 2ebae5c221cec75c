"""Readers of the operators LSTM, GRU and RNN (ONNX operator specification, versions 7, 14 and 22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_lstm.cells import Activation, cell
from edge_lstm.network import FloatArray, Recurrent, RowWeights
from edge_lstm.onnx_io.read_activations import read_activations
from edge_lstm.onnx_io.read_layers import add_recurrent, features_of, read_out
from edge_lstm.onnx_io.read_node import Node, Operator, operator
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import Axis, Constant, Refused, Signal, Value, concrete, describe, shape_text

# Inputs of the three operators after X.
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

    gates: rows per unit; activations: the defaults; states: its states, with the number of the input that starts each.
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
    signal = node.signal(0)
    batch_first = bool(node.attribute("layout", 0))
    reasons: list[str] = []

    def checked(read: Callable[[], object]) -> object:
        try:
            return read()
        except Refusal as refusal:
            reasons.append(str(refusal))
            return None

    checked(lambda: _check_direction(node))
    activations = checked(lambda: _activations(node, kind))
    weights = checked(lambda: _weights(node, kind, signal))
    states = checked(lambda: _states(node, kind, signal, batch_first))
    axes = checked(lambda: _time_and_batch(node, signal, batch_first))
    checked(lambda: _check_lengths(node, signal, batch_first))
    if reasons:
        raise Refusal("; ".join(reasons))
    assert isinstance(weights, Weights)
    assert isinstance(activations, tuple)
    assert isinstance(states, dict)
    assert isinstance(axes, tuple)
    time, batch = axes
    clip = node.attribute("clip")
    layer = kind.build(node, weights, activations, states, None if clip is None else float(clip))
    after = add_recurrent(signal, layer)
    units = (Axis(node.roles.axis(signal.source, "features"), layer.units),)
    last = read_out(after, "last")

    def shaped(value: Signal, axes: tuple[tuple[Axis, ...], ...], state: str = "") -> Signal:
        return Signal(value.source, axes, value.layers, state=state)

    y = shaped(after, (batch, time, (), units) if batch_first else (time, (), batch, units))
    y_h = shaped(last, (batch, (), units) if batch_first else ((), batch, units), "h")
    if node.operator != "LSTM":
        return y, y_h
    return y, y_h, Refused("the final cell state (output Y_c) is read; only the hidden state goes on to other layers", signal.source)


def _check_direction(node: Node) -> None:
    direction = _text(node.attribute("direction", "forward"))
    if direction != "forward":
        raise Refusal(f"attribute direction = {direction} is not read: only a forward layer can run step by step on a device")


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _activations(node: Node, kind: Kind) -> tuple[Activation, ...]:
    names = [_text(name) for name in node.attribute("activations", kind.activations)]
    if len(names) != len(kind.activations):
        raise Refusal(f"attribute activations has {len(names)} functions; a {node.operator} of one direction has {len(kind.activations)}")
    return read_activations(names, node.attribute("activation_alpha", ()), node.attribute("activation_beta", ()))


def _units(node: Node) -> int:
    """Number of hidden units: the attribute hidden_size, or the last axis of R where it is left out."""
    shape = node.value(_R).shape
    if len(shape) != 3:
        raise Refusal(f"weight input R is {describe(node.value(_R))}, expected rank 3")
    units = node.attribute("hidden_size", shape[2])
    if not isinstance(units, int) or units < 1:
        raise Refusal(f"hidden_size is {units}; expected a positive number")
    return units


def _weights(node: Node, kind: Kind, signal: Signal) -> Weights:
    W, R = (concrete(node.value(i), f"weight input {name}", 3) for i, name in ((_W, "W"), (_R, "R")))
    if W.shape[0] != 1 or R.shape[0] != 1:
        raise Refusal(f"weights W are of {W.shape[0]} directions, R of {R.shape[0]}; a forward layer has 1")
    units = _units(node)
    gates = kind.gates * units
    width = features_of(signal, 2, node.roles) if len(signal.axes) == 3 else W.shape[2]
    B = np.zeros((1, 2 * gates), W.dtype) if node.input(_B) is None else concrete(node.value(_B), "bias input B")
    if (W.shape, R.shape, B.shape) != ((1, gates, width), (1, gates, units), (1, 2 * gates)):
        hint = ": a projection (proj_size in PyTorch) is not read" if R.shape[1] == gates and R.shape[2] != units else ""
        raise Refusal(
            f"weights W {list(W.shape)}, R {list(R.shape)}, B {list(B.shape)} do not fit hidden_size {units} and {width} inputs "
            f"(expected [1, {gates}, {width}], [1, {gates}, {units}], [1, {2 * gates}]){hint}"
        )
    peepholes = None
    if node.operator == "LSTM" and node.input(_P) is not None:
        P = concrete(node.value(_P), "peephole input P")
        if P.shape != (1, 3 * units):
            raise Refusal(f"peepholes P {list(P.shape)} do not fit hidden_size {units} (expected [1, {3 * units}])")
        peepholes = as_float(P[0]) if P.any() else None
    bias = as_float(B[0])
    return Weights(as_float(W[0]), as_float(R[0]), bias[:gates], bias[gates:], peepholes)


def as_float(array: np.ndarray) -> FloatArray:
    """float64 stays, float16 becomes float32. Raises Refusal for what is no float, or not finite."""
    if array.dtype.kind != "f":
        raise Refusal(f"has weights of type {array.dtype}; weights must be floats")
    if not np.isfinite(array).all():
        raise Refusal("has weights that are NaN or infinite")
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def _states(node: Node, kind: Kind, signal: Signal, batch_first: bool) -> dict[str, FloatArray]:
    """State -> [units] before the first step, for those that are not zero. A state that is an input of the graph starts at zero."""
    found = {}
    units = _units(node)
    for name, position in kind.states.items():
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is None or (isinstance(value, Signal) and not value.layers) or (isinstance(value, Refused) and value.source):
            continue
        if not isinstance(value, Constant):
            raise Refusal(f"the initial state {name} comes from another layer; it must be a constant or an input of the graph")
        sequences = signal.shape[0 if batch_first else 1] if len(signal.axes) == 3 else 1
        expected = (sequences, 1, units) if batch_first else (1, sequences, units)
        if value.shape != expected:
            hint = "; a projection (proj_size in PyTorch) is not read" if name == "c" else ""
            raise Refusal(f"the initial state {name} is {describe(value)}, expected {shape_text(expected)}{hint}")
        rows = np.broadcast_to(value.array, (*value.array.shape[:2], units)).reshape(-1, units)
        if (rows != rows[0]).any():
            raise Refusal(f"the initial state {name} differs between the sequences of a batch; it must be the same for all")
        if rows[0].any():
            found[name] = as_float(rows[0].copy())
    return found


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


def _check_lengths(node: Node, signal: Signal, batch_first: bool) -> None:
    """Sequences of different lengths are refused; lengths that say "all of it" are not needed."""
    if node.input(_LENGTHS) is None:
        return
    steps = signal.shape[1 if batch_first else 0]
    value = node.value(_LENGTHS)
    if not isinstance(value, Constant) or any(length != steps for length in value.array.ravel().tolist()):
        shape = shape_text(value.shape) if isinstance(value, Constant) else "that the caller gives"
        raise Refusal(f"input sequence_lens {shape} allows sequences of different lengths, which is not read: leave it out")


_ATTRIBUTES = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "layout")
RECURRENT_OPERATORS: dict[str, Operator] = {
    "LSTM": operator(read_recurrent, *_ATTRIBUTES, "input_forget"),
    "GRU": operator(read_recurrent, *_ATTRIBUTES, "linear_before_reset"),
    "RNN": operator(read_recurrent, *_ATTRIBUTES),
}
