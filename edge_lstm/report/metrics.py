"""Accuracy with its spread, and the confusion matrix."""

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


def confusion(y: IntArray, predicted: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """counts[t, p]: cases of class t that were called p. y, predicted: [n] class indices below `classes`."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (y, predicted), 1)
    return counts
