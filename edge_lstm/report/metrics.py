"""Accuracy, and the errors of numbers, with their spread; the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Accuracy:
    """How many of how many cases were right, part by part (a part is a fold, or a person).

    correct, cases: one number a part. A part without cases is not allowed.
    """

    correct: tuple[int, ...]
    cases: tuple[int, ...]

    @property
    def parts(self) -> tuple[float, ...]:
        """Fraction right in each part."""
        return tuple(c / n for c, n in zip(self.correct, self.cases, strict=True))

    @property
    def mean(self) -> float:
        """Mean of the fractions over the parts, each part counting once however many cases it has."""
        return float(np.mean(self.parts))

    @property
    def sd(self) -> float | None:
        """Standard deviation over the parts (n - 1 in the denominator); None for a single part."""
        return float(np.std(self.parts, ddof=1)) if len(self.parts) > 1 else None

    @property
    def total(self) -> int:
        """Number of cases in all parts."""
        return sum(self.cases)

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {100 * self.sd:.1f}"
        return f"{100 * self.mean:.1f}{spread} %"


def accuracy(parts: Sequence[tuple[IntArray, IntArray]]) -> Accuracy:
    """The accuracy of (true, predicted) class indices, one pair of [n] arrays a part."""
    return Accuracy(tuple(int((y == p).sum()) for y, p in parts), tuple(len(y) for y, _ in parts))


def accuracy_by(groups: npt.ArrayLike, y: IntArray, predicted: IntArray) -> tuple[tuple[str, ...], Accuracy]:
    """Names of the distinct groups (people, say), in order, and the accuracy with one part for each. groups, y, predicted: [n]."""
    who = np.asarray(groups).astype(np.str_)
    names = tuple(sorted(set(who.tolist())))
    return names, accuracy([(y[who == name], predicted[who == name]) for name in names])


@dataclass(frozen=True)
class Errors:
    """How far predicted numbers are from the true ones, part by part. All in the unit of the numbers, means over the outputs.

    r2: coefficient of determination; squared, absolute: mean squared and mean absolute error; cases: one number a part.
    """

    r2: tuple[float, ...]
    squared: tuple[float, ...]
    absolute: tuple[float, ...]
    cases: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean of R^2 over the parts."""
        return float(np.mean(self.r2))

    @property
    def total(self) -> int:
        """Number of cases in all parts."""
        return sum(self.cases)

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {_spread(parts)}"
            for name, parts in (("R²", self.r2), ("mean squared error", self.squared), ("mean absolute error", self.absolute))
        )


def _spread(parts: Sequence[float]) -> str:
    return f"{np.mean(parts):.4g}" + (f" ± {np.std(parts, ddof=1):.2g}" if len(parts) > 1 else "")


def errors(parts: Sequence[tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]]) -> Errors:
    """The errors of (true, predicted) numbers, one pair of [n, outputs] arrays a part. A part must have a case."""
    found = []
    for y, predicted in parts:
        y, difference = np.asarray(y, np.float64), np.asarray(predicted, np.float64) - y
        spread = np.maximum(((y - y.mean(0)) ** 2).sum(0), 1e-30)
        found.append((float((1 - (difference**2).sum(0) / spread).mean()), float((difference**2).mean()), float(np.abs(difference).mean())))
    r2, squared, absolute = zip(*found, strict=True)
    return Errors(r2, squared, absolute, tuple(len(y) for y, _ in parts))


def errors_by(
    groups: npt.ArrayLike, y: npt.NDArray[np.floating], predicted: npt.NDArray[np.floating]
) -> tuple[tuple[str, ...], Errors]:
    """Names of the distinct groups (people, say), in order, and the errors with one part for each. groups: [n]; others: [n, outputs]."""
    who = np.asarray(groups).astype(np.str_)
    names = tuple(sorted(set(who.tolist())))
    return names, errors([(y[who == name], predicted[who == name]) for name in names])


def confusion(y: IntArray, predicted: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """counts[t, p]: cases of class t that were called p. y, predicted: [n] class indices below `classes`."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (y, predicted), 1)
    return counts
