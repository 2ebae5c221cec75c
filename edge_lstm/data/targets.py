"""Numbers to be learned, and classes or numbers of every step: from recordings to what windows of them are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording
from edge_lstm.data.windowing import Windows
from edge_lstm.errors import EdgeLstmError, UsageError


def with_targets(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The dataset whose targets are these, by name: targets that it has, or channels, which are no longer inputs then (in physical units).

    Raises UsageError for a name that it does not have or that is given twice, and where no channel would be left.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"the targets {', '.join(names)} name one twice")
    missing = [name for name in names if name not in dataset.targets and name not in dataset.channels]
    if missing:
        raise UsageError(f"{dataset.name}: no target or channel {missing[0]!r}; it has {', '.join((*dataset.targets, *dataset.channels))}")
    stay = [k for k, name in enumerate(dataset.channels) if name not in names]
    if not stay:
        raise UsageError(f"{dataset.name}: all channels are targets; at least one must be left as an input")
    recordings = tuple(
        replace(one, samples=np.ascontiguousarray(one.samples[:, stay]), targets=_of_names(dataset, one, names))
        for one in dataset.recordings
    )
    return replace(
        dataset,
        recordings=recordings,
        channels=tuple(dataset.channels[k] for k in stay),
        units_per_count=None if dataset.units_per_count is None else dataset.units_per_count[stay],
        units=tuple(dataset.units[k] for k in stay) if dataset.units else (),
        targets=tuple(names),
    )


def _of_names(dataset: Dataset, recording: Recording, names: Sequence[str]) -> NDArray[np.float32]:
    columns = []
    for name in names:
        if name in dataset.targets:
            assert recording.targets is not None  # the dataset has seen to it
            columns.append(recording.targets[:, dataset.targets.index(name)])
        else:
            k = dataset.channels.index(name)
            unit = 1.0 if dataset.units_per_count is None else dataset.units_per_count[k]
            columns.append((recording.samples[:, k] * unit).astype(np.float32))
    return np.stack(columns, axis=1)


def step_classes(dataset: Dataset, windows: Windows, decimation: int) -> NDArray[np.int64]:
    """[n, steps] class of the last sample of each block of `decimation` samples, UNLABELLED where there is none."""
    found = []
    for recording, start in zip(windows.recording, windows.start, strict=True):
        one = dataset.recordings[recording]
        length = windows.x.shape[1]
        if one.step_labels is None:
            found.append(np.full(length, UNLABELLED if one.label is None else one.label, np.int64))
        else:
            found.append(one.step_labels[start : start + length])
    return np.stack(found)[:, decimation - 1 :: decimation]


def step_numbers(dataset: Dataset, windows: Windows, decimation: int) -> NDArray[np.float64]:
    """[n, steps, targets] mean over each block of `decimation` samples; NaN where one of them is not known.

    Raises EdgeLstmError for recordings without targets.
    """
    if not dataset.targets:
        raise EdgeLstmError(f"{dataset.name}: there are no numbers to be learned in it; name their columns")
    parts = []
    for recording, start in zip(windows.recording, windows.start, strict=True):
        one = dataset.recordings[recording]
        assert one.targets is not None
        parts.append(one.targets[start : start + windows.x.shape[1]])
    values = np.stack(parts).astype(np.float64)
    steps = values.shape[1] // decimation
    return np.asarray(values[:, : steps * decimation].reshape(len(values), steps, decimation, -1).mean(2))


def window_targets(dataset: Dataset, windows: Windows, decimation: int, read_out: str, numbers: bool) -> NDArray[Any]:
    """What a network with this read-out learns on these windows.

    Classes: [n], or [n, steps] when every step is read out. Numbers: [n, targets], the mean over the window for a "mean" read-out, else
    those of the last step; or [n, steps, targets] for "every".
    """
    if not numbers:
        return step_classes(dataset, windows, decimation) if read_out == "every" else windows.y
    values = step_numbers(dataset, windows, decimation)
    if read_out == "every":
        return values
    return np.asarray(values.mean(1) if read_out == "mean" else values[:, -1])


def known(y: NDArray[Any]) -> NDArray[np.bool_]:
    """[n] or [n, steps]: where `window_targets` says something."""
    return np.asarray(np.isfinite(y).all(-1) if y.dtype.kind == "f" else y != UNLABELLED)
