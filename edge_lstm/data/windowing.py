"""Cutting recordings into windows of equal length: what a classifier is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording, Samples
from edge_lstm.errors import EdgeLstmError, UsageError


class DataWarning(UserWarning):
    """The data are usable, but not wholly what the user may think they are."""


@dataclass(frozen=True, eq=False)
class Windows:
    """n windows.

    x: [n, time, channels], dtype of the recordings (int16 counts or float32).
    y: [n] int64 class index; UNLABELLED (-1) for windows of unlabelled recordings.
    person: [n] string. recording: [n] int64 index into Dataset.recordings. start: [n] int64 first sample within it.
    """

    x: Samples
    y: NDArray[np.int64]
    person: NDArray[np.str_]
    recording: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, which: NDArray[np.bool_] | NDArray[np.integer]) -> Windows:
        """The windows of a mask [n] or of an index [m], in its order."""
        return Windows(self.x[which], self.y[which], self.person[which], self.recording[which], self.start[which])


def windows(dataset: Dataset, length: int, stride: int, *, across: bool = False) -> Windows:
    """Windows of `length` raw samples, one every `stride`, that lie wholly within a recording; samples left over at its end are unused.

    Where the label changes within a recording, windows are cut within each stretch of one label, and stretches without label give none.
    across: windows run across such changes, for targets of every step; such a recording's windows are UNLABELLED as a whole.

    Raises:
        UsageError: length or stride below 1.
        EdgeLstmError: no recording is long enough (names the longest).
    Warns:
        DataWarning: some recordings are too short and give no window.
    """
    check_window(length, stride)
    x: list[Samples] = []
    y, source, start, too_short = [], [], [], []
    for index, recording in enumerate(dataset.recordings):
        before = len(x)
        for first, end, label in _stretches(recording, across):
            for at in range(first, end - length + 1, stride):
                x.append(recording.samples[at : at + length])
                y.append(label)
                source.append(index)
                start.append(at)
        if len(x) == before:
            too_short.append(recording)
    if not x:
        refuse_no_window(dataset.name, length, *_longest(dataset, across))
    warn_of_short_recordings(dataset.name, length, [recording.name for recording in too_short], len(too_short), len(dataset.recordings))
    recording_of = np.array(source, dtype=np.int64)
    return Windows(
        x=np.stack(x),
        y=np.array(y, dtype=np.int64),
        person=np.array([recording.person for recording in dataset.recordings])[recording_of],
        recording=recording_of,
        start=np.array(start, dtype=np.int64),
    )


def _stretches(recording: Recording, across: bool) -> list[tuple[int, int, int]]:
    """(first, end, label) of each stretch that windows may be cut from."""
    steps = recording.step_labels
    if steps is None or across:
        return [(0, len(recording.samples), UNLABELLED if recording.label is None else recording.label)]
    bounds = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    return [(first, end, int(steps[first])) for first, end in pairwise(bounds) if steps[first] != UNLABELLED]


def _longest(dataset: Dataset, across: bool) -> tuple[int, str, bool]:
    """Length of the longest stretch that windows may be cut from, its recording, and whether that changes its label; 0 for none."""
    stretches = [(end - first, recording) for recording in dataset.recordings for first, end, _ in _stretches(recording, across)]
    if not stretches:
        return 0, "", True
    longest, recording = max(stretches, key=lambda stretch: stretch[0])
    return longest, recording.name, recording.step_labels is not None and not across


def check_window(length: int, stride: int) -> None:
    """Raises UsageError for a length or stride below 1."""
    if length < 1 or stride < 1:
        raise UsageError(f"a window must have length and stride of at least 1 sample, got {length} and {stride}")


def refuse_no_window(name: str, length: int, longest: int, recording: str, changing: bool) -> NoReturn:
    """Raises EdgeLstmError: no stretch is long enough; the longest one, its recording, and whether that changes its label."""
    if not longest:
        raise EdgeLstmError(f"{name}: no sample is labelled, so there is nothing to cut windows from")
    what = f"the longest {'stretch of one label, in recording' if changing else 'recording'} {recording} has {longest}"
    raise EdgeLstmError(f"{name}: a window of {length} samples is longer than every recording; {what}")


def warn_of_short_recordings(name: str, length: int, recordings: Sequence[str], count: int, of_all: int) -> None:
    """Warns (DataWarning) of `count` recordings that give no window; the first of them are named."""
    if count:
        names = ", ".join(recordings[:3]) + (" ..." if count > 3 else "")
        warnings.warn(f"{name}: {count} of {of_all} recordings give no window of {length} samples: {names}", DataWarning, stacklevel=3)
