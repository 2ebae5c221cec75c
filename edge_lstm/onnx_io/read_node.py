"""A node as its readers see it: attributes by name, inputs as abstract values, and a label for error messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    from edge_lstm.onnx_io.read_unrolled import Unrolled
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import (
    Axis,
    Condition,
    IntegerInput,
    Joined,
    Labels,
    Magnitude,
    Readable,
    Refused,
    Signal,
    StepNumber,
    Value,
    describe,
)


@dataclass
class Roles:
    """What the inputs of the graph are for, as the layers say.

    known: (input, role) -> its axis, for the roles time, batch and features; states: inputs that start a layer's states.
    """

    known: dict[tuple[str, str], str] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)

    def bind(self, source: str, role: str, axis: Axis) -> None:
        """Notes that `axis` of input `source` plays `role`.

        Raises Refusal when another axis does, or this axis plays another role.
        """
        other = next((r for (s, r), name in self.known.items() if s == source and name == axis.name and r != role), None)
        if other is not None or self.known.setdefault((source, role), axis.name) != axis.name:
            elsewhere = f"it as the {other} axis" if other else f"axis {self.axis(source, role)} so"
            raise Refusal(f"reads axis {axis.name} as the {role} axis, but another layer reads {elsewhere}")

    def axis(self, source: str, role: str) -> str:
        """Name of the axis, "" while it is unknown."""
        return self.known.get((source, role), "")

    def order(self, source: str, names: Sequence[str]) -> tuple[str, ...]:
        """The roles of the input's axes, in the order of the graph; "" for an axis of size 1 that plays none."""
        roles = {name: role for (s, role), name in self.known.items() if s == source}
        return tuple(roles.get(name, "") for name in names)

    def is_role(self, signal: Signal, dimension: int, role: str) -> bool:
        """Whether the dimension holds the axis of that role and nothing else."""
        axes = signal.axes[dimension]
        return len(axes) == 1 and axes[0].name == self.axis(signal.source, role)


@dataclass(frozen=True)
class Node:
    """One node with its attributes and the values of its inputs (None for an input left out).

    opset: version of the standard operators; outputs: how many outputs the graph names.
    """

    proto: onnx.NodeProto
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    opset: int
    roles: Roles
    unrolled: Unrolled

    @property
    def is_unrolled(self) -> bool:
        """Whether many steps are taken out of the first input: a loop that the exporter has unrolled."""
        return self.proto.input[0] in self.unrolled.names

    @property
    def operator(self) -> str:
        return self.proto.op_type

    def input(self, index: int) -> Readable | None:
        """Value of an input, None when it is left out. Raises Refusal for a value that was refused for a reason not yet told."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, Refused):
            raise Refusal(value.reason)
        if isinstance(value, IntegerInput):
            raise Refusal(
                f"reads input {value.name}, which is no tensor of floats: "
                "an embedding belongs to the host; read the graph from its vectors on (--from)"
            )
        if isinstance(value, (StepNumber, Condition)):
            raise Refusal("computes with the number of a loop's step in a way that is not read")
        if isinstance(value, Labels):
            raise Refusal("computes on behind an ArgMax; an ArgMax must be the last layer")
        if isinstance(value, Magnitude):
            raise Refusal("computes with the magnitude of the signal; of this only x / (1 + |x|) is read")
        return value

    def value(self, index: int) -> Readable:
        """Value of an input that must be there."""
        value = self.input(index)
        if value is None:
            raise Refusal(f"input number {index} is missing")
        return value

    def signal(self, index: int = 0) -> Signal:
        """Value of an input that must be the network's signal."""
        value = self.value(index)
        if not isinstance(value, Signal):
            todo = "; only a chain of layers is read: give everything as channels of one input" if isinstance(value, Joined) else ""
            raise Refusal(f"input number {index} is {describe(value)}, not the signal{todo}")
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


def label(proto: onnx.NodeProto) -> str:
    """How a message names the node: operator, and its name, or its first output where it has none."""
    name = proto.name or next((f"(giving {output})" for output in proto.output if output), "(unnamed)")
    return f"{proto.op_type} node {name}"


@dataclass(frozen=True)
class Operator:
    """How one operator is read. attributes: the names it understands; a node with any other is refused."""

    read: Callable[[Node], tuple[Value, ...]]
    attributes: frozenset[str] = frozenset()


def operator(read: Callable[[Node], Value | tuple[Value, ...]], *attributes: str) -> Operator:
    """An `Operator` whose reader may return a single value."""

    def values(node: Node) -> tuple[Value, ...]:
        result = read(node)
        return result if isinstance(result, tuple) else (result,)

    return Operator(values, frozenset(attributes))


def resolve_axis(axis: int, rank: int) -> int:
    """A dimension number that may count from the end, as 0 ... rank - 1. Raises Refusal when it is out of range."""
    if not -rank <= axis < rank:
        raise Refusal(f"axis {axis} does not exist in a value of rank {rank}")
    return axis % rank
