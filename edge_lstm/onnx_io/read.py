"""Reading a float network from any ONNX graph that is a chain of recurrent and dense layers, whoever wrote it.

1. the model is checked, external weights are loaded, model-local functions are inlined
2. the graph is run once over abstract values (read_walk): constants are folded, signals collect layers
3. the output's signal is the network
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Network, Recurrent
from edge_lstm.onnx_io.read_layers import finished_layers
from edge_lstm.onnx_io.read_refusals import Refusal, UnsupportedModel
from edge_lstm.onnx_io.read_sizes import Size, symbol
from edge_lstm.onnx_io.read_tail import check_output
from edge_lstm.onnx_io.read_values import Axis, IntegerInput, Labels, Refused, Signal, Step, Value, describe, holds_states
from edge_lstm.onnx_io.read_walk import Walk, initializers

__all__ = ["UnsupportedModel", "read_network"]

OLDEST_OPSET = 7
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def read_network(model: onnx.ModelProto, base_dir: Path | None = None, *, start: str = "", end: str = "") -> Network:
    """The float network that `model` computes, for input [batch, time, channels] whatever the order of the axes in the graph.

    base_dir: folder of the files that hold external weights. The model is left as it is.
    start, end: names of values between which the graph is read, where something around the recurrent layers cannot be (a spectrum in
    front, a vector scaled to length 1 behind); "" for the input and the output of the graph.
    The metadata names input and output of the graph; `onnx_input_axes`, the order of the graph's axes where it is another;
    `onnx_state_inputs`, states that are inputs of the graph (the streaming form), which start at zero and are kept by the engine;
    `onnx_lengths_input`, the input with the lengths of the sequences; `onnx_output_argmax`, that the graph gives the number of the class
    where the network gives the scores.
    Raises UnsupportedModel with every reason found, or EdgeLstmError for a damaged model or missing weights.
    """
    model = _cut(_prepared(model, base_dir), start, end)
    graph = model.graph
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    values = initializers(graph)
    inputs = {i.name: _input(i) for i in graph.input if i.name not in values}
    walk = Walk(opset, {**values, **inputs})
    outputs = tuple(output.name for output in graph.output)
    walk.run(graph, outputs)
    signals = {name: signal for name in outputs if (signal := _output_signal(walk, name, outputs)) is not None}
    if walk.reasons:
        raise UnsupportedModel(tuple(walk.reasons))
    return _network(model, signals, inputs, walk)


def _prepared(model: onnx.ModelProto, base_dir: Path | None) -> onnx.ModelProto:
    """A copy that is checked, complete and free of model-local functions."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if any(uses_external_data(tensor) for tensor in copy.graph.initializer):
        if base_dir is None:
            raise EdgeLstmError("the weights are in a file of their own: read the model from its folder")
        try:
            load_external_data_for_model(copy, str(base_dir))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            names = {entry.value for tensor in copy.graph.initializer for entry in tensor.external_data if entry.key == "location"}
            missing = [name for name in sorted(names) if not (base_dir / name).is_file()]
            if missing:
                raise EdgeLstmError(f"the model keeps its weights in the file {missing[0]}, which must lie beside it") from error
            raise EdgeLstmError(f"cannot read the model's external weights: {_first_line(error)}") from error
    opset = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset < OLDEST_OPSET:
        found = f"opset {opset}" if opset else "no opset"
        raise UnsupportedModel((f"the model uses {found}; export it again with opset {OLDEST_OPSET} or later (17 is a good choice)",))
    shapeless = [i.name for i in copy.graph.input if i.type.HasField("tensor_type") and not i.type.tensor_type.HasField("shape")]
    if shapeless:
        raise UnsupportedModel(tuple(f"input {name} has no shape: export the model with its number of channels" for name in shapeless))
    for output in copy.graph.output:
        output.type.tensor_type.shape.SetInParent()  # the checker insists on a shape; ours comes from the walk
    try:
        onnx.checker.check_model(copy)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:  # the second where a message quotes a damaged name
        raise EdgeLstmError(f"this is no valid ONNX model: {_first_line(error)}") from error
    return onnx.inliner.inline_local_functions(copy) if copy.functions else copy


