"""Readers of the operators that compute shapes or only rearrange axes: Transpose, Squeeze, Unsqueeze, Reshape, Flatten, Expand, Cast ...

A constant is rearranged with NumPy; of a signal only the list of its axes is rearranged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from edge_lstm.onnx_io.read_directions import merged
from edge_lstm.onnx_io.read_layers import drop_time
from edge_lstm.onnx_io.read_node import Node, Operator, operator, resolve_axis
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_sizes import Size, Symbolic, product
from edge_lstm.onnx_io.read_values import (
    Axis,
    Constant,
    Readable,
    Signal,
    Value,
    concrete,
    constant,
    describe,
    shape_text,
    sizes,
    sizes_constant,
)

Dimensions = tuple[tuple[Axis, ...], ...]


def axes_of(node: Node, position: int = 1) -> tuple[int, ...] | None:
    """The `axes` of Squeeze, ReduceMean and the like: an input in later versions of the operators, an attribute in earlier ones."""
    if node.input(position) is not None:
        return tuple(int(a) for a in concrete(node.value(position), "the list of axes").ravel())
    axes = node.attribute("axes")
    return None if axes is None else tuple(int(a) for a in axes)


def with_axes(signal: Signal, axes: Dimensions) -> Signal:
    """The same signal with its dimensions arranged otherwise."""
    return replace(signal, axes=axes)


def _shape(node: Node) -> Value:
    shape = node.value(0).shape
    return sizes_constant(shape[slice(node.attribute("start", 0), node.attribute("end"))])


def _size(node: Node) -> Value:
    total = np.empty((), object)
    total[()] = product(node.value(0).shape)
    return constant(total)


def _identity(node: Node) -> Value:
    return node.value(0)


def _cast(node: Node) -> Value:
    value = node.value(0)
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))).kind
    if isinstance(value, Constant):
        if value.array.dtype == object:
            return value  # a size stays a size: as a float it is exact
        return Constant(value.array.astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))), value.shape)
    if kind != "f":
        raise Refusal("casts the signal to integers; only casts between float types are read")
    return value


def _transpose(node: Node) -> Value:
    value = node.value(0)
    rank = len(value.shape)
    order = tuple(node.attribute("perm", range(rank)[::-1]))
    if sorted(order) != list(range(rank)):
        raise Refusal(f"attribute perm = {list(order)} does not fit {describe(value)}")
    if isinstance(value, Constant):
        return Constant(value.array.transpose(order), tuple(value.shape[a] for a in order))
    if isinstance(value, Signal):
        return with_axes(value, tuple(value.axes[a] for a in order))
    raise Refusal(f"transposes {describe(value)}")


def _unsqueeze(node: Node) -> Value:
    value, axes = node.value(0), axes_of(node) or ()
    rank = len(value.shape) + len(axes)
    new = sorted(resolve_axis(a, rank) for a in axes)
    if len(set(new)) != len(new):
        raise Refusal(f"adds an axis twice: {list(axes)}")
    if isinstance(value, Constant):
        shape = list(value.shape)
        for a in new:
            shape.insert(a, 1)
        return Constant(np.expand_dims(value.array, tuple(new)), tuple(shape))
    if isinstance(value, Signal):
        dimensions = list(value.axes)
        for a in new:
            dimensions.insert(a, ())
        return with_axes(value, tuple(dimensions))
    raise Refusal(f"adds an axis to {describe(value)}")


def _squeeze(node: Node) -> Value:
    value, axes = node.value(0), axes_of(node)
    shape = value.shape
    gone = {resolve_axis(a, len(shape)) for a in axes} if axes is not None else {a for a, size in enumerate(shape) if size == 1}
    for a in sorted(gone):
        if shape[a] != 1:
            raise Refusal(f"squeezes axis {a} of {describe(value)}: its size must be 1")
    if isinstance(value, Constant):
        return Constant(np.squeeze(value.array, tuple(gone)), tuple(s for a, s in enumerate(shape) if a not in gone))
    if isinstance(value, Signal):
        for a in sorted(gone):
            value = drop_time(value, a, node.roles)
        return with_axes(value, tuple(d for a, d in enumerate(value.axes) if a not in gone))
    raise Refusal(f"squeezes {describe(value)}")


def _reshape(node: Node) -> Value:
    value = node.value(0)
    target = sizes(node.value(1), "the new shape")
    return _reshaped(value, target, bool(node.attribute("allowzero", 0)))


def _flatten(node: Node) -> Value:
    value, axis = node.value(0), node.attribute("axis", 1)
    shape = value.shape
    axis = axis if axis == len(shape) else resolve_axis(axis, len(shape))
    return _reshaped(value, (product(shape[:axis]), product(shape[axis:])), True)


def _reshaped(value: Readable, target: tuple[Size, ...], zero_is_zero: bool) -> Value:
    shape = value.shape
    if not zero_is_zero:
        if any(size == 0 and a >= len(shape) for a, size in enumerate(target)):
            raise Refusal(f"shape {shape_text(target)} copies an axis that {describe(value)} does not have")
        target = tuple(shape[a] if size == 0 else size for a, size in enumerate(target))
    if target.count(-1) == 1:
        rest = _quotient(value, target)
        target = tuple(rest if size == -1 else size for size in target)
    if product(target) != product(shape) or any(isinstance(size, int) and size < 0 for size in target):
        raise Refusal(_fits_some(value, target))
    if isinstance(value, Constant):
        if value.array.shape != value.shape:
            raise Refusal("reshapes a constant that is repeated along an axis of unknown size")
        return constant(value.array.reshape([size for size in target if isinstance(size, int)]))
    if isinstance(value, Signal):
        return with_axes(value, _regrouped(value, target))
    raise Refusal(f"reshapes {describe(value)}")


def _quotient(value: Readable, target: tuple[Size, ...]) -> Size:
    """What stands for -1 in `target`."""
    try:
        return product(value.shape) // product(size for size in target if size != -1)
    except Refusal:
        raise Refusal(_fits_some(value, target)) from None


def _fits_some(value: Readable, target: tuple[Size, ...]) -> str:
    return (
        f"reshapes {describe(value)} to {shape_text(target)}, which fits some input sizes only: "
        "export with the axes of unknown size fixed, or with all of them dynamic"
    )


def _regrouped(signal: Signal, target: tuple[Size, ...]) -> Dimensions:
    """The signal's axes, in their order, dealt out to the dimensions of `target`; axes of size 1 may appear and vanish."""
    waiting = [axis for dimension in signal.axes for axis in dimension]
    dimensions: list[tuple[Axis, ...]] = []
    for size in target:
        taken: list[Axis] = []
        while product(axis.size for axis in taken) != size or (size == 1 and not taken and waiting and waiting[0].size == 1):
            if not waiting:
                raise Refusal(_splits(signal, target))
            taken.append(waiting.pop(0))
            if isinstance(size, int) and any(isinstance(axis.size, Symbolic) for axis in taken):
                raise Refusal(_splits(signal, target))
        dimensions.append(merged(tuple(axis for axis in taken if axis.size != 1 or len(taken) == 1)))
    if any(axis.size != 1 for axis in waiting):
        raise Refusal(_splits(signal, target))
    return tuple(dimensions)


