"""HAPT: the reader of its pickle on tables made here, and the real recordings, whose counts and labels must make sense."""

from __future__ import annotations

import gzip
import pickle
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_lstm import data
from edge_lstm.data import hapt_recordings
from edge_lstm.data.hapt_recordings import ACTIVITIES, TEST_PEOPLE, TRANSITIONS, UNITS_PER_COUNT, activities
from edge_lstm.errors import EdgeLstmError

COLUMNS = ["acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z", "sequence", "label"]


@pytest.fixture
def pandas_1(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes tables whose pickle is that of pandas 1.0, by classes of the same names and reductions."""
    modules = {
        name: ModuleType(name)
        for name in [
            "pandas",
            "pandas.core",
            "pandas.core.frame",
            "pandas.core.internals",
            "pandas.core.internals.managers",
            "pandas.core.indexes",
            "pandas.core.indexes.base",
            "pandas.core.indexes.range",
        ]
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def define(module: str, name: str, value: Any) -> Any:
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        setattr(modules[module], name, value)
        return value

    class Stateful:
        def __init__(self, state: Any) -> None:
            self.state = state

        def __getstate__(self) -> Any:
            return self.state

    frame = define("pandas.core.frame", "DataFrame", type("DataFrame", (Stateful,), {}))

    # The block manager has its own constructor call, without arguments.
    def reduce(self: Any) -> tuple[Any, ...]:
        return type(self), (), self.state

    manager = define("pandas.core.internals.managers", "BlockManager", type("BlockManager", (Stateful,), {"__reduce__": reduce}))
    new_index = define("pandas.core.indexes.base", "_new_Index", lambda cls, parts: parts)

    def indexed(cls: Any, parts: dict[str, Any]) -> Any:
        return type("Reduced", (), {"__reduce__": lambda self: (new_index, (cls, parts))})()

    index = define("pandas.core.indexes.base", "Index", type("Index", (), {}))
    range_index = define("pandas.core.indexes.range", "RangeIndex", type("RangeIndex", (), {}))

    def table(signals: NDArray[np.float64], labels: NDArray[np.int64], columns: list[str] = COLUMNS) -> Any:
        axes = [
            indexed(index, {"data": np.array(columns, dtype=object), "name": None}),
            indexed(range_index, {"name": None, "start": 0, "stop": len(labels), "step": 1}),
        ]
        blocks = [
            {"values": np.ascontiguousarray(signals.T), "mgr_locs": slice(0, 6, 1)},
            {"values": np.stack([np.arange(len(labels)), labels]), "mgr_locs": slice(6, 8, 1)},
        ]
        state = (axes, [], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
        return frame({"_data": manager(state), "_typ": "dataframe", "_metadata": [], "attrs": {}})

    return table


def write(path: Path, tables: Any) -> Path:
    with gzip.open(path, "wb") as file:
        pickle.dump(tables, file, protocol=2)
    return path


def test_the_counts_and_labels_of_a_pickle_of_tables_come_back(pandas_1: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    counts = {key: random.integers(-(2**15), 2**15, (length, 6)) for key, length in {(2, 1): 30, (1, 1): 20, (1, 2): 25}.items()}
    labels = {key: random.choice([-1, *range(1, 13)], len(value)) for key, value in counts.items()}
    tables: dict[int, list[Any]] = {}
    for (person, number), value in counts.items():
        seven_digits = np.float32(value * UNITS_PER_COUNT).astype(np.float64)
        tables.setdefault(person, []).append(pandas_1(seven_digits, labels[person, number]))
    read = hapt_recordings.read(write(tmp_path / "HAPT.pkl.gz", tables))
    assert [recording.name for recording in read.recordings] == ["01-1", "01-2", "02-1"]
    assert [recording.person for recording in read.recordings] == ["01", "01", "02"]
    for recording, key in zip(read.recordings, [(1, 1), (1, 2), (2, 1)], strict=True):
        np.testing.assert_array_equal(recording.samples, counts[key])
        assert recording.step_labels is not None
        np.testing.assert_array_equal(recording.step_labels, [label - 1 if label > 0 else -1 for label in labels[key]])


def test_samples_that_are_no_counts_are_refused(pandas_1: Any, tmp_path: Path) -> None:
    signals = np.zeros((10, 6))
    signals[4, 1] = 0.5 / 720
    path = write(tmp_path / "HAPT.pkl.gz", {1: [pandas_1(signals, np.ones(10, dtype=np.int64))]})
    with pytest.raises(EdgeLstmError, match="recording 01-1 is not in the counts"):
        hapt_recordings.read(path)


def test_other_columns_are_refused(pandas_1: Any, tmp_path: Path) -> None:
    swapped = [COLUMNS[1], COLUMNS[0], *COLUMNS[2:]]
    path = write(tmp_path / "HAPT.pkl.gz", {1: [pandas_1(np.zeros((10, 6)), np.ones(10, dtype=np.int64), swapped)]})
    with pytest.raises(EdgeLstmError, match=r"columns acc-x, acc-y.*expected, acc-y, acc-x.*came"):
        hapt_recordings.read(path)


def test_a_table_of_another_layout_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match="not laid out as expected"):
        hapt_recordings.read(write(tmp_path / "HAPT.pkl.gz", {1: [[1, 2, 3]]}))
    broken = tmp_path / "broken.gz"
    broken.write_bytes((tmp_path / "HAPT.pkl.gz").read_bytes()[:-12])
    with pytest.raises(EdgeLstmError, match="not a compressed pickle"):
        hapt_recordings.read(broken)


def stretches(recording: data.Recording) -> list[tuple[int, int, int]]:
    """(first, end, label) of each run of one label, no label included."""
    steps = recording.step_labels
    assert steps is not None
    bounds = [0, *(np.flatnonzero(np.diff(steps)) + 1), len(steps)]
    return [(first, end, int(steps[first])) for first, end in pairwise(bounds)]


@pytest.fixture(scope="module")
def hapt() -> data.Dataset:
    return data.hapt()


@pytest.mark.network
def test_hapt_has_its_published_size(hapt: data.Dataset) -> None:
    assert len(hapt.recordings) == 61
    assert sum(len(recording.samples) for recording in hapt.recordings) == 1_122_772
    assert {recording.person for recording in hapt.recordings} == {f"{person:02d}" for person in range(1, 31)}
    assert hapt.classes == ACTIVITIES + TRANSITIONS
    assert hapt.is_integer


@pytest.mark.network
def test_transitions_lead_from_and_to_what_they_are_named_after(hapt: data.Dataset) -> None:
    """The names of the labels are not in the package: what comes before and after each transition must bear them out."""
    posture = {"SIT": "SITTING", "STAND": "STANDING", "LIE": "LAYING"}
    seen: dict[str, list[tuple[str, str]]] = {name: [] for name in TRANSITIONS}
    for recording in hapt.recordings:
        names = [hapt.classes[label] for _, _, label in stretches(recording) if label >= 0]
        for before, name, after in zip(names, names[1:], names[2:], strict=False):
            if name in TRANSITIONS:
                seen[name].append((before, after))
    for name, neighbours in seen.items():
        source, target = (posture[part] for part in name.split("_TO_"))
        # People got up from lying to walk on, without standing still.
        expected = (source, "WALKING" if name == "LIE_TO_STAND" else target)
        assert len(neighbours) >= 57
        assert neighbours.count(expected) >= len(neighbours) - 2, name


@pytest.mark.network
def test_gravity_and_motion_fit_the_activities(hapt: data.Dataset) -> None:
    """1 g on the whole; along another axis when lying; angular rates several times larger in motion than at rest."""
    assert hapt.units_per_count is not None
    means, motion = {}, {}
    for label, name in enumerate(ACTIVITIES):
        samples = np.concatenate([r.samples[r.step_labels == label] for r in hapt.recordings]) * hapt.units_per_count
        means[name], motion[name] = np.median(samples[:, :3], axis=0), samples[:, 3:].std()
        assert np.linalg.norm(samples[:, :3], axis=1).mean() == pytest.approx(1.03, abs=0.03)
    upright = [name for name in ACTIVITIES if name != "LAYING"]
    assert min(means[name][0] for name in upright) > 0.85
    assert abs(means["LAYING"][0]) < 0.4
    assert min(motion[name] for name in ACTIVITIES[:3]) > 3 * max(motion[name] for name in ACTIVITIES[3:])


@pytest.mark.network
def test_the_benchmark_has_its_windows_and_nobody_is_in_both_parts() -> None:
    train, test = data.hapt_windows()
    assert train.x.shape == (7_415, 128, 6)
    assert test.x.shape == (2_996, 128, 6)
    assert set(test.person) == set(TEST_PEOPLE)
    assert len(set(train.person)) == 21
    assert not set(train.person) & set(test.person)
    assert set(train.y) == set(test.y) == set(range(6))


@pytest.mark.network
def test_each_window_lies_within_one_activity(hapt: data.Dataset) -> None:
    train, test = data.hapt_windows()
    of_six = activities(hapt)
    assert of_six.classes == ACTIVITIES
    for part in (train, test):
        for index in range(0, len(part), 37):
            recording = hapt.recordings[part.recording[index]]
            cut = slice(part.start[index], part.start[index] + 128)
            assert recording.step_labels is not None
            assert set(recording.step_labels[cut]) == {part.y[index]}
            np.testing.assert_array_equal(recording.samples[cut], part.x[index])
            assert recording.person == part.person[index]
