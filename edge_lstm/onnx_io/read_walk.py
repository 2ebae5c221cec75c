"""One walk over the graph: each node is folded, or read by the reader of its operator; what cannot be read is listed and passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from edge_lstm.onnx_io.read_convolution import CONVOLUTION_OPERATORS
from edge_lstm.onnx_io.read_folding import fold, is_foldable
from edge_lstm.onnx_io.read_loop import counted, read_loop
from edge_lstm.onnx_io.read_node import Node, Operator, Roles, label
from edge_lstm.onnx_io.read_quantized import QUANTIZED_OPERATORS
from edge_lstm.onnx_io.read_recurrent import RECURRENT_OPERATORS
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_selection import SELECTION_OPERATORS
from edge_lstm.onnx_io.read_shapes import SHAPE_OPERATORS
from edge_lstm.onnx_io.read_tail import TAIL_OPERATORS
from edge_lstm.onnx_io.read_unrolled import STEP_OPERATORS, Unrolled
from edge_lstm.onnx_io.read_values import (
    Condition,
    Constant,
    IntegerInput,
    Labels,
    Refused,
    Signal,
    Step,
    StepNumber,
    Value,
    concrete,
    constant,
    holds_states,
)

OPERATORS: dict[str, Operator] = {
    **SHAPE_OPERATORS,
    **SELECTION_OPERATORS,
    **RECURRENT_OPERATORS,
    **CONVOLUTION_OPERATORS,
    **QUANTIZED_OPERATORS,
    **TAIL_OPERATORS,
}

# What to do about operators that people meet often.
HINTS = {
    "Scan": "write the recurrence as LSTM, GRU or RNN",
    "If": "only a branch that is known beforehand can be read",
    "LogSoftmax": "leave it out, or use Softmax: the class is the same",
    "LayerNormalization": "it needs a division in each step; use BatchNormalization, which vanishes into the weights",
    "Einsum": "write it as MatMul",
    "ReduceMax": "the largest value over time is not read: take the last step (x[:, -1]) or the mean (x.mean(1), GlobalAveragePooling1D)",
    "ReduceSum": "a sum over time (attention among others) is not read: take the last step (x[:, -1]) or the mean (x.mean(1))",
    "Erf": "GELU is read as one operator: export with opset 20 or later",
    "PRelu": "use ReLU",
    "Where": "a value that is chosen step by step (masking) is not read: give the lengths of the sequences to the recurrent layer",
    "ReverseSequence": "use one bidirectional layer, or a layer with direction = reverse",
}
_LOOPS = "read are loops through all steps of one sequence whose body is a step of an LSTM, GRU or RNN"
OUTSIDE = "leave it out of the model, or read the graph only from a value on or up to one (--from, --to)"
# Casting class numbers, or arranging them otherwise, changes nothing about the class.
_ARRANGING = {"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"}
# An element of a graph input may still become an initial state, so pieces of it are followed rather than refused at once.
_CUTTING = {"Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Split"}


@dataclass
class Walk:
    """State of the walk. opset: version of the standard operators; values: name -> value; reasons: why the graph cannot be read."""

    opset: int
    values: dict[str, Value]
    roles: Roles = field(default_factory=Roles)
    unrolled: Unrolled = field(default_factory=Unrolled)
    reasons: list[str] = field(default_factory=list)

    def refuse(self, reason: str) -> None:
        """Notes a reason, once."""
        if reason and reason not in self.reasons:
            self.reasons.append(reason)

    def run(self, graph: onnx.GraphProto, wanted: tuple[str, ...]) -> None:
        """Reads the nodes of `graph` that `wanted` values depend on; all others can have no effect."""
        needed = needed_nodes(graph, wanted, self.values)
        self.unrolled.names |= cut_often(graph)
        for index, proto in enumerate(graph.node):
            if index in needed:
                self._node(proto)

    def _node(self, proto: onnx.NodeProto) -> None:
        if proto.op_type == "If" and proto.domain in ("", "ai.onnx"):
            self._branch(proto)
            return
        reads = f"{label(proto)} reads"
        inputs = tuple(self.values.get(name, Refused(f"{reads} {name}, which nothing gives")) if name else None for name in proto.input)
        if proto.op_type == "Loop" and proto.domain in ("", "ai.onnx"):
            self._loop(proto, inputs)
            return
        try:
            outputs = self._read(proto, inputs)
        except Refusal as refusal:
            reason = f"{label(proto)}: {refusal}" if str(refusal) else ""
            if _rearranges_states(proto, inputs):
                outputs = (Refused(reason, state=True),) * len(proto.output)
            else:
                self.refuse(reason)
                outputs = ()
        for index, name in enumerate(proto.output):
            if name:
                self.values[name] = outputs[index] if index < len(outputs) else Refused()

    def _read(self, proto: onnx.NodeProto, inputs: tuple[Value | None, ...]) -> tuple[Value, ...]:
        if is_foldable(proto, inputs):
            return fold(proto, inputs, self.opset)
        name = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        reader = OPERATORS.get(name)
        if any(isinstance(value, (StepNumber, Condition)) for value in inputs) and not self._told(inputs):
            return (counted(name, proto, inputs, self.unrolled, self.roles),)
        if reader is None:
            self._told(inputs)
            raise Refusal(f"operator {name} is not supported: {HINTS.get(proto.op_type, OUTSIDE)}")
        attributes = attributes_of(proto)
        unknown = sorted(set(attributes) - reader.attributes)
        if unknown:
            self.refuse(f"{label(proto)}: attribute {', '.join(unknown)} is not supported")
        first = inputs[0] if inputs else None
        if isinstance(first, Refused) and first.source and proto.op_type in _CUTTING:
            return (first,) * len(proto.output)
        if isinstance(first, IntegerInput) and proto.op_type in ("Cast", "Identity"):
            return (first,)
        if isinstance(first, Labels) and proto.op_type in _ARRANGING:
            return (first,)
        # States are looked at by the recurrent layers themselves: a piece of a graph input is a state there, and a fault anywhere else.
        read = inputs[:4] if proto.op_type in (*RECURRENT_OPERATORS, "DynamicQuantizeLSTM") else inputs
        if _rearranges_states(proto, inputs) and (refused := [v for v in inputs if isinstance(v, Refused)]):
            return (refused[0],) * len(proto.output)
        if self._told(read):
            return ()
        if any(isinstance(value, Step) for value in inputs) and name not in SHAPE_OPERATORS:
            if name in STEP_OPERATORS:
                reader = STEP_OPERATORS[name]
            else:
                inputs = tuple(self._closed(value) if isinstance(value, Step) and not value.is_input else value for value in inputs)
        return reader.read(Node(proto, inputs, attributes, self.opset, self.roles, self.unrolled))

    def _closed(self, value: Step) -> Signal:
        return self.unrolled.closed(value, self.roles)

    def _told(self, inputs: tuple[Value | None, ...]) -> bool:
        """Whether an input is refused; its reason is put on the list."""
        refused = [value for value in inputs if isinstance(value, Refused)]
        for value in refused:
            self.refuse(value.reason)
        return bool(refused)

    def _loop(self, proto: onnx.NodeProto, inputs: tuple[Value | None, ...]) -> None:
        """A Loop whose body is one step of a recurrent layer is that layer."""
        body = attributes_of(proto)["body"]
        told = len(self.reasons)

        def inside(given: Mapping[str, Value]) -> Mapping[str, Value]:
            values = {**self.values, **initializers(body), **given}
            walk = Walk(self.opset, values, self.roles, self.unrolled, self.reasons)
            walk.run(body, tuple(output.name for output in body.output))
            if len(self.reasons) > told:
                raise Refusal
            return walk.values

        try:
            outputs = read_loop(proto, body, inputs, inside, self.values, self.unrolled, self.roles)
        except Refusal as refusal:
            self.refuse(f"{label(proto)}: {refusal}; {_LOOPS}" if str(refusal) else "")
            outputs = (Refused(),) * len(proto.output)
        self.values.update(zip(proto.output, outputs, strict=False))

    def _branch(self, proto: onnx.NodeProto) -> None:
        """An If whose condition is known is the branch it takes."""
        attributes = attributes_of(proto)
        condition = self.values.get(proto.input[0])
        if isinstance(condition, Constant) and condition.is_concrete:
            branch = attributes["then_branch" if bool(concrete(condition, "the condition").item()) else "else_branch"]
            self.values.update(initializers(branch))
            names = tuple(output.name for output in branch.output)
            self.run(branch, names)
            results: tuple[Value, ...] = tuple(self.values.get(name, Refused()) for name in names)
        else:
            self.refuse(f"{label(proto)}: the condition is computed from the input: {HINTS['If']}")
            results = (Refused(),) * len(proto.output)
        self.values.update(zip(proto.output, results, strict=True))


def cut_often(graph: onnx.GraphProto) -> set[str]:
    """Names of values from which at least three pieces are taken one by one: sequences of unrolled loops, among others."""
    cuts = Counter(node.input[0] for node in graph.node if node.op_type in ("Gather", "Slice"))
    return {name for name, count in cuts.items() if count >= 3}


def _rearranges_states(proto: onnx.NodeProto, inputs: tuple[Value | None, ...]) -> bool:
    """Whether the node only cuts and joins final states, as streaming graphs do with the states they give back."""
    return (
        proto.op_type in _CUTTING | {"Concat"}
        and any(holds_states(value) for value in inputs)
        and all(value is None or isinstance(value, Constant) or holds_states(value) for value in inputs)
    )


def attributes_of(proto: onnx.NodeProto) -> Mapping[str, Any]:
    """Name -> value of the node's attributes."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}