def _splits(signal: Signal, target: tuple[Size, ...]) -> str:
    return (
        f"reshapes {describe(signal)} to {shape_text(target)}, which cuts an axis into pieces; "
        "only reshapes that keep batch, time and features apart are read"
    )


def _expand(node: Node) -> Value:
    value, target = node.value(0), sizes(node.value(1), "the shape")
    if isinstance(value, Constant):
        return repeated(value, target)
    shape = value.shape
    aligned = (1,) * (len(shape) - len(target)) + target
    if len(target) > len(shape) or any(new not in (1, old) for new, old in zip(aligned, shape, strict=True)):
        raise Refusal(f"repeats {describe(value)} to {shape_text(target)}; a signal that is repeated is not read")
    return value


def repeated(value: Constant, target: tuple[Size, ...]) -> Constant:
    """The constant broadcast with the shape `target` (NumPy's rule, operator Expand)."""
    if any(isinstance(size, int) and size < 0 for size in target):
        raise Refusal(f"asks for the shape {shape_text(target)}")
    rank = max(len(target), len(value.shape))
    old = (1,) * (rank - len(value.shape)) + value.shape
    new = (1,) * (rank - len(target)) + target
    shape: list[Size] = []
    for have, want in zip(old, new, strict=True):
        if have != want and have != 1 and want != 1:
            raise Refusal(f"cannot broadcast shape {shape_text(value.shape)} with {shape_text(target)}")
        shape.append(want if have == 1 else have)
    array = value.array.reshape((1,) * (rank - value.array.ndim) + value.array.shape)
    known = tuple(size if isinstance(size, int) else have for size, have in zip(shape, array.shape, strict=True))
    return Constant(np.broadcast_to(array, known), tuple(shape))


def _constant_of_shape(node: Node) -> Value:
    value = node.attribute("value")
    fill = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return repeated(constant(fill.reshape(())), sizes(node.value(0), "the shape"))


def _less(node: Node) -> Value:
    """Whether a constant is below a size of the input: known when no positive size can change the answer."""
    left, right = (sizes(node.value(k), "a compared value") for k in (0, 1))
    if len(left) == len(right) == 1:
        difference = right[0] - left[0]
        least = difference.smallest if isinstance(difference, Symbolic) else difference
        if least is not None and least > 0:
            return Constant(np.array(True), ())
    raise Refusal("compares sizes of the input; the answer depends on the input")


def _dropout(node: Node) -> Value:
    training = node.input(2)
    if training is not None and bool(concrete(training, "training_mode").any()):
        raise Refusal("is in training mode: export the model in evaluation mode (model.eval() in PyTorch)")
    return node.value(0)


SHAPE_OPERATORS: dict[str, Operator] = {
    "Shape": operator(_shape, "start", "end"),
    "Size": operator(_size),
    "Identity": operator(_identity),
    "Less": operator(_less),
    "Dropout": operator(_dropout, "ratio", "seed"),
    "Cast": operator(_cast, "to", "saturate", "round_mode"),
    "Transpose": operator(_transpose, "perm"),
    "Unsqueeze": operator(_unsqueeze, "axes"),
    "Squeeze": operator(_squeeze, "axes"),
    "Reshape": operator(_reshape, "allowzero"),
    "Flatten": operator(_flatten, "axis"),
    "Expand": operator(_expand),
    "ConstantOfShape": operator(_constant_of_shape, "value"),
}
