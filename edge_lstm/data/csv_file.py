"""CSV files as tables: a header line, then one sample a line; separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

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
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            header = [name.strip() for name in next(lines, [])]
            _check_header(path, header)
            empty = True
            block: list[list[str]] = []
            numbers: list[int] = []
            for row in lines:
                if not row:
                    continue  # a blank line carries nothing
                if len(row) != len(header):
                    raise EdgeLstmError(f"{path}: line {lines.line_num}: {len(header)} cells expected, {len(row)} came")
                empty = False
                block.append(row)
                numbers.append(lines.line_num)
                if len(block) == rows:
                    yield _table(path, header, block, numbers)
                    block, numbers = [], []
            if block:
                yield _table(path, header, block, numbers)
            if empty:
                raise EdgeLstmError(f"{path}: there is no sample under the header")
    except UnicodeDecodeError as error:
        raise EdgeLstmError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    except csv.Error as error:
        raise EdgeLstmError(f"{path}: line {lines.line_num}: not CSV ({error})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error


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
