"""Values of which two are marked: their sum or product is wanted at the end. Analog memory over a long time.

The input at each step is a pair (value, marker).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_lstm.data.tasks.lengths import Sequences, require

_FIRST_MARK_WITHIN = 10  # pairs


def adding(n: int, length: int, rng: np.random.Generator, extra: int = 0) -> Sequences:
    """The adding problem: 0.5 + (X1 + X2) / 4 of the two marked values; x [n, length + extra, 2], y [n] float32 in 0..1.

    Hochreiter and Schmidhuber (1997), experiment 4. Values are uniform in -1..1. Markers are 1 at two pairs: one of the first ten (X1),
    and one of the first length/2 - 1 of the others (X2); -1 at the first and the last pair, 0 elsewhere. Where the lot falls on the first
    pair its marker stays -1 and it counts as 0. The paper's lengths are random: `of_random_lengths`.

    Success: |error| < 0.04 (always answering 0.5 gives 15 %); trained when the mean error of the latest 2,000 training sequences is below
    0.01 and all of them are right; then 2,560 test sequences. Published: 1, 0 and 1 wrong of 2,560 at length 100, 500 and 1,000.
    """
    x, value, marked = _two_marked(n, length, rng, extra, low=-1)
    x1_x2 = np.where(marked, value, 0)
    return x, (0.5 + x1_x2.sum(axis=1) / 4).astype(np.float32)


def multiplication(n: int, length: int, rng: np.random.Generator, extra: int = 0) -> Sequences:
    """The multiplication problem: the product X1 X2 of the two marked values; x [n, length + extra, 2], y [n] float32 in 0..1.

    Hochreiter and Schmidhuber (1997), experiment 5: as `adding`, but values are uniform in 0..1, and the first pair counts as 1.

    Success: |error| < 0.04; trained when fewer than 13 (or, less strictly, 140) of the latest 2,000 training sequences are wrong; then
    2,560 test sequences. Published at length 100: 14 (139) wrong of them.
    """
    x, value, marked = _two_marked(n, length, rng, extra, low=0)
    x1_x2 = np.where(marked, value, 1)
    return x, x1_x2.prod(axis=1).astype(np.float32)


def adding_two_halves(n: int, length: int, rng: np.random.Generator) -> Sequences:
    """The adding problem as later papers have it: the sum of the two marked values; x [n, length, 2], y [n] float32 in 0..2.

    Arjovsky, Shah and Bengio: Unitary evolution recurrent neural networks (ICML 2016). Values are uniform in 0..1; markers are
    1 at one step of the first half and one of the second, 0 elsewhere. Note that y spans twice the range of `adding`.

    Success: mean squared error well below 0.167, the variance of the sum (always answering 1).
    """
    require(n, length, shortest=2)
    value = rng.random((n, length))
    marker = np.zeros((n, length))
    row = np.arange(n)
    first, second = rng.integers(0, length // 2, n), rng.integers(length // 2, length, n)
    marker[row, first] = marker[row, second] = 1
    x = np.stack([value, marker], axis=-1).astype(np.float32)
    return x, (x[row, first, 0].astype(np.float64) + x[row, second, 0]).astype(np.float32)


def _two_marked(
    n: int, length: int, rng: np.random.Generator, extra: int, low: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_]]:
    """x [n, time, 2]; the values at X1 and X2 [n, 2], as float32 has them; whether each is visibly marked [n, 2]."""
    require(n, length, shortest=2 * _FIRST_MARK_WITHIN, extra=extra)
    time = length + extra
    row = np.arange(n)
    value = rng.uniform(low, 1, (n, time))
    first = rng.integers(0, _FIRST_MARK_WITHIN, n)
    second = rng.integers(0, length // 2 - 1, n)
    second += second >= first  # counted among the pairs that are still unmarked
    marker = np.zeros((n, time))
    marker[row, first] = marker[row, second] = 1
    marker[:, 0] = marker[:, -1] = -1
    x = np.stack([value, marker], axis=-1).astype(np.float32)
    position = np.stack([first, second], axis=1)
    return x, x[row[:, None], position, 0].astype(np.float64), position > 0
