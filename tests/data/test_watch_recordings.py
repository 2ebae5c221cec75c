"""The bundled recordings are those of seglearn 1.2.5, and the tool that makes them cannot be made to run code."""

from __future__ import annotations

import importlib.util
import io
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_lstm import data
from edge_lstm.errors import EdgeLstmError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "make_watch_data.py"
    if not path.exists():
        pytest.skip("the tools are not installed with the package")
    spec = importlib.util.spec_from_file_location("make_watch_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundled_set_has_its_known_size() -> None:
    watch = data.watch()
    lengths = [len(recording.samples) for recording in watch.recordings]
    assert len(lengths) == 140
    assert (sum(lengths), min(lengths), max(lengths)) == (244_102, 947, 2_618)
    assert len({recording.person for recording in watch.recordings}) == 10
    assert watch.channels == ("ax", "ay", "az", "wx", "wy", "wz")
    assert watch.classes == ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
    assert watch.is_integer
    assert watch.rate_hz == 50.0
    assert "1802.01489" in watch.source


def test_everybody_does_every_exercise_with_both_arms() -> None:
    done = sorted((recording.person, recording.label) for recording in data.watch().recordings)
    people = sorted({person for person, _ in done})
    assert done == sorted([(person, label) for person in people for label in range(7)] * 2)


def test_four_second_windows_have_their_known_number() -> None:
    """50 steps at 12.5 Hz, every 25: 200 raw samples, every 100."""
    windows = data.windows(data.watch(), length=200, stride=100)
    assert windows.x.shape == (2229, 200, 6)
    assert data.decimate(windows.x, 4).shape == (2229, 50, 6)
    assert np.bincount(windows.y).min() > 200
    assert len(np.unique(windows.person)) == 10


def test_counts_times_units_are_plausible_physics() -> None:
    """The wrist feels gravity: no recording has a typical acceleration below 1 g, half of them hardly any above."""
    watch = data.watch()
    assert watch.units_per_count is not None
    acceleration = [np.median(np.linalg.norm(r.samples[:, :3] * watch.units_per_count[:3], axis=1)) for r in watch.recordings]
    assert min(acceleration) == pytest.approx(1, abs=0.05)
    assert 1.0 < np.median(acceleration) < 1.15


def test_licence_and_citation_lie_beside_the_recordings() -> None:
    folder = Path(data.__file__).parent
    assert "Copyright (c) 2018, David M. Burns" in (folder / "watch.LICENSE").read_text(encoding="utf-8")
    assert "1802.01489" in (folder / "watch.md").read_text(encoding="utf-8")


def pickled_npy(value: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(value, dtype=object), allow_pickle=True)
    return file.getvalue()


def test_conversion_rounds_to_the_nearest_count(tool: ModuleType) -> None:
    random = np.random.default_rng(1)
    raw: dict[str, Any] = {
        "X": [random.uniform(-7, 7, (length, 6)) for length in (30, 50)],
        "y": np.array([1, 0]),
        "subject": np.array([10, 2]),
        "side": np.array([1.0, 0.0]),
        "X_labels": list("abcdef"),
        "y_labels": ["P", "Q"],
    }
    converted, largest = tool.to_dataset(raw)
    assert [r.name for r in converted.recordings] == ["02-P-left", "10-Q-right"]
    for recording, samples in zip(converted.recordings, reversed(raw["X"]), strict=True):
        error = np.abs(recording.samples * converted.units_per_count - samples)
        assert (error <= converted.units_per_count / 2).all()
        assert (error <= largest).all()


def test_a_sample_beyond_int16_is_refused(tool: ModuleType) -> None:
    raw = {"X": [np.full((3, 6), 9.0)], "y": [0], "subject": [1], "side": [0.0], "X_labels": list("abcdef"), "y_labels": ["P"]}
    with pytest.raises(EdgeLstmError, match="does not fit int16"):
        tool.to_dataset(raw)


class Bomb:
    """What a hostile pickle looks like: it names a function and its arguments."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("a pickle ran code",)


def test_the_unpickler_refuses_everything_but_arrays(tool: ModuleType) -> None:
    with pytest.raises(EdgeLstmError, match=r"sys\.exit.*refusing"):
        tool.read_pickled_npy(pickled_npy({"X": Bomb()}))


def test_the_unpickler_reads_arrays(tool: ModuleType) -> None:
    value = {"X": [np.random.default_rng(0).normal(size=(5, 2))], "names": ["a", "b"], "y": np.arange(3)}
    file = io.BytesIO()
    # The names under which NumPy 1 wrote arrays, whatever NumPy runs here.
    pickle.Pickler(file, protocol=2).dump(value)
    renamed = file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    read = tool.ArrayUnpickler(io.BytesIO(renamed)).load()
    np.testing.assert_array_equal(read["X"][0], value["X"][0])
    np.testing.assert_array_equal(read["y"], value["y"])
    assert read["names"] == value["names"]


def test_another_wheel_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "seglearn.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(EdgeLstmError, match=r"sha256 is \w+, expected"):
        tool.read_wheel(wheel)


@pytest.mark.network
def test_the_tool_makes_the_bundled_recordings_again(tool: ModuleType, tmp_path: Path) -> None:
    raw, license_text = tool.read_wheel(tool.download(tool.PACKAGE, tmp_path))
    made, bundled = tool.to_dataset(raw)[0], data.watch()
    assert license_text == (Path(data.__file__).parent / "watch.LICENSE").read_bytes()
    for ours, theirs in zip(bundled.recordings, made.recordings, strict=True):
        assert (ours.name, ours.label, ours.person) == (theirs.name, theirs.label, theirs.person)
        np.testing.assert_array_equal(ours.samples, theirs.samples)
