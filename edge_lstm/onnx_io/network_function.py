"""A recurrent layer that ONNX has no operator for, as a model-local function: a Scan over the cell's dataflow in standard operators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from edge_lstm.float_inference import reads_row
from edge_lstm.network import Recurrent
from edge_lstm.onnx_io import integer_arrays as names
from edge_lstm.onnx_io.body import Body
from edge_lstm.onnx_io.network_activations import ONNX_TYPE, FloatType, activate, clip

_ARITHMETIC = {"add": "Add", "subtract": "Sub", "multiply": "Mul"}


def arrays(layer: Recurrent) -> dict[str, npt.NDArray[np.floating]]:
    """Name -> array of the node's inputs behind the sequence, in order: per row W, R of each source, bias; parameters; initial states."""
    found: dict[str, npt.NDArray[np.floating]] = {}
    for row in layer.cell.rows:
        weights = layer.rows[row.name]
        if weights.W is not None:
            found[names.input_weights(row.name)] = weights.W
        found.update({names.recurrent_weights(row.name, k): R for k, R in enumerate(weights.R)})
        found[names.bias(row.name)] = weights.b
    found.update({f"parameter.{name}": layer.parameters[name] for name in layer.cell.parameters})
    found.update({names.initial(name): values for name, values in layer.initial.items()})
    return found


def recurrent(layer: Recurrent, name: str, dtype: FloatType) -> onnx.FunctionProto:
    """The function: X [batch, time, inputs] and `arrays` -> Y [batch, time, units]. What reads x is computed before the Scan."""
    function = Body()
    step = Body(function)
    inputs = arrays(layer)
    given = {key: key if value.dtype == dtype else function.emit("Cast", key, to=ONNX_TYPE[dtype]) for key, value in inputs.items()}
    inside = {state: step.fresh(state) for state in layer.cell.states}
    sequences: list[tuple[str, str]] = []
    values: list[str] = []
    for op in layer.cell.ops:
        a = [values[k] for k in op.args]
        if op.code == "row":
            total = given[names.bias(op.name)]
            if layer.rows[op.name].W is not None:
                product = function.emit("MatMul", "X", function.emit("Transpose", given[names.input_weights(op.name)], perm=[1, 0]))
                sequences.append((function.emit("Add", product, total), step.fresh("x")))
                total = sequences[-1][1]
            for k, source in enumerate(a):
                R = function.emit("Transpose", given[names.recurrent_weights(op.name, k)], perm=[1, 0])
                total = step.emit("Add", total, step.emit("MatMul", source, R))
            values.append(total)
        elif op.code == "state":
            values.append(inside[op.name])
        elif op.code == "parameter":
            values.append(given[f"parameter.{op.name}"])
        elif op.code == "activate":
            clipped = layer.clip is not None and reads_row(layer, op.args[0])
            x = clip(step, a[0], layer.clip, dtype) if clipped and layer.clip is not None else a[0]
            values.append(activate(step, x, layer.activations[op.name], dtype))
        elif op.code == "complement":
            values.append(step.emit("Sub", step.constant(1.0, dtype), a[0]))
        else:
            values.append(step.emit(_ARITHMETIC[op.code], *a))
    updates = dict(layer.cell.updates)
    states = []
    for state in layer.cell.states:
        start = given.get(names.initial(state)) or function.constant(np.zeros(layer.units), dtype)
        states.append((_per_sequence(function, start), inside[state], values[updates[state]]))
    output = function.scan(step, states, sequences, [values[updates[layer.cell.output]]], ONNX_TYPE[dtype], reverse=layer.reverse)[-1]
    function.rename(output, "Y")
    return function.function(name, ["X", *inputs], ["Y"], (), "\n".join(layer.cell.equations))


def _per_sequence(function: Body, start: str) -> str:
    batch = function.emit("Shape", "X", start=0, end=1)
    shape = function.emit("Concat", batch, function.constant([1], np.int64), axis=0)
    return function.emit("Expand", function.emit("Unsqueeze", start, function.constant([0], np.int64)), shape)
