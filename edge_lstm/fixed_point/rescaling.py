"""Constants of the `rescale` operator: from one unit to another by clamp, 32-bit multiplication and rounding shift."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

INT16, LEAST_BITS = 2**15 - 1, 9  # largest multiplier of a short table, and the bits that its smallest must keep


class Rescaling(NamedTuple):
    """result = (clip(v, -limit, limit) * multiplier + 2^(shift-1)) >> shift; limit and multiplier: int32 [n]."""

    limit: npt.NDArray[np.int32]
    multiplier: npt.NDArray[np.int32]
    shift: int


def rescaling(ratio: npt.NDArray[np.float64], reach: int, short: int = INT16) -> Rescaling:
    """v * ratio for results up to +-reach, with as many multiplier bits as 32-bit products allow.

    ratio: [n] units of the result in one unit of v. Values beyond `reach` are clamped near it, so that no product leaves 32 bits.
    Multipliers stay below `short` where the smallest of them keeps LEAST_BITS bits all the same (or as many as it would have anyway):
    their table is then half as large, and cores of 8 or 16 bits multiply faster.
    """
    narrow, wide = _rescaling(ratio, reach, short), _rescaling(ratio, reach, 2**30)
    return narrow if narrow.shift == wide.shift or narrow.multiplier.min() >= 2 ** (LEAST_BITS - 1) else wide


def _rescaling(ratio: npt.NDArray[np.float64], reach: int, largest: int) -> Rescaling:
    """With multipliers below `largest`."""
    ratio = np.minimum(ratio, reach + 1.0)  # one unit of v, and any other that is not 0, is then beyond reach already
    shift = max(0, min(24, math.floor(math.log2(2**30 / (reach + 1)))))
    while shift and float(ratio.max()) * 2**shift >= largest:
        shift -= 1
    half = 2 ** (shift - 1) if shift else 0
    multiplier = np.maximum(np.floor(ratio * 2.0**shift + 0.5), 1)
    limit = np.minimum(np.ceil((reach + 1) / ratio), np.floor((2**31 - 1 - half) / multiplier))  # the second is below 2^31 too
    return Rescaling(limit.astype(np.int32), multiplier.astype(np.int32), shift)
