"""Bidirectional layers: exporters join the two directions by a reshape, or take them apart and concatenate them again.

A signal behind a bidirectional layer has an axis of two directions. A reshape may merge it with the features; an index takes one half
out. Two halves that are joined again, forward first, are the whole layer; a half that is used alone is a layer of one direction.
"""

from __future__ import annotations

from dataclasses import replace

from edge_lstm.network import Bidirectional, Layer, ReadOut, Recurrent
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_values import DIRECTIONS, Axis, Joined, Signal, describe

Dimensions = tuple[tuple[Axis, ...], ...]


def merged(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The axes of one dimension, where directions followed by features are the joined features of the layer."""
    if len(axes) == 2 and axes[0].name == DIRECTIONS:
        return (Axis(axes[1].name, axes[0].size * axes[1].size),)
    return axes


def has_directions(signal: Signal, dimension: int | None = None) -> bool:
    """Whether the dimension (or any) holds the axis of the directions."""
    dimensions = signal.axes if dimension is None else (signal.axes[dimension],)
    return any(axis.name == DIRECTIONS for axes in dimensions for axis in axes)


def take_direction(signal: Signal, dimension: int, half: int) -> Signal:
    """The forward (0) or backward (1) half of a bidirectional layer; the dimension of the directions stays, with size 1."""
    return replace(signal, axes=(*signal.axes[:dimension], (), *signal.axes[dimension + 1 :]), half=half, state="")


def one_direction(signal: Signal) -> Signal:
    """The signal with a lone half of a bidirectional layer made the recurrent layer that it is."""
    if signal.half is None:
        return signal
    layers = list(signal.layers)
    index = max(k for k, layer in enumerate(layers) if isinstance(layer, Bidirectional))
    both = layers[index]
    assert isinstance(both, Bidirectional)
    layers[index] = both.backward if signal.half else both.forward
    return replace(signal, layers=tuple(layers), half=None)


def join_directions(joined: Joined) -> Signal | None:
    """The whole layer when the parts are its forward and its backward half, joined along the features; None when they are not."""
    if len(joined.parts) != 2 or [part.half for part in joined.parts] != [0, 1]:
        return None
    forward, backward = joined.parts
    axes = forward.axes[joined.axis]
    same = len(forward.layers) == len(backward.layers) and forward.axes == backward.axes and forward.source == backward.source
    if not same or len(axes) != 1:
        return None
    layers: list[Layer] = []
    for a, b in zip(forward.layers, backward.layers, strict=True):
        if isinstance(a, ReadOut) and isinstance(b, ReadOut):
            # Of the forward half the last step is the final one, so the backward half decides.
            if a.kind != b.kind and (a.kind, b.kind) != ("last", "final"):
                return None
            layers.append(b)
        elif a is b:
            layers.append(a)
        else:
            return None
    whole = (Axis(axes[0].name, axes[0].size * 2),)
    return replace(forward, axes=(*forward.axes[: joined.axis], whole, *forward.axes[joined.axis + 1 :]), layers=tuple(layers), half=None)


def first_step_is_final(signal: Signal) -> bool:
    """Whether the layer that the signal comes from reads in reverse, so that the first step of the sequence is its final one."""
    last = one_direction(signal).layers[-1] if signal.layers else None
    return isinstance(last, Recurrent) and last.reverse


def laid_out(signal: Signal) -> Signal:
    """The signal with the directions joined to its features: forward first, as the network gives them. For an output of the graph."""
    if not has_directions(signal):
        return signal
    rest = tuple(axes for axes in signal.axes if [a.name for a in axes] != [DIRECTIONS])
    return replace(signal, axes=(*rest[:-1], merged((Axis(DIRECTIONS, 2), *rest[-1]))))


def check_directions(signal: Signal) -> None:
    """Refuses to add a layer while the two directions are an axis of their own."""
    if has_directions(signal):
        raise Refusal(f"reads {describe(signal)}, in which the directions of a bidirectional layer are not joined to one axis of features")
