"""One piece of information at the start, wanted at the end: the long time lag problems."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_lstm.data.tasks.lengths import Sequences, one_hot, require
from edge_lstm.errors import UsageError

_NOISE = 0.2**0.5  # standard deviation of a variance of 0.2
_TARGET_NOISE = 0.1**0.5
_STOP = 0.1  # probability that a distracted sequence ends at a step, once it may


def noise_free_lag(n: int, length: int, rng: np.random.Generator, regular: bool = True) -> Sequences:
    """Predict the next symbol; the last is the first again: x [n, length, length + 1] one-hot, y [n, length] int64, the next symbols.

    Hochreiter and Schmidhuber (1997), experiments 2a (regular) and 2b. Symbols a1 to a(p-1), x, y are numbers 0 to p, where p = `length`.
    2a knows two sequences, (x, a1, a2, ..., a(p-1), x) and the same with y; 2b has random a's between: only the last is predictable.

    Success (2a): the errors of all outputs below 0.25 at every step of 10,000 sequences (2b: at the last step). Published at p = 100,
    after 5,040 (2b: 5,680) sequences.
    """
    require(n, length, shortest=2)
    symbols = np.empty((n, length + 1), dtype=np.int64)
    symbols[:, 1:-1] = np.arange(length - 1) if regular else rng.integers(0, length - 1, (n, length - 1))
    symbols[:, 0] = symbols[:, -1] = rng.integers(length - 1, length + 1, n)
    return one_hot(symbols[:, :-1], length + 1), symbols[:, 1:]


def distracted_lag(n: int, length: int, rng: np.random.Generator, distractors: int | None = None, extra: int | None = None) -> Sequences:
    """Which of two symbols came second? x [n, length + extra + 3, distractors + 4] one-hot, y [n] int64 of 2 classes.

    Hochreiter and Schmidhuber (1997), experiment 2c. A sequence: b; x or y; `length` (the paper's q) + `extra` random distractors; e.
    Symbols: the distractors, e, b, x, y. distractors: how many kinds (the paper's p); None = as many as `length`. extra: None = drawn as in
    the paper (after q distractors, one more with probability 9/10 each time), once for the whole batch.

    Success: both outputs' errors below 0.2 for 10,000 sequences in a row. Published at q = p = 1,000: after 49,000 sequences.
    """
    require(n, length, shortest=1, extra=extra or 0)
    kinds = length if distractors is None else distractors
    if kinds < 1:
        raise UsageError(f"at least one kind of distractor is needed, got {kinds}")
    more = int(rng.geometric(_STOP)) - 1 if extra is None else extra
    symbols = rng.integers(0, kinds, (n, length + more + 3))
    answer = rng.integers(0, 2, n)
    symbols[:, 0], symbols[:, 1], symbols[:, -1] = kinds + 1, kinds + 2 + answer, kinds
    return one_hot(symbols, kinds + 4), answer


def two_sequences(
    n: int,
    length: int,
    rng: np.random.Generator,
    extra: int = 0,
    experiment: Literal["3a", "3b", "3c"] = "3a",
    informative: int = 3,
    noisy_targets: bool = False,
) -> Sequences:
    """Were the first elements +1 or -1? Noise follows: x [n, length + extra, 1], y [n] float32.

    Hochreiter and Schmidhuber (1997), experiment 3; 3a is the two-sequence problem of Bengio, Simard and Frasconi (Learning
    long-term dependencies with gradient descent is difficult, IEEE Transactions on Neural Networks 5, 1994). The first
    `informative` elements are +1 (class 1) or -1 (class 2), all others normal noise of variance 0.2. Wanted: 1 for class 1, 0 for class 2.
    3b adds such noise to the informative elements too. 3c does that, and wants 0.2 and 0.8 instead; noisy_targets adds noise of variance
    0.1 to these, for training only. The paper's lengths are random: `of_random_lengths`.

    Success: 3a, no error above 0.2 in 256 sequences, and a mean error below 0.01; 3b, fewer than 6 of 256 and 0.04; 3c, no error against
    the noise-free target above 0.1, and a mean below 0.015. Then 2,560 sequences. Published at length 100, three elements: after 39,850,
    43,250 and 269,650 sequences.
    """
    require(n, length, shortest=max(1, informative), extra=extra)
    if informative < 1:
        raise UsageError(f"at least one element must carry the class, got {informative}")
    if experiment not in ("3a", "3b", "3c"):
        raise UsageError(f"the experiments are 3a, 3b and 3c, got {experiment!r}")
    if noisy_targets and experiment != "3c":
        raise UsageError(f"only experiment 3c has noisy targets, not {experiment}")
    is_first = rng.integers(0, 2, n).astype(bool)
    x = rng.normal(0, _NOISE, (n, length + extra))
    if experiment == "3a":
        x[:, :informative] = 0
    x[:, :informative] += np.where(is_first, 1, -1)[:, None]
    y = np.where(is_first, 0.2, 0.8) if experiment == "3c" else is_first.astype(np.float64)
    if noisy_targets:
        y = y + rng.normal(0, _TARGET_NOISE, n)
    return x[..., None].astype(np.float32), y.astype(np.float32)
