"""Many streams in one call are as many single streams: the same bits, whoever of them steps, pauses or starts anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_deep, random_input, random_integer

from edge_lstm import engine
from edge_lstm.engine import streams as module
from edge_lstm.engine import target
from edge_lstm.engine.cores import CORES
from edge_lstm.engine.stages import prepare
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize


def assert_alike(many: engine.Streams, single: list[engine.Stream]) -> None:
    """Scores, labels, steps and states of all, and of some in another order."""
    assert many.steps.tolist() == [one.steps for one in single]
    assert many.ready.tolist() == [one.ready for one in single]
    begun = np.flatnonzero(many.steps)[::-1]
    if len(begun):
        np.testing.assert_array_equal(many.scores(begun), [single[k].scores for k in begun])
        assert many.labels(begun).tolist() == [single[k].label for k in begun]
    states = many.states()
    for layer, found in enumerate(states):
        for name, values in found.items():
            np.testing.assert_array_equal(values, [one.states[layer][name] for one in single], err_msg=name)


def drive(rng: np.random.Generator, model: IntegerNetwork, kernel: str | None, count: int, rounds: int, threads: int | None = None) -> None:
    """Random subsets are fed, random ones reset; after every round both sides are compared."""
    many, single = engine.Streams(model, count, kernel, threads), [engine.Stream(model, kernel) for _ in range(count)]
    for turn in range(rounds):
        some = np.sort(rng.permutation(count)[: rng.integers(1, count + 1)]) if turn % 3 else np.arange(count)
        if turn % 4 == 1:
            some = rng.permutation(some)
        if turn % 5 == 4:
            again = rng.permutation(count)[: count // 3]
            many.reset(again)
            for k in again:
                single[k].reset()
        if turn % 2:
            raw = random_counts(rng, model, count, 1)[: len(some), 0]
            made, wanted = many.push(raw, some), [single[k].push(row) for k, row in zip(some, raw, strict=True)]
        else:
            x = rng.integers(-127, 128, (len(some), model.inputs)).astype(np.int8)
            made, wanted = (
                many.step(x, None if len(some) == count and turn % 3 == 0 else some),
                [single[k].step(row) for k, row in zip(some, x, strict=True)],
            )
        assert made.tolist() == wanted
    assert_alike(many, single)
    assert many.steps.max() > many.steps.min()


# Every kernel for one structure or another: what all streams share is not in them, and compiling is what this costs.
@pytest.mark.parametrize(
    ("kernel", "cell", "gates", "read_out", "layers"),
    [
        (None, "lstm", "threshold", "last", 2),
        (None, "lstm", "sigmoid", "mean", 1),
        ("portable", "gru_reset_before", "mixed", "every", 1),
    ],
)
def test_many_streams_are_many_single_streams(kernel: str | None, cell: str, gates: str, read_out: str, layers: int) -> None:
    rng = np.random.default_rng(11)
    model = random_integer(rng, cell, 5, 21, gates, read_out, layers=layers, decimation=3, initial=True, steps=9)
    drive(rng, model, kernel, 71, 40)  # two whole groups of streams that step together, and a rest


@pytest.mark.parametrize("seed", [0, 2])
def test_networks_with_other_layers_stream_many_at_once_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_deep(rng, ("lstm", "gru")[seed % 2], ("threshold", "sigmoid")[seed % 2], ("last", "mean", "every")[seed])
    drive(rng, quantize(network, random_input(rng, network, 5, 40)), None, 9, 60)


@pytest.mark.parametrize("kind", CORES)
@pytest.mark.parametrize(("kernel", "lists"), [(None, "tiles"), (None, "columns"), ("portable", "tiles")])
def test_streams_leave_out_zeros(kernel: str | None, lists: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that lists no columns takes tiles instead."""
    monkeypatch.setattr(module, "SETTLED", 3)
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    core, columns = target.choose(kernel).core, 100.0 if lists == "columns" else 0.01
    monkeypatch.setitem(CORES, target.choose(kernel).kind, replace(core, most_busy=2.0, batch_columns=(columns, 3)))
    rng = np.random.default_rng(8)
    model = random_integer(rng, "lstm", 5, 70, "threshold", "last", layers=2, decimation=3, initial=True)
    drive(rng, model, kernel, 71, 40)
    whole = prepare(model, kernel).whole
    assert whole is not None
    taken = lists if target.choose(kernel).name == "vnni" else "tiles"
    assert f"many_{taken}" in whole.kernels._calls


