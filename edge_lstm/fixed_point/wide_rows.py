"""Rows over an input of 16 bits, which read nothing else: their sums have 7 bits more than those over 8 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.formats import INT8
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerRow
from edge_lstm.fixed_point.weights import WIDEST, quantize_row
from edge_lstm.network import RowWeights

Float64Array = npt.NDArray[np.float64]


def quantize_wide_row(name: str, weights: RowWeights, input_scale: Float64Array, bits: str, floor: Float64Array) -> IntegerRow:
    """A row that reads nothing but an input of 16 bits: the weights of `quantize_row` for its high halves.

    input_scale: [inputs] real value of one unit of x; floor: [units] smallest accumulator unit allowed.
    """
    high = input_scale * 2**HALF_BITS
    room = np.abs(np.asarray(weights.W, np.float64) * high).sum(1) * WIDEST / 2**30  # so that the sum fits 32 bits
    smallest = np.maximum.reduce([floor * 2**HALF_BITS, room, np.abs(np.asarray(weights.b, np.float64)) / 2**22])
    row = quantize_row(name, weights, high, [], bits, smallest)
    scale = row.scale / 2**HALF_BITS
    return replace(row, bias=np.floor(weights.b / scale + 0.5).astype(np.int32), scale=scale)


def common_unit(of_input: IntegerRow, of_states: IntegerRow) -> tuple[Float64Array, int]:
    """Unit [units] of the row W x + b of a threshold gate, and the power of two by which that of its row R s is larger.

    With these the two are added without rounding, so that the sum has the sign that one row would have. of_input, of_states: the rows with
    the smallest units that their weights allow.
    """
    reach = INT8 * sum(np.abs(R.astype(np.int64)).sum(1) for R in of_states.R)
    most = int(np.log2(2**30 / np.maximum(reach, 1).max()))
    shift = int(np.clip(np.floor(np.median(np.log2(of_states.scale / of_input.scale)) + 0.5), 0, most))
    return np.maximum(of_input.scale, of_states.scale / 2.0**shift), shift
