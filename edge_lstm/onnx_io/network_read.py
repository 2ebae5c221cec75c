"""Reads back what `network_model` wrote: a Network equal to the saved one in every field and every bit of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from edge_lstm import cells
from edge_lstm.cells import Activation, Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import prove_features
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, Preprocess, ReadOut, Recurrent, RowWeights
from edge_lstm.onnx_io import integer_arrays as names
from edge_lstm.onnx_io.body import DOMAIN
from edge_lstm.onnx_io.features import read_features
from edge_lstm.onnx_io.network_standard import FORMS, Form, unstack
from edge_lstm.onnx_io.own_format import DEFINITION, Fields, metadata, to_array

FloatArray = npt.NDArray[np.floating]


def read_own_network(model: onnx.ModelProto) -> Network:
    """The float network of a model that `network_model` wrote. Raises EdgeLstmError where the file is not whole."""
    fields = Fields.of_text(metadata(model).get(DEFINITION, ""), f"metadata {DEFINITION}")
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    functions = {function.name for function in model.functions if function.domain == DOMAIN}
    missing = [node.op_type for node in model.graph.node if node.domain == DOMAIN and node.op_type not in functions]
    if missing:
        raise EdgeLstmError(f"the function of node {missing[0]!r} is missing; the file is cut off or was edited")
    return Network(
        fields.objects("layers", lambda f: _Layer(f, initializers, f"layer{f.index}").read()),
        _preprocess(fields.object("preprocess"), initializers) if fields.has("preprocess") else None,
        fields.flag("softmax"),
        fields.texts("classes"),
        fields.integer("window"),
        fields.text("name"),
        fields.text_map("metadata"),
    )


def _array(initializers: Mapping[str, onnx.TensorProto], name: str, dimensions: int) -> FloatArray:
    if name not in initializers:
        raise EdgeLstmError(f"the weights {name!r} are missing; the file was edited")
    array = to_array(initializers[name], "the model")
    if array.dtype not in (np.float32, np.float64) or array.ndim != dimensions:
        raise EdgeLstmError(f"the weights {name!r} are {array.dtype} with {array.ndim} dimensions, expected floats with {dimensions}")
    return array  # type: ignore[return-value]


def _preprocess(fields: Fields, initializers: Mapping[str, onnx.TensorProto]) -> Preprocess:
    units = np.asarray(fields.numbers("units_per_count"), np.float64) if fields.has("units_per_count") else None
    offset, scale = (_array(initializers, f"preprocess.{name}", 1) for name in ("offset", "scale"))
    decimation = fields.integer("decimation")
    features = read_features(fields)
    count, channels = offset.shape if features is None else (features.count,), (features.channels if features is not None else len(offset),)
    if decimation < 1 or not offset.shape == scale.shape == count or (units is not None and units.shape != channels):
        raise EdgeLstmError(f"{fields.where}: decimation {decimation} or the number of channels is wrong; the file was edited")
    if features is not None:
        prove_features(features, decimation)
    return Preprocess(decimation, offset, scale, units, features)


def _activation(fields: Fields) -> Activation:
    try:
        return Activation(fields.text("kind"), fields.number("alpha"), fields.number("beta"))
    except ValueError as error:
        raise EdgeLstmError(f"{fields.where}: {error}") from error


class _Layer:
    """A layer's definition; its arrays are the initializers `<label>.<name>`."""

    def __init__(self, fields: Fields, initializers: Mapping[str, onnx.TensorProto], label: str) -> None:
        self.fields, self.initializers, self.label = fields, initializers, label

    def array(self, name: str, dimensions: int) -> FloatArray:
        return _array(self.initializers, f"{self.label}.{name}", dimensions)

    def read(self) -> Layer:
        kind = self.fields.text("kind")
        if kind not in _READERS:
            raise EdgeLstmError(f"{self.fields.where}: unknown kind of layer {kind!r}; the file comes from a later version")
        return _READERS[kind](self)

    def weights(self, dimensions: int) -> tuple[FloatArray, FloatArray]:
        """W and b, which must have as many outputs each."""
        W, b = self.array("W", dimensions), self.array("b", 1)
        outputs = W.shape[1] if self.fields.has("transposed") and self.fields.flag("transposed") else W.shape[0]
        if b.shape != (outputs,):
            raise EdgeLstmError(f"{self.label}: {len(b)} biases for {outputs} outputs; the file was edited")
        return W, b

    def dense(self) -> Dense:
        W, b = self.weights(2)
        return Dense(np.ascontiguousarray(W.T) if self.fields.flag("transposed") else W, b, _activation(self.fields.object("activation")))

    def conv1d(self) -> Conv1d:
        W, b = self.weights(3)
        stride, dilation, padding = self.fields.integer("stride"), self.fields.integer("dilation"), self.fields.integers("padding")
        if stride < 1 or dilation < 1 or len(padding) != 2 or min(padding) < 0:
            raise EdgeLstmError(
                f"{self.label}: stride {stride}, dilation {dilation} and padding {padding} are impossible; the file was edited"
            )
        return Conv1d(W, b, stride, (padding[0], padding[1]), dilation, _activation(self.fields.object("activation")))

    def pool(self) -> Pool:
        fields = self.fields
        return Pool(fields.text("pool"), fields.integer("size"), fields.integer("stride"), fields.integer("channels"))

    def bidirectional(self) -> Bidirectional:
        forward, backward = (
            _Layer(self.fields.object(name), self.initializers, f"{self.label}.{name}").recurrent() for name in ("forward", "backward")
        )
        return Bidirectional(forward, backward)

    def recurrent(self) -> Recurrent:
        fields = self.fields
        try:
            cell = cells.cell(fields.text("cell"))
        except ValueError as error:
            raise EdgeLstmError(f"{fields.where}: {error}") from error
        activations = {role: _activation(f) for role, f in fields.object_map("activations").items()}
        initial = {state: self.array(names.initial(state), 1) for state in fields.texts("initial")}
        rows, parameters = self._standard(cell) if fields.flag("standard") else self._function(cell)
        clip = fields.number("clip") if fields.has("clip") else None
        layer = Recurrent(cell, activations, rows, parameters, initial, clip, fields.flag("reverse"))
        widths = {weights.W.shape[1] for weights in rows.values() if weights.W is not None}
        if len(widths) != 1:
            raise EdgeLstmError(f"{self.label}: its rows read {sorted(widths)} inputs; the file was edited")
        wrong = [name for name, values in {**parameters, **initial}.items() if values.shape != (layer.units,)]
        if wrong or set(initial) - set(cell.states):
            raise EdgeLstmError(f"{self.label}: {', '.join(wrong) or 'an initial state'} does not fit the cell; the file was edited")
        return layer

    def _function(self, cell: Cell) -> tuple[dict[str, RowWeights], dict[str, FloatArray]]:
        rows = {
            row.name: RowWeights(
                self.array(names.input_weights(row.name), 2) if row.input else None,
                tuple(self.array(names.recurrent_weights(row.name, k), 2) for k in range(len(row.sources))),
                self.array(names.bias(row.name), 1),
            )
            for row in cell.rows
        }
        return rows, {name: self.array(f"parameter.{name}", 1) for name in cell.parameters}

    def _standard(self, cell: Cell) -> tuple[dict[str, RowWeights], dict[str, FloatArray]]:
        form = FORMS.get(cell.name)
        if form is None:
            raise EdgeLstmError(f"{self.label}: cell {cell.name} has no ONNX operator; the file was edited")
        dimensions = {"W": 3, "R": 3, "B": 2, **({"P": 2} if form.peepholes else {})}
        constants = {name: self.array(name, count) for name, count in dimensions.items()}
        self._check_stacked(form, constants)
        return unstack(cell, form, constants)

    def _check_stacked(self, form: Form, constants: Mapping[str, FloatArray]) -> None:
        units, count = constants["R"].shape[2], len(form.rows)
        wanted = {
            "W": (1, count * units, constants["W"].shape[2]),
            "R": (1, count * units, units),
            "B": (1, 2 * count * units),
            "P": (1, 3 * units),
        }
        for name, array in constants.items():
            if array.shape != wanted[name]:
                raise EdgeLstmError(
                    f"{self.label}.{name} has shape {list(array.shape)}, expected {list(wanted[name])}; the file was edited"
                )


_READERS: dict[str, Callable[[_Layer], Layer]] = {
    "recurrent": _Layer.recurrent,
    "bidirectional": _Layer.bidirectional,
    "conv1d": _Layer.conv1d,
    "pool": _Layer.pool,
    "read_out": lambda layer: ReadOut(layer.fields.text("read_out")),
    "dense": _Layer.dense,
}
