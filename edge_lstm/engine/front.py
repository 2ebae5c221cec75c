"""Raw counts to the int8 inputs of the network, for many sequences: the bits of `reference.normalize` without its temporary arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.batch import Batch, Int64Array, first_rows
from edge_lstm.engine.feature_kernel import FeatureTables
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.fixed_point.integer_network import Normalize
from edge_lstm.fixed_point.operators import half, split

ENOUGH_FOR_A_KERNEL = 1 << 15  # counts: below, NumPy normalizes them faster than a kernel is loaded from the disk
TOGETHER = 1024  # values that one loop of the kernel normalizes
_SOURCE = '''"""Normalization of many sequences."""


def normalize(raw, starts, x, to, blocks, channels, decimation, offset, limit, multiplier, shift, half, sums, end):
    """x from counts raw, both [rows * channels]; the bounds of the converter keep all sums within 32 bits.

    Sequence k has blocks[k] blocks of samples; they begin at row starts[k] of raw and go to x from row to[k] on. offset, limit and
    multiplier are repeated for as many blocks as sums has room for, so that one loop runs over many values. end: largest x; where that
    takes 16 bits, a row of x is the high halves and then the low ones.
    """
    most = len(sums) // channels
    for sequence in range(len(blocks)):
        done = 0
        while done < blocks[sequence]:
            count = min(most, blocks[sequence] - done)
            width = count * channels
            at = (starts[sequence] + done * decimation) * channels
            counts = raw[at : at + width * decimation]
            if decimation == 1:
                for k in range(width):
                    sums[k] = counts[k]
            else:
                for block in range(count):
                    total = sums[block * channels : (block + 1) * channels]
                    total[:] = 0
                    for sample in range(block * decimation, (block + 1) * decimation):
                        values = counts[sample * channels : (sample + 1) * channels]
                        for k in range(channels):
                            total[k] += values[k]
            place = (to[sequence] + done) * channels
            if end == 127:
                results = x[place : place + width]
                for k in range(width):
                    centred = min(max(sums[k] - offset[k], -limit[k]), limit[k])
                    results[k] = min(max((centred * multiplier[k] + half) >> shift, -127), 127)
            else:
                for k in range(width):
                    centred = min(max(sums[k] - offset[k], -limit[k]), limit[k])
                    value = min(max((centred * multiplier[k] + half) >> shift, -end), end)
                    at = 2 * place + k + channels * (k // channels)
                    x[at] = (value + 64) >> 7
                    x[at + channels] = value - (((value + 64) >> 7) << 7)
            done += count
'''
SIGNATURE = (
    "void(Array(int16, 1, 'C', readonly=True), int64[::1], int8[::1], int64[::1], int64[::1], int64, int64, int32[::1], int32[::1],"
    " int32[::1], int64, int64, int32[::1], int64)"
)


def normalize(front: Normalize, batch: Batch, which: Int64Array) -> tuple[npt.NDArray[np.int8], Int64Array]:
    """x: int8 [blocks, width] of the sequences `which` of counts, one after the other, and the first row of each.

    An unfinished last block is dropped.
    """
    blocks = batch.lengths[which] // front.decimation
    to = first_rows(blocks)
    x = np.empty((int(blocks.sum()), front.width), np.int8)
    if front.features is None and int(batch.lengths[which].sum()) * front.inputs < ENOUGH_FOR_A_KERNEL:
        for sequence, first, count in zip(which.tolist(), to.tolist(), blocks.tolist(), strict=True):
            x[first : first + count] = of_few(front, batch.sequence(sequence)[None])[0]
        return x, to
    rows, starts = batch.rows(which)
    if front.features is not None:
        FeatureTables(front, front.features).whole(rows.astype(np.int16, copy=False), starts, x, to, blocks)
        return x, to
    repeats = max(1, TOGETHER // front.inputs)
    constants = (np.tile(values.astype(np.int32), repeats) for values in (front.offset, front.limit, front.multiplier))
    sums = np.empty(repeats * front.inputs, np.int32)
    kernel = kernels(_SOURCE, {"normalize": SIGNATURE})["normalize"]
    sizes = front.inputs, front.decimation
    kernel(rows.reshape(-1), starts, x.reshape(-1), to, blocks, *sizes, *constants, front.shift, half(front.shift), sums, front.limit_of_x)
    return x, to


def of_few(front: Normalize, raw: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
    """x: int8 [batch, blocks, width] from counts raw: [batch, samples, channels] of a front end without features, by NumPy."""
    if front.decimation == 1:
        sums = raw.astype(np.int32)
    else:
        blocks = raw.shape[1] // front.decimation
        whole = raw[:, : blocks * front.decimation].reshape(len(raw), blocks, front.decimation, raw.shape[2])
        sums = whole.sum(2, dtype=np.int32)
    sums -= front.offset
    np.maximum(sums, -front.limit, out=sums)
    np.minimum(sums, front.limit, out=sums)
    sums *= front.multiplier
    sums += half(front.shift)
    sums >>= front.shift
    np.maximum(sums, -front.limit_of_x, out=sums)
    np.minimum(sums, front.limit_of_x, out=sums)
    return (split(sums.astype(np.int64)) if front.wide else sums).astype(np.int8)
