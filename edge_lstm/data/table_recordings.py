"""From tables (CSV, Parquet) to a Dataset: which columns are channels, who was recorded, what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data import csv_file
from edge_lstm.data.labels import class_order
from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording, Samples
from edge_lstm.data.tables import Table
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import stem

_CLOCK_NAMES = {"time", "timestamp", "t", "index", "sample", "date", "datetime", ""}
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class TableColumns:
    """What the columns of a table mean. label, person, recording: column names or None.
    channels: the columns that are samples, in order; None = every column that has no other meaning.
    targets: the columns that hold numbers to be learned."""

    label: str | None = None
    person: str | None = None
    recording: str | None = None
    channels: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Stretch:
    """One recording before the dataset's classes and dtype are known. texts: its label, or one label a sample, or None."""

    name: str
    person: str
    samples: NDArray[np.float64]
    texts: str | list[str] | None
    targets: NDArray[np.float32] | None


def read_labels_file(path: Path) -> dict[str, tuple[str, str]]:
    """{file: (label, person)} from a CSV with the columns file, label and, if known, person ("" = unknown).

    Raises:
        EdgeLstmError: as `csv_file.read_table`; a column is missing or unknown; a file is named twice or has no label.
    """
    table = csv_file.read_table(path)
    for column in ("file", "label"):
        table.require(column, f"a labels file has the columns file,label[,person]; this one gives the {column}")
    if unknown := table.columns.keys() - {"file", "label", "person"}:
        raise EdgeLstmError(f"{path}: unknown column {min(unknown)!r}; a labels file has the columns file,label[,person]")
    people = table.texts("person") if "person" in table.columns else [""] * table.rows
    labels: dict[str, tuple[str, str]] = {}
    for row, (file, label, person) in enumerate(zip(table.texts("file"), table.texts("label"), people, strict=True)):
        if not file or not label:
            raise EdgeLstmError(f"{path}: {table.place(row)}: the {'label' if file else 'file'} is empty")
        if file in labels:
            raise EdgeLstmError(f"{path}: {table.place(row)}: {file} is named a second time")
        labels[file] = label, person
    return labels


def dataset_of_tables(
    name: str,
    source: str,
    tables: Sequence[Table],
    columns: TableColumns,
    labels: dict[str, tuple[str, str]] | None,
    rate_hz: float | None,
    units_per_count: NDArray[np.float64] | None,
) -> Dataset:
    """Join the recordings of all tables.

    labels: {file: (label, person)} for every table, the file with or without its suffix; None = no labels file.
    Samples become int16 when all of them, in all tables, are whole numbers within int16; float32 otherwise.
    units_per_count: for int16 samples, one or one a channel; None = 1.

    Raises:
        EdgeLstmError: a column is missing, not numeric, or differs between tables; a person changes within a recording; a recording
            is not in one piece; the labels file and the tables do not match one to one; units_per_count for samples that are not counts.
    """
    channels = channels_of(tables[0], columns)
    for table in tables[1:]:
        came = channels_of(table, columns)
        if came != channels:
            raise EdgeLstmError(
                f"{table.path}: channels {', '.join(channels)} expected (as in {tables[0].path.name}), {', '.join(came)} came"
            )
    by_table = match_labels([table.path for table in tables], labels) if labels is not None else [None] * len(tables)
    stretches = [
        stretch
        for table, entry in zip(tables, by_table, strict=True)
        for stretch in _stretches(table, columns, channels, entry, prefix=f"{stem(table.path)}/" if len(tables) > 1 else "")
    ]
    counts = all(is_int16(stretch.samples) for stretch in stretches)
    if units_per_count is not None and not counts:
        raise EdgeLstmError(f"{source}: units_per_count is for sensor counts; the samples are not all whole numbers within int16")
    classes = class_order(text for stretch in stretches for text in _texts(stretch))
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which the Dataset refuses by place
        recordings = tuple(_recording(stretch, classes, np.dtype(np.int16 if counts else np.float32)) for stretch in stretches)
    scales = scale_per_channel(source, units_per_count, len(channels)) if counts else None
    return Dataset(name, recordings, channels, classes, rate_hz, scales, source, targets=columns.targets)


