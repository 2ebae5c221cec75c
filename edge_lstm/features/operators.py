"""The feature operators: their one normative definition, and the exact interval of their results.

Values are int64 arrays [..., steps, width] here, so that a value that left 32 bits would be seen; `prove_features` shows that none can.

An operator with a memory starts as if its first argument had always been there: an average begins with it, a difference with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.features.program import FeatureOp, Features

Int64Array = npt.NDArray[np.int64]
Memory = Mapping[int, Int64Array]  # remembering operator -> [..., width] as it is after a step, or [..., steps, width] after each step
Interval = tuple[Int64Array, Int64Array]
COUNTS = -32768, 32767


def run_features(features: Features, sums: npt.NDArray[np.integer], memory: Memory | None = None) -> tuple[Int64Array, Memory]:
    """The features int64 [..., steps, count] of block sums [..., steps, channels], and the memory after each step.

    memory: that after the step before, to go on (see `memory_after`); None: the first step is the first since a reset.
    """
    values: list[Int64Array] = []
    traces: dict[int, Int64Array] = {}
    for index, op in enumerate(features.ops):
        arguments = [values[a] for a in op.args]
        if op.code in _WITH_MEMORY:
            before = remember(op, arguments[0][..., 0, :]) if memory is None else memory[index]
            value, traces[index] = _WITH_MEMORY[op.code](op, arguments[0], before)
        elif op.code == "channels":
            value = np.asarray(sums, np.int64)[..., list(op.numbers)]
        else:
            value = _WITHOUT_MEMORY[op.code](op, *arguments)
        values.append(value)
    return np.concatenate([values[k] for k in features.outputs], -1), traces


def memory_after(traces: Memory, step: int) -> Memory:
    """The memory after one step of `traces`."""
    return {index: trace[..., step, :] for index, trace in traces.items()}


def block_sums(raw: npt.NDArray[np.integer], decimation: int) -> Int64Array:
    """int64 [..., blocks, channels] from counts [..., samples, channels]; an unfinished last block is dropped."""
    blocks = raw.shape[-2] // decimation
    whole = raw[..., : blocks * decimation, :].astype(np.int64)
    return np.asarray(whole.reshape(*raw.shape[:-2], blocks, decimation, raw.shape[-1]).sum(-2))


def remember(op: FeatureOp, first: Int64Array) -> Int64Array:
    """The memory of an operator whose argument has been `first` for ever."""
    return first << op.numbers[0] if op.code == "average" else first


def round_shift(v: Int64Array, shift: int) -> Int64Array:
    """(v + 2^(shift-1)) >> shift, arithmetic; shift >= 1."""
    return np.asarray((v + (1 << (shift - 1))) >> shift)


def average(op: FeatureOp, a: Int64Array, memory: Int64Array) -> tuple[Int64Array, Int64Array]:
    """m <- m - round_shift(m, s) + a; result = round_shift(m, s)."""
    (shift,) = op.numbers
    trace = np.empty_like(a)
    for t in range(a.shape[-2]):
        memory = memory - round_shift(memory, shift) + a[..., t, :]
        trace[..., t, :] = memory
    return round_shift(trace, shift), trace


def difference(op: FeatureOp, a: Int64Array, memory: Int64Array) -> tuple[Int64Array, Int64Array]:
    """a - m; m <- a."""
    before = np.concatenate([memory[..., None, :], a[..., :-1, :]], -2)
    return a - before, a


def subtract(op: FeatureOp, a: Int64Array, b: Int64Array) -> Int64Array:
    """a - b."""
    return a - b


def magnitude(op: FeatureOp, a: Int64Array) -> Int64Array:
    """Length of a vector, from its components in order: within -5.7 and +1.9 % for three of them.

    m = |a_0|, then for each further component: p = max(m, |a_k|), q = min(m, |a_k|), m = max(p, p - (p >> 3) + (q >> 1)).
    """
    m = np.abs(a[..., 0])
    for k in range(1, a.shape[-1]):
        p, q = np.maximum(m, np.abs(a[..., k])), np.minimum(m, np.abs(a[..., k]))
        m = np.maximum(p, p - (p >> 3) + (q >> 1))
    return np.asarray(m[..., None])


def compand(op: FeatureOp, a: Int64Array) -> Int64Array:
    """An odd curve of straight segments whose width doubles from octave to octave.

    knee, bits, knots = numbers;  octaves = (len(knots) - 1) >> bits
    u = min(|a|, 2^(knee + octaves) - 2^knee - 1) + 2^knee
    e = floor(log2(u)),  s = e - bits,  k = ((e - knee) << bits) + (u >> s) - 2^bits,  r = u mod 2^s      (2^bits <= u >> s < 2^(bits + 1))
    result = sign(a) * (knots[k] + round_shift((knots[k + 1] - knots[k]) * r, s))
    """
    knee, bits, *rest = op.numbers
    knots = np.array(rest, np.int64)
    octaves = (len(knots) - 1) >> bits
    u = np.minimum(np.abs(a), (1 << (knee + octaves)) - (1 << knee) - 1) + (1 << knee)
    octave = sum(((u >> (knee + j)) > 1).astype(np.int64) for j in range(octaves))  # floor(log2(u)) - knee
    shift = octave + (knee - bits)
    k = (octave << bits) + (u >> shift) - (1 << bits)
    product = (knots[k + 1] - knots[k]) * (u & ((1 << shift) - 1))
    return np.asarray(np.sign(a) * (knots[k] + ((product + (1 << shift >> 1)) >> shift)))


_WITH_MEMORY = {"average": average, "difference": difference}
_WITHOUT_MEMORY: dict[str, Callable[..., Int64Array]] = {"subtract": subtract, "magnitude": magnitude, "compand": compand}


@dataclass(frozen=True)
class FeatureBound:
    """what: for people; low, high: of the result over all its values; widest: largest magnitude of any intermediate value, memories too."""

    what: str
    low: int
    high: int
    widest: int


def prove_features(features: Features, decimation: int) -> tuple[list[FeatureBound], Interval]:
    """The bound of every operator for any counts, at any step, and the interval (low, high) [count] of the features.

    Raises EdgeLstmError where 32 bits do not suffice.
    """
    intervals: list[Interval] = []
    bounds = []
    for index, op in enumerate(features.ops):
        arguments = [intervals[a] for a in op.args]
        low, high, widest = _interval(op, arguments, features.widths[index], decimation)
        intervals.append((low, high))
        what = f"v{index} {op.code}"
        if widest >= 2**31:
            raise EdgeLstmError(f"feature {what} may reach {widest}, beyond 32 bits; take a smaller shift or decimation")
        bounds.append(FeatureBound(what, int(low.min()), int(high.max()), widest))
    low, high = (np.concatenate([intervals[k][side] for k in features.outputs]) for side in (0, 1))
    return bounds, (low, high)


def _interval(op: FeatureOp, arguments: list[Interval], width: int, decimation: int) -> tuple[Int64Array, Int64Array, int]:
    if op.code == "channels":
        low, high = (np.full(width, edge * decimation, np.int64) for edge in COUNTS)
        return low, high, -int(low.min())
    low, high = arguments[0]
    reach = int(np.maximum(np.abs(low), np.abs(high)).max())
    if op.code == "average":
        # m - round_shift(m) never falls when m rises, and m = edge * 2^s with argument edge gives m again: m stays within the edges.
        return low, high, (reach << op.numbers[0]) + (1 << op.numbers[0] >> 1)
    if op.code == "subtract":
        low, high = low - arguments[1][1], high - arguments[1][0]
        return low, high, max(reach, int(np.abs([low, high]).max()))
    if op.code == "difference":
        return low - high, high - low, max(reach, int((high - low).max()))
    if op.code == "magnitude":
        m = 0
        for edge in np.maximum(np.abs(low), np.abs(high)).tolist():
            p, q = max(m, edge), min(m, edge)
            m = max(p, p - (p >> 3) + (q >> 1))  # never falls when p or q rises
        return np.zeros(1, np.int64), np.array([m], np.int64), max(reach, m)
    knee, bits, *knots = op.numbers
    rise = max((b - a) << (knee - bits + (k >> bits)) for k, (a, b) in enumerate(pairwise(knots)))  # more than (b - a) * rest
    ends = compand(op, np.stack([low, high]))
    return ends[0], ends[1], max(reach + (1 << knee), 1 << (knee + ((len(knots) - 1) >> bits)), 2 * rise)
