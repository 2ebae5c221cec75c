"""Reading .npz and .npy files piece by piece; the layouts are those of `npz_file`.

Samples are read in the order of the file, compressed or not, some megabytes at a time; only what is one value a recording (lengths,
labels, names) is held whole. An array that was stored in Fortran's order is memory-mapped in an .npy file, and refused in an .npz file.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import npz_file
from edge_lstm.data.npz_file import int16_or_float32, require, strings
from edge_lstm.data.recordings import UNLABELLED, first_repeated
from edge_lstm.data.source import PIECE_BYTES, Numbered, Piece, Repeated, Source, checked
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import stem

_SEQUENTIAL = ("samples", "x", "y", "step_labels")
_LEFT_ALONE = ("targets", "target_names")  # only training asks for them


@dataclass(frozen=True)
class _Array:
    """An array of a file, before its values are read. member: name within the archive, "" for an .npy file."""

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    def rows(self, width: int) -> Iterator[NDArray[Any]]:
        """The array as rows [n, width] (or [n] for width 0), in order, about PIECE_BYTES at a time."""
        each = self.dtype.itemsize * max(width, 1)
        count = int(np.prod(self.shape)) // max(width, 1)
        step = max(1, PIECE_BYTES // each)
        shape = (-1, width) if width else (-1,)
        if self.fortran:
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
            per_row = count // self.shape[0]
            for first in range(0, self.shape[0], max(1, step // per_row)):
                yield np.ascontiguousarray(mapped[first : first + max(1, step // per_row)]).reshape(shape)
            return
        with _opened(self.path, self.member) as file:
            _header(self.path, self.member, file)
            for first in range(0, count, step):
                wanted = min(step, count - first) * each
                content = file.read(wanted)
                if len(content) != wanted:
                    raise EdgeLstmError(f"{self.path}: {self.member or 'the array'} ends too early; the file is damaged")
                yield np.frombuffer(content, self.dtype).reshape(shape)


@contextmanager
def _opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    try:
        if not member:
            with path.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as inside:
            yield inside
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError, ValueError) as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error


def _header(path: Path, member: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise EdgeLstmError(f"{path}: {member or 'the array'} holds Python objects, not numbers")
    return shape, fortran and len(shape) > 1, dtype


def _array(path: Path, member: str) -> _Array:
    with _opened(path, member) as file:
        shape, fortran, dtype = _header(path, member, file)
    if fortran and member:
        raise EdgeLstmError(f"{path}: {member} is stored column by column (Fortran order); save np.ascontiguousarray of it")
    return _Array(path, member, shape, dtype, fortran)


def open_npz(path: Path) -> Source:
    """The recordings of an .npz file. Raises EdgeLstmError as `npz_file.read`, for samples and step labels when they are read."""
    small = npz_file.arrays(path, leave_out=_SEQUENTIAL + _LEFT_ALONE)
    with zipfile.ZipFile(path) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist()]
    layout = npz_file.layout_of(path, members)
    if layout == "simple":
        x = _array(path, "x")
        require(len(x.shape) == 3, path, "x", "[recordings, time, channels]", x)
        lengths = np.full(x.shape[0], x.shape[1], np.int64)
        y = _array(path, "y") if "y" in members else None
        if y is not None and y.dtype.kind in "iu" and y.shape == x.shape[:2]:
            return _source(path, small, x, x.shape[2], lengths, None, y)
        labels = None if y is None else np.concatenate([*y.rows(0), np.zeros(0, y.dtype)]).reshape(y.shape)
        return _source(path, small, x, x.shape[2] if len(lengths) else 0, lengths, labels, None)
    samples, given = _array(path, "samples"), small["lengths"]
    lengths = npz_file.checked_lengths(path, given, samples)
    steps = _array(path, "step_labels") if "step_labels" in members else None
    if steps is not None:
        right = steps.shape == samples.shape[:1] and steps.dtype.kind in "iu"
        require(right, path, "step_labels", "one integer a sample", steps)
    return _source(path, small, samples, samples.shape[1], lengths, small.get("label"), steps)


def open_npy(path: Path) -> Source:
    """The recordings of an .npy file: [recordings, time, channels], or one recording [time, channels]; without labels or names."""
    x = _array(path, "")
    require(len(x.shape) in (2, 3), path, "the array", "[recordings, time, channels] or [time, channels]", x)
    lengths = np.full(x.shape[0], x.shape[1], np.int64) if len(x.shape) == 3 else np.array([x.shape[0]], np.int64)
    return _source(path, {}, x, x.shape[-1], lengths, None, None)


def _source(
    path: Path, small: dict[str, NDArray[Any]], samples: _Array, width: int, lengths: NDArray[np.int64], labels: NDArray[Any] | None,
    steps: _Array | None,
) -> Source:  # fmt: skip
    count = len(lengths)
    if samples.dtype.kind not in "iuf":
        raise EdgeLstmError(f"{path}: samples must be numbers, they are {samples.dtype}")
    own = strings(path, small, "name", count)
    if repeated := first_repeated(own):
        raise EdgeLstmError(f"{stem(path)}: two of its recording names are {repeated!r}; names must differ")
    indices, classes = npz_file.class_indices(path, labels, steps is not None, strings(path, small, "classes"), count)
    label_of = np.array([UNLABELLED if k is None else k for k in indices], np.int64)
    changing = np.zeros(count, np.bool_)
    if steps is not None:
        label_of, changing = _labels_of_steps(steps, lengths, label_of)
    is_integer = samples.dtype.kind in "iu"
    scales = small.get("units_per_count", np.ones(width) if is_integer else None)

    def pieces() -> Iterator[Piece]:
        parts = steps.rows(0) if steps is not None else None
        return checked(source, _pieces(path, samples.rows(width), parts, lengths, changing))

    source = Source(
        name=stem(path),
        names=own or Numbered(count),
        people=strings(path, small, "person", count) or Repeated("", count),
        lengths=lengths,
        labels=label_of,
        changing=changing,
        is_integer=is_integer,
        channels=strings(path, small, "channels", width) or tuple(f"channel{index}" for index in range(width)),
        classes=classes,
        rate_hz=npz_file.number(path, small, "rate_hz"),
        units_per_count=None if scales is None else np.asarray(scales, np.float64),
        source=npz_file.text(path, small, "source") or str(path),
        units=strings(path, small, "units", width),
        pieces=pieces,
    )
    return source


def _labels_of_steps(
    steps: _Array, lengths: NDArray[np.int64], given: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The one label of each recording whose steps agree, UNLABELLED for the others, and which those are."""
    low, high = np.full(len(lengths), np.iinfo(np.int64).max), np.full(len(lengths), np.iinfo(np.int64).min)
    ends = np.cumsum(lengths)
    at = 0
    for part in steps.rows(0):
        values = part.astype(np.int64)
        first, last = (int(np.searchsorted(ends, place, side="right")) for place in (at, at + len(values) - 1))
        edges = np.maximum(ends[first : last + 1] - lengths[first : last + 1] - at, 0)
        low[first : last + 1] = np.minimum(low[first : last + 1], np.minimum.reduceat(values, edges))
        high[first : last + 1] = np.maximum(high[first : last + 1], np.maximum.reduceat(values, edges))
        at += len(values)
    changing = low != high
    return np.where(changing, UNLABELLED, low), changing


