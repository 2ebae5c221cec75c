"""Float network -> ONNX model that any ONNX Runtime runs and `network_read` reads back exactly.

A layer that ONNX has an operator for is written as that operator, as PyTorch's exporter does; any other becomes a node of domain
`edge_lstm` whose body is a function of standard operators.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edge_lstm import cells, files
from edge_lstm.cells import Activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Dense, Network, Preprocess, ReadOut, Recurrent
from edge_lstm.onnx_io import network_function, network_standard
from edge_lstm.onnx_io.body import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET, Body
from edge_lstm.onnx_io.network_activations import ONNX_TYPE, FloatType, activate, float_type
from edge_lstm.onnx_io.own_format import stamp, tensor, to_text


def network_model(network: Network) -> onnx.ModelProto:
    """The network as an ONNX model.

    Input  x: [batch, time, inputs] of the type of the weights; or, when the network preprocesses,
           counts: float32 [batch, samples, channels], raw sensor counts (samples of an unfinished block are dropped).
    Output output: [batch, outputs], or [batch, time, outputs] when every step is read out; after the softmax if the network has one.
    Raises EdgeLstmError for a cell outside the family or weights that are neither float32 nor float64.
    """
    return _Writer(network).model()


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Writes the model atomically; the same network gives the same bytes. Raises EdgeLstmError as `network_model` does."""
    files.write_bytes(path, network_model(network).SerializeToString(deterministic=True))


def layer_arrays(layer: Recurrent | Dense) -> list[npt.NDArray[np.generic]]:
    """Every weight of a layer."""
    if isinstance(layer, Dense):
        return [layer.W, layer.b]
    return list(network_function.arrays(layer).values())


