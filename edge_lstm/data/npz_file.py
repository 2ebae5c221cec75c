"""Recordings in NumPy's .npz files; read without pickle, written with the same bytes on every run.

Full layout (`write` makes it; N recordings, C channels, K classes):

    samples          [sum of lengths, C] int16 or float32, the recordings one after the other
    lengths          [N] integer
    label            [N] integer, -1 = no label            (optional)
    person           [N] string, "" = unknown              (optional)
    name             [N] string                            (optional)
    step_labels      [sum of lengths] integer, -1 = none   (optional)
    targets          [sum of lengths, T] numbers to be learned, NaN = not known   (optional)
    target_names     [T] string                            (optional)
    channels         [C] string                            (optional)
    classes          [K] string                            (optional)
    rate_hz          float64                               (optional)
    units_per_count  [C] float64, for int16 only           (optional)
    units            [C] string                            (optional)
    source           string                                (optional)

Simple layout, for recordings of equal length (or windows that were cut elsewhere):

    x                [N, time, C] int16 (any integers within int16), or float
    y                [N] integer, -1 = no label, or string; or [N, time] integer, a class for every sample   (optional)
    targets          [N], [N, T] or [N, time, T] numbers to be learned, of a recording or of every sample, NaN = not known   (optional)
    target_names, person, name, channels, classes, rate_hz, units_per_count, units, source as above

With `classes`, integer labels index it. Without, the classes are the sorted distinct labels.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.labels import class_order
from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import stem, write_bytes

_COMMON = {"person", "name", "channels", "classes", "rate_hz", "units_per_count", "units", "source", "targets", "target_names"}
_FULL = {"samples", "lengths", "label", "step_labels"} | _COMMON
_SIMPLE = {"x", "y"} | _COMMON
_INT16 = np.iinfo(np.int16)
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can hold: equal content gives equal bytes


def read(path: Path) -> Dataset:
    """Read either layout. Raises EdgeLstmError for a file that is not an .npz, or an array that is missing, unknown or ill-shaped."""
    found = arrays(path)
    layout = layout_of(path, found)
    return _dataset(path, found, *(_full_stretches if layout == "full" else _simple_stretches)(path, found))


def read_npy(path: Path) -> Dataset:
    """The recordings of an .npy file: [recordings, time, channels], or one recording [time, channels]; without labels or names.

    Raises EdgeLstmError for a file that is none, and for an array of another shape or type.
    """
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise EdgeLstmError(f"{path}: cannot be read as .npy ({error})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    right = isinstance(x, np.ndarray) and x.ndim in (2, 3)
    require(right, path, "the array", "[recordings, time, channels] or [time, channels]", np.asarray(x))
    return _dataset(path, {}, list(x if x.ndim == 3 else x[None]), None, None)


def layout_of(path: Path, names: Collection[str]) -> str:
    """ "full" or "simple", from the names of a file's arrays. Raises EdgeLstmError where one is missing or does not belong there."""
    if "samples" in names:
        layout, known, needed = "full", _FULL, {"samples", "lengths"}
    elif "x" in names:
        layout, known, needed = "simple", _SIMPLE, {"x"}
    else:
        raise EdgeLstmError(f"{path}: neither 'samples' nor 'x' is in it; its arrays are {', '.join(sorted(names)) or 'none'}")
    if missing := needed - set(names):
        raise EdgeLstmError(f"{path}: array {min(missing)!r} is missing")
    if unknown := set(names) - known:
        raise EdgeLstmError(
            f"{path}: array {min(unknown)!r} does not belong to the {layout} layout; it may hold {', '.join(sorted(known))}"
        )
    return layout


def write(dataset: Dataset, path: str | Path) -> None:
    """Write the full layout atomically; equal datasets give equal bytes. Raises EdgeLstmError when `path` cannot be written."""
    recordings = dataset.recordings
    arrays: dict[str, NDArray[Any]] = {
        "samples": np.concatenate([r.samples for r in recordings]),
        "lengths": np.array([len(r.samples) for r in recordings], dtype=np.int64),
        "label": np.array([UNLABELLED if r.label is None else r.label for r in recordings], dtype=np.int64),
        "person": np.array([r.person for r in recordings]),
        "name": np.array([r.name for r in recordings]),
        "channels": np.array(dataset.channels),
        "source": np.array(dataset.source),
    }
    if any(r.step_labels is not None for r in recordings):
        arrays["step_labels"] = np.concatenate([_every_step(r) for r in recordings])
    if dataset.targets:
        arrays["targets"] = np.concatenate([r.targets for r in recordings if r.targets is not None])
        arrays["target_names"] = np.array(dataset.targets)
    if dataset.classes:
        arrays["classes"] = np.array(dataset.classes)
    if dataset.rate_hz is not None:
        arrays["rate_hz"] = np.array(dataset.rate_hz, dtype=np.float64)
    if dataset.units_per_count is not None:
        arrays["units_per_count"] = dataset.units_per_count
    if dataset.units:
        arrays["units"] = np.array(dataset.units)
    write_bytes(path, _zipped(arrays))


