"""Refusing a graph: by name, with what to do, and with every reason that can be found, not the first only."""

from __future__ import annotations

from edge_lstm.errors import EdgeLstmError


class Refusal(Exception):  # noqa: N818  a reason, not an error: the walk goes on
    """One reason why a node cannot be read, raised by the reader of that node and collected by the walk over the graph."""


class UnsupportedModel(EdgeLstmError):  # noqa: N818
    """A valid ONNX model that is no network of this package.

    reasons: every reason found, each naming node, attribute or shape, and what to do about it.
    """

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        more = len(reasons) - 1
        rest = f" (and {more} more reason{'s' if more > 1 else ''}; `edge-lstm inspect` lists all)" if more else ""
        super().__init__(f"the model cannot be read: {reasons[0]}{rest}")
