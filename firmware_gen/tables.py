"""Constant tables of the generated code: weights, biases, curves and per-unit constants, each in the smallest type that holds it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_gen.names import identifier
from firmware_gen.packed import IN_A_BYTE, fewest_bits, pack

WIDTH = 118
BY_COLUMNS = ("COLUMN", "PAIR", "LANES", "WIDE")  # macros that store weights in a type of the target's own
BYTES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4}


def signed_type(low: int, high: int) -> str:
    """The smallest signed C type that holds every value from low to high."""
    bits = max(int(high).bit_length(), int(-low - 1).bit_length() if low < 0 else 0) + 1
    return next(name for name, size in (("int8_t", 8), ("int16_t", 16), ("int32_t", 32)) if bits <= size)


def unsigned_type(high: int) -> str:
    """The smallest unsigned C type that holds every value from 0 to high."""
    return next(name for name, size in (("uint8_t", 8), ("uint16_t", 16), ("uint32_t", 32)) if int(high).bit_length() <= size)


@dataclass(frozen=True)
class Part:
    """A stretch of a row of a table that goes through a macro, which stores it as the target wants it.

    macro: its name behind the prefix; width: values of one call; calls: how many there are in a row.
    """

    macro: str
    width: int
    calls: int


@dataclass(frozen=True)
class Table:
    """One `static const` array. comment: what it holds, with its shape; parts: what its rows consist of, where the target decides how
    they are stored; prefix: starts the names of macros and the word for flash, empty: it lies in RAM; declared: type in C, where it is
    not `type`; vectors: whether it is only for cores with vectors, which then leave out others; bits: of a weight, several in a byte if
    less than 8; hexadecimal: how its numbers are written."""

    name: str
    type: str
    values: npt.NDArray[np.integer]
    comment: str
    parts: tuple[Part, ...] = ()
    prefix: str = ""
    declared: str = ""
    vectors: bool = False
    bits: int = 8
    hexadecimal: bool = False

    @property
    def bytes(self) -> int:
        return BYTES[self.type] * int(self.values.size)

    @property
    def declaration(self) -> str:
        shape = "".join(f"[{n}]" for n in self.values.shape)
        of_x = sum(part.calls for part in self.parts if part.macro == "LANES")
        if of_x:
            bytes_ = sum(part.width * part.calls for part in self.parts if part.macro != "LANES")
            shape = f"[{len(self.values)}][{bytes_} + {of_x} * {self.prefix.upper()}_X_PAIR]"
        if not self.parts:
            numbers = braces(self.values) if not self.hexadecimal else braces(self.values, digits=2 * BYTES[self.type])
            return f"static const {self._flash}{self.type} {self.name}{shape} = {numbers};"
        rows = ["    {\n" + ",\n".join(self._lines(row)) + "\n    }" for row in self.values]
        head = f"static const {self._flash}{self.declared or self.type} {self.name}{shape} {self.prefix.upper()}_ALIGNED"
        return f"{head} = {{\n" + ",\n".join(rows) + "\n};"

    @property
    def _flash(self) -> str:
        return f"{self.prefix.upper()}_FLASH " if self.prefix else ""

    def _lines(self, row: npt.NDArray[np.integer]) -> list[str]:
        lines, first = [], 0
        for part in self.parts:
            calls = row[first : first + part.width * part.calls].reshape(part.calls, part.width)
            first += calls.size
            words = [f"{self.prefix.upper()}_{part.macro}({', '.join(map(str, call))})" for call in calls.tolist()]
            per_line = max((WIDTH - 8) // (max(map(len, words), default=1) + 2), 1)
            lines += [" " * 8 + ", ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
        return lines


def braces(values: npt.NDArray[np.integer], *, row_of_matrix: bool = False, digits: int = 0) -> str:
    """An initializer, wrapped to lines; one line (or more) per row of a matrix, nested for more dimensions. digits: hexadecimal ones of
    an unsigned number, 0 for decimal numbers."""
    if values.ndim > 2:
        return "{\n" + ",\n".join(textwrap.indent(braces(matrix, digits=digits), "    ") for matrix in values) + "\n}"
    if values.ndim == 2:
        return "{\n" + ",\n".join("    " + braces(row, row_of_matrix=True, digits=digits) for row in values) + "\n}"
    text = ", ".join(f"0x{v:0{digits}X}U" if digits else str(v) for v in values.tolist())
    if len(text) <= WIDTH - 6:
        return f"{{{text}}}"
    indent = "\n        " if row_of_matrix else "\n    "
    return f"{{{indent}{indent.join(filled(text, WIDTH - 8))}{indent[:-4]}}}"


def filled(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, as `textwrap.wrap` makes them of words that are shorter and one space apart: a million
    numbers in a fraction of its time."""
    lines, start = [], 0
    while len(text) - start > width:
        end = text.rfind(" ", start, start + width + 1)
        lines.append(text[start:end])
        start = end + 1
    return [*lines, text[start:]]


