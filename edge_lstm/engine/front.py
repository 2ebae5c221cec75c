"""Raw counts to the int8 inputs of the network, for many sequences: the bits of `reference.normalize` without its temporary arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.batch import Batch, Int64Array, first_rows
from edge_lstm.engine.feature_kernel import FeatureTables
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.fixed_point.integer_network import Normalize
from edge_lstm.fixed_point.operators import half

ENOUGH_FOR_A_KERNEL = 1 << 15  # counts: below, NumPy normalizes them faster than a kernel is loaded from the disk
_SOURCE = '''"""Normalization of many sequences."""


def normalize(raw, starts, x, to, blocks, decimation, offset, limit, multiplier, shift, half):
    """x [rows, channels] from counts raw [rows, channels]; the bounds of the converter keep all sums within 32 bits.

    Sequence k has blocks[k] blocks of samples; they begin at row starts[k] of raw and go to x from row to[k] on.
    """
    for sequence in range(len(blocks)):
        for block in range(blocks[sequence]):
            for channel in range(x.shape[1]):
                total = 0
                first = starts[sequence] + block * decimation
                for sample in range(first, first + decimation):
                    total += raw[sample, channel]
                centred = min(max(total - offset[channel], -limit[channel]), limit[channel])
                x[to[sequence] + block, channel] = min(max((centred * multiplier[channel] + half) >> shift, -127), 127)
'''
SIGNATURE = (
    "void(Array(int16, 2, 'C', readonly=True), int64[::1], int8[:, ::1], int64[::1], int64[::1], int64, int64[::1], int64[::1],"
    " int64[::1], int64, int64)"
)


def normalize(front: Normalize, batch: Batch, which: Int64Array) -> tuple[npt.NDArray[np.int8], Int64Array]:
    """x: int8 [blocks, outputs] of the sequences `which` of counts, one after the other, and the first row of each.

    An unfinished last block is dropped.
    """
    blocks = batch.lengths[which] // front.decimation
    to = first_rows(blocks)
    x = np.empty((int(blocks.sum()), front.outputs), np.int8)
    if int(batch.lengths[which].sum()) * front.inputs < ENOUGH_FOR_A_KERNEL:
        for sequence, first, count in zip(which.tolist(), to.tolist(), blocks.tolist(), strict=True):
            x[first : first + count] = reference.normalize(front, batch.sequence(sequence))
        return x, to
    rows, starts = batch.rows(which)
    if front.features is not None:
        FeatureTables(front, front.features).whole(rows.astype(np.int16, copy=False), starts, x, to, blocks)
        return x, to
    offset, limit, multiplier = (values.astype(np.int64) for values in (front.offset, front.limit, front.multiplier))
    kernel = kernels(_SOURCE, {"normalize": SIGNATURE})["normalize"]
    kernel(rows, starts, x, to, blocks, front.decimation, offset, limit, multiplier, front.shift, half(front.shift))
    return x, to