def initializers(graph: onnx.GraphProto) -> dict[str, Value]:
    """The constants that the graph carries. Sparse ones are refused where they are read."""
    found: dict[str, Value] = {tensor.name: _initializer(tensor) for tensor in graph.initializer}
    sparse = [tensor.values.name for tensor in graph.sparse_initializer]
    found |= {name: Refused(f"initializer {name} is sparse; store it dense") for name in sparse}
    return found


def _initializer(tensor: onnx.TensorProto) -> Value:
    try:
        return constant(onnx.numpy_helper.to_array(tensor))
    except (ValueError, KeyError, TypeError):  # NumPy's words, or a type that ONNX does not have
        return Refused(f"initializer {tensor.name} is damaged: its data do not fit its type and shape")


def needed_nodes(graph: onnx.GraphProto, wanted: tuple[str, ...], given: Iterable[str]) -> set[int]:
    """Indices of the nodes that the wanted values depend on, as far as those are not given."""
    names, needed, known = set(wanted), set(), set(given)
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if names & set(node.output) - known:
            needed.add(index)
            names |= set(node.input) | captured(node)
    return needed


def captured(node: onnx.NodeProto) -> set[str]:
    """Names that the graphs inside the node (branches, bodies) read from outside."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in [*attribute.graphs, *([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else [])]:
            inner = {name for n in graph.node for name in n.output} | {i.name for i in (*graph.input, *graph.initializer)}
            names |= {name for n in graph.node for name in (*n.input, *captured(n)) if name and name not in inner}
            names |= {output.name for output in graph.output if output.name not in inner}
    return names
