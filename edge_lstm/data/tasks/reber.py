"""The embedded Reber grammar: symbols that follow simple rules, but for one that hangs on another long before it.

A string is B, T or P, a string of the Reber grammar (B ... E), the same T or P again, E. Hochreiter and Schmidhuber (1997), experiment 1;
as one endless stream without marks or resets, Gers, Schmidhuber and Cummins: Learning to forget: continual prediction with LSTM. Neural
Computation 12 (10), 2000, 2451-2471.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lstm.data.tasks.lengths import one_hot, require
from edge_lstm.errors import UsageError

REBER_SYMBOLS = "BTSXPVE"

# The Reber grammar after its B: at each state one of the given (symbol, next state), with equal probability. State 5 emits E and ends.
_REBER = {
    0: (("T", 1), ("P", 2)),
    1: (("S", 1), ("X", 3)),
    2: (("T", 2), ("V", 4)),
    3: (("X", 2), ("S", 5)),
    4: (("P", 3), ("V", 5)),
}


class SymbolStreams(NamedTuple):
    """n streams whose next symbol is to be predicted at every step.

    x: [n, time, 7] float32, the symbols so far, one-hot (REBER_SYMBOLS).
    y: [n, time] int64, the next symbol.
    long_range: [n, time] bool, where y is the second T or P, which only a memory of the first can tell.
    legal: [n, time, 7] bool, the symbols that may come next (y is one of them).
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    long_range: NDArray[np.bool_]
    legal: NDArray[np.bool_]


def embedded_reber(n: int, length: int, rng: np.random.Generator) -> SymbolStreams:
    """n streams of embedded Reber strings, one after the other without a mark, each from the start of a string; the last may be cut off.

    Success (2000, as we read it): at every step the outputs of all legal symbols, and of no other, are above 0.49. A perfect network does
    so for 10 streams of 100,000 symbols. Published: 62 % of 100 networks perfect. Guessing is right half the time where `long_range`.
    """
    require(n, length, shortest=1)
    states, symbols = _walk(n, length + 1, rng)
    return _streams(states, symbols)


def embedded_reber_strings(n: int, rng: np.random.Generator, apart_from: Collection[str] = ()) -> list[str]:
    """n different strings, none of them in `apart_from`: the training and test sets of experiment 1 are 256 each, with none in common.

    Success (1997): at every step of every string the legal symbols have the largest outputs (`is_legal_most_active`). Published: 100 % of
    30 networks, after 8,440 strings. A string as input: `stream_of`.
    """
    require(n, 1, shortest=1)
    seen = set(apart_from)
    strings: list[str] = []
    while len(strings) < n:
        letters, state = "", 0
        while not (letters and state == 0):
            choice = rng.integers(2)
            letters += REBER_SYMBOLS[_SYMBOL[state, choice]]
            state = int(_NEXT[state, choice])
        if letters not in seen:
            seen.add(letters)
            strings.append(letters)
    return strings


def stream_of(string: str) -> SymbolStreams:
    """One string (or several, one after the other) as a stream of len(string) - 1 steps, n = 1.

    Raises:
        UsageError: the string does not obey the grammar; says where.
    """
    if len(string) < 2:
        raise UsageError(f"a stream needs at least two symbols, got {string!r}")
    states, symbols = [], []
    state = 0
    for place, letter in enumerate(string):
        symbol = REBER_SYMBOLS.find(letter)
        choices = np.flatnonzero(_SYMBOL[state] == symbol)
        if len(choices) == 0:
            raise UsageError(f"{string!r}: {letter!r} cannot stand at place {place}")
        states.append(state)
        symbols.append(symbol)
        state = int(_NEXT[state, choices[0]])
    return _streams(np.array([states]), np.array([symbols]))


def is_legal_most_active(outputs: ArrayLike, legal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether every legal symbol has a larger output than every other one: outputs and legal [..., 7] to [...]."""
    scores = np.asarray(outputs, dtype=np.float64)
    return np.where(legal, scores, np.inf).min(axis=-1) > np.where(legal, -np.inf, scores).max(axis=-1)


def _embedding() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The embedded grammar as one automaton: symbol [states, 2] and next state [states, 2] of two equally likely choices (twice the same
    where there is none), and which states [states] emit the long-range symbol. State 0 starts a string.
    """
    rules: dict[object, tuple[tuple[str, object], ...]] = {
        "start": (("B", "branch"),),
        "branch": (("T", ("T", "inner B")), ("P", ("P", "inner B"))),
        "end": (("E", "start"),),
    }
    for branch in "TP":
        rules[branch, "inner B"] = (("B", (branch, 0)),)
        for state, choices in _REBER.items():
            rules[branch, state] = tuple((symbol, (branch, target)) for symbol, target in choices)
        rules[branch, 5] = (("E", (branch, "again")),)
        rules[branch, "again"] = ((branch, "end"),)
    number = {state: index for index, state in enumerate(rules)}
    two = [choices * (2 // len(choices)) for choices in rules.values()]
    symbol = np.array([[REBER_SYMBOLS.index(letter) for letter, _ in choices] for choices in two])
    target = np.array([[number[state] for _, state in choices] for choices in two])
    long_range = np.array([isinstance(state, tuple) and state[1] == "again" for state in rules])
    return symbol, target, long_range


_SYMBOL, _NEXT, _IS_LONG_RANGE = _embedding()
_LEGAL: NDArray[np.bool_] = one_hot(_SYMBOL, len(REBER_SYMBOLS)).max(axis=1) > 0  # [states, 7]


def _walk(n: int, time: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(states, symbols), both [n, time]: the state before each symbol, and the symbol."""
    choices = rng.integers(0, 2, (time, n))
    states = np.zeros((time + 1, n), dtype=np.int64)
    for step in range(time):
        states[step + 1] = _NEXT[states[step], choices[step]]
    return states[:-1].T, _SYMBOL[states[:-1], choices].T


def _streams(states: NDArray[np.int64], symbols: NDArray[np.int64]) -> SymbolStreams:
    before_next = states[:, 1:]
    return SymbolStreams(
        x=one_hot(symbols[:, :-1], len(REBER_SYMBOLS)),
        y=np.ascontiguousarray(symbols[:, 1:]),
        long_range=_IS_LONG_RANGE[before_next],
        legal=_LEGAL[before_next],
    )