@dataclass
class Tables:
    """The tables of one header, in order of their first use; equal contents share one table.

    prefix: starts every name; taken: names that are used for something else; packed: (function, bits) that sums packed weights.
    """

    prefix: str
    taken: set[str] = field(default_factory=set)
    tables: list[Table] = field(default_factory=list)
    packed: set[tuple[str, int]] = field(default_factory=set)

    def add(self, names: tuple[str, ...], values: npt.NDArray[np.integer], comment: str, *, at_least: str = "int8_t") -> str:
        """The C name of a table of `values`: the first of `names` that is free, a numbered one if none is. at_least: smallest type."""
        kind = signed_type(int(values.min(initial=0)), int(values.max(initial=0)))
        kind = max(kind, at_least, key=BYTES.__getitem__)
        for table in self.tables:
            if table.type == kind and not table.parts and not table.vectors and np.array_equal(table.values, values):
                return table.name
        name = self._free(names)
        self.tables.append(Table(name, kind, values, comment, prefix=self.prefix))
        return name

    def add_weights(
        self, names: tuple[str, ...], values: npt.NDArray[np.integer], comment: str, dot: str, *, pack_them: bool
    ) -> tuple[str, str]:  # fmt: skip
        """The C name of a table of weights [..., length], and that of the function which sums one of its rows, without prefix.

        dot: that function for weights of 8 bits; pack_them: whether weights of fewer bits share bytes, where that saves any.
        """
        bits = fewest_bits(values) if pack_them else 8
        if bits == 8:
            return self.add(names, values, comment), dot
        packed = pack(values, bits)
        same = (t for t in self.tables if t.bits == bits and np.array_equal(t.values, packed))
        found = next((table.name for table in same), None)
        if found is None:
            found = self._free(names)
            comment = f"{comment}; {bits} bits, {IN_A_BYTE[bits]} in a byte"
            self.tables.append(Table(found, "uint8_t", packed, comment, prefix=self.prefix, bits=bits))
        self.packed.add((dot, bits))
        return found, f"{dot}{bits}"

    def add_parts(self, name: str, values: npt.NDArray[np.integer], comment: str, parts: tuple[Part, ...], kind: str = "int8_t") -> str:
        """The C name of a table [rows, values] that the target stores in its own way; kind: "int8_t" for weights, or "int32_t"."""
        parts = tuple(part for part in parts if part.calls)
        if sum(part.width * part.calls for part in parts) != values.shape[1]:
            raise ValueError(f"the parts of {name} are not its {values.shape[1]} values")
        found = self._free((name,))
        declared = f"{self.prefix}_weight" if any(part.macro in BY_COLUMNS for part in parts) else ""
        self.tables.append(Table(found, kind, values, comment, parts, self.prefix, declared))
        return found

    def add_words(self, name: str, values: npt.NDArray[np.integer], comment: str, kind: str, bits: int) -> str:
        """The C name of a table of words of the unsigned type `kind`, with weights of `bits` bits in them."""
        found = self._free((name,))
        self.tables.append(Table(found, kind, values, comment, prefix=self.prefix, bits=bits, hexadecimal=True))
        return found

    def add_own(self, names: tuple[str, ...], values: npt.NDArray[np.integer], comment: str, kind: str) -> str:
        """The C name of a table for cores with vectors alone; kind: its type."""
        name = self._free(names)
        self.tables.append(Table(name, kind, values, comment, prefix=self.prefix, vectors=True))
        return name

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
        return sum(table.bytes for table in self.tables if not table.vectors)
