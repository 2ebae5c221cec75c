"""Readers of the operators that take parts of a value or join values: Gather, Slice, Split, Concat.

Of a signal's time axis only the last step can be taken: that is the read-out "last" of a network.
"""

from __future__ import annotations

import numpy as np

from edge_lstm.onnx_io.read_directions import first_step_is_final, has_directions, join_directions, take_direction
from edge_lstm.onnx_io.read_layers import read_out
from edge_lstm.onnx_io.read_node import Node, Operator, label, operator, resolve_axis
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_shapes import with_axes
from edge_lstm.onnx_io.read_sizes import Size, Symbolic
from edge_lstm.onnx_io.read_values import (
    Condition,
    Constant,
    IntegerInput,
    Joined,
    Labels,
    Magnitude,
    Readable,
    Refused,
    Signal,
    StepNumber,
    Value,
    concrete,
    constant,
    describe,
    sizes,
)

_FAR = 2**31 - 2  # exporters write "to the end" as the largest integer of some type


def _gather(node: Node) -> Value:
    value = node.value(0)
    shape = value.shape
    axis = resolve_axis(node.attribute("axis", 0), len(shape))
    indices = node.value(1)
    if isinstance(value, Constant):
        return _constant_gather(value, indices, axis)
    if not isinstance(indices, Constant) or len(sizes(indices, "the index")) != 1:
        raise Refusal(f"takes several elements along axis {axis} of {describe(value)}; only the last step of the time axis is read")
    keeps = len(indices.shape) > 0
    return _one(node, value, axis, sizes(indices, "the index")[0], keeps)


def _constant_gather(value: Constant, indices: Value, axis: int) -> Constant:
    chosen = concrete(indices, "the index")
    if value.array.shape[axis] != value.shape[axis]:
        raise Refusal(f"takes elements along axis {axis}, whose size depends on the input")
    shape = (*value.shape[:axis], *chosen.shape, *value.shape[axis + 1 :])
    if chosen.size and not (-value.array.shape[axis] <= int(chosen.min()) and int(chosen.max()) < value.array.shape[axis]):
        raise Refusal(f"takes element {chosen.tolist()} of an axis of size {value.array.shape[axis]}")
    taken = np.asarray(np.take(value.array, chosen.astype(np.int64), axis))
    return constant(taken) if taken.shape == shape else Constant(taken, shape)


def _one(node: Node, value: Readable, axis: int, index: Size, keeps: bool) -> Value:
    """Element `index` along `axis` of a signal; `keeps`: the axis stays, with size 1."""
    if isinstance(value, Joined):
        value, index = _joined_part(value, axis, index)
    if not isinstance(value, Signal):
        raise Refusal(f"takes a part of {describe(value)}")
    size = value.shape[axis]
    last = index in (-1, size - 1)
    if node.is_unrolled and _is_time(node, value, axis) and isinstance(index, int):
        step = node.unrolled.step(value, axis, index, node.roles)
        return step if keeps else with_axes(step, tuple(d for a, d in enumerate(step.axes) if a != axis))
    if node.roles.is_role(value, axis, "time") and value.layers:
        if last:
            value = read_out(value, "last")
        elif index in (0, -size) and first_step_is_final(value):
            value = read_out(value, "final")
        else:
            raise Refusal(f"takes step {index} of {describe(value)}; of the time axis only the last step (index -1) can be read out")
    elif has_directions(value, axis) and index in (-2, -1, 0, 1):
        value = take_direction(value, axis, 0 if index in (-2, 0) else 1)
    elif not (last and size == 1):
        reason = f"takes element {index} along axis {axis} of {describe(value)}; only the last step behind a recurrent layer is read"
        return _piece(node, value, reason)
    kept: tuple[tuple, ...] = ((),) if keeps else ()
    return with_axes(value, (*value.axes[:axis], *kept, *value.axes[axis + 1 :]))


def _is_time(node: Node, value: Signal, axis: int) -> bool:
    """Whether the dimension can be the time axis of a loop: one axis of known size, in front of the features."""
    axes = value.axes[axis]
    known = node.roles.axis(value.source, "time")
    shape = len(value.axes) == 3 and axis < 2 and len(axes) == 1 and isinstance(axes[0].size, int) and axes[0].size > 1
    return shape and len(value.axes[2]) == 1 and known in ("", axes[0].name) and not value.softmax and value.half is None


def _piece(node: Node, value: Signal, reason: str) -> Refused:
    """A piece of a graph input may still be an initial state; of anything else it is refused by whoever reads it."""
    return Refused(f"{label(node.proto)}: {reason}", "" if value.layers else value.source)


def _joined_part(value: Joined, axis: int, index: Size) -> tuple[Signal, int]:
    """The part of the joined signals that holds element `index`, and the place of the element in that part."""
    widths = [part.shape[axis] for part in value.parts]
    if axis != value.axis or not isinstance(index, int) or not all(isinstance(width, int) for width in widths):
        raise Refusal("takes a part of several signals side by side that is none of them")
    bounds = np.concatenate([[0], np.cumsum(np.asarray(widths, np.int64))])
    index += int(bounds[-1]) if index < 0 else 0
    if not 0 <= index < bounds[-1]:
        raise Refusal(f"takes element {index} of {bounds[-1]}")
    part = int(np.searchsorted(bounds, index, "right")) - 1
    return value.parts[part], index - int(bounds[part])