class _Reader:
    """Rows of successive arrays, as many at a time as one asks for."""

    def __init__(self, parts: Iterator[NDArray[Any]]):
        self._parts = parts
        self._rest: NDArray[Any] | None = None

    def take(self, count: int) -> NDArray[Any]:
        found: list[NDArray[Any]] = []
        while count:
            rest = next(self._parts) if self._rest is None else self._rest
            found.append(rest[:count])
            self._rest = rest[count:] if len(rest) > count else None
            count -= len(found[-1])
        return found[0] if len(found) == 1 else np.concatenate(found)


def _pieces(
    path: Path, parts: Iterator[NDArray[Any]], steps: Iterator[NDArray[Any]] | None, lengths: NDArray[np.int64],
    changing: NDArray[np.bool_],
) -> Iterator[Piece]:  # fmt: skip
    equal = steps is None and bool((lengths == lengths[0]).all())
    labels = None if steps is None else _Reader(steps)
    recording = start = 0
    for part in parts:
        rows = int16_or_float32(path, part)
        at = 0
        while at < len(rows):
            length = int(lengths[recording])
            whole = (len(rows) - at) // length if equal and start == 0 else 0
            if whole > 1:
                yield Piece(recording, 0, rows[at : at + whole * length], None, whole)
                recording, at = recording + whole, at + whole * length
                continue
            taken = rows[at : at + length - start]
            of_steps = labels.take(len(taken)).astype(np.int64) if labels is not None else None
            yield Piece(recording, start, taken, of_steps if changing[recording] else None)
            at, start = at + len(taken), start + len(taken)
            if start == length:
                recording, start = recording + 1, 0
