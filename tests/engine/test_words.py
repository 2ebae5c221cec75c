"""Batches whose sequences step two by two in words of 16 bits: the identities behind them, where they are taken, and their bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pieces_of_code import run_on
from random_networks import assert_same, random_counts, random_integer

from edge_lstm import engine
from edge_lstm.engine import prepared, reference, target, words
from edge_lstm.engine.code import Code
from edge_lstm.engine.layout import LANES, LINE, Target
from edge_lstm.engine.packed_words import PackedWords
from edge_lstm.engine.packing import Stack, structure_of
from edge_lstm.engine.stages import prepare
from edge_lstm.engine.words import scaled_multipliers
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntOp
from edge_lstm.fixed_point.operators import half

Ints = npt.NDArray[np.int64]
LIKE = Target("vnni", accumulators=16, packs_bytes=True, kind="two_dots")
needs_vnni = pytest.mark.skipif(target.choose().name != "vnni", reason="without VNNI of AVX-512 nothing steps in words")


def forms_of(network: IntegerNetwork, like: Target = LIKE) -> set[str]:
    """The forms of the network's operators as a batch steps on a target, which this machine need not be."""
    (layer,) = structure_of(Stack(network.normalize, network.recurrent, network.read_out, ()), like).layers
    return set(layer.words.values())


# ---- where ---------------------------------------------------------------------------------------------------------------------------


def test_a_hard_lstm_is_wide_in_its_rows_and_its_candidate_alone() -> None:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 20, "threshold", squash="hard_tanh")
    assert {"state", "sign", "gated", "scaled", "stored", "saturate"} <= forms_of(network)


@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
def test_soft_gates_keep_their_state_in_words(gates: str) -> None:
    assert {"state", "upper", "round15"} <= forms_of(random_integer(np.random.default_rng(0), "lstm", 5, 20, gates))


@pytest.mark.parametrize("name", ["gru", "gru_reset_before", "ugrnn"])
def test_a_threshold_blends_two_words_without_their_difference(name: str) -> None:
    """The difference of two values of 16 bits would not fit, nor its sum with one of them, by their intervals."""
    hard, soft = (forms_of(random_integer(np.random.default_rng(0), name, 5, 20, gates)) for gates in ("threshold", "sigmoid"))
    assert {"state", "sign", "part", "blend", "same", "round"} <= hard
    assert not soft


@pytest.mark.parametrize("options", [{"initial": True}, {"cell_bits": 32}, {"input_bits": 16}], ids=str)
def test_states_that_begin_elsewhere_or_are_wider_stay_in_lanes(options: dict[str, Any]) -> None:
    assert not forms_of(random_integer(np.random.default_rng(0), "lstm", 5, 20, "threshold", **options))


def test_other_cores_keep_their_lanes() -> None:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 20, "threshold")
    assert not forms_of(network, replace(LIKE, kind="one_dot"))
    assert not forms_of(network, Target("avx512", accumulators=16, packs_bytes=True, kind="two_dots"))


# ---- identities ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", range(8, 24))
def test_a_rescale_is_one_rounding_multiplication_or_is_refused(shift: int) -> None:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 20, "threshold", squash="hard_tanh")
    (layer,) = network.recurrent
    op = next(op for op in layer.ops if op.code == "rescale")
    values = np.arange(-(1 << 15), 1 << 15)
    taken = 0
    for multiplier in (1, 3, 127, 128, 127 << 8, 1 << 14, (1 << 15) - 1, 1 << 15):
        changed = replace(layer, vectors={**layer.vectors, f"{op.name}.multiplier": np.full(20, multiplier, np.int32)})
        scaled = scaled_multipliers(changed, IntOp("rescale", (0,), op.name, (shift,)))
        exact = multiplier / 2.0**shift * 2**15
        assert (scaled is not None) == (exact == int(exact) and exact < 1 << 15)
        if scaled is not None:
            taken += 1
            np.testing.assert_array_equal((values * scaled[0] + (1 << 14)) >> 15, (values * multiplier + half(shift)) >> shift)
    assert taken


def test_packing_leaves_accumulators_on_their_side_of_a_threshold() -> None:
    ends = [1 << 31, 1 << 24, 1 << 15, 1 << 14, 2, 1, 0]
    values = np.unique([sign * end + k for end in ends for sign in (-1, 1) for k in (-2, -1, 0, 1, 2)])
    for left in (0, 1, 7, (1 << 14) - 1):
        np.testing.assert_array_equal(values.clip(-(1 << 15), (1 << 15) - 1) > -left, values > -left)


# ---- the machine's instructions ------------------------------------------------------------------------------------------------------


@needs_vnni
def test_words_are_packed_and_taken_apart() -> None:
    rng = np.random.default_rng(1)
    lanes = rng.integers(-(1 << 17), 1 << 17, (50, 2, LANES)).astype(np.int32)
    memory = np.zeros((50, 8, LANES), np.int32)
    memory[:, :2] = lanes

    def emit(code: Code, at: object) -> None:
        layout = PackedWords(code)
        even, odd = (code.lanes_at(code.plus(at, LINE * k)) for k in (0, 1))
        both = layout.words_of(even, odd)
        code.store(both, code.plus(at, 2 * LINE))
        for k in (0, 1):
            code.store(layout.lanes_of(both, odd=k == 1), code.plus(at, LINE * (3 + k)))
            layout.copy_lanes(code.plus(at, 2 * LINE), code.integer(k), code.plus(at, LINE * (5 + k)))
        code.store(layout.lanes_of(layout.upper_words(even, odd), odd=True), code.plus(at, 7 * LINE))

    run_on(memory, emit)
    wanted = lanes.clip(-(1 << 15), (1 << 15) - 1)
    np.testing.assert_array_equal(memory[:, 3:5], wanted)
    np.testing.assert_array_equal(memory[:, 5:7], wanted)
    np.testing.assert_array_equal(memory[:, 7], lanes[:, 1] >> 16)


