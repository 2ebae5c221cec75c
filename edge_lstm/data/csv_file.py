"""CSV files as tables: a header line, then one sample a line; separated by commas, semicolons or tabs.

Lines without quotes, which is nearly all that sensors write, are turned to numbers by NumPy, a block at once and several times faster than
cell by cell; from the first block on that holds something else, or a cell that is no number, csv.reader and float() say what it is.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.tables import Table
from edge_lstm.errors import EdgeLstmError

BLOCK_ROWS = 1 << 13


def read_table(path: Path) -> Table:
    """Every column as texts.

    Raises:
        EdgeLstmError: unreadable, not UTF-8, no header, no lines under it, or a line of another width than the header.
    """
    return next(read_blocks(path, sys.maxsize))


def read_blocks(path: Path, rows: int = BLOCK_ROWS) -> Iterator[Table]:
    """The same as successive tables of at most so many rows; only one of them is held at a time."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)
            lines = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            before = lines.line_num
            empty = True
            for table in _tables(path, header, file, delimiter, rows, before):
                empty = False
                yield table
            if empty:
                raise EdgeLstmError(f"{path}: there is no sample under the header")
    except UnicodeDecodeError as error:
        raise EdgeLstmError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    except csv.Error as error:  # of the header; a sample's error names its line
        raise EdgeLstmError(f"{path}: line 1: not CSV ({error})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error


def _tables(path: Path, header: list[str], file: TextIO, delimiter: str, rows: int, before: int) -> Iterator[Table]:
    """The samples that follow in the file, behind `before` lines."""
    while block := list(islice(file, rows)):
        if not _is_plain(block, len(header), delimiter):
            yield from _tables_of_any(path, header, chain(block, file), delimiter, rows, before)
            return
        cells = _PlainCells(header, block, delimiter)
        yield Table(path, cells, _LinesFrom(before + 1), cells.numbers())
        before += len(block)


@dataclass(frozen=True)
class _LinesFrom:
    """The place of a row in words, where each is one line."""

    first: int

    def __call__(self, row: int) -> str:
        return f"line {self.first + row}"


def _is_plain(block: list[str], width: int, delimiter: str) -> bool:
    """Whether each line has as many cells as the header, none of them quoted, and none is blank."""
    return all(line.count(delimiter) == width - 1 and '"' not in line and line.strip() for line in block)


class _PlainCells(Mapping[str, NDArray[np.str_]]):
    """The cells of some plain lines, column by column, made when they are asked for."""

    def __init__(self, header: list[str], block: list[str], delimiter: str):
        self._place = {name: column for column, name in enumerate(header)}
        self._block, self._delimiter = block, delimiter

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def __getitem__(self, name: str) -> NDArray[np.str_]:
        column = self._place[name]
        return np.array([line.rstrip("\r\n").split(self._delimiter)[column] for line in self._block])

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """All columns that begin with a number, where everything in them is one."""
        names = [name for name, cell in zip(self._place, self._block[0].split(self._delimiter), strict=True) if _is_number(cell)]
        if not names:
            return {}
        wanted = [self._place[name] for name in names]
        try:
            values = np.loadtxt(self._block, delimiter=self._delimiter, comments=None, usecols=wanted, ndmin=2)
        except ValueError:  # a cell is no number, or one that only Python knows: `Table.numbers` says which
            return {}
        return dict(zip(names, np.ascontiguousarray(values.T), strict=True))


def _tables_of_any(path: Path, header: list[str], lines: Iterable[str], delimiter: str, rows: int, before: int) -> Iterator[Table]:
    """Lines with quoted cells, blank lines, and what is no CSV."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    block: list[list[str]] = []
    numbers: list[int] = []
    try:
        for row in reader:
            if not row:
                continue  # a blank line carries nothing
            if len(row) != len(header):
                raise EdgeLstmError(f"{path}: line {before + reader.line_num}: {len(header)} cells expected, {len(row)} came")
            block.append(row)
            numbers.append(before + reader.line_num)
            if len(block) == rows:
                yield _table(path, header, block, numbers)
                block, numbers = [], []
    except csv.Error as error:
        raise EdgeLstmError(f"{path}: line {before + reader.line_num}: not CSV ({error})") from error
    if block:
        yield _table(path, header, block, numbers)


def _table(path: Path, header: list[str], rows: list[list[str]], numbers: list[int]) -> Table:
    return Table(path, dict(zip(header, np.array(rows).T, strict=True)), lambda row: f"line {numbers[row]}")


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise EdgeLstmError(f"{path}: empty; its first line must name the columns")
    if "" in header:
        raise EdgeLstmError(f"{path}: line 1: column {header.index('') + 1} has no name")
    if len(set(header)) != len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        raise EdgeLstmError(f"{path}: line 1: two columns are named {repeated!r}")
    if all(map(_is_number, header)):
        raise EdgeLstmError(f"{path}: line 1 holds numbers ({', '.join(header[:3])} ...); it must name the columns")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
