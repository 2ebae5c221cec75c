"""Decimation and standardization in float64: the reference that the integer preprocessing of a model is held against."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lstm.data.windowing import DataWarning
from edge_lstm.errors import EdgeLstmError, UsageError


def decimate(x: ArrayLike, factor: int) -> NDArray[np.float64]:
    """Mean of each block of `factor` samples: [..., time, channels] to [..., time // factor, channels] float64.

    An incomplete last block is left out, as a stream has no value for it yet.

    Raises:
        UsageError: factor below 1. EdgeLstmError: fewer samples than one block.
    """
    if factor < 1:
        raise UsageError(f"the decimation factor must be at least 1, got {factor}")
    samples = np.asarray(x, dtype=np.float64)
    if samples.ndim < 2:
        raise EdgeLstmError(f"samples must be [..., time, channels], their shape is {list(samples.shape)}")
    *batch, time, channels = samples.shape
    blocks = time // factor
    if blocks == 0:
        raise EdgeLstmError(f"{time} samples are fewer than one block of {factor}")
    return samples[..., : blocks * factor, :].reshape(*batch, blocks, factor, channels).mean(axis=-2)


class Standardization(NamedTuple):
    """offset, scale: [channels] float64 in raw units (counts for int16 samples): z = (block mean - offset) / scale."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, block_means: NDArray[np.float64]) -> NDArray[np.float64]:
        """[..., channels] in raw units to zero mean and unit variance (over the data it was learned on)."""
        return (block_means - self.offset) / self.scale


def standardize(x_windows: ArrayLike, decimation: int, channels: Sequence[str] | None = None) -> Standardization:
    """Learn mean and standard deviation of each channel over the block means of the TRAINING windows only.

    x_windows: [n, time, channels] raw samples. channels: their names, for messages.
    A channel that never changes gets scale 1: it then carries the constant 0 and does no harm.

    Raises:
        EdgeLstmError: no windows, or a sample that is not finite; as `decimate`.
    Warns:
        DataWarning: a channel never changes.
    """
    samples = np.asarray(x_windows)
    if samples.ndim != 3 or samples.size == 0:
        raise EdgeLstmError(f"windows must be [n, time, channels] and not empty, their shape is {list(samples.shape)}")
    names = [str(index) for index in range(samples.shape[-1])] if channels is None else list(channels)
    if len(names) != samples.shape[-1]:
        raise EdgeLstmError(f"{len(names)} channels expected, {samples.shape[-1]} came")
    means = decimate(samples, decimation).reshape(-1, samples.shape[-1])
    if not np.isfinite(means).all():
        broken = names[int(np.flatnonzero(~np.isfinite(means).all(axis=0))[0])]
        raise EdgeLstmError(f"channel {broken} holds a value that is not finite; repair or cut it out")
    offset, scale = means.mean(axis=0), means.std(axis=0)
    constant = means.min(axis=0) == means.max(axis=0)  # not scale == 0: the mean of equal values may be off in its last bit
    for channel in np.flatnonzero(constant):
        message = f"channel {names[channel]} is {means[0, channel]:g} in every training window; its scale is set to 1"
        warnings.warn(message, DataWarning, stacklevel=2)
    return Standardization(np.where(constant, means[0], offset), np.where(constant, 1.0, scale))
