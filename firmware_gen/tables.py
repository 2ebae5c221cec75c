"""Constant tables of the generated code: weights, biases, curves and per-unit constants, each in the smallest type that holds it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_gen.names import identifier

WIDTH = 118
BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4}


def signed_type(low: int, high: int) -> str:
    """The smallest signed C type that holds every value from low to high."""
    bits = max(int(high).bit_length(), int(-low - 1).bit_length() if low < 0 else 0) + 1
    return next(name for name, size in (("int8_t", 8), ("int16_t", 16), ("int32_t", 32)) if bits <= size)


def unsigned_type(high: int) -> str:
    """The smallest unsigned C type that holds every value from 0 to high."""
    return next(name for name, size in (("uint8_t", 8), ("uint16_t", 16), ("uint32_t", 32)) if int(high).bit_length() <= size)


@dataclass(frozen=True)
class Table:
    """One `static const` array. comment: what it holds, with its shape; columns: its last axis goes through the macro that stores 8 weights
    as the target wants them; prefix: starts the names of that macro and its type, and of the word for flash; empty: it lies in RAM."""

    name: str
    type: str
    values: npt.NDArray[np.integer]
    comment: str
    columns: bool = False
    prefix: str = ""

    @property
    def bytes(self) -> int:
        return BYTES[self.type] * int(self.values.size)

    @property
    def declaration(self) -> str:
        if self.columns:
            return self._declaration_of_columns()
        shape = "".join(f"[{n}]" for n in self.values.shape)
        return f"static const {self._flash}{self.type} {self.name}{shape} = {braces(self.values)};"

    @property
    def _flash(self) -> str:
        return f"{self.prefix.upper()}_FLASH " if self.prefix else ""

    def _declaration_of_columns(self) -> str:
        count, columns, width = self.values.shape
        macro = f"{self.prefix.upper()}_{'COLUMN' if width == 8 else 'PAIR'}"
        text = []
        for block in self.values:
            words = [f"{macro}({', '.join(str(int(v)) for v in column)})" for column in block]
            per_line = max((WIDTH - 8) // (max(map(len, words)) + 2), 1)
            lines = [", ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
            text.append("    {\n        " + ",\n        ".join(lines) + "\n    }")
        shape = f"[{count}][{columns * width}]"
        start = f"static const {self._flash}{self.prefix}_weight {self.name}{shape} {self.prefix.upper()}_ALIGNED"
        return f"{start} = {{\n" + ",\n".join(text) + "\n};"


def braces(values: npt.NDArray[np.integer], *, row_of_matrix: bool = False) -> str:
    """An initializer, wrapped to lines; one line (or more) per row of a matrix, nested for more dimensions."""
    if values.ndim > 2:
        return "{\n" + ",\n".join(textwrap.indent(braces(matrix), "    ") for matrix in values) + "\n}"
    if values.ndim == 2:
        return "{\n" + ",\n".join("    " + braces(row, row_of_matrix=True) for row in values) + "\n}"
    text = ", ".join(str(int(v)) for v in values)
    if len(text) <= WIDTH - 6:
        return f"{{{text}}}"
    indent = "\n        " if row_of_matrix else "\n    "
    lines = textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return f"{{{indent}{indent.join(lines)}{indent[:-4]}}}"


@dataclass
class Tables:
    """The tables of one header, in order of their first use; equal contents share one table.

    prefix: starts every name; taken: names that are used for something else.
    """

    prefix: str
    taken: set[str] = field(default_factory=set)
    tables: list[Table] = field(default_factory=list)

    def add(self, names: tuple[str, ...], values: npt.NDArray[np.integer], comment: str, *, at_least: str = "int8_t") -> str:
        """The C name of a table of `values`: the first of `names` that is free, a numbered one if none is. at_least: smallest type."""
        kind = signed_type(int(values.min(initial=0)), int(values.max(initial=0)))
        kind = max(kind, at_least, key=BYTES.__getitem__)
        for table in self.tables:
            if table.type == kind and not table.columns and np.array_equal(table.values, values):
                return table.name
        name = self._free(names)
        self.tables.append(Table(name, kind, values, comment, prefix=self.prefix))
        return name

    def add_columns(self, name: str, values: npt.NDArray[np.int8], comment: str) -> str:
        """The C name of a table of weights that the target stores in its own way: [blocks, columns, 8], or [.., .., 16] by pairs."""
        found = self._free((name,))
        self.tables.append(Table(found, "int8_t", values, comment, columns=True, prefix=self.prefix))
        return found

    def _free(self, names: tuple[str, ...]) -> str:
        candidates = [f"{self.prefix}_{identifier(name)}" for name in names]
        name = next((c for c in candidates if c not in self.taken), candidates[-1])
        number = 2
        while name in self.taken:
            name, number = f"{candidates[-1]}_{number}", number + 1
        self.taken.add(name)
        return name

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.tables)
