"""Windows of recordings that are read piece by piece: the same windows as `windowing.windows`, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_lstm.data.recordings import UNLABELLED, Samples
from edge_lstm.data.source import Piece, Source
from edge_lstm.data.windowing import Windows, check_window, refuse_no_window, warn_of_short_recordings

BATCH_BYTES = 1 << 22  # of windows that are given at once


@dataclass(frozen=True)
class _Cut:
    """Windows of one stretch, or of several recordings. x: [n, time, channels], a view."""

    x: Samples
    label: NDArray[np.int64]
    recording: NDArray[np.int64]
    start: NDArray[np.int64]


class _Stretch:
    """The samples of a stretch of one label that windows still need."""

    def __init__(self, first: int, label: int):
        self.label, self.end = label, first
        self.next = first  # where the next window begins
        self.kept: list[Samples] = []
        self.first = first  # place of the first sample kept

    def add(self, samples: Samples, length: int, stride: int) -> tuple[Samples, NDArray[np.int64]]:
        """The windows [n, length, channels] that these samples complete, and where they begin."""
        self.kept.append(samples)
        self.end += len(samples)
        count = max(0, (self.end - length - self.next) // stride + 1)
        if not count:
            if self.next >= self.end:  # the stride is longer than the window: what lies between is not needed
                self.kept, self.first = [], self.end
            return samples[:0].reshape(0, 0, samples.shape[1]), np.zeros(0, np.int64)
        joined = np.concatenate(self.kept) if len(self.kept) > 1 else self.kept[0]
        starts = self.next + stride * np.arange(count)
        windows = sliding_window_view(joined[self.next - self.first :], length, axis=0)[: (count - 1) * stride + 1 : stride]
        self.next += count * stride
        self.kept = [joined[self.next - self.first :]]
        self.first = min(self.next, self.end)
        return windows.transpose(0, 2, 1), starts


def window_batches(source: Source, length: int, stride: int, batch_bytes: int | None = None) -> Iterator[Windows]:
    """The windows of `windowing.windows`, in its order, in batches of at most so many bytes of samples, one window at least.

    Raises and warns as `windowing.windows`, when the recordings have been read.
    """
    check_window(length, stride)
    size = len(source.channels) * (2 if source.is_integer else 4)
    most = max(1, (batch_bytes or BATCH_BYTES) // (length * size))
    gave = np.zeros(len(source.lengths), np.bool_)
    waiting: list[_Cut] = []
    count = 0
    for cut in _cuts(source, length, stride):
        gave[cut.recording] = True
        at = 0
        while at < len(cut.x):
            take = min(most - count, len(cut.x) - at)
            part = slice(at, at + take)
            # A copy: what the view looks at is read over.
            waiting.append(_Cut(np.array(cut.x[part]), cut.label[part], cut.recording[part], cut.start[part]))
            count, at = count + take, at + take
            if count == most:
                yield _joined(source, waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(source, waiting)
    if not gave.any():
        refuse_no_window(source.name, length, *_longest(source))
    warn_of_short_recordings(source.name, length, [source.names[int(k)] for k in np.flatnonzero(~gave)[:4]], int((~gave).sum()), len(gave))


def _joined(source: Source, cuts: list[_Cut]) -> Windows:
    recording = np.concatenate([cut.recording for cut in cuts])
    return Windows(
        x=np.concatenate([cut.x for cut in cuts]) if len(cuts) > 1 else cuts[0].x,
        y=np.concatenate([cut.label for cut in cuts]),
        person=np.array([source.people[int(k)] for k in recording]),
        recording=recording,
        start=np.concatenate([cut.start for cut in cuts]),
    )


def _cuts(source: Source, length: int, stride: int) -> Iterator[_Cut]:
    stretch, recording = _Stretch(0, UNLABELLED), -1
    for piece in source.pieces():
        if piece.count > 1:
            yield from _of_whole_recordings(source, piece, length, stride)
            continue
        label = int(source.labels[piece.recording])
        if piece.recording != recording:
            recording, stretch = piece.recording, _Stretch(0, label)
        for first, end, now in _stretches(piece, label):
            if now != stretch.label:
                stretch = _Stretch(piece.start + first, now)
            if piece.labels is not None and now == UNLABELLED:
                continue
            x, starts = stretch.add(piece.samples[first:end], length, stride)
            if len(starts):
                yield _Cut(x, np.full(len(x), now), np.full(len(x), recording), starts)


def _stretches(piece: Piece, label: int) -> list[tuple[int, int, int]]:
    """(first, end, label) of each run of one label within a piece."""
    if piece.labels is None:
        return [(0, len(piece.samples), label)]
    edges = [0, *(np.flatnonzero(np.diff(piece.labels)) + 1).tolist(), len(piece.labels)]
    return [(first, end, int(piece.labels[first])) for first, end in pairwise(edges)]


def _of_whole_recordings(source: Source, piece: Piece, length: int, stride: int) -> Iterator[_Cut]:
    x = piece.samples.reshape(piece.count, -1, piece.samples.shape[1])
    if x.shape[1] < length:
        return
    windows = sliding_window_view(x, length, axis=1)[:, ::stride].transpose(0, 1, 3, 2)
    each = windows.shape[1]
    group = max(1, BATCH_BYTES // (each * length * x.shape[2] * x.itemsize))
    for first in range(0, piece.count, group):
        some = windows[first : first + group]
        recording = np.repeat(np.arange(piece.recording + first, piece.recording + first + len(some)), each)
        starts = np.tile(stride * np.arange(each), len(some))
        yield _Cut(some.reshape(-1, length, x.shape[2]), source.labels[recording], recording, starts)


def _longest(source: Source) -> tuple[int, str, bool]:
    """Length of the longest stretch that windows may be cut from, its recording, and whether that changes its label; 0 for none."""
    best = 0, "", False
    begin, label, at = 0, UNLABELLED, -1
    for piece in source.pieces():
        if piece.labels is None:
            for k in range(piece.recording, piece.recording + piece.count):
                if source.lengths[k] > best[0]:
                    best = int(source.lengths[k]), source.names[k], False
            continue
        for first, end, now in _stretches(piece, UNLABELLED):
            if piece.recording != at or now != label:
                begin, label, at = piece.start + first, now, piece.recording
            if now != UNLABELLED and piece.start + end - begin > best[0]:
                best = piece.start + end - begin, source.names[at], True
    return best
