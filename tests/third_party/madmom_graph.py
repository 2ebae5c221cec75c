"""Beat trackers of madmom: pickles of three stacked peephole LSTMs, as ONNX, and as madmom's own loop over the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.data.safe_pickle import ArrayUnpickler

GATES = ("input_gate", "output_gate", "forget_gate", "cell")  # the order of ONNX: i o f c
_LAYERS = "madmom.ml.nn.layers"


class Plain:
    """Stands in for every class of madmom: the attributes, and nothing else."""

    def __init__(self) -> None:
        self.layers: list[Any]


def read(path: Path) -> Any:
    """The network: layers with input_gate, forget_gate, cell and output_gate (weights [inputs, units] ...), and a dense one."""
    names: dict[tuple[str, str], Any] = {(_LAYERS, name): Plain for name in ("LSTMLayer", "Gate", "Cell", "FeedForwardLayer")}
    names[("madmom.ml.nn", "NeuralNetwork")] = Plain
    names |= {("madmom.ml.nn.activations", name): name for name in ("sigmoid", "tanh")}
    with path.open("rb") as file:
        network = ArrayUnpickler(file, names, encoding="latin1").load()
    assert [getattr(layer, gate).activation_fn for layer in network.layers[:-1] for gate in GATES] == 3 * (3 * ["sigmoid"] + ["tanh"])
    assert [layer.activation_fn for layer in network.layers] == 3 * ["tanh"] + ["sigmoid"]
    return network


def graph(network: Any) -> onnx.ModelProto:
    """x [time, 1, 162] -> probability of a beat [time, 1, 1]."""
    nodes, initializers, value = [], [], "x"

    def constant(array: NDArray[Any]) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), f"constant_{len(initializers)}"))
        return initializers[-1].name

    *recurrent, dense = network.layers
    axis = constant(np.array([1]))
    for k, layer in enumerate(recurrent):
        gates = [getattr(layer, name) for name in GATES]
        units = len(layer.init)
        W = np.concatenate([gate.weights.T for gate in gates])[None]
        R = np.concatenate([gate.recurrent_weights.T for gate in gates])[None]
        B = np.concatenate([*(gate.bias for gate in gates), np.zeros(4 * units, np.float32)])[None]
        P = np.concatenate([gate.peephole_weights for gate in gates[:3]])[None]
        given = [value, constant(W), constant(R), constant(B), "", constant(layer.init[None, None]), constant(layer.cell_init[None, None])]
        nodes.append(helper.make_node("LSTM", [*given, constant(P)], [f"y{k}"], hidden_size=units))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", axis], [f"h{k}"]))
        value = f"h{k}"
    nodes.append(helper.make_node("MatMul", [value, constant(dense.weights)], ["product"]))
    nodes.append(helper.make_node("Add", ["product", constant(dense.bias)], ["sum"]))
    nodes.append(helper.make_node("Sigmoid", ["sum"], ["beat"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", 1, recurrent[0].cell.weights.shape[0]])
    y = helper.make_tensor_value_info("beat", TensorProto.FLOAT, ["time", 1, 1])
    made = helper.make_graph(nodes, "beats_lstm", [x], [y], initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(network: Any, x: NDArray[np.floating]) -> NDArray[np.float64]:
    """madmom's own loop in float64 over x: [time, 162] or [time, batch, 162].

    Of the three gates, the output gate peeps at the new cell state and the others at the old one.
    """
    *recurrent, dense = network.layers
    v = x.astype(np.float64)
    for layer in recurrent:
        h, c = layer.init.astype(np.float64), layer.cell_init.astype(np.float64)
        outputs = []
        for step in v:

            def row(gate: Any, peep: Any = None, step: Any = step, h: Any = h) -> Any:
                total = step @ gate.weights + gate.bias + h @ gate.recurrent_weights
                return total if peep is None else _sigmoid(total + peep * gate.peephole_weights)

            i, f = row(layer.input_gate, c), row(layer.forget_gate, c)
            c = np.tanh(row(layer.cell)) * i + c * f
            h = np.tanh(c) * row(layer.output_gate, c)
            outputs.append(h)
        v = np.array(outputs)
    return _sigmoid(v @ dense.weights + dense.bias)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(x / 2)