def _cut(model: onnx.ModelProto, start: str, end: str) -> onnx.ModelProto:
    """The model with the value `start` as an input and `end` as its only output. Raises EdgeLstmError when there is no such value."""
    names = {output for node in model.graph.node for output in node.output}
    for name in (start, end):
        if name and name not in names:
            raise EdgeLstmError(f"the graph computes no value {name!r} at which it could be cut")
    if end:
        del model.graph.output[:]
        model.graph.output.append(onnx.ValueInfoProto(name=end))
    if start:
        inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
        value = next((v for v in inferred if v.name == start and v.type.tensor_type.HasField("shape")), None)
        if value is None:
            raise EdgeLstmError(f"the shape of the value {start!r} is not known, so the graph cannot be cut there")
        model.graph.input.append(value)
    return model


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _input(value: onnx.ValueInfoProto) -> Value:
    """A graph input as a signal with one named axis for each dimension."""
    tensor = value.type.tensor_type
    if value.type.HasField("tensor_type") and tensor.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
        return IntegerInput(value.name)
    if not value.type.HasField("tensor_type") or tensor.elem_type not in _FLOATS:
        return Refused(f"input {value.name} is no tensor of floats")
    axes = []
    for position, dimension in enumerate(tensor.shape.dim):
        name = f"{value.name}[{position}]"
        size: Size = dimension.dim_value if dimension.dim_value > 0 else symbol(dimension.dim_param or name)
        axes.append((Axis(name, size),))
    return Signal(value.name, tuple(axes))


def _output_signal(walk: Walk, name: str, outputs: tuple[str, ...]) -> Signal | None:
    """The signal of one output; None where it is refused, holds states that the engine keeps anyway, or classes of scores given too."""
    value = walk.values.get(name, Refused(f"output {name} is given by no node"))
    others = [walk.values.get(other) for other in outputs if other != name]
    if holds_states(value) and not all(holds_states(other) for other in others):
        return None
    if isinstance(value, Labels):
        if any(isinstance(other, Signal) and not holds_states(other) for other in others):
            return None
        value = value.scores
    try:
        if isinstance(value, Step):
            value = walk.unrolled.closed(value, walk.roles)
        if isinstance(value, Refused):
            raise Refusal(f"cannot be read: {value.reason}" if value.reason else "")
        if not isinstance(value, Signal):
            raise Refusal(f"is {describe(value)}, which does not come from one recurrent layer")
        if not any(isinstance(layer, (Recurrent, Bidirectional)) for layer in value.layers):
            raise Refusal("passes no recurrent layer (LSTM, GRU or RNN)")
        return check_output(value)
    except Refusal as refusal:
        walk.refuse(f"output {name} {refusal}" if str(refusal) else "")
        return None


def _network(model: onnx.ModelProto, signals: Mapping[str, Signal], inputs: Mapping[str, Value], walk: Walk) -> Network:
    """The network of the one output that is left."""
    if len(signals) != 1:
        raise UnsupportedModel((f"the model has {len(signals)} outputs ({', '.join(signals)}); keep one",))
    name, signal = next(iter(signals.items()))
    names = {"onnx_input": signal.source, "onnx_output": name}
    order = walk.roles.order(signal.source, [axis.name for dimension in _axes(inputs[signal.source]) for axis in dimension])
    if order != ("batch", "time", "features"):
        names["onnx_input_axes"] = ", ".join(order)
    if signal.ragged:
        names["onnx_lengths_input"] = signal.ragged
    if isinstance(walk.values[name], Labels):
        names["onnx_output_argmax"] = "1"
    if walk.roles.states:
        names["onnx_state_inputs"] = ", ".join(walk.roles.states)
    time = next((a for d in _axes(inputs[signal.source]) for a in d if a.name == walk.roles.axis(signal.source, "time")), None)
    window = time.size if time is not None and isinstance(time.size, int) and time.size > 1 else 0
    try:
        return Network(
            finished_layers(signal.layers), softmax=signal.softmax, window=window, name=model.graph.name or "network",
            metadata={**{p.key: p.value for p in model.metadata_props}, **names},
        )  # fmt: skip
    except EdgeLstmError as error:
        raise UnsupportedModel((str(error),)) from error


def _axes(value: Value) -> tuple[tuple[Axis, ...], ...]:
    return value.axes if isinstance(value, Signal) else ()
