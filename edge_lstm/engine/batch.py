"""The sequences of one run: where each lies in what the caller gave, how long it is, and where its results go.

Sequences come padded, [batch, time, channels] with a length for each (or all of full length), or packed one after the other,
[sum of lengths, channels]. Results come back in the same form. Whatever a kernel will read is checked here, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError

Int64Array = npt.NDArray[np.int64]
Values = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Batch:
    """Checked sequences. values: [batch, time, channels], or packed [rows, channels]; given: [batch] the length of each, None where all
    are as long as the array; starts: first rows, packed only."""

    values: Values
    given: Int64Array | None
    starts: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.values) if self.given is None else len(self.given)

    @cached_property
    def lengths(self) -> Int64Array:
        """[batch]."""
        return np.full(len(self.values), self.values.shape[1], np.int64) if self.given is None else self.given

    @property
    def equal(self) -> bool:
        """Whether all sequences are as long as the array."""
        return self.given is None

    @property
    def packed(self) -> bool:
        return self.starts is not None

    def rows(self, which: Int64Array) -> tuple[Values, Int64Array]:
        """Rows [n, channels], C-contiguous and in the machine's byte order, that hold the sequences `which`; the first row of each.

        No copy is made of what lies well already.
        """
        dtype = self.values.dtype.newbyteorder("=")
        channels = self.values.shape[-1]
        if self.values.flags.c_contiguous and self.values.flags.aligned and self.values.dtype == dtype:
            starts = self.starts[which] if self.starts is not None else which * self.values.shape[1]
            return self.values.reshape(-1, channels), starts
        lengths = self.lengths[which]
        starts = first_rows(lengths)
        rows = np.empty((int(lengths.sum()), channels), dtype)
        for sequence, start, length in zip(which.tolist(), starts.tolist(), lengths.tolist(), strict=True):
            rows[start : start + length] = self.sequence(sequence)
        return rows, starts

    def sequence(self, index: int) -> Values:
        """The values [time, channels] of one sequence."""
        length = int(self.lengths[index])
        if self.starts is None:
            return self.values[index, :length]
        start = int(self.starts[index])
        return self.values[start : start + length]


def checked(
    values: npt.ArrayLike, lengths: npt.ArrayLike | None, channels: int, dtype: type[np.signedinteger[Any]], what: str, time: str
) -> Batch:
    """The sequences in `values`: [batch, time, channels], or with lengths [batch] packed [rows, channels]; of `dtype` in any byte order.

    Raises EdgeLstmError for another type or shape, for nothing at all, and for lengths that do not fit.
    """
    array = np.asarray(values)
    if array.dtype != dtype and array.dtype.newbyteorder("=") != np.dtype(dtype):
        raise EdgeLstmError(f"{what} have type {array.dtype}, expected {np.dtype(dtype)}")
    packed = array.ndim == 2 and lengths is not None
    if (not packed and array.ndim != 3) or array.shape[-1] != channels:
        form = f"[batch, {time}, {channels}]" + ("" if lengths is None else f", or [sum of lengths, {channels}]")
        raise EdgeLstmError(f"{what} have shape {array.shape}, expected {form}")
    if 0 in array.shape:
        raise EdgeLstmError(f"{what} of shape {array.shape} are empty")
    if lengths is None:
        return Batch(array, None)
    each = np.asarray(lengths)
    if each.ndim != 1 or each.dtype.kind not in "iu" or len(each) == 0:
        raise EdgeLstmError(f"lengths have type {each.dtype} and shape {each.shape}, expected one integer for each sequence")
    most = len(array) if packed else array.shape[1]
    if each.min() < 1 or each.max() > most:
        worst = int(np.flatnonzero((each < 1) | (each > most))[0])
        raise EdgeLstmError(f"the length {each[worst]} of sequence {worst} does not lie in 1 ... {most}")
    each = each.astype(np.int64)
    if not packed:
        if len(each) != len(array):
            raise EdgeLstmError(f"{len(each)} lengths came for {len(array)} sequences")
        return Batch(array, each)
    if each.sum() != len(array):
        raise EdgeLstmError(f"the lengths add up to {each.sum()}, but {len(array)} rows of {what} came")
    return Batch(array, each, first_rows(each))


def first_rows(lengths: Int64Array) -> Int64Array:
    """Where each of some sequences begins when they lie one after the other."""
    return np.asarray(np.cumsum(lengths) - lengths, np.int64)


def together(firsts: Int64Array, lengths: Int64Array) -> bool:
    """Whether some sequences lie one after the other."""
    return bool((firsts[1:] == firsts[:-1] + lengths[:-1]).all())


def all_rows(firsts: Int64Array, lengths: Int64Array) -> Int64Array:
    """All rows of some sequences, one sequence after the other."""
    return np.repeat(firsts - first_rows(lengths), lengths) + np.arange(lengths.sum())


@dataclass(frozen=True)
class Steps:
    """Where the steps of each sequence go in results. steps: [batch] of each; packed: one after the other, or padded to the longest."""

    steps: Int64Array
    packed: bool

    @cached_property
    def longest(self) -> int:
        return int(self.steps.max())

    @cached_property
    def firsts(self) -> Int64Array:
        """Row of the first step of each sequence in `empty`."""
        return first_rows(self.steps) if self.packed else np.arange(len(self.steps)) * self.longest

    def places(self, which: Int64Array) -> slice | Int64Array:
        """The rows of the sequences `which`, one sequence after the other."""
        firsts, steps = self.firsts[which], self.steps[which]
        if together(firsts, steps):
            return slice(int(firsts[0]), int(firsts[0] + steps.sum()))
        return all_rows(firsts, steps)

    def empty(self, width: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Room for the steps of all sequences, [rows, width]; zero behind the end of the shorter ones."""
        rows = int(self.steps.sum()) if self.packed else len(self.steps) * self.longest
        full = self.packed or bool((self.steps == self.longest).all())
        return np.empty((rows, width), dtype) if full else np.zeros((rows, width), dtype)

    def shaped(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows as the caller gets them: [rows, width] packed, [batch, longest, width] otherwise."""
        return rows if self.packed else rows.reshape(len(self.steps), self.longest, -1)


def pieces(steps: Int64Array, order: Int64Array, most: int, block: int, threads: int = 1) -> Iterator[Int64Array]:
    """The sequences of `order` cut into pieces of whole blocks, each of about `most` steps.

    For several threads the pieces grow smaller, each half of what every thread would get of the rest, down to one block: large ones cost
    little, and small ones at the end let all threads finish together, also where one is held up.
    """
    done = np.cumsum(steps[order])
    first = 0
    while first < len(order):
        before = int(done[first - 1]) if first else 0
        share = most if threads == 1 else min(most, (int(done[-1]) - before) // (2 * threads))
        fit = int(np.searchsorted(done, before + share, side="right")) - first
        last = min(len(order), first + max(block, fit // block * block))
        yield order[first:last]
        first = last
