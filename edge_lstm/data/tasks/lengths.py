"""Sequences of random lengths, as the tasks of 1997 have them; and what every task asks of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lstm.errors import UsageError

Sequences = tuple[NDArray[np.float32], NDArray[Any]]


def of_random_lengths(task: Callable[..., Sequences], n: int, length: int, rng: np.random.Generator, **options: Any) -> list[Sequences]:
    """n sequences whose lengths are uniform from `length` to `length` + `length` // 10, as experiments 3 to 6 of 1997 ask.

    One batch (x, y) for each length that was drawn, shortest first; together they hold n sequences.
    task: a task with the argument `extra` (adding, multiplication, temporal_order, two_sequences). options: passed on to it.

    Raises:
        UsageError: as the task.
    """
    require(n, length, shortest=1)
    counts = np.bincount(rng.integers(0, length // 10 + 1, n))
    return [task(int(count), length, rng, extra=extra, **options) for extra, count in enumerate(counts) if count]


def require(n: int, length: int, shortest: int, extra: int = 0) -> None:
    """Refuse what no sequence can be drawn of."""
    if n < 1:
        raise UsageError(f"at least one sequence must be drawn, got n = {n}")
    if length < shortest:
        raise UsageError(f"the shortest sequence of this task has length {shortest}, got {length}")
    if extra < 0:
        raise UsageError(f"extra steps are added to the length; got {extra}")


def one_hot(symbols: NDArray[np.integer], count: int) -> NDArray[np.float32]:
    """[...] symbol numbers to [..., count]."""
    return np.eye(count, dtype=np.float32)[symbols]
