"""The body of a model-local function (or of a Scan in it) under construction: nodes, constants, fresh names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

DOMAIN = "edge_lstm"
DOMAIN_VERSION = 1
OPSET = 18  # the first with ReduceMean and Split as written here; ONNX Runtime 1.20 and later run it
IR_VERSION = 8  # the first with model-local functions
END = np.iinfo(np.int64).max  # of a Slice: up to the end


class Body:
    """Collects nodes in order. A body inside a Scan shares names and constants with the function around it (`outer`)."""

    def __init__(self, outer: Body | None = None) -> None:
        self.root: Body = self if outer is None else outer.root
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.NodeProto] = {}
        self._count = 0

    def fresh(self, kind: str) -> str:
        """A name that nothing in the function has yet."""
        self.root._count += 1
        return f"{kind.lower()}_{self.root._count}"

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Name of a constant tensor; equal constants are made once."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        constants = self.root._constants
        if key not in constants:
            name = f"constant_{len(constants) + 1}"
            constants[key] = helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        return constants[key].output[0]

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node with one output and returns the output's name."""
        return self.emit_many(operator, inputs, 1, **attributes)[0]

    def emit_many(self, operator: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Appends a node with `count` outputs and returns their names."""
        name = self.fresh(operator)
        outputs = [name] if count == 1 else [f"{name}_{k}" for k in range(count)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def rename(self, value: str, name: str) -> None:
        """Gives the value a second, public name: that of an output."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def blocks(self, source: str, value: str, length: int) -> str:
        """`value`: [batch, samples, channels] like `source`, as [batch, blocks, length, channels]; left-over samples are dropped."""
        block = self.constant([length], np.int64)
        zero, one = (self.constant([n], np.int64) for n in (0, 1))
        count = self.emit("Div", self.emit("Shape", source, start=1, end=2), block)
        whole = self.emit("Slice", value, zero, self.emit("Mul", count, block), one)
        batch, channels = self.emit("Shape", source, start=0, end=1), self.emit("Shape", source, start=2, end=3)
        return self.emit("Reshape", whole, self.emit("Concat", batch, count, block, channels, axis=0), allowzero=1)

    def taps(self, value: str, size: int, stride: int, dilation: int) -> list[str]:
        """For k = 0 ... size - 1, the steps value[:, k * dilation + stride * t] for every t at which all of them exist."""
        axis, step = self.constant([1], np.int64), self.constant([stride], np.int64)
        parts = []
        for k in range(size):
            behind = (size - 1 - k) * dilation
            start, end = (self.constant([n], np.int64) for n in (k * dilation, -behind if behind else END))
            parts.append(self.emit("Slice", value, start, end, axis, step))
        return parts

    def columns(self, value: str, start: int, end: int) -> str:
        """value[..., start:end]; END for no end."""
        return self.emit("Slice", value, *(self.constant([n], np.int64) for n in (start, end, -1)))

    def padded(self, value: str, padding: tuple[int, int], dtype: npt.DTypeLike) -> str:
        """`value`: [batch, time, n] of `dtype` with zeros before and after the sequence."""
        if not any(padding):
            return value
        amounts = self.constant([0, padding[0], 0, 0, padding[1], 0], np.int64)
        return self.emit("Pad", value, amounts, self.constant(0, dtype))

    def final(self, value: str, backward: int) -> str:
        """The last step [batch, n] of [batch, time, n]; of the last `backward` columns, which were made in reverse, the first."""
        last = self.emit("Gather", value, self.constant(-1, np.int64), axis=1)
        if not backward:
            return last
        first = self.emit("Gather", value, self.constant(0, np.int64), axis=1)
        return self.emit("Concat", self.columns(last, 0, -backward), self.columns(first, -backward, END), axis=-1)

    def finished_nodes(self) -> list[onnx.NodeProto]:
        """The constants and then the nodes."""
        return [*self._constants.values(), *self.nodes]

    def scan(
        self,
        step: Body,
        states: Sequence[tuple[str, str, str]],
        inputs: Sequence[tuple[str, str]],
        outputs: Sequence[str],
        dtype: int,
        *,
        reverse: bool = False,
        may_be_empty: bool = False,
    ) -> list[str]:
        """Appends a Scan over axis 1 of [batch, time, ...] values whose body is `step`.

        states: (initial value, name of the state inside the step, value inside the step that renews it), of ONNX type `dtype`;
        inputs: (whole sequence, name of one step of it inside the step); outputs: values inside the step, gathered over time;
        reverse: from the last step to the first, the outputs in the order of the inputs all the same;
        may_be_empty: the sequences may have no step, for which ONNX Runtime (1.2x) crashes: it is given one of zeros, without effect.
        Returns the names of the states after the last step and of the gathered outputs.
        """
        produced = {name for node in step.nodes for name in node.output}
        body_outputs: list[str] = []
        for value in [update for _, _, update in states] + list(outputs):
            if value not in produced or value in body_outputs:  # a Scan wants each output made inside, under a name of its own
                value, given = step.fresh("out"), value
                step.rename(given, value)
            body_outputs.append(value)
        graph = helper.make_graph(
            step.nodes,
            "step",
            [helper.make_tensor_value_info(name, dtype, None) for _, name, _ in states]
            + [helper.make_tensor_value_info(name, dtype, None) for _, name in inputs],
            [helper.make_empty_tensor_value_info(name) for name in body_outputs],
        )
        initials, sequences = [initial for initial, _, _ in states], [sequence for sequence, _ in inputs]
        steps = self.emit("Shape", sequences[0], start=1, end=2) if may_be_empty else ""
        if may_be_empty:
            sequences = self._with_a_step(sequences, steps, dtype)
        found = self.emit_many(
            "Scan",
            initials + sequences,
            len(body_outputs),
            body=graph,
            num_scan_inputs=len(inputs),
            scan_input_axes=[1] * len(inputs),
            scan_output_axes=[1] * len(outputs),
            **({"scan_input_directions": [1] * len(inputs), "scan_output_directions": [1] * len(outputs)} if reverse else {}),
        )
        if not may_be_empty:
            return found
        zero, one = self.constant([0], np.int64), self.constant([1], np.int64)
        some = self.emit("Greater", steps, zero)
        lasts = [self.emit("Where", some, last, initial) for last, initial in zip(found, initials, strict=False)]
        return [*lasts, *(self.emit("Slice", gathered, zero, steps, one) for gathered in found[len(states) :])]

    def _with_a_step(self, sequences: Sequence[str], steps: str, dtype: int) -> list[str]:
        """`sequences` [batch, time, n] of ONNX type `dtype`; where they have none of their `steps`, int64 [1], with one of zeros."""
        zero, one = self.constant([0], np.int64), self.constant([1], np.int64)
        missing = self.emit("Sub", one, self.emit("Min", steps, one))
        amounts = self.emit("Concat", zero, zero, zero, zero, missing, zero, axis=0)
        fill = self.constant(0, helper.tensor_dtype_to_np_dtype(dtype))
        return [self.emit("Pad", sequence, amounts, fill) for sequence in sequences]

    def function(
        self, name: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Sequence[str] = (), doc_string: str = ""
    ) -> onnx.FunctionProto:
        """The finished function of domain `edge_lstm`."""
        return helper.make_function(
            DOMAIN,
            name,
            list(inputs),
            list(outputs),
            self.finished_nodes(),
            [helper.make_opsetid("", OPSET)],
            list(attributes),
            doc_string=doc_string,
        )
