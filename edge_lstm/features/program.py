"""A feature program: what is computed from the block sums of a sensor's channels, once a step, as data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from edge_lstm.errors import EdgeLstmError

# code -> (number of arguments, number of constants; None: any)
SIGNATURES: dict[str, tuple[int, int | None]] = {
    "channels": (0, None), "average": (1, 1), "subtract": (2, 0), "difference": (1, 0), "magnitude": (1, 0), "compand": (1, None),
}  # fmt: skip
REMEMBERING = ("average", "difference")  # operators that keep one int32 of each value from step to step
MAX_SHIFT = 16


@dataclass(frozen=True)
class FeatureOp:
    """One integer operator on a vector. args: indices of earlier operators; numbers: constants. Each code is defined in operators.py."""

    code: str
    args: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Features:
    """From the block sums of `channels` sensor channels to the features: the values of the operators `outputs`, side by side."""

    channels: int
    ops: tuple[FeatureOp, ...]
    outputs: tuple[int, ...]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of values of each operator."""
        found: list[int] = []
        for op in self.ops:
            found.append(len(op.numbers) if op.code == "channels" else 1 if op.code == "magnitude" else found[op.args[0]])
        return tuple(found)

    @property
    def count(self) -> int:
        """Number of features."""
        return sum(self.widths[k] for k in self.outputs)

    @property
    def remembering(self) -> tuple[int, ...]:
        """The operators with a memory."""
        return tuple(k for k, op in enumerate(self.ops) if op.code in REMEMBERING)


def check_features(features: Features) -> None:
    """Raises EdgeLstmError at the first thing that is no program. Overflow is the business of `prove_features`."""
    for index, op in enumerate(features.ops):
        where = f"feature {index} ({op.code})"
        _need(op.code in SIGNATURES, f"{where} is unknown")
        arguments, numbers = SIGNATURES[op.code]
        _need(len(op.args) == arguments and numbers in (None, len(op.numbers)), f"{where} has the wrong number of arguments or constants")
        _need(all(0 <= a < index for a in op.args), f"{where} reads an operator that comes later or does not exist")
        _need(all(abs(n) < 2**31 for n in op.numbers), f"{where} has a constant beyond 32 bits")
        _check_numbers(features, op, where)
    for index, op in enumerate(features.ops):
        if op.code == "subtract":
            a, b = (features.widths[k] for k in op.args)
            _need(a == b, f"feature {index} subtracts {b} values from {a}")
    _need(bool(features.outputs) and all(0 <= k < len(features.ops) for k in features.outputs), "the features have no output")


def _check_numbers(features: Features, op: FeatureOp, where: str) -> None:
    if op.code == "channels":
        _need(bool(op.numbers) and all(0 <= n < features.channels for n in op.numbers), f"{where} names a channel that does not exist")
    elif op.code == "average":
        _need(1 <= op.numbers[0] <= MAX_SHIFT, f"{where} averages with shift {op.numbers[0]}, not in 1 ... {MAX_SHIFT}")
    elif op.code == "compand":
        _need(len(op.numbers) >= 4, f"{where} has no table")
        knee, bits, *knots = op.numbers
        octaves = (len(knots) - 1) >> max(bits, 0)
        fits = 0 <= bits <= knee and len(knots) - 1 == octaves << bits and octaves >= 1 and knee + octaves <= 30
        _need(fits, f"{where} has knee 2^{knee}, 2^{bits} segments an octave and {len(knots)} knots, which do not fit")
        rises = knots[0] == 0 and all(a <= b for a, b in pairwise(knots)) and knots[-1] < 2**15
        _need(rises, f"{where} has a table that does not rise from 0 within 16 bits")


def _need(condition: bool, problem: str) -> None:
    if not condition:
        raise EdgeLstmError(f"{problem}; the file is damaged or was edited")
