"""Number formats: of states, of rows, of tables. Chosen from the float network and the ranges that calibration saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation, Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.curve import Curve
from edge_lstm.network import Recurrent

INT8, INT16 = 127, 32767
PREACTIVATION = 2.0**-11  # unit of the argument of a curve
SEGMENTS = {"softsign": 256}  # all other curves: 64
CELL_FRACTION = 11  # Q4.11: +-16 at a step of 1/2048, enough for every cell that forgets (shared default of converter and trainer)


@dataclass(frozen=True)
class Format:
    """Format of a state: integer of `bits` within [-limit, limit], real value = integer * scale."""

    bits: int
    limit: int
    scale: float


def _read_by_rows(cell: Cell) -> set[str]:
    return {cell.ops[a].name for op in cell.ops if op.code == "row" for a in op.args if cell.ops[a].code == "state"}


def _read_by_arithmetic(cell: Cell) -> set[str]:
    return {cell.ops[a].name for op in cell.ops if op.code != "row" for a in op.args if cell.ops[a].code == "state"}


def state_formats(layer: Recurrent, ranges: Mapping[str, float], cell_bits: int = 16) -> dict[str, Format]:
    """Format of each state. ranges: state -> largest magnitude that calibration saw.

    - A state that only rows read (h of an LSTM) is int8, one unit = bound / 127.
    - A state that only arithmetic reads (c) is int16 with a power-of-two scale: Q4.11, coarser when calibration asks for it. With 32 bits
      it keeps its 11 fraction bits, within +-2^24 units behind threshold gates. A soft gate has the fewer bits, the more the state has, for
      their product fits 32: there the state has as many as calibration asks for, at most 19 beside the sign, which leaves a gate 10.
    - A state that both read (h of a GRU) keeps 8 more bits than the int8 that its rows see, so that it can move by less than 1 / 127.
    """
    cell, rows, arithmetic = layer.cell, _read_by_rows(layer.cell), _read_by_arithmetic(layer.cell)
    formats = {}
    for state, update in cell.updates:
        seen = max(float(ranges[state]), float(np.abs(layer.initial[state]).max()) if state in layer.initial else 0.0)
        if state not in rows and state in arithmetic:
            whole = math.ceil(math.log2(max(seen * 1.25, 1.0)))  # bits before the point
            if cell_bits == 16:
                formats[state] = Format(16, INT16, 2.0 ** -min(CELL_FRACTION, 14 - whole))
                continue
            soft = any(layer.activations[gate].kind not in ("threshold", "three_level") for gate in cell.gates)
            bits = min(19, max(15, CELL_FRACTION + whole)) if soft else 24
            formats[state] = Format(32, 2**bits, 2.0 ** -min(CELL_FRACTION, bits - whole))
            continue
        op = cell.ops[update]
        if op.code == "activate" and layer.activations[op.name].is_threshold:
            formats[state] = Format(8, INT8, 1 / INT8)  # open is 127: a row that reads it beside h keeps one scale for both
            continue
        bound = 1.0 if _unit_bounded(layer) and seen <= 1.0 else 2.0 ** math.ceil(math.log2(max(seen, 2.0**-6)))
        unit = bound / INT8
        formats[state] = Format(16, INT8 * 256, unit / 256) if state in arithmetic else Format(8, INT8, unit)
    return formats


def _unit_bounded(layer: Recurrent) -> bool:
    """True when every squashing of the cell stays within [-1, 1], so that its output does too."""
    return all(max(map(abs, layer.activations[role.name].bounds)) <= 1 for role in layer.cell.roles)


@lru_cache(maxsize=256)  # training asks for the same few curves in every iteration
def knots(activation: Activation, segments: int, width: float, unit: float) -> npt.NDArray[np.int16]:
    """Values of `activation` at the segments + 1 ends of segments of `width`, centred on 0, in multiples of `unit`, as int16.

    The two ends take the function's limits, so that a saturated gate is as open as its format allows. The array cannot be written to.
    """
    x = (np.arange(segments + 1) - segments / 2) * width
    y = np.asarray(activation(x), np.float64)
    y[0], y[-1] = activation.bounds
    values = np.clip(np.floor(y / unit + 0.5), -INT16, INT16).astype(np.int16)
    values.flags.writeable = False
    return values


def bent(activation: Activation, unit: float) -> tuple[Curve, float]:
    """(curve, unit of its argument) of an activation of `FEED_FORWARD_ONLY`, for results within +-INT8 units of `unit`.

    Such a function has no upper limit, so its curve reaches as far as these results do, on both sides of 0; what lies beyond saturates.
    """
    seen, below = INT8 * unit, activation.alpha
    if activation.kind == "leaky_relu":
        reach = max(seen, min(seen / below, INT8 * seen))
    elif activation.kind == "elu":
        settled = math.log(max(4 * below / unit, 1.0))  # from there on within a quarter of a unit of -alpha
        reach = max(seen, min(settled, -math.log1p(-seen / below)) if below > seen else settled)
    else:
        reach = max(seen + 0.25, 5.0)  # x Phi(x) is at least x - 0.17, and within 2^-19 of 0 below -5
    for segments in (64, 256):
        x = (np.arange(segments + 1) - segments / 2) * (2 * reach / segments)
        y = np.asarray(activation(x), np.float64)
        inner = np.asarray(activation((x[1:] + x[:-1]) / 2), np.float64)
        matters = np.minimum(np.abs(y[1:]), np.abs(y[:-1])) <= (INT8 + 1) * unit  # of the others both ends saturate
        if float(np.abs((y[1:] + y[:-1]) / 2 - inner)[matters].max()) <= unit / 4:
            break
    largest = float(np.maximum(np.abs(y[1:]), np.abs(y[:-1]))[matters].max())
    extra = max(0, min(15, math.floor(math.log2(INT16 * unit / largest))))
    values = np.clip(np.floor(y * (2.0**extra / unit) + 0.5), -INT16, INT16).astype(np.int16)
    segment_shift = 16 - round(math.log2(segments))  # the argument has 16 bits
    return Curve(str(activation), values, segment_shift, extra), 2 * reach / 2**16


def sampled(activation: Activation, unit: float, grid: float = PREACTIVATION) -> Curve:
    """The curve of `activation` for arguments in units of `grid`, with results in units of `unit` and as many more bits as int16 has."""
    saturation, segments = activation.saturation or 16.0, SEGMENTS.get(activation.kind, 64)
    width = 2 * saturation / segments
    segment_shift = round(math.log2(width / grid))
    if segment_shift < 0:
        raise EdgeLstmError(f"a state has too coarse a format ({grid:g}) for the curve {activation}")
    extra = max(0, min(15, math.floor(math.log2(INT16 * unit / max(map(abs, activation.bounds))))))
    return Curve(str(activation), knots(activation, segments, width, unit / 2**extra), segment_shift, extra)
