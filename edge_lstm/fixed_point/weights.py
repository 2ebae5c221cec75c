"""Weight rows in int8, with one scale per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerRow
from edge_lstm.network import FloatArray, RowWeights

Float64Array = npt.NDArray[np.float64]
SMALLEST_SCALE = 2.0**-22  # below, a requantizing multiplier would have too few bits
MOST_INPUT_SHIFT = 6


def round_rows(values: FloatArray, scale: FloatArray, levels: int) -> npt.NDArray[np.int8]:
    """Rounds each row of `values` [units, n] to integers of magnitude <= levels, one unit = scale [units]."""
    return np.clip(np.floor(values / scale[:, None] + 0.5), -levels, levels).astype(np.int8)


def quantize_row(
    name: str, weights: RowWeights, input_scale: Float64Array, source_scales: Sequence[float], levels: int, floor: Float64Array
) -> IntegerRow:
    """One row of all units in integers of magnitude <= levels.

    input_scale: [inputs], source_scales: one per source, real values of one unit of what the row reads: they are folded into the
    weights. Because x usually spans several standard deviations and h only [-1, 1], W counts 2^input_shift times as much as R, so that
    both use their bits. floor: [units] smallest accumulator unit allowed.
    """
    b = np.asarray(weights.b, np.float64)
    inputs = None if weights.W is None else np.asarray(weights.W, np.float64) * input_scale
    recurrent = [np.asarray(R, np.float64) * s for R, s in zip(weights.R, source_scales, strict=True)]
    largest = np.max([np.abs(r).max(1) for r in recurrent], 0) if recurrent else np.zeros(len(b))
    input_shift = 0
    if inputs is not None:
        largest_input = np.abs(inputs).max(1)
        both = (largest_input > 0) & (largest > 0)
        if both.any():
            ratio = np.median(np.log2(largest_input[both] / largest[both]))
            input_shift = int(np.clip(np.floor(ratio + 0.5), 0, MOST_INPUT_SHIFT))
        largest = np.maximum(largest, largest_input / 2**input_shift)
    scale = np.maximum.reduce([largest / levels, np.abs(b) / 2**24, np.full(len(b), SMALLEST_SCALE), floor])
    return IntegerRow(
        name,
        None if inputs is None else round_rows(inputs, scale * 2**input_shift, levels),
        tuple(round_rows(r, scale, levels) for r in recurrent),
        np.floor(b / scale + 0.5).astype(np.int32),
        input_shift,
        scale,
    )
