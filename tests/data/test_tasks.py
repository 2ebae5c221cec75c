"""The long-memory tasks: every answer follows from what is marked and from nothing else, and guessing earns what the docstrings say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_lstm.data import tasks
from edge_lstm.data.tasks.recall import ORDER_SYMBOLS
from edge_lstm.errors import UsageError

MANY = 20_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def letters(x: NDArray[np.float32], alphabet: str) -> NDArray[np.str_]:
    """One-hot [..., symbols] to letters [...]; every step must have exactly one symbol."""
    assert ((x == 0) | (x == 1)).all()
    assert (x.sum(axis=-1) == 1).all()
    return np.array(list(alphabet))[x.argmax(axis=-1)]


def assert_uniform(values: NDArray[Any], low: int, high: int) -> None:
    """Each whole number low..high comes about equally often (5 standard deviations)."""
    assert values.min() == low
    assert values.max() == high
    counts, share = np.bincount(values - low), 1 / (high - low + 1)
    deviation = np.sqrt(len(values) * share * (1 - share))
    assert np.abs(counts - len(values) * share).max() < 5 * deviation


def assert_share(happened: NDArray[np.bool_], expected: float) -> None:
    deviation = np.sqrt(expected * (1 - expected) / happened.size)
    assert happened.mean() == pytest.approx(expected, abs=4 * deviation)


EVERY_TASK: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "adding": (tasks.adding, (60, 2), ()),
    "adding_two_halves": (tasks.adding_two_halves, (60, 2), ()),
    "multiplication": (tasks.multiplication, (60, 2), ()),
    "temporal_order": (tasks.temporal_order, (60, 8), ()),
    "latch": (tasks.latch, (60, 6), ()),
    "copy": (tasks.copy, (80, 10), (80,)),
    "noise_free_lag": (tasks.noise_free_lag, (60, 61), (60,)),
    "distracted_lag": (lambda *arguments: tasks.distracted_lag(*arguments, extra=0), (63, 64), ()),
    "two_sequences": (tasks.two_sequences, (60, 1), ()),
    "embedded_reber": (lambda *arguments: tasks.embedded_reber(*arguments)[:2], (60, 7), (60,)),
}


@pytest.mark.parametrize("name", EVERY_TASK)
def test_shapes_types_and_seeds(name: str) -> None:
    task, x_shape, y_shape = EVERY_TASK[name]
    x, y = task(7, 60, rng(1))
    assert x.shape == (7, *x_shape)
    assert y.shape == (7, *y_shape)
    assert x.dtype == np.float32
    assert y.dtype in (np.float32, np.int64)
    again, other = task(7, 60, rng(1)), task(7, 60, rng(2))
    np.testing.assert_array_equal(again[0], x)
    np.testing.assert_array_equal(again[1], y)
    assert (other[0] != x).any()
    for wrong in (0, -3):
        with pytest.raises(UsageError, match="at least one sequence"):
            task(wrong, 60, rng())
    with pytest.raises(UsageError, match="shortest sequence"):
        task(3, 0, rng())


@pytest.mark.parametrize(("task", "low"), [(tasks.adding, -1), (tasks.multiplication, 0)])
def test_two_values_are_marked_where_the_paper_says(task: Callable[..., Any], low: float) -> None:
    length, extra = 100, 7
    x, _ = task(MANY, length, rng(), extra=extra)
    value, marker = x[..., 0], x[..., 1]
    assert x.shape[1] == length + extra
    assert value.min() == pytest.approx(low, abs=1e-3)
    assert value.max() == pytest.approx(1, abs=1e-3)
    assert (marker[:, [0, -1]] == -1).all()
    assert np.isin(marker[:, 1:-1], [0, 1]).all()
    marks = [np.flatnonzero(row) for row in marker[:, 1:-1] == 1]
    counts = np.array([len(mark) for mark in marks])
    # The first pair is X1 in 1 of 10 sequences, and X2 in 1 of the 49 places for it in the other 9 of 10.
    assert counts.min() == 1
    assert counts.max() == 2
    assert_share(counts == 1, 0.1 + 0.9 / 49)
    latest = np.array([mark[-1] for mark in marks]) + 1
    assert latest.max() == 49  # X2 is among the first 49 of the other 99 pairs
    both = np.array([mark + 1 for mark in marks if len(mark) == 2])
    assert (both.min(axis=1) < 10).all()
    assert (both.min(axis=1) == 9).any()


def test_the_sum_follows_from_the_marked_values() -> None:
    for x, y in [tasks.adding(500, 100, rng()), tasks.adding(500, 20, rng(1), extra=2)]:
        value, marked = x[..., 0].astype(np.float64), x[..., 1] == 1
        np.testing.assert_allclose(y, 0.5 + (value * marked).sum(axis=1) / 4, atol=1e-7)


def test_the_product_follows_from_the_marked_values() -> None:
    x, y = tasks.multiplication(2000, 100, rng())
    value, marked = x[..., 0].astype(np.float64), x[..., 1] == 1
    np.testing.assert_allclose(y, np.where(marked, value, 1).prod(axis=1), atol=1e-7)


def test_answering_the_mean_earns_little_on_adding() -> None:
    """|X1 + X2| / 4 < 0.04 has probability 0.16 - 0.16²/4 for two uniform values in -1..1, and 0.16 for one."""
    _, y = tasks.adding(MANY, 100, rng())
    one = 0.1 + 0.9 / 49
    assert_share(np.abs(y - 0.5) < 0.04, one * 0.16 + (1 - one) * (0.16 - 0.16**2 / 4))
    # No other constant is better.
    assert max((np.abs(y - guess) < 0.04).mean() for guess in np.linspace(0, 1, 51)) < 0.17


def test_adding_in_two_halves() -> None:
    x, y = tasks.adding_two_halves(MANY, 50, rng())
    value, marker = x[..., 0].astype(np.float64), x[..., 1]
    np.testing.assert_allclose(y, (value * marker).sum(axis=1), atol=1e-6)
    for half in (marker[:, :25], marker[:, 25:]):
        assert (half.sum(axis=1) == 1).all()
        assert_uniform(half.argmax(axis=1), 0, 24)
    assert np.mean((y - 1.0) ** 2) == pytest.approx(1 / 6, abs=0.005)  # the paper's 0.167
    assert value.min() >= 0


@pytest.mark.parametrize(("marks", "bands"), [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])])
def test_the_order_of_the_marks_is_the_class(marks: int, bands: list[tuple[int, int]]) -> None:
    extra = 5
    x, y = tasks.temporal_order(MANY, 100, rng(), extra=extra, marks=marks)
    text = letters(x, ORDER_SYMBOLS)
    assert (text[:, 0] == "E").all()
    assert (text[:, -1] == "B").all()
    is_mark = np.isin(text, ["X", "Y"])
    assert (is_mark.sum(axis=1) == marks).all()
    assert np.isin(text[:, 1:-1][~is_mark[:, 1:-1]], list("abcd")).all()
    places = np.argwhere(is_mark)[:, 1].reshape(-1, marks)
    for place, (first, last) in zip(places.T, bands, strict=True):
        assert_uniform(place, first, last)
    marked = np.take_along_axis(text, places, axis=1)
    classes = {"".join("Y" if digit == "1" else "X" for digit in f"{index:0{marks}b}"): index for index in range(2**marks)}
    assert [classes["".join(row)] for row in marked] == y.tolist()
    assert_uniform(y, 0, 2**marks - 1)
    # Knowing all marks but one leaves two classes equally likely.
    for known in range(marks):
        for letter in "XY":
            of_known = y[marked[:, known] == letter]
            assert np.bincount(of_known, minlength=2**marks).max() < 1.1 * len(of_known) / 2 ** (marks - 1)


@pytest.mark.parametrize("tokens", [4, 7])
def test_the_latch_asks_for_the_flagged_token_among_distractors(tokens: int) -> None:
    length = 200
    x, y = tasks.latch(MANY // 10, length, rng(), tokens=tokens)
    token, store, recall = x[..., :tokens], x[..., tokens], x[..., tokens + 1]
    assert (token[:, :-1].sum(axis=-1) == 1).all()
    assert (token[:, -1] == 0).all()
    assert (store.sum(axis=1) == 1).all()
    assert_uniform(store.argmax(axis=1), 0, length // 10 - 1)
    assert (recall[:, -1] == 1).all()
    assert (recall[:, :-1] == 0).all()
    np.testing.assert_array_equal((token * store[..., None]).sum(axis=1).argmax(axis=-1), y)
    assert_uniform(y, 0, tokens - 1)
    # Neither counting tokens nor looking at one place tells the answer.
    assert (token.sum(axis=1).argmax(axis=-1) == y).mean() < 1 / tokens + 0.06
    for place in (0, 10, 20, 100, 198):
        assert (token[:, place].argmax(axis=-1) == y).mean() < 1 / tokens + 0.09


def test_copy_repeats_the_first_ten_symbols_after_the_delimiter() -> None:
    length = 30
    x, y = tasks.copy(500, length, rng())
    text = letters(x, "01234567_:")
    assert x.shape[1] == length + 20
    assert (text[:, length + 9] == ":").all()
    assert (text[:, 10 : length + 9] == "_").all()
    assert (text[:, length + 10 :] == "_").all()
    assert (y[:, :-10] == 8).all()
    np.testing.assert_array_equal(y[:, -10:].astype(str), text[:, :10])
    assert_uniform(y[:, -10:].ravel(), 0, 7)


@pytest.mark.parametrize("regular", [True, False])
def test_the_last_symbol_of_a_noise_free_lag_is_the_first(regular: bool) -> None:
    p = 12
    x, y = tasks.noise_free_lag(MANY, p, rng(), regular=regular)
    symbols = letters(x, "abcdefghijkXY")
    target = np.array(list("abcdefghijkXY"))[y]
    np.testing.assert_array_equal(target[:, :-1], symbols[:, 1:])  # the next symbol
    np.testing.assert_array_equal(target[:, -1], symbols[:, 0])
    assert_share(symbols[:, 0] == "X", 0.5)
    if regular:
        assert {"".join(row) for row in symbols} == {"Xabcdefghijk", "Yabcdefghijk"}
    else:
        assert_uniform(y[:, :-1].ravel(), 0, p - 2)


def test_a_distracted_lag_asks_for_the_second_symbol() -> None:
    q, kinds, extra = 9, 5, 3
    x, y = tasks.distracted_lag(MANY, q, rng(), distractors=kinds, extra=extra)
    symbols = letters(x, "01234ebXY")
    assert x.shape[1] == q + extra + 3
    assert (symbols[:, 0] == "b").all()
    assert (symbols[:, -1] == "e").all()
    np.testing.assert_array_equal(symbols[:, 1] == "Y", y == 1)
    assert_uniform(y, 0, 1)
    assert_uniform(symbols[:, 2:-1].astype(int).ravel(), 0, kinds - 1)


def test_the_length_of_a_distracted_lag_is_geometric() -> None:
    random = rng()
    extras = np.array([tasks.distracted_lag(1, 2, random)[0].shape[1] - 5 for _ in range(4000)])
    assert extras.min() == 0
    assert_share(extras == 0, 0.1)
    assert extras.mean() == pytest.approx(9, abs=0.6)  # 0.9 / 0.1, sd 9.5


@pytest.mark.parametrize("experiment", ["3a", "3b", "3c"])
@pytest.mark.parametrize("informative", [1, 3])
def test_two_sequences_differ_in_their_first_elements_alone(experiment: Any, informative: int) -> None:
    x, y = tasks.two_sequences(MANY, 20, rng(), extra=2, experiment=experiment, informative=informative)
    head, tail = x[:, :informative, 0], x[:, informative:, 0]
    first, second = (0.2, 0.8) if experiment == "3c" else (1.0, 0.0)
    is_first = y == np.float32(first)
    assert (is_first | (y == np.float32(second))).all()
    assert_share(is_first, 0.5)
    sign = np.where(is_first, 1, -1)[:, None]
    if experiment == "3a":
        assert (head == sign).all()
    else:
        assert (head - sign).var() == pytest.approx(0.2, rel=0.05)
        assert (head - sign).mean() == pytest.approx(0, abs=0.02)
    assert tail.var() == pytest.approx(0.2, rel=0.02)
    for of_class in (is_first, ~is_first):
        assert tail[of_class].mean() == pytest.approx(0, abs=0.01)


def test_noise_on_the_targets_is_for_experiment_3c_alone() -> None:
    x, y = tasks.two_sequences(MANY, 20, rng(), experiment="3c", noisy_targets=True)
    clean = np.where(x[:, :3, 0].sum(axis=1) > 0, 0.2, 0.8)  # the sign fails in 1 of 10,000
    noise = y - clean
    assert noise.var() == pytest.approx(0.1, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    with pytest.raises(UsageError, match="only experiment 3c"):
        tasks.two_sequences(3, 20, rng(), noisy_targets=True)


@pytest.mark.parametrize("task", [tasks.adding, tasks.multiplication, tasks.temporal_order, tasks.two_sequences])
def test_random_lengths_are_uniform_up_to_a_tenth_more(task: Callable[..., Any]) -> None:
    batches = tasks.of_random_lengths(task, 2560, 100, rng())
    lengths = np.concatenate([np.full(len(x), x.shape[1]) for x, _ in batches])
    assert len(lengths) == 2560
    assert_uniform(lengths, 100, 110)
    assert all(len(x) == len(y) for x, y in batches)


def test_options_pass_through_random_lengths() -> None:
    batches = tasks.of_random_lengths(tasks.temporal_order, 500, 100, rng(), marks=3)
    assert max(y.max() for _, y in batches) == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.temporal_order(3, 100, rng(), marks=4), "2 or 3 marks"),
        (lambda: tasks.latch(3, 100, rng(), tokens=1), "at least 2 tokens"),
        (lambda: tasks.adding(3, 19, rng()), "length 20, got 19"),
        (lambda: tasks.adding(3, 100, rng(), extra=-1), "got -1"),
        (lambda: tasks.distracted_lag(3, 10, rng(), distractors=0), "at least one kind"),
        (lambda: tasks.two_sequences(3, 10, rng(), informative=0), "at least one element"),
        (lambda: tasks.two_sequences(3, 10, rng(), experiment="4"), "3a, 3b and 3c"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