class _Writer:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.body = Body()
        self.functions: list[onnx.FunctionProto] = []
        self.initializers: list[onnx.TensorProto] = []
        arrays = [array for layer in network.layers if not isinstance(layer, ReadOut) for array in layer_arrays(layer)]
        if network.preprocess is not None:
            arrays += _preprocess_arrays(network.preprocess).values()
        strange = {array.dtype for array in arrays} - {np.dtype(np.float32), np.dtype(np.float64)}
        if strange:
            raise EdgeLstmError(f"weights of type {', '.join(sorted(map(str, strange)))} cannot be saved; convert them to float32")
        weights: set[npt.DTypeLike] = {array.dtype for layer in network.layers if not isinstance(layer, ReadOut) for array in layer_arrays(layer)}
        self.dtype: FloatType = float_type(weights)

    def model(self) -> onnx.ModelProto:
        network, definitions = self.network, []
        value = "x"
        if network.preprocess is not None:
            value = self._preprocess(network.preprocess)
        sequence = True
        for index, layer in enumerate(network.layers):
            label = f"layer{index}"
            if isinstance(layer, Recurrent):
                if not sequence:
                    raise EdgeLstmError(f"layer {index}: a recurrent layer must come before the read-out")
                value, definition = self._recurrent(layer, label, value)
            elif isinstance(layer, ReadOut):
                value, definition = self._read_out(layer, value), {"kind": "read_out", "read_out": layer.kind}
                sequence = layer.kind == "every"
            else:
                value = self._dense(layer, label, value, sequence)
                definition = {"kind": "dense", "activation": _activation(layer.activation), "transposed": sequence}
            definitions.append(definition)
        if network.softmax:
            value = self.body.emit("Softmax", value, axis=-1)
        self.body.rename(value, "output")
        return self._finish(definitions, ["batch", "time"] if sequence else ["batch"])

    def _finish(self, definitions: list[dict[str, Any]], shape: list[str]) -> onnx.ModelProto:
        network = self.network
        front = network.preprocess
        entrance = ("x", ONNX_TYPE[self.dtype], "time") if front is None else ("counts", TensorProto.FLOAT, "samples")
        graph = helper.make_graph(
            self.body.finished_nodes(),
            network.name,
            [helper.make_tensor_value_info(entrance[0], entrance[1], ["batch", entrance[2], network.inputs])],
            [helper.make_tensor_value_info("output", ONNX_TYPE[self.dtype], [*shape, network.outputs])],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        model = helper.make_model(graph, functions=self.functions, opset_imports=opsets, ir_version=IR_VERSION)
        definition: dict[str, Any] = {
            "name": network.name,
            "softmax": network.softmax,
            "classes": list(network.classes),
            "window": network.window,
            "metadata": dict(network.metadata),
            "layers": definitions,
        }
        if front is not None:
            units = {} if front.units_per_count is None else {"units_per_count": np.asarray(front.units_per_count, np.float64).tolist()}
            definition["preprocess"] = {"decimation": front.decimation, **units}
        stamp(model, "float", to_text(definition))
        return model

    def _constant(self, name: str, array: npt.NDArray[np.generic], dtype: FloatType | None = None) -> str:
        """An initializer with the bits of `array`, cast to `dtype` where it has another."""
        self.initializers.append(tensor(array, name))
        return name if dtype is None or array.dtype == dtype else self.body.emit("Cast", name, to=ONNX_TYPE[dtype])

    def _preprocess(self, front: Preprocess) -> str:
        """(block mean - offset) * scale in float64, as float inference does, then in the type of the weights."""
        body = self.body
        wide = body.emit("Cast", "counts", to=TensorProto.DOUBLE)
        if front.decimation > 1:
            wide = body.emit("ReduceMean", body.blocks("counts", wide, front.decimation), body.constant([2], np.int64), keepdims=0)
        arrays = _preprocess_arrays(front)
        centred = body.emit("Sub", wide, self._constant("preprocess.offset", arrays["offset"], np.float64))
        scaled = body.emit("Mul", centred, self._constant("preprocess.scale", arrays["scale"], np.float64))
        return body.emit("Cast", scaled, to=ONNX_TYPE[self.dtype])

    def _recurrent(self, layer: Recurrent, label: str, value: str) -> tuple[str, dict[str, Any]]:
        if cells.family().get(layer.cell.name) is None or cells.cell(layer.cell.name) != layer.cell:
            raise EdgeLstmError(
                f"{label}: cell {layer.cell.name!r} is not in the family, so a file could not be read back; add it to edge_lstm/cells"
            )
        form = network_standard.form_of(layer) if self.dtype is np.float32 else None
        if form is None:
            function = network_function.recurrent(layer, f"{layer.cell.name}_{label}", self.dtype)
            self.functions.append(function)
            inputs = [self._constant(f"{label}.{name}", array) for name, array in network_function.arrays(layer).items()]
            value = self.body.emit(function.name, value, *inputs, domain=DOMAIN, name=label)
        else:
            value = self._standard(layer, form, label, value)
        definition = {
            "kind": "recurrent",
            "cell": layer.cell.name,
            "standard": form is not None,
            "activations": {role: _activation(activation) for role, activation in layer.activations.items()},
            "initial": list(layer.initial),
        }
        return value, definition | ({} if layer.clip is None else {"clip": float(layer.clip)})

    def _standard(self, layer: Recurrent, form: network_standard.Form, label: str, value: str) -> str:
        """Transpose to [time, batch, inputs], the operator, and back without its axis of directions."""
        body = self.body
        constants = {name: self._constant(f"{label}.{name}", array) for name, array in network_standard.stack(layer, form).items()}
        initial = {state: self._initial(f"{label}.initial.{state}", layer.initial[state], value) for state in layer.initial}
        inputs = [body.emit("Transpose", value, perm=[1, 0, 2]), constants["W"], constants["R"], constants["B"], "", initial.get("h", "")]
        inputs += [initial.get("c", ""), constants.get("P", "")] if form.operator == "LSTM" else []
        while not inputs[-1]:
            inputs.pop()
        outputs = body.emit(form.operator, *inputs, name=label, **network_standard.attributes(layer, form))
        return body.emit("Transpose", body.emit("Squeeze", outputs, body.constant([1], np.int64)), perm=[1, 0, 2])

    def _initial(self, name: str, array: npt.NDArray[np.floating], value: str) -> str:
        """An initial state [units] as [1, batch, units]."""
        body = self.body
        one = body.constant([1], np.int64)
        shape = body.emit("Concat", one, body.emit("Shape", value, start=0, end=1), one, axis=0)
        return body.emit("Expand", body.emit("Unsqueeze", self._constant(name, array), body.constant([0, 1], np.int64)), shape)

    def _read_out(self, layer: ReadOut, value: str) -> str:
        if layer.kind == "last":
            return self.body.emit("Gather", value, self.body.constant(-1, np.int64), axis=1)
        if layer.kind == "mean":
            return self.body.emit("ReduceMean", value, self.body.constant([1], np.int64), keepdims=0)
        return value

    def _dense(self, layer: Dense, label: str, value: str, sequence: bool) -> str:
        """Gemm of vectors; MatMul and Add of sequences."""
        b = self._constant(f"{label}.b", layer.b, self.dtype)
        if sequence:
            total = self.body.emit("Add", self.body.emit("MatMul", value, self._constant(f"{label}.W", layer.W.T, self.dtype)), b)
        else:
            total = self.body.emit("Gemm", value, self._constant(f"{label}.W", layer.W, self.dtype), b, transB=1)
        return activate(self.body, total, layer.activation, self.dtype)


def _preprocess_arrays(front: Preprocess) -> dict[str, npt.NDArray[np.floating]]:
    return {"offset": np.asarray(front.offset), "scale": np.asarray(front.scale)}


def _activation(activation: Activation) -> dict[str, Any]:
    return {"kind": activation.kind, "alpha": activation.alpha, "beta": activation.beta}
