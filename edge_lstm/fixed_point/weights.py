"""Weight rows in integers of 8 bits, 4 bits, three or two values, with one scale per row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerRow
from edge_lstm.network import FloatArray, RowWeights

Float64Array = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
WeightBits = Mapping[str, str]
LARGEST = {"8": 127, "4": 7}  # weight integer of the formats with steps; "ternary" is -1, 0, 1 and "binary" -1, 1
FORMATS = (*LARGEST, "ternary", "binary")
GATES, CANDIDATES, DENSE = "gates", "candidates", "dense"  # names for several matrices at once
SMALLEST_SCALE = 2.0**-22  # below, a requantizing multiplier would have too few bits
MOST_INPUT_SHIFT = 6
WIDEST = 127 * ((1 << HALF_BITS) + 1)  # magnitude of an input of 16 bits, for any halves
_TERNARY_THRESHOLD = 0.7  # of the mean magnitude (Li, Zhang & Liu 2016, ternary weight networks)


def gate_rows(cell: Cell) -> tuple[str, ...]:
    """Rows that nothing but gates reads."""
    readers: dict[str, list[bool]] = {row.name: [] for row in cell.rows}
    behind: dict[int, tuple[str, ...]] = {}  # operator -> rows that it is a sum or product of
    for k, op in enumerate(cell.ops):
        rows = tuple(row for a in op.args for row in behind.get(a, ()))
        if op.code == "row":
            behind[k] = (op.name,)
        elif op.code == "activate":
            for row in rows:
                readers[row].append(op.name in cell.gates)
        else:
            behind[k] = rows
    return tuple(row for row, found in readers.items() if found and all(found))


def row_formats(cell: Cell, bits: WeightBits) -> dict[str, str]:
    """Row -> one of FORMATS, "8" where nothing is asked. A row's own name counts before "gates" and "candidates".

    bits: matrix -> format, a matrix being a row of the cell (its W and R for all units), GATES, CANDIDATES (all other rows) or DENSE.
    Raises EdgeLstmError for names and formats that do not exist, and for binary candidates.
    """
    unknown = set(bits) - {GATES, CANDIDATES, DENSE, *(row.name for row in cell.rows)}
    if unknown:
        names = ", ".join([GATES, CANDIDATES, DENSE, *(row.name for row in cell.rows)])
        raise EdgeLstmError(f"{cell.name} has no weight matrix {', '.join(sorted(unknown))}; it has {names}")
    gates, found = gate_rows(cell), {}
    for row in cell.rows:
        found[row.name] = bits.get(row.name, bits.get(GATES if row.name in gates else CANDIDATES, "8"))
        if found[row.name] == "binary" and row.name not in gates:
            raise EdgeLstmError(f"binary weights are for the rows of gates ({', '.join(gates)}); row {row.name} takes 8, 4 or ternary")
    for name, one in bits.items():
        if one not in FORMATS:
            raise EdgeLstmError(f"weights of {one} bits for {name}: choose one of {', '.join(FORMATS)}")
    if bits.get(DENSE, "8") not in LARGEST:
        raise EdgeLstmError(f"{bits[DENSE]} weights for the dense layers: choose one of {', '.join(LARGEST)}")
    return found


def round_rows(values: FloatArray, scale: FloatArray, levels: int) -> Int8Array:
    """Rounds each row of `values` [units, n] to integers of magnitude <= levels, one unit = scale [units]."""
    return np.clip(np.floor(values / scale[:, None] + 0.5), -levels, levels).astype(np.int8)


def quantize_row(
    name: str, weights: RowWeights, input_scale: Float64Array, source_scales: Sequence[float], bits: str, floor: Float64Array
) -> IntegerRow:
    """One row of all units in integers of the format `bits`, one of FORMATS.

    input_scale: [inputs], source_scales: one per source, real values of one unit of what the row reads: they are folded into the
    weights. Because x usually spans several standard deviations and h only [-1, 1], W counts 2^input_shift times as much as R, so that
    both use their bits. floor: [units] smallest accumulator unit allowed.
    """
    b = np.asarray(weights.b, np.float64)
    inputs = None if weights.W is None else np.asarray(weights.W, np.float64) * input_scale
    recurrent = [np.asarray(R, np.float64) * s for R, s in zip(weights.R, source_scales, strict=True)]
    smallest = np.maximum.reduce([np.abs(b) / 2**24, np.full(len(b), SMALLEST_SCALE), floor])
    if bits in LARGEST:
        largest = np.max([np.abs(r).max(1) for r in recurrent], 0) if recurrent else np.zeros(len(b))
        input_shift = 0
        if inputs is not None:
            largest_input = np.abs(inputs).max(1)
            input_shift = _input_shift(largest_input, largest)
            largest = np.maximum(largest, largest_input / 2**input_shift)
        scale = np.maximum(largest / LARGEST[bits], smallest)
        W = None if inputs is None else round_rows(inputs, scale * 2**input_shift, LARGEST[bits])
        R = tuple(round_rows(r, scale, LARGEST[bits]) for r in recurrent)
    else:
        W, R, input_shift, scale = _few_values(inputs, recurrent, bits, len(b))
        scale = np.maximum(scale, smallest)
    return IntegerRow(name, W, R, np.floor(b / scale + 0.5).astype(np.int32), input_shift, scale)


def _input_shift(inputs: Float64Array, recurrent: Float64Array) -> int:
    """The power of two by which the weights of x outweigh those of the sources, in the median of the units that have both."""
    both = (inputs > 0) & (recurrent > 0)
    if not both.any():
        return 0
    ratios = np.sort(np.log2(inputs[both] / recurrent[both]))
    median = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2  # np.median takes four times as long for so few
    return int(min(max(math.floor(median + 0.5), 0), MOST_INPUT_SHIFT))


def _few_values(
    inputs: Float64Array | None, recurrent: list[Float64Array], bits: str, units: int
) -> tuple[Int8Array | None, tuple[Int8Array, ...], int, Float64Array]:
    """(W, R, input_shift, scale) in the values -1, 0, 1 or -1, 1; the scale is the mean magnitude of what does not become 0."""
    signs, sizes, counts = [], [], []
    for part in ([] if inputs is None else [inputs]) + recurrent:
        magnitude = np.abs(part)
        kept = magnitude > _TERNARY_THRESHOLD * magnitude.mean(1, keepdims=True) if bits == "ternary" else np.ones(part.shape, bool)
        signs.append((np.where(part < 0, -1, 1) * kept).astype(np.int8))
        sizes.append((magnitude * kept).sum(1))
        counts.append(kept.sum(1))
    input_shift, size, count = 0, np.sum(sizes, 0) if sizes else np.zeros(units), np.sum(counts, 0) if counts else np.zeros(units)
    if inputs is not None and recurrent:
        rest, others = np.sum(sizes[1:], 0), np.sum(counts[1:], 0)
        input_shift = _input_shift(sizes[0] / np.maximum(counts[0], 1), rest / np.maximum(others, 1))
        size = sizes[0] / 2**input_shift + rest
    scale = size / np.maximum(count, 1)
    return (None if inputs is None else signs[0]), tuple(signs if inputs is None else signs[1:]), input_shift, scale
