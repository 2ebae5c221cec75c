"""A feature program as tables, and one kernel that runs any of them: whole recordings, or sample by sample for streams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.kernel_cache import Kernels, kernels
from edge_lstm.features import Features
from edge_lstm.fixed_point.integer_network import Normalize
from edge_lstm.fixed_point.operators import half

Int64Array = npt.NDArray[np.int64]
_CODES = ("channels", "average", "subtract", "difference", "magnitude", "compand")

_SOURCE = f'''"""Feature programs, one step at a time; `edge_lstm.features.operators` is their definition."""

from numba import njit

{", ".join(code.upper() for code in _CODES)} = range({len(_CODES)})
''' + '''

@njit(error_model="numpy")
def compand(v, numbers, at, count):
    knee, bits = numbers[at], numbers[at + 1]
    segments = count - 3
    u = min(abs(v) + (1 << knee), (1 << (knee + (segments >> bits))) - 1)
    shift, k = knee - bits, at + 2 - (1 << bits)
    while (u >> shift) >> bits > 1:
        shift += 1
        k += 1 << bits
    k += u >> shift
    product = (numbers[k + 1] - numbers[k]) * (u & ((1 << shift) - 1))
    value = numbers[k] + ((product + ((1 << shift) >> 1)) >> shift)
    return -value if v < 0 else value


@njit(error_model="numpy")
def step(program, numbers, sums, values, memory, first):
    """values of all operators for one step's block sums; first: whether it is the first since a reset."""
    for op in range(program.shape[0]):
        code, width, to, a, b, at, count, kept = program[op]
        if code == MAGNITUDE:
            m = abs(values[a])
            for k in range(1, b):
                p, q = max(m, abs(values[a + k])), min(m, abs(values[a + k]))
                m = max(p, p - (p >> 3) + (q >> 1))
            values[to] = m
            continue
        for k in range(width):
            if code == CHANNELS:
                values[to + k] = sums[numbers[at + k]]
            elif code == AVERAGE:
                shift = numbers[at]
                half = 1 << (shift - 1)
                before = values[a + k] << shift if first else memory[kept + k]
                after = before - ((before + half) >> shift) + values[a + k]
                memory[kept + k] = after
                values[to + k] = (after + half) >> shift
            elif code == SUBTRACT:
                values[to + k] = values[a + k] - values[b + k]
            elif code == DIFFERENCE:
                values[to + k] = 0 if first else values[a + k] - memory[kept + k]
                memory[kept + k] = values[a + k]
            else:
                values[to + k] = compand(values[a + k], numbers, at, count)


@njit(error_model="numpy")
def scale(values, places, constants, shift, half, x):
    for k in range(places.shape[0]):
        limit = constants[1, k]
        centred = min(max(values[places[k]] - constants[0, k], -limit), limit)
        x[k] = min(max((centred * constants[2, k] + half) >> shift, -127), 127)


def whole(raw, x, decimation, program, numbers, places, constants, shift, half, sums, values, memory):
    """x [batch, blocks, outputs] from counts raw [batch, samples, channels], each sequence from a reset."""
    for sequence in range(x.shape[0]):
        for block in range(x.shape[1]):
            sums[:] = 0
            for sample in range(block * decimation, (block + 1) * decimation):
                for channel in range(raw.shape[2]):
                    sums[channel] += raw[sequence, sample, channel]
            step(program, numbers, sums, values, memory, block == 0)
            scale(values, places, constants, shift, half, x[sequence, block])


def push(raw, x, decimation, program, numbers, places, constants, shift, half, sums, values, memory, counters):
    """One sample of counts raw [channels]; 1 where it completed a block, whose inputs are then in x. counters: samples, blocks."""
    if counters[0] == 0:
        sums[:] = 0
    for channel in range(raw.shape[0]):
        sums[channel] += raw[channel]
    counters[0] += 1
    if counters[0] < decimation:
        return 0
    counters[0] = 0
    step(program, numbers, sums, values, memory, counters[1] == 0)
    counters[1] = 1
    scale(values, places, constants, shift, half, x)
    return 1
'''
_TABLES = "int64, int64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64, int64, int64[::1], int64[::1], int64[::1]"
_SIGNATURES = {
    "whole": f"void(int16[:, :, ::1], int8[:, :, ::1], {_TABLES})",
    "push": f"int64(int16[::1], int8[::1], {_TABLES}, int64[::1])",
}


@dataclass(frozen=True, eq=False)
class FeatureTables:
    """The front end of a network as the kernel takes it. Every use needs scratch of its own (`scratch`)."""

    front: Normalize
    features: Features

    @cached_property
    def kernels(self) -> Kernels:
        return kernels(_SOURCE, _SIGNATURES)

    @cached_property
    def constants(self) -> tuple[object, ...]:
        """The arguments that no step changes."""
        rows: list[tuple[int, ...]] = []
        value_at: list[int] = []
        numbers, memory_at = [0], [0]
        for op, width in zip(self.features.ops, self.features.widths, strict=True):
            value_at.append(value_at[-1] + rows[-1][1] if rows else 0)
            at = [value_at[a] for a in op.args] + [0, 0]
            if op.code == "magnitude":
                at[1] = self.features.widths[op.args[0]]
            rows.append((_CODES.index(op.code), width, value_at[-1], at[0], at[1], len(numbers), len(op.numbers), memory_at[-1]))
            memory_at.append(memory_at[-1] + width)
            numbers += op.numbers
        places = [value_at[k] + j for k in self.features.outputs for j in range(self.features.widths[k])]
        front = self.front
        scaling = np.stack([front.offset, front.limit, front.multiplier]).astype(np.int64)
        tables = (np.array(rows, np.int64), np.array(numbers, np.int64), np.array(places, np.int64), np.ascontiguousarray(scaling))
        return (front.decimation, *tables, front.shift, half(front.shift))

    def scratch(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Block sums, values and memory."""
        size = sum(self.features.widths)
        return np.zeros(self.features.channels, np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64)

    def whole(self, counts: npt.NDArray[np.int16], x: npt.NDArray[np.int8]) -> None:
        """Fills x [batch, blocks, outputs] from counts [batch, samples, channels]."""
        self.kernels["whole"](counts, x, *self.constants, *self.scratch())


class FeatureStream:
    """The front end of one stream. x: int8 [outputs], the inputs of the last block that `push` completed."""

    def __init__(self, tables: FeatureTables):
        self.x = np.zeros(tables.front.outputs, np.int8)
        self._counters = np.zeros(2, np.int64)
        self._kernel = tables.kernels["push"]
        self._arguments = (self.x, *tables.constants, *tables.scratch(), self._counters)

    def reset(self) -> None:
        self._counters[:] = 0

    def push(self, raw: npt.NDArray[np.int16]) -> bool:
        """One sample of counts [channels], checked; whether it completed a block."""
        return bool(self._kernel(raw, *self._arguments))
