"""The text of a generated function: lines with their indentation, and the loops that all kernels have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

HEADER = '''"""Generated from a cell's dataflow by edge_lstm.train; not meant to be edited."""

import numba
import numpy as np

from edge_lstm.train.elementary import round_shift, shift_left, shift_right, surrogate, tanh
from edge_lstm.train.products import OPTIONS, accumulate, accumulate_outer, accumulate_sum, spread

f = np.{dtype}
i32 = np.int32
'''


class Source:
    """Collects the lines of one function, and the loops that it calls."""

    def __init__(self, dtype: str) -> None:
        self._header = HEADER.format(dtype=dtype)
        self._loops: dict[str, str] = {}  # text from the arguments on -> name
        self._lines: list[str] = []
        self._depth = 0

    def __call__(self, line: str = "") -> None:
        self._lines.append("    " * self._depth + line if line else "")

    def constant(self, line: str) -> None:
        """A global of the module."""
        self._header += line + "\n"

    @contextmanager
    def block(self, line: str) -> Iterator[None]:
        """Everything written inside is indented below `line`."""
        self(line)
        self._depth += 1
        yield
        self._depth -= 1

    def loop(self, arguments: Mapping[str, str], body: Sequence[str]) -> None:
        """A loop over the elements j of flat vectors, called here. arguments: name within the body -> expression here, a vector first.

        It is a function of its own because LLVM would otherwise test for overlaps of whole sequences, before the loop over the steps,
        where the states before and after each step do overlap, and would leave the loop scalar.
        """
        if not body:
            return
        names = list(arguments)
        lines = [f"({', '.join(names)}):", f"    for j in range({names[0]}.size):", *(f"        {line}" for line in body)]
        name = self._loops.setdefault("\n".join(lines), f"loop_{len(self._loops)}")
        self(f"{name}({', '.join(arguments.values())})")

    @property
    def text(self) -> str:
        loops = [f"\n\n@numba.njit(**OPTIONS)\ndef {name}{text}" for text, name in self._loops.items()]
        return self._header + "\n".join([*loops, "", "", *self._lines]) + "\n"
