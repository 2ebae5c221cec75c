"""Raw counts to the int8 inputs of the network, for whole recordings: the bits of `reference.normalize` without its temporary arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.feature_kernel import FeatureTables
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.fixed_point.integer_network import Normalize
from edge_lstm.fixed_point.operators import half

_SOURCE = '''"""Normalization of whole recordings."""


def normalize(raw, x, decimation, offset, limit, multiplier, shift, half):
    """x [batch, blocks, channels] from counts raw [batch, samples, channels]; the bounds of the converter keep all sums within 32 bits."""
    for sequence in range(x.shape[0]):
        for block in range(x.shape[1]):
            for channel in range(x.shape[2]):
                total = 0
                for sample in range(block * decimation, (block + 1) * decimation):
                    total += raw[sequence, sample, channel]
                centred = min(max(total - offset[channel], -limit[channel]), limit[channel])
                x[sequence, block, channel] = min(max((centred * multiplier[channel] + half) >> shift, -127), 127)
'''
SIGNATURE = "void(int16[:, :, ::1], int8[:, :, ::1], int64, int64[::1], int64[::1], int64[::1], int64, int64)"


def normalize(front: Normalize, raw: npt.NDArray[np.int16]) -> npt.NDArray[np.int8]:
    """x: int8 [batch, blocks, outputs] from counts raw: [batch, samples, channels], checked; an unfinished last block is dropped."""
    counts = np.ascontiguousarray(raw)
    if not counts.flags.writeable:
        counts = counts.copy()
    x = np.empty((len(raw), raw.shape[1] // front.decimation, front.outputs), np.int8)
    if front.features is not None:
        FeatureTables(front, front.features).whole(counts, x)
        return x
    offset, limit, multiplier = (values.astype(np.int64) for values in (front.offset, front.limit, front.multiplier))
    kernel = kernels(_SOURCE, {"normalize": SIGNATURE})["normalize"]
    kernel(counts, x, front.decimation, offset, limit, multiplier, front.shift, half(front.shift))
    return x
