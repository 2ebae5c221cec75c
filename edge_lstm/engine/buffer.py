"""Memory that begins on cache lines, and buffers that grow by pieces which do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.layout import LINE, padded

Bytes = npt.NDArray[np.uint8]


def aligned(size: int) -> Bytes:
    """A zeroed buffer of `size` bytes that begins on a cache line."""
    raw = np.zeros(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size]


class Buffer:
    """A growing buffer of aligned pieces."""

    def __init__(self, head: int):
        self.size = head
        self.pieces: list[tuple[int, Bytes]] = []

    def add(self, values: npt.NDArray[np.generic]) -> int:
        """Appends an array; returns its offset."""
        at = self.size
        self.pieces.append((at, np.ascontiguousarray(values).reshape(-1).view(np.uint8)))
        self.size = padded(at + values.nbytes, LINE)
        return at

    def finish(self) -> Bytes:
        buffer = aligned(self.size)
        for at, piece in self.pieces:
            buffer[at : at + len(piece)] = piece
        return buffer
