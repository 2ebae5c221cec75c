"""The forms of an integer model, and what sequences of different lengths need beside its layers (streams: `integer_streams`).

form         inputs beside `raw`                              what it is for
sequences    none                                             whole sequences of one length
lengths      lengths: int64 [batch], samples of each          whole sequences of different lengths, padded to the longest
stream       state.<layer>.<name> and the like, all optional  any samples at a time; next.<layer>.<name> go into the next call
"""

from __future__ import annotations

import numpy as np

from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerPool
from edge_lstm.onnx_io.body import Body

FORMS = ("sequences", "lengths", "stream")


def inside(body: Body, value: str, lengths: str) -> str:
    """bool [batch, time, 1]: whether a step of `value` [batch, time, ...] belongs to its sequence. lengths: int64 [batch], in steps."""
    time = body.emit("Gather", body.emit("Shape", value), body.constant(1, np.int64), axis=0)
    steps = body.emit("Range", body.constant(0, np.int64), time, body.constant(1, np.int64))
    below = body.emit("Less", steps, body.emit("Unsqueeze", lengths, body.constant([1], np.int64)))
    return body.emit("Unsqueeze", below, body.constant([2], np.int64))


def masked(body: Body, value: str, lengths: str, dtype: type[np.integer]) -> str:
    """`value` [batch, time, n] with zeros behind the end of each sequence."""
    return body.emit("Where", inside(body, value, lengths), value, body.constant(0, dtype))


def shorter(body: Body, lengths: str, layer: IntegerConv1d | IntegerPool) -> str:
    """Numbers of steps that the layer makes of so many."""
    span, extra = (layer.reach, sum(layer.padding)) if isinstance(layer, IntegerConv1d) else (layer.size, 0)
    full = body.emit("Add", lengths, body.constant(extra - span, np.int64))
    return body.emit("Add", body.emit("Div", full, body.constant(layer.stride, np.int64)), body.constant(1, np.int64))


def step_before(body: Body, value: str, lengths: str) -> str:
    """The last step [batch, n] of each sequence in `value` [batch, time, n]."""
    index = body.emit("Sub", lengths, body.constant(1, np.int64))
    return body.emit("GatherND", value, body.emit("Unsqueeze", index, body.constant([1], np.int64)), batch_dims=1)