def test_threads_share_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH_FOR_A_THREAD", 1)
    rng = np.random.default_rng(5)
    drive(rng, random_integer(rng, "lstm", 5, 21, "threshold", "last", layers=2, decimation=3), None, 71, 10, threads=3)


def test_streams_end_where_whole_sequences_do() -> None:
    rng = np.random.default_rng(6)
    model = random_integer(rng, "lstm", 5, 21, "threshold", "last", layers=2, decimation=3)
    raw = random_counts(rng, model, 40, 20)
    many = engine.Streams(model, 40)
    for t in range(raw.shape[1]):
        many.push(raw[:, t])
    np.testing.assert_array_equal(many.scores(), engine.run(model, raw).scores)
    assert many.ready.all()


def model() -> IntegerNetwork:
    return random_integer(np.random.default_rng(0), "lstm", 3, 8, "threshold")


@pytest.mark.parametrize("entry", ["step", "push"])
def test_other_types_and_shapes_are_refused_and_nothing_has_changed(entry: str) -> None:
    good, bad = (np.int16, np.int8) if entry == "push" else (np.int8, np.int16)
    many = engine.Streams(model(), 4)
    call = getattr(many, entry)
    for values in (np.zeros((3, 3), good), np.zeros((4, 2), good), np.zeros(12, good), np.zeros((4, 3), bad), np.zeros((4, 3)), None):
        with pytest.raises(EdgeLstmError, match=r"one row for each stream"):
            call(values)
    for which, message in (
        ([0, 4], "there are 4 streams, 0 to 3; 0 to 4 came"),
        ([-1], "there are 4 streams"),
        ([1, 2, 1], "named twice"),
        ([0.0, 1.0], "named by integers"),
        (np.ones(3, np.bool_), "named by integers"),
        ([[0, 1]], "named by integers"),
    ):
        with pytest.raises(EdgeLstmError, match=message):
            call(np.zeros((len(np.ravel(which)), 3), good), which)
    assert many.steps.tolist() == [0] * 4


def test_values_of_any_layout_and_masks_are_understood() -> None:
    rng = np.random.default_rng(7)
    network = model()
    x = rng.integers(-127, 128, (8, 6)).astype(np.int8)[::2, ::2]
    raw = rng.integers(-99, 99, (4, 3)).astype(">i2")
    plain, other = engine.Streams(network, 4), engine.Streams(network, 4)
    read_only = x.copy()
    read_only.flags.writeable = False
    assert plain.step(read_only).all()
    assert other.step(x, np.ones(4, np.bool_)).all()
    assert plain.push(raw.astype(np.int16)).all()
    assert other.push(raw).all()
    np.testing.assert_array_equal(plain.scores(), other.scores())
    assert len(plain.step(x[:0], [])) == 0
    assert len(plain.push(raw[:0], np.zeros(4, np.bool_))) == 0
    assert plain.scores([]).shape == (0, 3)
    assert plain.steps.tolist() == [2] * 4


def test_a_stream_without_a_step_has_no_scores() -> None:
    many = engine.Streams(model(), 3)
    many.step(np.zeros((2, 3), np.int8), [0, 2])
    assert many.scores([0, 2]).shape == (2, 3)
    with pytest.raises(EdgeLstmError, match="stream 1 has no scores before its first step"):
        many.scores()
    with pytest.raises(UsageError, match="at least one stream"):
        engine.Streams(model(), 0)
