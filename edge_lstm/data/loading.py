"""Which reader a path goes to, and the recordings that come with the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lstm.data import csv_file, npz_file, parquet_file
from edge_lstm.data.npz_source import open_npy, open_npz
from edge_lstm.data.recordings import Dataset, select_channels, with_classes
from edge_lstm.data.source import Source, select_source_channels
from edge_lstm.data.table_recordings import TableColumns, dataset_of_tables, read_labels_file
from edge_lstm.data.table_source import open_tables
from edge_lstm.data.targets import with_targets
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.files import stem

# Readers of a whole file, and of one that may be larger than the memory.
_TABLE_READERS = {
    ".csv": (csv_file.read_table, csv_file.read_blocks),
    ".parquet": (parquet_file.read_table, parquet_file.read_blocks),
}
_ARRAY_READERS = {".npz": (npz_file.read, open_npz), ".npy": (npz_file.read_npy, open_npy)}
BUNDLED = Path(__file__).parent / "watch.npz"


def watch() -> Dataset:
    """The bundled smart-watch recordings: 7 shoulder exercises, 10 people, both arms; 140 recordings, 244,102 samples at 50 Hz.

    Channels ax, ay, az in g (1/4096 g per count) and wx, wy, wz in rad/s (1/1024 rad/s per count). See watch.md for source,
    licence (BSD-3) and citation (arXiv:1802.01489).
    """
    return npz_file.read(BUNDLED)


def load(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    person_column: str | None = None,
    recording_column: str | None = None,
    channels: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    rate_hz: float | None = None,
    units_per_count: ArrayLike | None = None,
    targets: Sequence[str] | None = None,
) -> Dataset:
    """Read recordings.

    path: an .npz file (layout: `edge_lstm.data.npz_file`), an .npy file ([recordings, time, channels] or [time, channels]), a .csv or
        .parquet file, or a folder of such tables (one kind; each file is one recording, in the order of their names).

    For .csv and .parquet (a header and one sample a row; every column without another meaning is a channel):
        label_column: the class of each sample; a recording whose samples all agree has that one label. "" = no label.
        labels: a CSV file,label[,person] that names every file once. Without either, recordings are unlabelled.
        person_column: who was recorded; one person a recording.
        recording_column: tells the recordings of one file apart; the rows of a recording stand together.
        rate_hz: samples per second, if known.
        units_per_count: physical units per sensor count, one or one a channel (default 1).
        Samples become int16 counts when ALL of them are whole numbers within int16, float32 otherwise: write float measurements with
        a decimal that is not zero somewhere, or as .npz, if they must stay float.

    For all: channels picks and orders the channels; classes fixes the class order (labels are matched by name); targets names the numbers
        to be learned (for regression): columns of a table (an empty cell is not known), targets or channels of an .npz file.

    Raises:
        EdgeLstmError: missing, unreadable or malformed file, NaN, a column that is not numeric ..., in one line.
        UsageError: an option that does not go with the kind of file, or a kind of file that is not known.
    """
    request = _Request(path, label_column, labels, person_column, recording_column, channels, rate_hz, units_per_count, targets)
    if request.suffix in _ARRAY_READERS:
        dataset = _ARRAY_READERS[request.suffix][0](request.path)
        dataset = dataset if targets is None else with_targets(dataset, targets)
        dataset = dataset if channels is None else select_channels(dataset, channels)
    else:
        read = _TABLE_READERS[request.suffix][0]
        dataset = dataset_of_tables(
            name=stem(request.path),
            source=str(request.path),
            tables=[read(file) for file in request.files],
            columns=request.columns,
            labels=request.labels,
            rate_hz=rate_hz,
            units_per_count=request.scales,
        )
    return dataset if classes is None else with_classes(dataset, classes)


def open_recordings(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    person_column: str | None = None,
    recording_column: str | None = None,
    channels: Sequence[str] | None = None,
    rate_hz: float | None = None,
    units_per_count: ArrayLike | None = None,
) -> Source:
    """The recordings of a file that may be larger than the memory: arguments and recordings as those of `load`, the samples piece by piece.

    Raises:
        EdgeLstmError, UsageError: as `load`; for samples that cannot be used (NaN, say) when they are read.
    """
    request = _Request(path, label_column, labels, person_column, recording_column, channels, rate_hz, units_per_count)
    if request.suffix in _ARRAY_READERS:
        opened = _ARRAY_READERS[request.suffix][1](request.path)
        return opened if channels is None else select_source_channels(opened, channels)
    return open_tables(
        stem(request.path),
        str(request.path),
        request.files,
        _TABLE_READERS[request.suffix][1],
        request.columns,
        request.labels,
        rate_hz,
        request.scales,
    )


class _Request:
    """What is to be read, checked: options that do not go together or with the kind of file are refused."""

    def __init__(
        self, path: str | os.PathLike[str], label_column: str | None, labels: str | os.PathLike[str] | None, person_column: str | None,
        recording_column: str | None, channels: Sequence[str] | None, rate_hz: float | None, units_per_count: ArrayLike | None,
        targets: Sequence[str] | None = None,
    ):  # fmt: skip
        self.path = _existing(Path(path), "file or folder")
        if channels is not None and len(channels) == 0:
            raise UsageError("name at least one channel, or none at all to read every one")
        if label_column is not None and labels is not None:
            raise UsageError("give either a label column or a labels file, not both")
        labels_file = None if labels is None else _existing(Path(labels), "labels file")
        self.files, self.suffix = _files(self.path, labels_file)
        for_tables = {
            "label_column": label_column,
            "labels": labels,
            "person_column": person_column,
            "recording_column": recording_column,
            "rate_hz": rate_hz,
            "units_per_count": units_per_count,
        }
        given = [name for name, value in for_tables.items() if value is not None]
        if self.suffix in _ARRAY_READERS and given:
            holds = "an .npz file holds it itself" if self.suffix == ".npz" else "an .npy file cannot hold it: save an .npz file"
            raise UsageError(f"{self.path}: {given[0]} is for .csv and .parquet; {holds}")
        picked = None if channels is None else tuple(channels)
        self.columns = TableColumns(label_column, person_column, recording_column, picked, tuple(targets or ()))
        self.labels = None if labels_file is None else read_labels_file(labels_file)
        self.scales = _scales(units_per_count)


def _files(path: Path, labels: Path | None) -> tuple[list[Path], str]:
    """The recording files, and their one suffix."""
    if not path.is_dir():
        suffix = path.suffix.lower()
        if suffix not in _ARRAY_READERS and suffix not in _TABLE_READERS:
            raise UsageError(
                f"{path}: recordings are read from .npz, .npy, .csv and .parquet files, not from {suffix or 'a file without suffix'}"
            )
        return [path], suffix
    try:
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in _TABLE_READERS)
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    files = [file for file in inside if labels is None or not file.samefile(labels)]
    kinds = sorted({file.suffix.lower() for file in files})
    if not kinds:
        raise EdgeLstmError(f"{path}: no .csv or .parquet file in this folder")
    if len(kinds) > 1:
        raise EdgeLstmError(f"{path}: both .csv and .parquet files in this folder; keep one kind")
    return files, kinds[0]


def _existing(path: Path, what: str) -> Path:
    try:
        there = path.exists()
    except OSError as error:  # a folder above it may not be entered
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not there:
        raise EdgeLstmError(f"{path}: no such {what}")
    return path


def _scales(units_per_count: ArrayLike | None) -> NDArray[np.float64] | None:
    if units_per_count is None:
        return None
    scales = np.asarray(units_per_count, dtype=np.float64)
    if scales.ndim > 1:
        raise UsageError(f"units_per_count must be one number or one a channel, its shape is {list(scales.shape)}")
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise UsageError(f"units_per_count must be positive, not {units_per_count}")
    return scales
