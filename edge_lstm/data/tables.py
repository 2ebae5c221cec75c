"""A table of named columns, as a CSV or Parquet file gives it, and how a column becomes numbers or texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError


@dataclass(frozen=True, eq=False)
class Table:
    """path: the file it came from. columns: name to [rows] array (texts from CSV, any type from Parquet), all of one length.
    place: says in words where a row stands in the file ("line 7"), for errors. known: numbers that the reader has made already."""

    path: Path
    columns: Mapping[str, NDArray[Any]]
    place: Callable[[int], str]
    known: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(next(iter((self.known or self.columns).values()), ()))

    def require(self, column: str, role: str) -> None:
        """Refuse a table that lacks `column`; `role` says what the column is for."""
        if column not in self.columns:
            raise EdgeLstmError(f"{self.path}: no column {column!r} ({role}); it has {', '.join(self.columns)}")

    def numbers(self, column: str, may_miss: bool = False) -> NDArray[np.float64]:
        """[rows] float64; may_miss: empty cells are NaN.

        Raises EdgeLstmError naming file, place and column of the first cell that is not a number.
        """
        if column in self.known:
            return self.known[column]
        values = self.columns[column]
        if values.dtype.kind in "iuf":
            return values.astype(np.float64)
        if may_miss:
            return np.array(
                [np.nan if _is_missing(cell) else self._number(column, row, cell) for row, cell in enumerate(values.tolist())], np.float64
            )
        if values.dtype.kind == "U":
            try:
                return values.astype(np.float64)
            except ValueError:
                pass  # some cell is not a number: the walk below finds which
        return np.array([self._number(column, row, cell) for row, cell in enumerate(values.tolist())], dtype=np.float64)

    def texts(self, column: str) -> list[str]:
        """The cells as texts without surrounding blanks; a missing cell is ""."""
        return ["" if _is_missing(cell) else str(cell).strip() for cell in self.columns[column].tolist()]

    def _number(self, column: str, row: int, cell: object) -> float:
        if _is_missing(cell):
            raise EdgeLstmError(f"{self.path}: {self.place(row)}, column {column}: the cell is empty")
        try:
            return float(str(cell))  # str() first: a truth value or a date is no measurement, though float() may take it
        except ValueError:
            raise EdgeLstmError(
                f"{self.path}: {self.place(row)}, column {column}: {str(cell)!r} is not a number; "
                "if this is no channel, name the channels, or the column of labels"
            ) from None


def _is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and np.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
