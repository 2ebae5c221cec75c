"""A feature program as tables, and one kernel that runs any of them: whole recordings, or sample by sample for streams."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.kernel_cache import Kernels, kernels
from edge_lstm.features import Features, Memory
from edge_lstm.fixed_point.integer_network import WIDE_LIMIT, Normalize
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
    count = places.shape[0]
    wide = len(x) > count  # the high halves of inputs of 16 bits, then the low ones
    end = WIDE_LIMIT if wide else 127
    for k in range(count):
        limit = constants[1, k]
        centred = min(max(values[places[k]] - constants[0, k], -limit), limit)
        value = min(max((centred * constants[2, k] + half) >> shift, -end), end)
        if wide:
            x[k] = (value + 64) >> 7
            x[count + k] = value - (((value + 64) >> 7) << 7)
        else:
            x[k] = value


def whole(raw, starts, x, to, blocks, decimation, program, numbers, places, constants, shift, half, sums, values, memory):
    """x [rows, outputs] from counts raw [rows, channels], each sequence from a reset.

    Sequence k has blocks[k] blocks of samples; they begin at row starts[k] of raw and go to x from row to[k] on.
    """
    for sequence in range(len(blocks)):
        for block in range(blocks[sequence]):
            sums[:] = 0
            first = starts[sequence] + block * decimation
            for sample in range(first, first + decimation):
                for channel in range(raw.shape[1]):
                    sums[channel] += raw[sample, channel]
            step(program, numbers, sums, values, memory, block == 0)
            scale(values, places, constants, shift, half, x[to[sequence] + block])


def values_of(sums, program, numbers, places, values, memory, given, out):
    """out [batch, blocks, features] from block sums [batch, blocks, channels]; memory [batch, values]: that before the first, if given."""
    for sequence in range(out.shape[0]):
        for block in range(out.shape[1]):
            step(program, numbers, sums[sequence, block], values, memory[sequence], block == 0 and not given)
            for k in range(places.shape[0]):
                out[sequence, block, k] = values[places[k]]


def push(raw, which, x, due, decimation, program, numbers, places, constants, shift, half, all_sums, values, memories, counters):
    """One sample of counts raw [streams, channels] for each stream of `which`; returns how many completed a block.

    Their inputs are then in x [streams, outputs], one after the other, and due is True for them. counters: samples and blocks of each.
    """
    made = 0
    for k in range(len(which)):
        sums, memory, counter = all_sums[which[k]], memories[which[k]], counters[which[k]]
        if counter[0] == 0:
            sums[:] = 0
        for channel in range(raw.shape[1]):
            sums[channel] += raw[k, channel]
        counter[0] += 1
        due[k] = counter[0] == decimation
        if due[k]:
            counter[0] = 0
            step(program, numbers, sums, values, memory, counter[1] == 0)
            counter[1] = 1
            scale(values, places, constants, shift, half, x[made])
            made += 1
    return made
'''
_TABLES = "int64, int64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64, int64"
_COUNTS = "Array(int16, 2, 'C', readonly=True)"
_SIGNATURES = {
    "whole": f"void({_COUNTS}, int64[::1], int8[:, ::1], int64[::1], int64[::1], {_TABLES}, int64[::1], int64[::1], int64[::1])",
    "values_of": "void(int64[:, :, ::1], int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], boolean, int64[:, :, ::1])",
    "push": f"int64({_COUNTS}, int64[::1], int8[:, ::1], boolean[::1], {_TABLES}, int64[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1])",
}


class ProgramTables:
    """A feature program as the kernel takes it."""

    def __init__(self, features: Features):
        self.features = features

    @cached_property
    def kernels(self) -> Kernels:
        return kernels(_SOURCE.replace("WIDE_LIMIT", str(WIDE_LIMIT)), _SIGNATURES)

    @property
    def size(self) -> int:
        """Number of values of all operators; a memory has as many, most of them unused."""
        return sum(self.features.widths)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where the values, and the memory, of each operator begin."""
        return tuple(accumulate(self.features.widths, initial=0))

    @cached_property
    def arrays(self) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Operators [ops, 8], their constants, and the places of the outputs among the values."""
        rows: list[tuple[int, ...]] = []
        numbers = [0]
        for op, width, start in zip(self.features.ops, self.features.widths, self.starts, strict=False):
            at = [self.starts[a] for a in op.args] + [0, 0]
            if op.code == "magnitude":
                at[1] = self.features.widths[op.args[0]]
            rows.append((_CODES.index(op.code), width, start, at[0], at[1], len(numbers), len(op.numbers), start))
            numbers += op.numbers
        places = [self.starts[k] + j for k in self.features.outputs for j in range(self.features.widths[k])]
        return np.array(rows, np.int64), np.array(numbers, np.int64), np.array(places, np.int64)

    def run(self, sums: Int64Array, memory: Memory | None = None) -> Int64Array:
        """The features of `features.run_features`, int64 [batch, blocks, count], of block sums [batch, blocks, channels]."""
        kept = np.zeros((len(sums), self.size), np.int64)
        for k, values in ({} if memory is None else memory).items():
            kept[:, self.starts[k] : self.starts[k + 1]] = values
        out = np.empty((*sums.shape[:2], self.features.count), np.int64)
        scratch = np.zeros(self.size, np.int64)
        self.kernels["values_of"](np.ascontiguousarray(sums, np.int64), *self.arrays, scratch, kept, memory is not None, out)
        return out


class FeatureTables(ProgramTables):
    """The front end of a network as the kernel takes it. Every use needs scratch of its own."""

    def __init__(self, front: Normalize, features: Features):
        super().__init__(features)
        self.front = front

    @cached_property
    def constants(self) -> tuple[object, ...]:
        """The arguments that no step changes."""
        front = self.front
        scaling = np.ascontiguousarray(np.stack([front.offset, front.limit, front.multiplier]), np.int64)
        return (front.decimation, *self.arrays, scaling, front.shift, half(front.shift))

    def whole(
        self, counts: npt.NDArray[np.int16], starts: Int64Array, x: npt.NDArray[np.int8], to: Int64Array, blocks: Int64Array
    ) -> None:
        """Fills x [rows, outputs] from counts [rows, channels]: blocks[k] blocks of sequence k, from row starts[k] to row to[k] on."""
        scratch = (np.zeros(size, np.int64) for size in (self.features.channels, self.size, self.size))
        self.kernels["whole"](counts, starts, x, to, blocks, *self.constants, *scratch)


class FeatureStreams:
    """The front ends of `count` streams."""

    def __init__(self, tables: FeatureTables, count: int):
        self._sums = np.zeros((count, tables.features.channels), np.int64)
        self._memory = np.zeros((count, tables.size), np.int64)
        self._counters = np.zeros((count, 2), np.int64)
        self._values = np.zeros(tables.size, np.int64)
        self._tables = tables

    def reset(self, which: Int64Array | None) -> None:
        self._counters[slice(None) if which is None else which] = 0

    def add(self, raw: npt.NDArray[np.int16], which: Int64Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """One sample of counts [streams, channels], checked; inputs int8 [due, outputs] of the complete blocks, and whose they are."""
        x, due = np.empty((len(which), self._tables.front.width), np.int8), np.empty(len(which), np.bool_)
        state = self._sums, self._values, self._memory, self._counters
        made = self._tables.kernels["push"](np.ascontiguousarray(raw), which, x, due, *self._tables.constants, *state)
        return x[:made], due
