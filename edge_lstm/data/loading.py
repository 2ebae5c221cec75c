"""Which reader a path goes to, and the recordings that come with the package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lstm.data import csv_file, npz_file, parquet_file
from edge_lstm.data.recordings import Dataset, select_channels, with_classes
from edge_lstm.data.table_recordings import TableColumns, dataset_of_tables, read_labels_file
from edge_lstm.errors import EdgeLstmError, UsageError

_TABLE_READERS = {".csv": csv_file.read_table, ".parquet": parquet_file.read_table}
_BUNDLED = Path(__file__).parent / "watch.npz"


def watch() -> Dataset:
    """The bundled smart-watch recordings: 7 shoulder exercises, 10 people, both arms; 140 recordings, 244,102 samples at 50 Hz.

    Channels ax, ay, az in g (1/4096 g per count) and wx, wy, wz in rad/s (1/1024 rad/s per count). See watch.md for source,
    licence (BSD-3) and citation (arXiv:1802.01489).
    """
    return npz_file.read(_BUNDLED)


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
) -> Dataset:
    """Read recordings.

    path: an .npz file (layout: `edge_lstm.data.npz_file`), a .csv or .parquet file, or a folder of such files (one kind; each file
        is one recording, in the order of their names).

    For .csv and .parquet (a header and one sample a row; every column without another meaning is a channel):
        label_column: the class of each sample; a recording whose samples all agree has that one label. "" = no label.
        labels: a CSV file,label[,person] that names every file once. Without either, recordings are unlabelled.
        person_column: who was recorded; one person a recording.
        recording_column: tells the recordings of one file apart; the rows of a recording stand together.
        rate_hz: samples per second, if known.
        units_per_count: physical units per sensor count, one or one a channel (default 1).
        Samples become int16 counts when ALL of them are whole numbers within int16, float32 otherwise: write float measurements with
        a decimal that is not zero somewhere, or as .npz, if they must stay float.

    For all: channels picks and orders the channels; classes fixes the class order (labels are matched by name).

    Raises:
        EdgeLstmError: missing, unreadable or malformed file, NaN, a column that is not numeric ..., in one line.
        UsageError: an option that does not go with the kind of file, or a kind of file that is not known.
    """
    path = Path(path)
    if not path.exists():
        raise EdgeLstmError(f"{path}: no such file or folder")
    if channels is not None and len(channels) == 0:
        raise UsageError("name at least one channel, or none at all to read every one")
    if label_column is not None and labels is not None:
        raise UsageError("give either a label column or a labels file, not both")
    files, suffix = _files(path, Path(labels) if labels is not None else None)
    if suffix == ".npz":
        for_tables = {
            "label_column": label_column,
            "labels": labels,
            "person_column": person_column,
            "recording_column": recording_column,
            "rate_hz": rate_hz,
            "units_per_count": units_per_count,
        }
        given = [name for name, value in for_tables.items() if value is not None]
        if given:
            raise UsageError(f"{path}: {given[0]} is for .csv and .parquet; an .npz file holds it itself")
        dataset = npz_file.read(path)
        dataset = dataset if channels is None else select_channels(dataset, channels)
    else:
        columns = TableColumns(label_column, person_column, recording_column, None if channels is None else tuple(channels))
        dataset = dataset_of_tables(
            name=path.stem,
            source=str(path),
            tables=[_TABLE_READERS[suffix](file) for file in files],
            columns=columns,
            labels=None if labels is None else read_labels_file(_existing(Path(labels))),
            rate_hz=rate_hz,
            units_per_count=_scales(units_per_count),
        )
    return dataset if classes is None else with_classes(dataset, classes)


def _files(path: Path, labels: Path | None) -> tuple[list[Path], str]:
    """The recording files, and their one suffix."""
    if not path.is_dir():
        suffix = path.suffix.lower()
        if suffix != ".npz" and suffix not in _TABLE_READERS:
            raise UsageError(
                f"{path}: recordings are read from .npz, .csv and .parquet files, not from {suffix or 'a file without suffix'}"
            )
        return [path], suffix
    try:
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in _TABLE_READERS)
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    files = [file for file in inside if labels is None or not (labels.exists() and file.samefile(labels))]
    kinds = sorted({file.suffix.lower() for file in files})
    if not kinds:
        raise EdgeLstmError(f"{path}: no .csv or .parquet file in this folder")
    if len(kinds) > 1:
        raise EdgeLstmError(f"{path}: both .csv and .parquet files in this folder; keep one kind")
    return files, kinds[0]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise EdgeLstmError(f"{path}: no such labels file")
    return path


def _scales(units_per_count: ArrayLike | None) -> NDArray[np.float64] | None:
    if units_per_count is None:
        return None
    scales = np.asarray(units_per_count, dtype=np.float64)
    if scales.ndim > 1:
        raise UsageError(f"units_per_count must be one number or one a channel, its shape is {list(scales.shape)}")
    return scales
