"""The embedded Reber grammar, against two descriptions of it that share nothing with the generator: a regular expression and the
published diagram walked by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_lstm.data import tasks
from edge_lstm.errors import UsageError

SYMBOLS = "BTSXPVE"
# State 3 of the diagram is (XT*VP)*(S|XT*VV); state 2 is T*V(V|P state 3).
THREE = "(?:XT*VP)*(?:S|XT*VV)"
REBER = f"B(?:TS*X{THREE}|PT*V(?:V|P{THREE}))E"
EMBEDDED = re.compile(f"B([TP]){REBER}\\1E")

# state -> symbol -> state, the diagram of the 1997 paper (figure 3).
DIAGRAM = {0: {"T": 1, "P": 2}, 1: {"S": 1, "X": 3}, 2: {"T": 2, "V": 4}, 3: {"X": 2, "S": 5}, 4: {"P": 3, "V": 5}}


def legal_after(prefix: str) -> tuple[set[str], bool]:
    """(symbols that may follow, whether the next is the long-range one) within one embedded string."""
    if len(prefix) < 3:
        return [{"B"}, {"T", "P"}, {"B"}][len(prefix)], False
    state = 0
    for place, symbol in enumerate(prefix[3:], start=3):
        if state == 5:
            assert symbol == "E"
            left = len(prefix) - place - 1
            return ({prefix[1]}, True) if left == 0 else ({"E"}, False)
        state = DIAGRAM[state][symbol]
    return ({"E"}, False) if state == 5 else (set(DIAGRAM[state]), False)


def text_of(streams: tasks.SymbolStreams) -> list[str]:
    """The whole streams, the last target included."""
    assert (streams.x.sum(axis=-1) == 1).all()
    symbols = np.concatenate([streams.x.argmax(axis=-1), streams.y[:, -1:]], axis=1)
    return ["".join(SYMBOLS[symbol] for symbol in row) for row in symbols]


@pytest.fixture(scope="module")
def streams() -> tasks.SymbolStreams:
    return tasks.embedded_reber(40, 1500, np.random.default_rng(0))


def test_targets_are_the_next_symbols(streams: tasks.SymbolStreams) -> None:
    np.testing.assert_array_equal(streams.x[:, 1:].argmax(axis=-1), streams.y[:, :-1])


def test_streams_are_embedded_strings_in_a_row(streams: tasks.SymbolStreams) -> None:
    for text in text_of(streams):
        at = 0
        while match := EMBEDDED.match(text, at):
            at = match.end()
        assert len(text) - at < 120  # an unfinished string is left
        assert at > 1000
        # What is left is the start of a string: every symbol of it is legal after those before.
        for end in range(at, len(text)):
            assert text[end] in legal_after(text[at:end])[0]


def test_the_marks_of_legality_and_long_range_are_those_of_the_diagram(streams: tasks.SymbolStreams) -> None:
    for row, text in enumerate(text_of(streams)[:10]):
        prefix = ""
        for place, symbol in enumerate(text):
            expected, is_long_range = legal_after(prefix)
            if place:
                assert {SYMBOLS[index] for index in np.flatnonzero(streams.legal[row, place - 1])} == expected
                assert streams.long_range[row, place - 1] == is_long_range
            prefix += symbol
            if EMBEDDED.fullmatch(prefix):
                prefix = ""


def test_both_branches_of_every_choice_are_equally_likely(streams: tasks.SymbolStreams) -> None:
    """Strings are as long, on the mean, as the diagram makes them with probability 1/2 each; and the long-range symbol is fair."""
    remaining = np.linalg.solve(
        np.eye(5)
        - 0.5
        * np.array([[target == state for state in range(5)] for choices in DIAGRAM.values() for target in choices.values()])
        .reshape(5, 2, 5)
        .sum(axis=1),
        np.ones(5),
    )
    expected = 2 + 1 + remaining[0] + 1 + 2  # B T, inner B, its symbols, inner E, T E
    lengths = [len(match.group()) for text in text_of(streams) for match in EMBEDDED.finditer(text)]
    assert min(lengths) == 9
    assert np.mean(lengths) == pytest.approx(expected, abs=5 * np.std(lengths) / np.sqrt(len(lengths)))
    is_t = streams.y[streams.long_range] == SYMBOLS.index("T")
    assert is_t.mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(len(is_t)))


def test_nothing_near_tells_the_long_range_symbol(streams: tasks.SymbolStreams) -> None:
    """The 4 symbols before it, all that a short memory has, leave it open."""
    texts = text_of(streams)
    seen: dict[str, list[bool]] = {}
    for row, place in np.argwhere(streams.long_range):
        if place >= 4:
            seen.setdefault(texts[row][place - 3 : place + 1], []).append(texts[row][place + 1] == "T")
    right = sum(max(sum(answers), len(answers) - sum(answers)) for answers in seen.values())
    assert right / sum(map(len, seen.values())) < 0.56


def test_two_sets_of_strings_have_none_in_common_and_obey_the_grammar() -> None:
    random = np.random.default_rng(1)
    train = tasks.embedded_reber_strings(256, random)
    test = tasks.embedded_reber_strings(256, random, apart_from=train)
    assert len(set(train)) == len(set(test)) == 256
    assert not set(train) & set(test)
    assert all(EMBEDDED.fullmatch(string) for string in train + test)
    assert min(map(len, train)) == 9


def test_a_string_as_a_stream() -> None:
    string = "BTBTSSXXTVVETE"
    assert EMBEDDED.fullmatch(string)
    streams = tasks.stream_of(string)
    assert text_of(streams) == [string]
    assert streams.long_range[0].tolist() == [False] * 11 + [True, False]
    assert {SYMBOLS[index] for index in np.flatnonzero(streams.legal[0, 0])} == {"T", "P"}


@pytest.mark.parametrize(("string", "place"), [("BTBTSSXXTVVEPE", 12), ("BTBVVETE", 3), ("BTBTXSETEB?", 10), ("T", 0)])
def test_a_string_that_breaks_the_grammar_is_refused_where_it_does(string: str, place: int) -> None:
    with pytest.raises(UsageError, match=f"at place {place}|at least two"):
        tasks.stream_of(string)


def test_success_means_that_every_legal_symbol_beats_every_other() -> None:
    legal = np.array([[True, True, False, False]] * 4)
    outputs = [[0.9, 0.5, 0.4, 0.0], [0.9, 0.3, 0.4, 0.0], [0.9, 0.4, 0.4, 0.0], [0.2, 0.1, -0.1, 0.0]]
    assert tasks.is_legal_most_active(outputs, legal).tolist() == [True, False, False, True]
