"""The text of a generated function: lines with their indentation, and the loops that all kernels have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

HEADER = '''"""Generated from a cell's dataflow by edge_lstm.train; not meant to be edited."""

import numpy as np

from edge_lstm.train.elementary import surrogate, tanh
from edge_lstm.train.products import accumulate, accumulate_outer, accumulate_sum, spread

f = np.{dtype}
i32 = np.int32
'''


class Source:
    """Collects lines."""

    def __init__(self, dtype: str) -> None:
        self._lines = HEADER.format(dtype=dtype).splitlines()
        self._depth = 0

    def __call__(self, line: str = "") -> None:
        self._lines.append("    " * self._depth + line if line else "")

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        """Everything written inside is indented below `line`."""
        self(line)
        self._depth += 1
        yield
        self._depth -= 1

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