@needs_vnni
@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("sequences", [2, 4])
def test_bytes_of_each_sequence_go_to_its_own_record(sequences: int, clips: bool) -> None:
    rng = np.random.default_rng(sequences)
    most = 1 << 15 if clips else 127
    values = rng.integers(-most, most, (50, 4, LANES)).astype(np.int32)
    values[:, :, 0], values[:, :, 1] = -128 if clips else -127, 127
    memory = np.zeros((50, 8, LANES), np.int32)
    memory[:, :4] = values

    def emit(code: Code, at: object) -> None:
        layout = PackedWords(code)
        lanes = [code.lanes_at(code.plus(at, LINE * k)) for k in range(4)]
        pairs = [layout.words_of(lanes[k], lanes[k + 1]) for k in range(0, sequences, 2)]
        layout.store_sources(pairs, [code.plus(at, LINE * (4 + k)) for k in range(sequences)], clips)

    run_on(memory, emit)
    stored = memory[:, 4 : 4 + sequences].view(np.uint8).reshape(50, sequences, LINE)
    np.testing.assert_array_equal(stored[:, :, :LANES].astype(int) - 128, values[:, :sequences].clip(-127, 127))
    assert not stored[:, :, LANES:].any()
    assert not memory[:, 4 + sequences :].any()


# ---- whole batches -------------------------------------------------------------------------------------------------------------------


def rows(network: IntegerNetwork, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    return random_counts(rng, network, count, 14, extremes=bool(count % 2)), rng.integers(1, 15, count)


@needs_vnni
@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
@pytest.mark.parametrize(("name", "gates", "squash"), [
    ("lstm", "threshold", "hard_tanh"), ("lstm", "threshold", "own"), ("lstm", "sigmoid", "own"), ("lstm_peephole", "hard_sigmoid", "own"),
    ("lstm_long_lag", "threshold", "any"), ("gru", "threshold", "own"), ("gru", "sigmoid", "own"), ("ugrnn", "threshold", "hard_tanh"),
    ("janet", "sigmoid", "own"),
])  # fmt: skip
def test_any_number_of_sequences_of_any_length_has_the_bits_of_each_alone(
    name: str, gates: str, squash: str, read_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """One is left over of an odd number: its pair's other half is that of a batch before. Every way of leaving out zeros."""
    monkeypatch.setenv("EDGE_LSTM_CORE", "two_dots")
    rng = np.random.default_rng(3)
    network = random_integer(rng, name, 4, 37, gates, read_out, squash=squash, mix=5)
    whole = prepare(network).whole
    assert whole is not None
    assert ("IN_PAIRS = True" in whole.kernels.source) == ((name, gates) not in (("gru", "sigmoid"), ("lstm_peephole", "hard_sigmoid")))
    for lists in ("", "tiles", "columns") if whole.may_list else ("",):
        monkeypatch.setattr(prepared.Prepared, "fewest", lambda self, records, lists=lists: lists)
        whole.lists = lists
        for count in (37, 1, 2, 3, 5, 36, 73):
            raw, lengths = rows(network, rng, count)
            wanted = reference.run(network, raw, lengths, states=True)
            assert_same(engine.run(network, raw, lengths, states=True), wanted)
            np.testing.assert_array_equal(engine.run(network, raw, lengths).scores, wanted.scores)


@needs_vnni
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("left", range(7))
def test_thresholds_that_stay_in_lanes_stay_whole(name: str, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of the gates may be read by what is no select, or have a row that does not begin with its bias."""
    monkeypatch.setenv("EDGE_LSTM_CORE", "two_dots")
    every = words._signs
    monkeypatch.setattr(words, "_signs", lambda *layer: {sign for k, sign in enumerate(sorted(every(*layer))) if left >> k & 1})
    rng = np.random.default_rng(5)
    network = random_integer(rng, name, 4, 20, "threshold", squash="hard_tanh")
    raw = random_counts(rng, network, 39, 14, extremes=True)
    assert_same(engine.run(network, raw, states=True), reference.run(network, raw, states=True))


@needs_vnni
def test_streams_and_batches_of_one_network_keep_their_own_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that step together keep lanes, for they come and go one by one."""
    monkeypatch.setenv("EDGE_LSTM_CORE", "two_dots")
    rng = np.random.default_rng(4)
    network = random_integer(rng, "lstm", 4, 20, "threshold", squash="hard_tanh")
    raw = random_counts(rng, network, 41, 9)
    wanted = reference.run(network, raw, states=True)
    streams = engine.Streams(network, 41)
    for k in range(raw.shape[1]):
        streams.push(raw[:, k])
        if k == 4:
            assert_same(engine.run(network, raw, states=True), wanted)
    np.testing.assert_array_equal(streams.scores(), wanted.scores)
