"""Weights of few bits, several in a byte, for rows that are summed one by one: a property of the values, there is no format for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LARGEST = {2: 1, 4: 7}  # bits -> largest magnitude: -2 and -8 are not used, as -128 is not
IN_A_BYTE = {1: "eight", 2: "four", 4: "two"}


def fewest_bits(values: npt.NDArray[np.integer]) -> int:
    """2, 4 or 8: what a weight of `values` [..., length] takes, so that its rows have the fewest bytes; the most bits of those."""
    reach = int(np.abs(values.astype(np.int64)).max(initial=0))
    fitting = [8, *(bits for bits in (4, 2) if reach <= LARGEST[bits])]
    return min(fitting, key=lambda bits: row_bytes(values.shape[-1], bits))


def row_bytes(length: int, bits: int) -> int:
    """Bytes of a row; each starts with a byte of its own."""
    return -(-length * bits // 8)


def pack(values: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.uint8]:
    """`values` [..., length] as uint8 [..., row_bytes]: two's complement, the first weight in the lowest bits, 0 behind the last."""
    count, length = 8 // bits, values.shape[-1]
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -length % count)]
    fields = np.pad(values.astype(np.int64) & (2**bits - 1), padding).reshape(*values.shape[:-1], -1, count)
    return (fields << (bits * np.arange(count))).sum(-1).astype(np.uint8)
