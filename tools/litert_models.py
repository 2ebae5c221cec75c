"""LSTM classifiers as LiteRT (TensorFlow Lite) models, built without TensorFlow: float32, int8 weights, or all integers.

The operator is UNIDIRECTIONAL_SEQUENCE_LSTM; its forms are those of LiteRT's own quantizer: "hybrid" has int8 weights and float gates,
"int8" has int8 inputs, weights and outputs, int16 gates and cell state (its 8x8_16 kernel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

FORMS = ("float32", "hybrid", "int8")
INPUT_SCALE, HIDDEN_SCALE, CELL_SCALE = 1 / 32, 1 / 128, 2.0**-11
GATES = ("i", "f", "g", "o")
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """W, R, b: by gate; dense, dense_bias: of the read-out, None for a model that gives every output of the LSTM."""

    W: dict[str, FloatArray]
    R: dict[str, FloatArray]
    b: dict[str, FloatArray]
    dense: FloatArray | None
    dense_bias: FloatArray | None
    scores_scale: float = 1.0


def build(weights: Weights, batch: int, steps: int, form: str) -> bytes:
    """The flatbuffer of a model from x [batch, steps, inputs] to scores of the last step, or to all outputs."""
    return _Model(form).build(weights, batch, steps)


def _scale(values: FloatArray) -> float:
    return float(np.abs(values).max()) / 127


class _Model:
    def __init__(self, form: str):
        self.form = form
        self.buffers: list[Any] = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.codes: list[Any] = []
        self.operators: list[Any] = []

    def tensor(
        self, shape: tuple[int, ...], kind: int, scale: float = 0.0, data: npt.NDArray[Any] | None = None, variable: bool = False
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.isVariable = f"t{len(self.tensors)}".encode(), list(shape), kind, variable
        if scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        self.tensors.append(made)
        return len(self.tensors) - 1

    def weights(self, values: FloatArray) -> int:
        if self.form == "float32":
            return self.tensor(values.shape, schema.TensorType.FLOAT32, data=values.astype(np.float32))
        scale = _scale(values)
        return self.tensor(values.shape, schema.TensorType.INT8, scale, np.clip(np.rint(values / scale), -127, 127).astype(np.int8))

    def bias(self, values: FloatArray, scale: float) -> int:
        if self.form != "int8":
            return self.tensor(values.shape, schema.TensorType.FLOAT32, data=values.astype(np.float32))
        return self.tensor(values.shape, schema.TensorType.INT32, scale, np.rint(values / scale).astype(np.int32))

    def values(self, shape: tuple[int, ...], scale: float, variable: bool = False, wide: bool = False) -> int:
        if self.form != "int8":
            return self.tensor(shape, schema.TensorType.FLOAT32, variable=variable)
        return self.tensor(shape, schema.TensorType.INT16 if wide else schema.TensorType.INT8, scale, variable=variable)

    def operator(self, code: int, version: int, inputs: list[int], output: int, kind: int, options: Any, intermediates: list[int]) -> None:
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
        self.codes.append(made)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes) - 1, inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        if intermediates:
            operator.intermediates = intermediates
        self.operators.append(operator)

    def build(self, w: Weights, batch: int, steps: int) -> bytes:
        units, inputs = w.W["i"].shape
        x = self.values((batch, steps, inputs), INPUT_SCALE)
        h, c = self.values((batch, units), HIDDEN_SCALE, variable=True), self.values((batch, units), CELL_SCALE, variable=True, wide=True)
        every = self.values((batch, steps, units), HIDDEN_SCALE)
        nothing = [-1]
        sources = [x, *(self.weights(w.W[g]) for g in GATES), *(self.weights(w.R[g]) for g in GATES), *nothing * 3]
        sources += [self.bias(w.b[g], INPUT_SCALE * _scale(w.W[g])) for g in GATES] + nothing * 2 + [h, c] + nothing * 4
        intermediates = []
        if self.form == "int8":
            intermediates = [self.tensor((1,), schema.TensorType.INT16, 2.0**-12) for _ in GATES]
            intermediates.append(self.tensor((1,), schema.TensorType.INT8, HIDDEN_SCALE))
        options = schema.UnidirectionalSequenceLSTMOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.TANH
        code, kind = schema.BuiltinOperator, schema.BuiltinOptions
        self.operator(code.UNIDIRECTIONAL_SEQUENCE_LSTM, 1, sources, every, kind.UnidirectionalSequenceLSTMOptions, options, intermediates)
        if w.dense is None or w.dense_bias is None:
            return self._finish(x, every)
        return self._finish(x, self._scores(w.dense, w.dense_bias, every, batch, units, w.scores_scale))

    def _scores(self, dense: FloatArray, bias: FloatArray, every: int, batch: int, units: int, scale: float) -> int:
        """The last step of all outputs through the dense layer."""
        code, kind = schema.BuiltinOperator, schema.BuiltinOptions
        last = self.values((batch, units), HIDDEN_SCALE)
        cut = [self.tensor((3,), schema.TensorType.INT32, data=np.array(v, np.int32)) for v in ([0, -1, 0], [0, 0, 0], [1, 1, 1])]
        options = schema.StridedSliceOptionsT()
        options.beginMask, options.endMask, options.shrinkAxisMask = 0b101, 0b101, 0b010
        self.operator(code.STRIDED_SLICE, 2, [every, *cut], last, kind.StridedSliceOptions, options, [])
        scores = self.values((batch, len(bias)), scale)
        self.operator(
            code.FULLY_CONNECTED, 4, [last, self.weights(dense), self.bias(bias, HIDDEN_SCALE * _scale(dense))], scores,
            kind.FullyConnectedOptions, schema.FullyConnectedOptionsT(), [],
        )  # fmt: skip
        return scores

    def _finish(self, x: int, output: int) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [x], [output]
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self.codes, [graph], self.buffers
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
