"""Recordings and the datasets they form: what every reader returns and every later stage takes.

A Dataset checks itself when it is made, so that no later stage meets NaN, a missing channel or a label out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import EdgeLstmError

Samples: TypeAlias = NDArray[np.int16 | np.float32]  # one of the two throughout a dataset

UNLABELLED = -1  # where an integer must stand for "no label"


@dataclass(frozen=True, eq=False)
class Recording:
    """One uninterrupted stretch of samples of one person.

    samples: [time, channels] int16 sensor counts, or float32 in the sensor's units.
    label: class index of the whole recording; None when it has no label, or when the label changes on the way.
    person: who was recorded; "" when unknown (splitting by person then refuses).
    name: unique within the dataset; errors use it.
    step_labels: [time] class index of each sample, UNLABELLED where there is none; None when `label` says it all.
    targets: [time, targets] float32 numbers to be learned, NaN where they are not known; None in a dataset without targets.
    """

    samples: Samples
    label: int | None
    person: str
    name: str
    step_labels: NDArray[np.int64] | None = None
    targets: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Recordings of the same channels, with the names that their numbers stand for.

    channels: name of each column of `samples`.
    classes: name of each class index; empty when nothing is labelled.
    rate_hz: samples per second; None when unknown.
    units_per_count: [channels] float64, physical units per sensor count; None when samples are float32.
    source: where the recordings come from (file, citation).
    units: unit of each channel, e.g. "g"; empty when unknown.
    targets: name of each number to be learned (regression); empty when there is none.

    Raises:
        EdgeLstmError: no recordings, an empty one, a wrong number of channels or dtype, NaN or infinity (names the recording, the
            channel and the first sample), a label without a class, a name used twice.
    """

    name: str
    recordings: tuple[Recording, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    rate_hz: float | None
    units_per_count: NDArray[np.float64] | None
    source: str
    units: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.recordings:
            raise EdgeLstmError(f"{self.name}: there are no recordings in it")
        named = {"channel": self.channels, "class": self.classes, "target": self.targets, "recording": [r.name for r in self.recordings]}
        for what, names in named.items():
            if repeated := first_repeated(names):
                raise EdgeLstmError(f"{self.name}: two of its {what} names are {repeated!r}; names must differ")
        for recording in self.recordings:
            _check_samples(self, recording)
            _check_labels(self, recording)
            _check_targets(self, recording)
        require_scales(self)

    @property
    def is_integer(self) -> bool:
        """Whether samples are int16 sensor counts."""
        return self.recordings[0].samples.dtype == np.int16


class _Described(Protocol):
    """What Dataset and Source have in common."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def is_integer(self) -> bool: ...

    @property
    def units_per_count(self) -> NDArray[np.float64] | None: ...

    @property
    def units(self) -> tuple[str, ...]: ...

    @property
    def rate_hz(self) -> float | None: ...


def require_channels(dataset: _Described, expected: Sequence[str] | int) -> None:
    """Refuse a dataset whose channels are not the expected ones (names in order, or how many).

    Raises:
        EdgeLstmError: says what was expected and what came.
    """
    if isinstance(expected, int):
        if len(dataset.channels) != expected:
            raise EdgeLstmError(
                f"{dataset.name}: {expected} channels expected, {len(dataset.channels)} came ({', '.join(dataset.channels)})"
            )
    elif tuple(expected) != dataset.channels:
        raise EdgeLstmError(f"{dataset.name}: channels {', '.join(expected)} expected, {', '.join(dataset.channels)} came")


def select_channels(dataset: Dataset, channels: Sequence[str]) -> Dataset:
    """The dataset with only these channels, in this order. Raises EdgeLstmError for a name it does not have."""
    missing = [channel for channel in channels if channel not in dataset.channels]
    if missing:
        raise EdgeLstmError(f"{dataset.name}: no channel {missing[0]!r}; it has {', '.join(dataset.channels)}")
    index = [dataset.channels.index(channel) for channel in channels]
    return replace(
        dataset,
        recordings=tuple(replace(r, samples=np.ascontiguousarray(r.samples[:, index])) for r in dataset.recordings),
        channels=tuple(channels),
        units_per_count=None if dataset.units_per_count is None else dataset.units_per_count[index],
        units=tuple(dataset.units[i] for i in index) if dataset.units else (),
    )


def with_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The dataset with its labels renumbered, by name, to index `classes` (those of a trained model, say).

    Raises:
        EdgeLstmError: a recording carries a label that is not in `classes`. A class that no recording carries is legal here.
    """
    place = {name: index for index, name in enumerate(classes)}
    renumber = np.array([place.get(name, UNLABELLED) for name in dataset.classes] + [UNLABELLED], dtype=np.int64)

    def renumbered(recording: Recording) -> Recording:
        steps = recording.step_labels
        carried = set() if steps is None else set(np.unique(steps).tolist()) - {UNLABELLED}
        if recording.label is not None:
            carried.add(recording.label)
        for index in sorted(carried):
            if dataset.classes[index] not in place:
                raise EdgeLstmError(
                    f"{dataset.name}: recording {recording.name} is labelled {dataset.classes[index]!r}, "
                    f"which is not among the classes {', '.join(classes)}"
                )
        label = None if recording.label is None else int(renumber[recording.label])
        return replace(recording, label=label, step_labels=None if steps is None else renumber[steps])

    return replace(dataset, recordings=tuple(renumbered(r) for r in dataset.recordings), classes=tuple(classes))


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _check_samples(dataset: Dataset, recording: Recording) -> None:
    samples, where = recording.samples, f"{dataset.name}: recording {recording.name}"
    if samples.ndim != 2:
        raise EdgeLstmError(f"{where}: samples must be [time, channels], their shape is {list(samples.shape)}")
    if len(samples) == 0:
        raise EdgeLstmError(f"{where} is empty")
    if samples.shape[1] != len(dataset.channels):
        raise EdgeLstmError(f"{where}: {len(dataset.channels)} channels expected, {samples.shape[1]} came")
    if samples.dtype not in (np.int16, np.float32):
        raise EdgeLstmError(f"{where}: samples must be int16 or float32, they are {samples.dtype}")
    if samples.dtype != dataset.recordings[0].samples.dtype:
        raise EdgeLstmError(f"{where}: samples are {samples.dtype}, those before it {dataset.recordings[0].samples.dtype}")
    require_finite(where, samples, dataset.channels)


def _check_labels(dataset: Dataset, recording: Recording) -> None:
    where, known = f"{dataset.name}: recording {recording.name}", len(dataset.classes)
    if recording.label is not None and not 0 <= recording.label < known:
        raise EdgeLstmError(f"{where}: label {recording.label} is not one of the {known} classes")
    steps = recording.step_labels
    if steps is None:
        return
    if steps.shape != (len(recording.samples),):
        raise EdgeLstmError(f"{where}: {len(recording.samples)} step labels expected, shape {list(steps.shape)} came")
    require_known_label(where, steps, known)


def _check_targets(dataset: Dataset, recording: Recording) -> None:
    where, targets = f"{dataset.name}: recording {recording.name}", recording.targets
    if targets is None:
        if dataset.targets:
            raise EdgeLstmError(f"{where} has no targets; expected {', '.join(dataset.targets)}")
        return
    if targets.shape != (len(recording.samples), len(dataset.targets)):
        expected = [len(recording.samples), len(dataset.targets)]
        raise EdgeLstmError(f"{where}: targets of shape {expected} expected, shape {list(targets.shape)} came")
    if np.isinf(targets).any():
        time, target = np.argwhere(np.isinf(targets))[0]
        raise EdgeLstmError(f"{where}: target {dataset.targets[target]} is {targets[time, target]} at sample {time}; repair or cut it out")


def require_finite(where: str, samples: Samples, channels: Sequence[str], start: int = 0) -> None:
    """Refuse NaN and infinity; start: place of the first sample within the recording."""
    if samples.dtype == np.float32 and not np.isfinite(samples).all():
        time, channel = np.argwhere(~np.isfinite(samples))[0]
        value = samples[time, channel]
        raise EdgeLstmError(f"{where}: channel {channels[channel]} is {value} at sample {start + time}; repair or cut it out")


def require_known_label(where: str, steps: NDArray[np.int64], known: int) -> None:
    """Refuse step labels that are neither UNLABELLED nor one of the `known` classes."""
    if steps.min() < UNLABELLED or steps.max() >= known:
        raise EdgeLstmError(f"{where}: step labels run from {steps.min()} to {steps.max()}, there are {known} classes")


def require_scales(dataset: _Described) -> None:
    """Refuse scales, units and a rate that are none, or not as many as the channels."""
    scales = dataset.units_per_count
    if dataset.is_integer == (scales is None):
        expected = "given for int16" if dataset.is_integer else "None for float32"
        raise EdgeLstmError(f"{dataset.name}: units_per_count must be {expected} samples")
    if scales is not None:
        if scales.shape != (len(dataset.channels),):
            raise EdgeLstmError(f"{dataset.name}: {len(dataset.channels)} units_per_count expected, shape {list(scales.shape)} came")
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise EdgeLstmError(f"{dataset.name}: units_per_count must be positive, they are {scales.tolist()}")
    if dataset.units and len(dataset.units) != len(dataset.channels):
        raise EdgeLstmError(f"{dataset.name}: {len(dataset.channels)} units expected, {len(dataset.units)} came")
    if dataset.rate_hz is not None and not (np.isfinite(dataset.rate_hz) and dataset.rate_hz > 0):
        raise EdgeLstmError(f"{dataset.name}: rate_hz must be positive, it is {dataset.rate_hz}")