def _slice(node: Node) -> Value:
    value = node.value(0)
    shape = value.shape
    if "starts" in node.attributes:  # before version 10
        starts, ends = tuple(node.attribute("starts")), tuple(node.attribute("ends"))
        axes, steps = tuple(node.attribute("axes", range(len(starts)))), (1,) * len(starts)
    else:
        starts, ends = sizes(node.value(1), "starts"), sizes(node.value(2), "ends")
        axes = tuple(range(len(starts))) if node.input(3) is None else tuple(int(a) for a in concrete(node.value(3), "axes").ravel())
        steps = (1,) * len(starts) if node.input(4) is None else tuple(int(s) for s in concrete(node.value(4), "steps").ravel())
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Refusal(f"has {len(starts)} starts, {len(ends)} ends, {len(axes)} axes and steps {list(steps)}, which do not fit together")
    for axis, start, end, step in zip((resolve_axis(a, len(shape)) for a in axes), starts, ends, steps, strict=True):
        part = _sliced(node, value, axis, start, end, step)
        if isinstance(part, (Refused, IntegerInput, Labels, Magnitude, StepNumber, Condition)):
            return part
        value = part
    return value


def _sliced(node: Node, value: Readable, axis: int, start: Size, end: Size, step: int) -> Value:
    size = value.shape[axis]
    if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end >= (size if isinstance(size, int) else _FAR))):
        return value
    if isinstance(value, Constant):
        if value.array.shape[axis] != size or isinstance(start, Symbolic) or isinstance(end, Symbolic):
            raise Refusal(f"slices axis {axis} of {describe(value)}, where a size depends on the input")
        window = (slice(None),) * axis + (slice(start, end if end > -_FAR else None, step),)
        part = value.array[window]
        shape = (*value.shape[:axis], part.shape[axis], *value.shape[axis + 1 :])
        return constant(part) if part.shape == shape else Constant(part, shape)
    if step < 0:
        raise Refusal(f"reverses axis {axis} of {describe(value)}; layers that run backwards in time are not read")
    first = start if isinstance(start, Symbolic) or start >= 0 else start + size
    past = size if isinstance(end, int) and end >= _FAR else end if isinstance(end, Symbolic) or end >= 0 else end + size
    if isinstance(past, int) and isinstance(size, int):
        past = min(past, size)
    if step == 1 and past - first == 1:
        return _one(node, value, axis, first, keeps=True)
    if isinstance(value, Signal):
        reason = f"takes elements {start} to {end} along axis {axis} of {describe(value)}; only the last step of the time axis is read"
        return _piece(node, value, reason)
    if isinstance(value, Joined) and isinstance(first, int) and isinstance(past, int) and past > first and step == 1:
        chosen, offset = _joined_part(value, axis, first)
        if offset == 0 and past - first == chosen.shape[axis]:
            return chosen
    raise Refusal(f"takes elements {start} to {end} along axis {axis} of {describe(value)}")


def _concat(node: Node) -> Value:
    values = [node.value(index) for index in range(len(node.inputs))]
    axis = resolve_axis(node.attribute("axis"), len(values[0].shape))
    others = {(*v.shape[:axis], *v.shape[axis + 1 :]) for v in values if len(v.shape) == len(values[0].shape)}
    if len(others) != 1 or any(len(v.shape) != len(values[0].shape) for v in values):
        raise Refusal(f"joins {', '.join(describe(v) for v in values)}, which do not fit together")
    if len(values) == 1:
        return values[0]
    if all(isinstance(v, Constant) for v in values):
        parts = [v for v in values if isinstance(v, Constant)]
        if any(p.array.shape[axis] != p.shape[axis] for p in parts):
            raise Refusal(f"joins constants along axis {axis}, whose size depends on the input")
        joined = np.concatenate([p.array for p in parts], axis)
        shape = (*parts[0].shape[:axis], joined.shape[axis], *parts[0].shape[axis + 1 :])
        return constant(joined) if joined.shape == shape else Constant(joined, shape)
    if all(isinstance(v, Signal) for v in values):
        together = Joined(tuple(v for v in values if isinstance(v, Signal)), axis)
        return join_directions(together) or together
    raise Refusal("joins the signal with a constant")


def _split(node: Node) -> Value | tuple[Value, ...]:
    value = node.value(0)
    axis = resolve_axis(node.attribute("axis", 0), len(value.shape))
    if isinstance(value, Signal) and has_directions(value, axis) and len(node.proto.output) == 2:
        return take_direction(value, axis, 0), take_direction(value, axis, 1)
    if isinstance(value, Signal) and _is_time(node, value, axis) and value.shape[axis] == len(node.proto.output):
        return tuple(node.unrolled.step(value, axis, k, node.roles) for k in range(len(node.proto.output)))
    if not isinstance(value, Constant):
        raise Refusal(f"splits {describe(value)}; only a chain of layers is read")
    lengths = sizes(node.value(1), "the lengths") if node.input(1) is not None else node.attribute("split")
    if value.array.shape[axis] != value.shape[axis]:
        raise Refusal(f"splits {describe(value)} along an axis whose size depends on the input")
    array = value.array
    count = len(node.proto.output)
    if lengths is None:
        piece = -(-array.shape[axis] // count)
        bounds = [piece * (k + 1) for k in range(count - 1)]
    else:
        bounds = np.cumsum(np.asarray(lengths, np.int64))[:-1].tolist()
    parts = np.split(array, bounds, axis)
    return tuple(Constant(part, (*value.shape[:axis], part.shape[axis], *value.shape[axis + 1 :])) for part in parts)


SELECTION_OPERATORS: dict[str, Operator] = {
    "Gather": operator(_gather, "axis"),
    "Slice": operator(_slice, "axes", "starts", "ends"),
    "Concat": operator(_concat, "axis"),
    "Split": operator(_split, "axis", "split", "num_outputs"),
}