def channels_of(table: Table, columns: TableColumns) -> tuple[str, ...]:
    """The columns that are samples. Raises EdgeLstmError for a column that is missing, or looks like a clock, and where none is left."""
    meanings = {columns.label: "label", columns.person: "person", columns.recording: "recording"}
    for column, role in meanings.items():
        if column is not None:
            table.require(column, f"the {role} column")
    for column in columns.targets:
        table.require(column, "a target")
        if column in meanings or column in (columns.channels or ()):
            raise EdgeLstmError(f"{table.path}: column {column!r} cannot be a target and something else at once")
    if columns.channels is not None:
        for column in columns.channels:
            table.require(column, "a channel")
        return columns.channels
    channels = tuple(column for column in table.columns if column not in meanings and column not in columns.targets)
    for column in channels:
        if column.lower() in _CLOCK_NAMES:
            raise EdgeLstmError(f"{table.path}: column {column!r} looks like a clock, not a channel; name the channels to be read")
    if not channels:
        raise EdgeLstmError(f"{table.path}: no channel is left; its columns are {', '.join(table.columns)}")
    return channels


def match_labels(files: Sequence[Path], labels: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """The labels file's entry of each file, each used once. Raises EdgeLstmError where they do not match one to one."""
    unused = dict(labels)
    entries = []
    for file in files:
        entry = unused.pop(file.name, None) or unused.pop(file.stem, None)
        if entry is None:
            raise EdgeLstmError(f"{file}: the labels file does not name it")
        entries.append(entry)
    if unused:
        raise EdgeLstmError(f"{files[0].parent}: the labels file names {min(unused)}, which is not there")
    return entries


def _stretches(
    table: Table, columns: TableColumns, channels: tuple[str, ...], entry: tuple[str, str] | None, prefix: str
) -> list[_Stretch]:
    samples = np.stack([table.numbers(channel) for channel in channels], axis=1)
    targets = None
    if columns.targets:
        targets = np.stack([table.numbers(target, may_miss=True) for target in columns.targets], axis=1).astype(np.float32)
    labels = table.texts(columns.label) if columns.label is not None else None
    people = table.texts(columns.person) if columns.person is not None else None
    names = table.texts(columns.recording) if columns.recording is not None else None
    found: dict[str, _Stretch] = {}
    for start, end in runs(names, table.rows):
        name = stem(table.path) if names is None else prefix + names[start]
        if name in found:
            raise EdgeLstmError(f"{table.path}: {table.place(start)}: recording {name} goes on after another one; keep its rows together")
        person = entry[1] if entry else ""
        if people is not None:
            person = people[start]
            for row in range(start, end):
                if people[row] != person:
                    raise EdgeLstmError(f"{table.path}: {table.place(row)}: the person changes within recording {name}")
        texts = entry[0] if entry else labels[start:end] if labels is not None else None
        found[name] = _Stretch(name, person, samples[start:end], texts, None if targets is None else targets[start:end])
    return list(found.values())


def runs(values: list[str] | None, rows: int) -> list[tuple[int, int]]:
    """[start, end) of each run of equal values; one run when there are no values."""
    if values is None:
        return [(0, rows)]
    starts = [row for row in range(rows) if row == 0 or values[row] != values[row - 1]]
    return list(zip(starts, [*starts[1:], rows], strict=True))


def _texts(stretch: _Stretch) -> set[str]:
    if stretch.texts is None:
        return set()
    return {stretch.texts} if isinstance(stretch.texts, str) else set(stretch.texts)


def is_int16(samples: NDArray[np.float64]) -> bool:
    """Whether all samples are whole numbers within int16."""
    with np.errstate(invalid="ignore"):  # NaN and infinity compare unequal: not counts
        return bool(((samples == np.rint(samples)) & (samples >= _INT16.min) & (samples <= _INT16.max)).all())


def scale_per_channel(source: str, units_per_count: NDArray[np.float64] | None, channels: int) -> NDArray[np.float64]:
    """[channels] from one number or one a channel, 1 for None. Raises EdgeLstmError for another number of them."""
    given = np.ones(1) if units_per_count is None else np.atleast_1d(units_per_count)
    if len(given) not in (1, channels):
        raise EdgeLstmError(f"{source}: 1 or {channels} units_per_count expected, {len(given)} came")
    return np.full(channels, given)


def _recording(stretch: _Stretch, classes: tuple[str, ...], dtype: np.dtype[np.int16 | np.float32]) -> Recording:
    place = {text: index for index, text in enumerate(classes)} | {"": UNLABELLED}
    samples: Samples = stretch.samples.astype(dtype)
    distinct = _texts(stretch)
    if len(distinct) > 1:
        steps = np.array([place[text] for text in stretch.texts or ()], dtype=np.int64)
        return Recording(samples, None, stretch.person, stretch.name, steps, stretch.targets)
    label = place[distinct.pop()] if distinct else UNLABELLED
    return Recording(samples, None if label == UNLABELLED else label, stretch.person, stretch.name, None, stretch.targets)
