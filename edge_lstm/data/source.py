"""Recordings that are read piece by piece, so that a file may be larger than the memory.

A Source says of its recordings what a Dataset says, but for the samples: those come from `pieces`, in order, as often as one asks. A reader
makes one Source in a first look at the file (see `npz_source` and `table_source`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.recordings import UNLABELLED, Samples, first_repeated, require_finite, require_known_label, require_scales
from edge_lstm.errors import EdgeLstmError

PIECE_BYTES = 1 << 20  # of a file that are looked at together


@dataclass(frozen=True, eq=False)
class Piece:
    """Successive samples of one recording, or several whole recordings of equal length, one after the other.

    recording: index of the (first) recording; count: number of recordings; start: place of the first sample within the recording;
    samples: [time, channels] int16 or float32; labels: [time] class index of each sample, UNLABELLED where there is none, for a recording
    whose label changes on the way (then count is 1); None otherwise.
    """

    recording: int
    start: int
    samples: Samples
    labels: NDArray[np.int64] | None = None
    count: int = 1


@dataclass(frozen=True, eq=False)
class Source:
    """Recordings on disk. names, people: [recordings]; lengths: [recordings] samples of each; labels: [recordings] class index, UNLABELLED
    for none and where the label changes on the way; changing: [recordings] whether it does; is_integer: whether samples are int16 counts.

    The rest is as in `Dataset`. pieces: reads the samples from the first one on, raising EdgeLstmError for what a Dataset refuses.
    """

    name: str
    names: Sequence[str]
    people: Sequence[str]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    changing: NDArray[np.bool_]
    is_integer: bool
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    rate_hz: float | None
    units_per_count: NDArray[np.float64] | None
    source: str
    units: tuple[str, ...]
    pieces: Callable[[], Iterator[Piece]]

    def __post_init__(self) -> None:
        if not len(self.lengths):
            raise EdgeLstmError(f"{self.name}: there are no recordings in it")
        empty = np.flatnonzero(self.lengths == 0)
        if len(empty):
            raise EdgeLstmError(f"{self.name}: recording {self.names[int(empty[0])]} is empty")
        for what, named in (("channel", self.channels), ("class", self.classes)):
            if repeated := first_repeated(named):
                raise EdgeLstmError(f"{self.name}: two of its {what} names are {repeated!r}; names must differ")
        known = len(self.classes)
        wrong = np.flatnonzero((self.labels >= known) | ((self.labels < 0) & (self.labels != UNLABELLED)))
        if len(wrong):
            first = int(wrong[0])
            raise EdgeLstmError(f"{self.name}: recording {self.names[first]}: label {self.labels[first]} is not one of the {known} classes")
        require_scales(self)

    @property
    def samples(self) -> int:
        """Number of samples of all recordings."""
        return int(self.lengths.sum())


class Numbered(Sequence[str]):
    """Names of recordings that have none: their numbers. It takes no memory, however many they are."""

    def __init__(self, count: int):
        self._count, self._width = count, len(str(count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return f"{index % self._count:0{self._width}d}"


class Repeated(Sequence[str]):
    """One text for all recordings."""

    def __init__(self, text: str, count: int):
        self._text, self._count = text, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._text


def select_source_channels(source: Source, channels: Sequence[str]) -> Source:
    """The source with only these channels, in this order. Raises EdgeLstmError for a name it does not have."""
    missing = [channel for channel in channels if channel not in source.channels]
    if missing:
        raise EdgeLstmError(f"{source.name}: no channel {missing[0]!r}; it has {', '.join(source.channels)}")
    index = [source.channels.index(channel) for channel in channels]

    def pieces() -> Iterator[Piece]:
        return (replace(piece, samples=np.ascontiguousarray(piece.samples[:, index])) for piece in source.pieces())

    return replace(
        source,
        channels=tuple(channels),
        units_per_count=None if source.units_per_count is None else source.units_per_count[index],
        units=tuple(source.units[k] for k in index) if source.units else (),
        pieces=pieces,
    )


def with_source_classes(source: Source, classes: Sequence[str]) -> Source:
    """The source with its labels renumbered, by name, to index `classes`.

    Raises EdgeLstmError for a recording with a label that is not in `classes`: at once, or from `pieces` where labels change on the way.
    """
    place = {name: index for index, name in enumerate(classes)}
    renumber = np.array([place.get(name, UNLABELLED) for name in source.classes] + [UNLABELLED], np.int64)

    def check(recording: int, labels: NDArray[np.int64]) -> None:
        unknown = labels[(labels != UNLABELLED) & (renumber[labels] == UNLABELLED)]
        if len(unknown):
            raise EdgeLstmError(
                f"{source.name}: recording {source.names[recording]} is labelled {source.classes[int(unknown[0])]!r}, "
                f"which is not among the classes {', '.join(classes)}"
            )

    lost = np.flatnonzero((source.labels != UNLABELLED) & (renumber[source.labels] == UNLABELLED))
    if len(lost):
        check(int(lost[0]), source.labels[lost[:1]])

    def pieces() -> Iterator[Piece]:
        for piece in source.pieces():
            if piece.labels is not None:
                check(piece.recording, piece.labels)
                piece = replace(piece, labels=renumber[piece.labels])
            yield piece

    return replace(source, classes=tuple(classes), labels=renumber[source.labels], pieces=pieces)


def checked(source: Source, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces, each refused where a Dataset would refuse it: NaN, infinity, a label without a class."""
    for piece in pieces:
        length = len(piece.samples) // piece.count
        if piece.samples.dtype == np.float32 and not np.isfinite(piece.samples).all():
            which = int(np.flatnonzero(~np.isfinite(piece.samples).all(1))[0]) // length
            where = f"{source.name}: recording {source.names[piece.recording + which]}"
            require_finite(where, piece.samples[which * length : (which + 1) * length], source.channels, piece.start)
        if piece.labels is not None:
            require_known_label(f"{source.name}: recording {source.names[piece.recording]}", piece.labels, len(source.classes))
        yield piece
