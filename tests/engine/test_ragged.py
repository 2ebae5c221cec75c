"""Sequences of different lengths in one call: the bits of each sequence run alone, however they are given, ordered and shared out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_deep, random_input, random_integer

from edge_lstm import engine
from edge_lstm.engine import batch, reference, replay, whole
from edge_lstm.engine.cores import CORES
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize


def assert_same(came: reference.Run, wanted: reference.Run) -> None:
    np.testing.assert_array_equal(came.scores, wanted.scores)
    np.testing.assert_array_equal(came.steps, wanted.steps)
    assert came.scores.dtype == np.int32
    for ours, theirs in ((came.states, wanted.states), (came.gates, wanted.gates)):
        assert [list(layer) for layer in ours] == [list(layer) for layer in theirs]
        for mine, yours in zip(ours, theirs, strict=True):
            for name, values in yours.items():
                assert mine[name].dtype == values.dtype
                np.testing.assert_array_equal(mine[name], values, err_msg=name)


def network(read_out: str = "last", seed: int = 0, **options: object) -> IntegerNetwork:
    options = {"layers": 2, "decimation": 2, "initial": True, **options}
    return random_integer(np.random.default_rng(seed), "lstm", 3, 9, "threshold", read_out, **options)


def ragged(rng: np.random.Generator, model: IntegerNetwork, count: int, fewest: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Padded counts [count, 40, 3] with rubbish behind the ends, and lengths in samples."""
    factor = model.normalize.decimation
    return random_counts(rng, model, count, 40 // factor), rng.integers(fewest * factor, 41, count)


def packed(raw: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([sequence[:length] for sequence, length in zip(raw, lengths, strict=True)])


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("kind", CORES)
@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
def test_ragged_sequences_give_the_bits_of_each_alone(read_out: str, kind: str, initial: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences that have ended may go on beside the others, to fill a tile: nothing of theirs may show it."""
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    monkeypatch.setattr(replay, "CHUNK", 45)  # several chunks, whose edges lie within sequences
    rng = np.random.default_rng(1)
    model = network(read_out, initial=initial)
    raw, lengths = ragged(rng, model, 75)
    wanted = reference.run(model, raw, lengths, states=True, gates=True)
    assert_same(engine.run(model, raw, lengths, states=True, gates=True), wanted)
    wanted = reference.run(model, packed(raw, lengths), lengths, states=True, gates=True)
    assert_same(engine.run(model, packed(raw, lengths), lengths, states=True, gates=True), wanted)
    for k in (0, 17, 74):
        alone = engine.run(model, raw[k : k + 1, : lengths[k]])
        scores = wanted.scores[wanted.steps[:k].sum() : wanted.steps[: k + 1].sum()] if read_out == "every" else wanted.scores[k]
        np.testing.assert_array_equal(alone.scores[0], scores)


def test_the_mean_before_a_hidden_layer_is_that_of_each_sequence() -> None:
    rng = np.random.default_rng(11)
    model = network("mean", hidden=5, behind="tanh")
    assert model.read_out.gain is not None
    raw, lengths = ragged(rng, model, 75)
    assert_same(engine.run(model, raw, lengths), reference.run(model, raw, lengths))
    one, scores = engine.Stream(model), []
    for sample in raw[0]:
        if one.push(sample):
            scores.append(one.scores)  # at any step, as if the sequence ended there
    for count in (1, 7, 20):
        np.testing.assert_array_equal(scores[count - 1], reference.run(model, raw[:1, : 2 * count]).scores[0])


def test_normalized_input_may_be_ragged_too() -> None:
    rng = np.random.default_rng(2)
    model = network()
    x = rng.integers(-127, 128, (33, 20, 3)).astype(np.int8)
    lengths = rng.integers(1, 21, 33)
    wanted = np.concatenate([reference.run_normalized(model, x[k : k + 1, :n]).scores for k, n in enumerate(lengths)])
    np.testing.assert_array_equal(engine.run_normalized(model, x, lengths).scores, wanted)
    np.testing.assert_array_equal(engine.run_normalized(model, packed(x, lengths), lengths).scores, wanted)


@pytest.mark.parametrize(("streams", "read_out"), [(True, "last"), (False, "every"), (False, "final"), (False, "mean")])
def test_layers_around_the_recurrent_ones_take_ragged_sequences(streams: bool, read_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolution, pooling and dense layers of several random shapes; the kernels are those of one structure."""
    for seed in range(3, 7):
        rng = np.random.default_rng(seed)
        model = random_deep(rng, "lstm", "threshold", read_out, streams=streams)
        integer = quantize(model, random_input(rng, model, 5, 40))
        raw, lengths = ragged(rng, integer, 12, fewest=17)
        lengths[:4] = 23
        for form in (raw, packed(raw, lengths)):
            wanted = reference.run(integer, form, lengths, states=True, gates=True)
            assert_same(engine.run(integer, form, lengths, states=True, gates=True), wanted)
        with monkeypatch.context() as patched:  # shared out in parts, each of a few sequences of different lengths
            patched.setattr(whole, "MOST_BYTES", 300)
            assert_same(engine.run(integer, raw, lengths), reference.run(integer, raw, lengths))
        even = np.stack([raw[k, :17] for k in range(12)])
        assert_same(engine.run(integer, even), reference.run(integer, even))


def test_neither_threads_nor_order_nor_company_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "ENOUGH_FOR_A_THREAD", 1)
    rng = np.random.default_rng(4)
    model = network("every")
    raw, lengths = ragged(rng, model, 210)
    wanted = engine.run(model, raw, lengths, states=True, gates=True, threads=1)
    for threads in (2, 3, 7):
        assert_same(engine.run(model, raw, lengths, states=True, gates=True, threads=threads), wanted)
    monkeypatch.setattr(whole, "MOST_BYTES", 1)  # one block a part
    assert_same(engine.run(model, raw, lengths, states=True, gates=True, threads=2), wanted)
    order = rng.permutation(210)
    np.testing.assert_array_equal(engine.run(model, raw[order], lengths[order]).scores, wanted.scores[order])


def test_the_normalizing_kernel_gives_the_bits_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_lstm.engine import front

    monkeypatch.setattr(front, "ENOUGH_FOR_A_KERNEL", 0)
    rng = np.random.default_rng(5)
    model = random_integer(rng, "rnn", 5, 6, decimation=3)
    for extremes in (False, True):
        raw = random_counts(rng, model, 9, 21, extremes=extremes)
        for form in (raw, raw[:, 1:], raw[::2, ::-1], raw.astype(">i2")):
            given = batch.checked(form, None, 5, np.int16, "counts", "samples")
            x, firsts = front.normalize(model.normalize, given, np.arange(len(form))[::-1])
            wanted = reference.normalize(model.normalize, form[::-1])
            np.testing.assert_array_equal(x.reshape(wanted.shape), wanted)
            np.testing.assert_array_equal(firsts, wanted.shape[1] * np.arange(len(form)))


def unaligned(values: np.ndarray) -> np.ndarray:
    memory = np.zeros(values.nbytes + 1, np.uint8)
    moved = memory[1:].view(values.dtype).reshape(values.shape)
    moved[...] = values
    assert not moved.flags.aligned
    return moved


def mapped(values: np.ndarray, path: Path) -> np.ndarray:
    np.save(path, values)
    return np.load(path, mmap_mode="r")


def test_input_of_any_layout_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_lstm.engine import front

    monkeypatch.setattr(front, "ENOUGH_FOR_A_KERNEL", 0)
    rng = np.random.default_rng(6)
    model = network()
    raw, lengths = ragged(rng, model, 40)
    wanted = engine.run(model, raw, lengths).scores
    fortran = np.asfortranarray(raw)
    read_only = raw.copy()
    read_only.flags.writeable = False
    backwards = raw[::-1].copy()[::-1]
    layouts = [fortran, read_only, backwards, raw.astype(">i2"), unaligned(raw), mapped(raw, tmp_path / "raw.npy")]
    for form in layouts:
        np.testing.assert_array_equal(engine.run(model, form, lengths).scores, wanted)
        np.testing.assert_array_equal(engine.run(model, form, lengths.tolist()).scores, wanted)
    rows = packed(raw, lengths)
    for form in (np.asfortranarray(rows), unaligned(rows), mapped(rows, tmp_path / "rows.npy"), rows.astype(">i2")):
        np.testing.assert_array_equal(engine.run(model, form, lengths.astype(np.uint16)).scores, wanted)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 4], "2 lengths came for 3 sequences"),
        ([3, 4, 0], r"length 0 of sequence 2 does not lie in 1 ... 10"),
        ([3, 11, 4], r"length 11 of sequence 1"),
        ([3, -1, 4], r"length -1 of sequence 1"),
        ([3.0, 4.0, 5.0], "float64"),
        ([[3, 4, 5]], r"shape \(1, 3\)"),
        ([], "expected one integer for each sequence"),
        (7, "expected one integer for each sequence"),
        ([3, 4, 1], "fewer samples than one block of 2"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths: object, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        engine.run(network(), np.zeros((3, 10, 3), np.int16), lengths)


def test_packed_rows_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(EdgeLstmError, match="the lengths add up to 9, but 10 rows of counts came"):
        engine.run(network(), np.zeros((10, 3), np.int16), [4, 5])
    with pytest.raises(EdgeLstmError, match=r"expected \[batch, samples, 3\], or \[sum of lengths, 3\]"):
        engine.run(network(), np.zeros((10, 4), np.int16), [4, 6])
    with pytest.raises(EdgeLstmError, match="21 steps are longer than the window of 20"):
        engine.run(network("mean"), np.zeros((2, 60, 3), np.int16), [40, 42])


def test_labels_are_the_first_largest_score() -> None:
    run = reference.Run(np.array([[1, 7, 7], [2, 0, -5]], np.int32))
    assert run.labels.tolist() == [1, 0]
