"""Reading .csv and .parquet files piece by piece; what their columns mean is said in `table_recordings`.

Whether samples are counts, which classes there are and how long each recording is, only the whole file tells: it is read twice.
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

Blocks = Callable[[Path], Iterator[Table]]  # the rows of a file as successive tables of the same columns


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


def open_tables(
    name: str, source: str, files: Sequence[Path], blocks: Blocks, columns: TableColumns, labels: dict[str, tuple[str, str]] | None,
    rate_hz: float | None, units_per_count: NDArray[np.float64] | None,
) -> Source:  # fmt: skip
    """The recordings of some files; arguments and refusals as those of `table_recordings.dataset_of_tables`."""
    entries = match_labels(files, labels) if labels is not None else [None] * len(files)
    found = _Found()
    channels: tuple[str, ...] = ()
    for file, entry in zip(files, entries, strict=True):
        channels = _scan(file, blocks, columns, channels, entry, f"{file.stem}/" if len(files) > 1 else "", found, files[0])
    if repeated := first_repeated(found.names):
        raise EdgeLstmError(f"{name}: two of its recording names are {repeated!r}; names must differ")
    if units_per_count is not None and not found.counts:
        raise EdgeLstmError(f"{source}: units_per_count is for sensor counts; the samples are not all whole numbers within int16")
    classes = class_order(found.labels)
    place = {text: index for index, text in enumerate(classes)} | {"": UNLABELLED}
    changing = np.array(found.changing)

    def pieces() -> Iterator[Piece]:
        return checked(made, _pieces(files, blocks, columns, channels, made, place))

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
    file: Path, blocks: Blocks, columns: TableColumns, channels: tuple[str, ...], entry: tuple[str, str] | None, prefix: str,
    found: _Found, first_file: Path,
) -> tuple[str, ...]:  # fmt: skip
    """Adds the recordings of one file to `found`; returns the channels."""
    before = len(found.names)
    own: set[str] = set()
    for table in blocks(file):
        came = channels_of(table, columns)
        if channels and came != channels:
            raise EdgeLstmError(f"{file}: channels {', '.join(channels)} expected (as in {first_file.name}), {', '.join(came)} came")
        channels = came
        found.counts = found.counts and all(is_int16(table.numbers(channel)) for channel in channels)
        texts = table.texts(columns.label) if columns.label is not None else None
        people = table.texts(columns.person) if columns.person is not None else None
        names = table.texts(columns.recording) if columns.recording is not None else None
        for start, end in runs(names, table.rows):
            name = file.stem if names is None else prefix + names[start]
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


def _pieces(
    files: Sequence[Path], blocks: Blocks, columns: TableColumns, channels: tuple[str, ...], made: Source, place: dict[str, int]
) -> Iterator[Piece]:
    recording, start = -1, 0
    for file in files:
        name: str | None = None
        for table in blocks(file):
            with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which is refused by place
                values = np.stack([table.numbers(channel) for channel in channels], 1)
                samples: Samples = values.astype(np.int16) if made.is_integer else values.astype(np.float32)
            texts = table.texts(columns.label) if columns.label is not None else None
            names = table.texts(columns.recording) if columns.recording is not None else None
            for first, end in runs(names, table.rows):
                own = "" if names is None else names[first]
                if own != name:
                    name, recording, start = own, recording + 1, 0
                labels = None
                if made.changing[recording] and texts is not None:
                    labels = np.array([place[text] for text in texts[first:end]], np.int64)
                yield Piece(recording, start, samples[first:end], labels)
                start += end - first
