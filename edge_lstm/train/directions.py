"""Layers that read a sequence from its end: each sequence is turned around within its own length, before and after the layer.

So the kernels, which know one direction only, run both. Turning twice changes nothing, and the adjoint of turning is turning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def turning(lengths: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    """[steps, batch]: at each step the step that a turned sequence has there; those beyond its length stay."""
    t = np.arange(steps)[:, None]
    return np.where(t < lengths, lengths - 1 - t, t)


def turned(v: Array, order: npt.NDArray[np.int64]) -> Array:
    """v [time, features, batch] in that order of the steps."""
    return np.ascontiguousarray(np.take_along_axis(v, order[:, None], 0))