def _zipped(arrays: dict[str, NDArray[Any]]) -> bytes:
    """What np.savez_compressed writes, but with a fixed date in place of the clock."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _FIXED_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # else the file would tell on which system it was made
            archive.writestr(entry, member.getvalue())
    return content.getvalue()


def _every_step(recording: Recording) -> NDArray[np.int64]:
    if recording.step_labels is not None:
        return recording.step_labels
    return np.full(len(recording.samples), UNLABELLED if recording.label is None else recording.label, dtype=np.int64)


def arrays(path: Path, leave_out: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The arrays of a file, those to be left out excepted. Raises EdgeLstmError for a file that cannot be read."""
    try:
        if not zipfile.is_zipfile(path):
            raise EdgeLstmError(f"{path}: not an .npz file (or a damaged one)")
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files if name not in leave_out}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, KeyError) as error:
        raise EdgeLstmError(f"{path}: cannot be read as .npz ({error})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # NumPy hands out a member that is not .npy as bytes
            raise EdgeLstmError(f"{path}: {name} is not an array")
    return found


class Shaped(Protocol):
    """Anything with the shape and type of an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


Stretches = tuple[list[NDArray[Any]], NDArray[Any] | None, list[NDArray[np.int64]] | None]  # samples, labels, step labels


def _full_stretches(path: Path, arrays: dict[str, NDArray[Any]]) -> Stretches:
    samples = arrays["samples"]
    lengths = checked_lengths(path, arrays["lengths"], samples)
    ends = np.cumsum(lengths)[:-1]
    steps = None
    if "step_labels" in arrays:
        all_steps = arrays["step_labels"]
        require(
            all_steps.shape == (len(samples),) and all_steps.dtype.kind in "iu", path, "step_labels", "one integer a sample", all_steps
        )
        steps = np.split(all_steps.astype(np.int64), ends)
    return np.split(samples, ends) if len(lengths) else [], arrays.get("label"), steps


def checked_lengths(path: Path, lengths: NDArray[Any], samples: Shaped) -> NDArray[np.int64]:
    """The lengths of the recordings in `samples`. Raises EdgeLstmError where they do not fit."""
    require(len(samples.shape) == 2, path, "samples", "[time, channels]", samples)
    require(lengths.ndim == 1 and lengths.dtype.kind in "iu", path, "lengths", "[recordings] integers", lengths)
    if (lengths < 0).any() or lengths.sum() != samples.shape[0]:
        raise EdgeLstmError(f"{path}: lengths add up to {lengths.sum()}, samples has {samples.shape[0]} rows")
    return lengths.astype(np.int64)


def _simple_stretches(path: Path, arrays: dict[str, NDArray[Any]]) -> Stretches:
    x = arrays["x"]
    require(x.ndim == 3, path, "x", "[recordings, time, channels]", x)
    y = arrays.get("y")
    if y is not None and y.dtype.kind in "iu" and y.shape == x.shape[:2]:
        return list(x), None, list(y.astype(np.int64))
    return list(x), y, None


def _dataset(
    path: Path,
    arrays: dict[str, NDArray[Any]],
    samples: list[NDArray[Any]],
    labels: NDArray[Any] | None,
    steps: list[NDArray[np.int64]] | None,
) -> Dataset:
    count = len(samples)
    width = samples[0].shape[1] if count else 0
    samples = [int16_or_float32(path, part) for part in samples]
    names = strings(path, arrays, "name", count) or tuple(f"{index:0{len(str(count))}d}" for index in range(count))
    people = strings(path, arrays, "person", count) or ("",) * count
    indices, classes = class_indices(path, labels, steps is not None, strings(path, arrays, "classes"), count)
    targets, target_names = _targets(path, arrays, samples)
    scales = arrays.get("units_per_count")
    if scales is None and count and samples[0].dtype == np.int16:
        scales = np.ones(width)
    recordings = []
    for index, part in enumerate(samples):
        label, step = indices[index], None if steps is None else steps[index]
        if step is not None and len(step) and (step == step[0]).all():
            label, step = (None if step[0] == UNLABELLED else int(step[0])), None
        numbers = None if targets is None else targets[index]
        recordings.append(Recording(part, label if step is None else None, people[index], names[index], step, numbers))
    return Dataset(
        name=stem(path),
        recordings=tuple(recordings),
        channels=strings(path, arrays, "channels", width) or tuple(f"channel{index}" for index in range(width)),
        classes=classes,
        rate_hz=number(path, arrays, "rate_hz"),
        units_per_count=None if scales is None else np.asarray(scales, dtype=np.float64),
        source=text(path, arrays, "source") or str(path),
        units=strings(path, arrays, "units", width),
        targets=target_names,
    )


def _targets(
    path: Path, arrays: dict[str, NDArray[Any]], samples: list[NDArray[Any]]
) -> tuple[list[NDArray[np.float32]] | None, tuple[str, ...]]:
    """The numbers to be learned, [time, T] for each recording, and their names; None where there are none."""
    if "targets" not in arrays:
        require("target_names" not in arrays, path, "target_names", "beside the array 'targets'", arrays.get("target_names", np.zeros(0)))
        return None, ()
    values, lengths = arrays["targets"], [len(part) for part in samples]
    require(values.dtype.kind in "iuf", path, "targets", "numbers", values)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which the Dataset refuses by place
        numbers = values.astype(np.float32)
    if "samples" in arrays:
        require(values.ndim == 2 and len(values) == sum(lengths), path, "targets", f"[{sum(lengths)}, targets] numbers", values)
        parts = np.split(numbers, np.cumsum(lengths)[:-1])
    else:
        time = lengths[0] if lengths else 0
        fits = values.ndim in (1, 2, 3) and len(values) == len(samples) and (values.ndim < 3 or values.shape[1] == time)
        require(fits, path, "targets", f"[{len(samples)}], [{len(samples)}, targets] or [{len(samples)}, {time}, targets] numbers", values)
        if values.ndim < 3:
            numbers = np.repeat(numbers.reshape(len(values), 1, -1), time, axis=1)
        parts = list(numbers)
    width = parts[0].shape[1] if parts else 0
    names = strings(path, arrays, "target_names", width)
    return parts, names or (("target",) if width == 1 else tuple(f"target{k}" for k in range(width)))


def class_indices(
    path: Path,
    labels: NDArray[Any] | None,
    has_steps: bool,
    classes: tuple[str, ...],
    count: int,
) -> tuple[list[int | None], tuple[str, ...]]:
    """The class index of each recording, and the class names: the file's, or else the distinct labels."""
    if labels is None:
        if has_steps and not classes:
            raise EdgeLstmError(f"{path}: step_labels need the array 'classes'")
        return [None] * count, classes
    require(labels.shape == (count,) and labels.dtype.kind in "iuU", path, "the labels", f"[{count}] integers or strings", labels)
    if classes and labels.dtype.kind in "iu":
        return [None if label == UNLABELLED else int(label) for label in labels], classes
    texts = ["" if label == UNLABELLED else str(label) for label in labels.tolist()]
    order = classes or class_order(texts)
    place = {name: index for index, name in enumerate(order)}
    for index, text in enumerate(texts):
        if text and text not in place:
            raise EdgeLstmError(f"{path}: recording {index} is labelled {text!r}, which is not among the classes {', '.join(order)}")
    return [place[text] if text else None for text in texts], order


def int16_or_float32(path: Path, samples: NDArray[Any]) -> NDArray[Any]:
    """Samples in one of the two types of a Dataset. Raises EdgeLstmError for what is no number and for integers beyond int16."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 becomes infinity, which the Dataset refuses by place
            return samples.astype(np.float32)
    if samples.dtype.kind not in "iu":
        raise EdgeLstmError(f"{path}: samples must be numbers, they are {samples.dtype}")
    if samples.dtype != np.int16 and samples.size and (samples.min() < _INT16.min or samples.max() > _INT16.max):
        raise EdgeLstmError(f"{path}: integer samples must fit int16, they run from {samples.min()} to {samples.max()}")
    return samples.astype(np.int16, copy=False)


def strings(path: Path, arrays: dict[str, NDArray[Any]], name: str, count: int | None = None) -> tuple[str, ...]:
    """An optional array of `count` strings (None: any number); () where it is missing. Raises EdgeLstmError for another shape."""
    if name not in arrays:
        return ()
    values = arrays[name]
    shape = "strings" if count is None else f"[{count}] strings"
    right_count = values.ndim == 1 and count in (None, len(values))
    require(right_count and values.dtype.kind in "Uiu", path, name, shape, values)
    return tuple(str(value) for value in values.tolist())


def text(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> str:
    """An optional string; "" where it is missing."""
    if name not in arrays:
        return ""
    require(arrays[name].shape == () and arrays[name].dtype.kind == "U", path, name, "one string", arrays[name])
    return str(arrays[name])


def number(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> float | None:
    """An optional number."""
    if name not in arrays:
        return None
    require(arrays[name].size == 1 and arrays[name].dtype.kind in "iuf", path, name, "one number", arrays[name])
    return float(arrays[name].reshape(()))


def require(right: bool, path: Path, name: str, expected: str, came: Shaped) -> None:
    """Raises EdgeLstmError unless an array is as expected."""
    if not right:
        raise EdgeLstmError(f"{path}: {name} must be {expected}; shape {list(came.shape)} of {came.dtype} came")
