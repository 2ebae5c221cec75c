"""Reading .csv and .parquet files piece by piece; what their columns mean is said in `table_recordings`.

Whether samples are counts, which classes there are and how long each recording is, only the whole file tells: it is read twice, but for
small ones, whose samples are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.labels import class_order
from edge_lstm.data.recordings import UNLABELLED, Samples, first_repeated
from edge_lstm.data.source import Piece, Source, checked
from edge_lstm.data.table_recordings import TableColumns, channels_of, is_int16, match_labels, runs, scale_per_channel
from edge_lstm.data.tables import Table
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import stem

Blocks = Callable[[Path], Iterator[Table]]  # the rows of a file as successive tables of the same columns
KEPT_BYTES = 1 << 24  # of samples and texts that are kept rather than read again
TEXT_BYTES = 64  # of a short text


@dataclass(frozen=True, eq=False)
class _Rows:
    """Successive rows of one file. values: [rows, channels]; labels, names: of each row, or None where no column holds them."""

    file: int
    values: NDArray[np.float64]
    labels: list[str] | None
    names: list[str] | None

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + TEXT_BYTES * len(self.values) * sum(texts is not None for texts in (self.labels, self.names))


def _rows(file: int, table: Table, columns: TableColumns, channels: tuple[str, ...]) -> _Rows:
    return _Rows(
        file,
        np.stack([table.numbers(channel) for channel in channels], 1),
        table.texts(columns.label) if columns.label is not None else None,
        table.texts(columns.recording) if columns.recording is not None else None,
    )


class _Kept:
    """The rows that the first look has seen, as long as they are few. all_rows: None when they are too many."""

    def __init__(self) -> None:
        self.all_rows: list[_Rows] | None = []
        self._bytes = 0

    def add(self, rows: _Rows) -> None:
        self._bytes += rows.nbytes
        if self._bytes > KEPT_BYTES:
            self.all_rows = None
        if self.all_rows is not None:
            self.all_rows.append(rows)


@dataclass
class _Found:
    """What the first look at the files finds."""

    names: list[str] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)  # of the first sample of each recording
    changing: list[bool] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    counts: bool = True
    kept: _Kept = field(default_factory=_Kept)


def open_tables(
    name: str, source: str, files: Sequence[Path], blocks: Blocks, columns: TableColumns, labels: dict[str, tuple[str, str]] | None,
    rate_hz: float | None, units_per_count: NDArray[np.float64] | None,
) -> Source:  # fmt: skip
    """The recordings of some files; arguments and refusals as those of `table_recordings.dataset_of_tables`."""
    entries = match_labels(files, labels) if labels is not None else [None] * len(files)
    found = _Found()
    channels: tuple[str, ...] = ()
    for index, entry in enumerate(entries):
        channels = _scan(files, index, blocks, columns, channels, entry, found)
    if repeated := first_repeated(found.names):
        raise EdgeLstmError(f"{name}: two of its recording names are {repeated!r}; names must differ")
    if units_per_count is not None and not found.counts:
        raise EdgeLstmError(f"{source}: units_per_count is for sensor counts; the samples are not all whole numbers within int16")
    classes = class_order(found.labels)
    place = {text: index for index, text in enumerate(classes)} | {"": UNLABELLED}
    changing = np.array(found.changing)

    def all_rows() -> Iterator[_Rows]:
        if found.kept.all_rows is not None:
            return iter(found.kept.all_rows)
        return (_rows(k, table, columns, channels) for k, file in enumerate(files) for table in blocks(file))

    def pieces() -> Iterator[Piece]:
        return checked(made, _pieces(all_rows(), made, place))

    made = Source(
        name=name,
        names=found.names,
        people=found.people,
        lengths=np.array(found.lengths, np.int64),
        labels=np.array([UNLABELLED if changes else place[text] for text, changes in zip(found.texts, changing, strict=True)], np.int64),
        changing=changing,
        is_integer=found.counts,
        channels=channels,
        classes=classes,
        rate_hz=rate_hz,
        units_per_count=scale_per_channel(source, units_per_count, len(channels)) if found.counts else None,
        source=source,
        units=(),
        pieces=pieces,
    )
    return made


def _scan(
    files: Sequence[Path], index: int, blocks: Blocks, columns: TableColumns, channels: tuple[str, ...], entry: tuple[str, str] | None,
    found: _Found,
) -> tuple[str, ...]:  # fmt: skip
    """Adds the recordings of one file to `found`; returns the channels."""
    file, prefix = files[index], f"{stem(files[index])}/" if len(files) > 1 else ""
    before = len(found.names)
    own: set[str] = set()
    for table in blocks(file):
        came = channels_of(table, columns)
        if channels and came != channels:
            raise EdgeLstmError(f"{file}: channels {', '.join(channels)} expected (as in {files[0].name}), {', '.join(came)} came")
        channels = came
        rows = _rows(index, table, columns, channels)
        found.kept.add(rows)
        found.counts = found.counts and is_int16(rows.values)
        texts, names = rows.labels, rows.names
        people = table.texts(columns.person) if columns.person is not None else None
        for start, end in runs(names, table.rows):
            name = stem(file) if names is None else prefix + names[start]
            goes_on = len(found.names) > before and found.names[-1] == name
            if not goes_on:
                if name in own:
                    raise EdgeLstmError(f"{file}: {table.place(start)}: recording {name} goes on after another one; keep its rows together")
                own.add(name)
                found.names.append(name)
                found.people.append(people[start] if people is not None else entry[1] if entry else "")
                found.texts.append(entry[0] if entry else texts[start] if texts is not None else "")
                found.lengths.append(0)
                found.changing.append(False)
            found.lengths[-1] += end - start
            for row in range(start, end) if people is not None else ():
                if people is not None and people[row] != found.people[-1]:
                    raise EdgeLstmError(f"{file}: {table.place(row)}: the person changes within recording {name}")
            distinct = set(texts[start:end]) if texts is not None and not entry else {found.texts[-1]}
            found.labels |= distinct
            found.changing[-1] |= distinct != {found.texts[-1]}
    return channels


def _pieces(all_rows: Iterator[_Rows], made: Source, place: dict[str, int]) -> Iterator[Piece]:
    recording, start = -1, 0
    before: tuple[int, str] | None = None  # file and name of the recording that goes on
    for rows in all_rows:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused by place
            samples: Samples = rows.values.astype(np.int16) if made.is_integer else rows.values.astype(np.float32)
        for first, end in runs(rows.names, len(samples)):
            own = rows.file, "" if rows.names is None else rows.names[first]
            if own != before:
                before, recording, start = own, recording + 1, 0
            labels = None
            if made.changing[recording] and rows.labels is not None:
                labels = np.array([place[text] for text in rows.labels[first:end]], np.int64)
            yield Piece(recording, start, samples[first:end], labels)
            start += end - first
