"""Symbols to be kept among distracting ones: temporal order, latch, copy."""

from __future__ import annotations

import numpy as np

from edge_lstm.data.tasks.lengths import Sequences, one_hot, require
from edge_lstm.errors import UsageError

ORDER_SYMBOLS = "abcdXYBE"  # the inputs of temporal_order
# Where the marks may stand, in hundredths of the length, both ends included.
_BANDS = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}

COPY_SYMBOLS = 8
COPY_COUNT = 10
COPY_BLANK, COPY_DELIMITER = COPY_SYMBOLS, COPY_SYMBOLS + 1


def temporal_order(n: int, length: int, rng: np.random.Generator, extra: int = 0, marks: int = 2) -> Sequences:
    """In which order did X and Y come? x [n, length + extra, 8] one-hot (ORDER_SYMBOLS), y [n] int64 of 2^marks classes.

    Hochreiter and Schmidhuber (1997), experiments 6a (2 marks, 4 classes) and 6b (3 marks, 8 classes). A sequence starts with E, ends with
    B and holds a, b, c, d at random between, but for the marks, each X or Y: at a random step in 10..20 % and 50..60 % of the length (three
    marks: 10..20, 33..43, 66..76 %). Class = the marks as a binary number, the first mark first, Y = 1. The paper's lengths are random:
    `of_random_lengths`.

    Success: the errors of all outputs below 0.3 (so the class is right); trained when the mean error is below 0.1 and the latest 2,000
    training sequences are right; then 2,560 test sequences. Published at length 100: 1 wrong (6b: 2) of them. Chance is 25 % (12.5 %).
    """
    if marks not in _BANDS:
        raise UsageError(f"the order of 2 or 3 marks is asked for, got {marks}")
    require(n, length, shortest=20, extra=extra)
    symbols = rng.integers(0, 4, (n, length + extra))
    symbols[:, 0], symbols[:, -1] = ORDER_SYMBOLS.index("E"), ORDER_SYMBOLS.index("B")
    is_y = rng.integers(0, 2, (n, marks))
    for mark, (first, last) in enumerate(_BANDS[marks]):
        position = rng.integers(length * first // 100, length * last // 100 + 1, n)
        symbols[np.arange(n), position] = ORDER_SYMBOLS.index("X") + is_y[:, mark]
    return one_hot(symbols, len(ORDER_SYMBOLS)), is_y @ (1 << np.arange(marks)[::-1])


def latch(n: int, length: int, rng: np.random.Generator, tokens: int = 4) -> Sequences:
    """Which token came with the store flag? x [n, length, tokens + 2], y [n] int64 of `tokens` classes.

    Inputs: the token, one-hot; the store flag; the recall flag. There is a random token at every step but the last; the store flag is up
    once, within the first tenth; the last step has the recall flag and no token. Not of a paper: the smallest task where the network must
    let one symbol in and keep all later ones out, for 0.9 to 1 times the length.

    Success: the right token; chance is 1 / tokens.
    """
    require(n, length, shortest=10)
    if tokens < 2:
        raise UsageError(f"at least 2 tokens are needed, got {tokens}")
    row = np.arange(n)
    symbols = rng.integers(0, tokens, (n, length))
    stored_at = rng.integers(0, length // 10, n)
    x = np.zeros((n, length, tokens + 2), dtype=np.float32)
    x[:, :-1, :tokens] = one_hot(symbols[:, :-1], tokens)
    x[row, stored_at, tokens] = 1
    x[:, -1, tokens + 1] = 1
    return x, symbols[row, stored_at]


def copy(n: int, length: int, rng: np.random.Generator) -> Sequences:
    """Ten symbols to be repeated after a pause: x [n, length + 20, 10] one-hot, y [n, length + 20] int64 of 9 classes.

    Arjovsky, Shah and Bengio: Unitary evolution recurrent neural networks (ICML 2016). Input: 10 of 8 symbols, length - 1
    blanks, the delimiter, 10 blanks. Wanted: length + 10 blanks, then the 10 symbols. Input symbols: 0 to 7, blank 8, delimiter 9.

    Success: mean cross-entropy well below 10 ln 8 / (length + 20), that of a network that knows everything but the symbols.
    """
    require(n, length, shortest=1)
    symbols = rng.integers(0, COPY_SYMBOLS, (n, COPY_COUNT))
    entered = np.full((n, length + 2 * COPY_COUNT), COPY_BLANK)
    wanted = entered.copy()
    entered[:, :COPY_COUNT] = wanted[:, -COPY_COUNT:] = symbols
    entered[:, length + COPY_COUNT - 1] = COPY_DELIMITER
    return one_hot(entered, COPY_SYMBOLS + 2), wanted
