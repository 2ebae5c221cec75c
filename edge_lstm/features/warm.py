"""The front end on whole recordings: what it remembers when a window begins, as on a device that runs on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.features.operators import Memory, block_sums, memory_after, run_features
from edge_lstm.features.program import Features


def memories(
    features: Features, decimation: int, recordings: Sequence[npt.NDArray[np.integer]], recording: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
) -> Memory | None:  # fmt: skip
    """The memory [windows, width] of each remembering operator before the first sample of each window; None without any.

    recordings: counts [samples, channels] each; recording, start: [windows] where each window begins. The blocks before a window end where
    it begins; where there are none, the memory is that of a reset at the window's own first block.
    """
    if not features.remembering:
        return None
    found = {k: np.zeros((len(start), features.widths[k]), np.int64) for k in features.remembering}
    for which in np.unique(recording):
        inside = recording == which
        for phase in np.unique(start[inside] % decimation):
            _, traces = run_features(features, block_sums(recordings[which][phase:], decimation))
            first = _first(features, block_sums(recordings[which][phase : phase + decimation], decimation))
            for window in np.flatnonzero(inside & (start % decimation == phase)):
                blocks = int(start[window] - phase) // decimation
                for k, values in (memory_after(traces, blocks - 1) if blocks else first).items():
                    found[k][window] = values
    return found


def _first(features: Features, sums: npt.NDArray[np.int64]) -> Memory:
    """The memory that makes the first step what it is after a reset."""
    _, traces = run_features(features, sums)
    # An operator whose argument stays as it is keeps its memory, and that is how one starts.
    return memory_after(traces, 0)
