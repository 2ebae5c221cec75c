"""What the engine accepts, what it refuses, and what it says; streams as the firmware behaves; floats in and out."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm import engine
from edge_lstm.engine import reference, target
from edge_lstm.engine.cores import CORES, core_called
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork


def network(read_out: str = "last", seed: int = 0, **options: object) -> IntegerNetwork:
    return random_integer(np.random.default_rng(seed), "lstm", 3, 8, "threshold", read_out, **options)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((2, 9, 3), np.int32), "type int32, expected int16"),
        (np.zeros((2, 9, 3)), "type float64, expected int16"),
        (np.zeros((2, 9, 4), np.int16), r"shape \(2, 9, 4\), expected \[batch, samples, 3\]"),
        (np.zeros((9, 3), np.int16), r"expected \[batch, samples, 3\]"),
        (np.zeros((0, 9, 3), np.int16), "empty"),
        (np.zeros((2, 0, 3), np.int16), "empty"),
    ],
)
def test_counts_of_another_type_or_shape_are_refused(raw: np.ndarray, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        engine.run(network(), raw)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 9, 3), np.int16), "inputs have type int16, expected int8"),
        (np.zeros((2, 9, 3), np.uint8), "inputs have type uint8, expected int8"),
        (np.full((2, 9, 3), np.nan), "inputs have type float64, expected int8"),
        (np.zeros((2, 9, 2), np.int8), r"expected \[batch, time, 3\]"),
        (np.zeros((2, 0, 3), np.int8), "empty"),
        ([[[1, 2, 3]]], "inputs have type int64, expected int8"),
    ],
)
def test_inputs_of_another_type_or_shape_are_refused(x: object, message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        engine.run_normalized(network(), x)


def test_many_steps_of_any_layout_are_understood_and_others_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    model = network()
    x = rng.integers(-127, 128, (40, 6)).astype(np.int8)[::2, ::2]
    np.save(tmp_path / "x.npy", x)
    read_only = x.copy()
    read_only.flags.writeable = False
    stream = engine.Stream(model)
    stream.run(x.copy())
    wanted = stream.scores
    mapped = [np.load(tmp_path / "x.npy", mmap_mode=mode) for mode in ("r", "r+")]
    for form in (x, read_only, np.asfortranarray(x), *mapped):
        stream.reset()
        assert stream.run(form) == 20
        np.testing.assert_array_equal(stream.scores, wanted)
    assert stream.run(x[:0]) == 0
    for bad in (x.astype(np.int16), x[0], x[:, :2], x[None], x.tolist(), None):
        with pytest.raises(EdgeLstmError, match=r"expected int8 of shape \[time, 3\]"):
            stream.run(bad)
    assert stream.steps == 20


def test_samples_of_any_layout_are_understood(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    model = network()
    raw = rng.integers(-999, 999, 3).astype(np.int16)
    memory = np.zeros(7, np.uint8)
    unaligned = memory[1:].view(np.int16)
    unaligned[:] = raw
    np.save(tmp_path / "raw.npy", raw)
    stream = engine.Stream(model)
    stream.push(raw)
    wanted = stream.scores
    mapped = np.load(tmp_path / "raw.npy", mmap_mode="r")
    for form in (unaligned, np.repeat(raw, 2)[::2], raw[::-1].copy()[::-1], mapped, raw.astype(">i2")):
        stream.reset()
        assert stream.push(form)
        np.testing.assert_array_equal(stream.scores, wanted)


def test_less_than_a_block_and_more_than_the_window_are_refused() -> None:
    with pytest.raises(EdgeLstmError, match="fewer samples than one block of 4"):
        engine.run(network(decimation=4), np.zeros((2, 3, 3), np.int16))
    with pytest.raises(EdgeLstmError, match="21 steps are longer than the window of 20"):
        engine.run(network("mean"), np.zeros((2, 21, 3), np.int16))


def test_strided_and_read_only_input_is_understood() -> None:
    rng = np.random.default_rng(1)
    model = network()
    raw = random_counts(rng, model, 6, 40)
    wanted = reference.run(model, raw[::2, ::2]).scores
    np.testing.assert_array_equal(engine.run(model, raw[::2, ::2]).scores, wanted)
    raw.flags.writeable = False
    np.testing.assert_array_equal(engine.run(model, raw[::2, ::2]).scores, wanted)


@pytest.mark.parametrize("entry", ["push", "step"])
def test_a_stream_refuses_other_types_and_shapes_and_stays_as_it_was(entry: str) -> None:
    good, bad = (np.int16, np.int8) if entry == "push" else (np.int8, np.int16)
    stream = engine.Stream(network())
    call = getattr(stream, entry)
    for values in (np.zeros(2, good), np.zeros(4, good), np.zeros((1, 3), good), np.zeros(3, bad), np.zeros(3), [0, 0, 0], None):
        with pytest.raises(EdgeLstmError, match=rf"a {entry} takes {np.dtype(good)} values of shape \[3\]"):
            call(values)
    assert stream.steps == 0
    read_only = np.zeros(3, good)
    read_only.flags.writeable = False
    assert call(read_only)
    assert call(np.zeros(6, good)[::2])
    assert stream.steps == 2


def test_a_stream_is_ready_after_the_window_and_starts_anew_after_a_reset() -> None:
    rng = np.random.default_rng(4)
    model = network(decimation=2, initial=True)
    (raw,) = random_counts(rng, model, 1, 20)
    stream = engine.Stream(model)
    with pytest.raises(EdgeLstmError, match="before its first step"):
        _ = stream.scores
    first = stream.states
    for k, sample in enumerate(raw):
        assert stream.push(sample) == (k % 2 == 1)
        assert stream.ready == (k == 39)
    (wanted,) = reference.run(model, raw[None]).scores
    np.testing.assert_array_equal(stream.scores, wanted)
    assert stream.label == wanted.argmax()
    stream.push(raw[0])  # an unfinished block is dropped
    stream.reset()
    assert stream.steps == 0
    for now, then in zip(stream.states, first, strict=True):
        for state in then:
            np.testing.assert_array_equal(now[state], then[state])
    assert [stream.push(sample) for sample in raw[:2]] == [False, True]
    np.testing.assert_array_equal(stream.scores, reference.run(model, raw[None, :2]).scores[0])


def test_the_first_of_equal_scores_wins() -> None:
    model = network()
    last = model.layers[-1]
    model = replace(model, layers=(*model.layers[:-1], replace(last, W=np.zeros_like(last.W), bias=np.array([1, 7, 7], np.int32))))
    stream = engine.Stream(model)
    stream.step(np.zeros(3, np.int8))
    assert stream.label == 1


def test_a_mean_is_complete_when_its_window_is() -> None:
    rng = np.random.default_rng(5)
    model = network("mean")
    (raw,) = random_counts(rng, model, 1, 25)
    stream = engine.Stream(model)
    made = [stream.push(sample) for sample in raw]
    assert made == [True] * 20 + [False] * 5
    assert stream.steps == 20
    np.testing.assert_array_equal(stream.scores, reference.run(model, raw[None, :20]).scores[0])


def test_many_steps_in_one_call_are_the_same_steps() -> None:
    rng = np.random.default_rng(6)
    model = network()
    x = reference.normalize(model.normalize, random_counts(rng, model, 1, 20))[0]
    one, many = engine.Stream(model), engine.Stream(model)
    assert many.run(x[:7]) == 7
    assert many.run(x[7:]) == 13
    for sample in x:
        one.step(sample)
    np.testing.assert_array_equal(many.scores, one.scores)
    with pytest.raises(EdgeLstmError, match=r"expected int8 of shape \[time, 3\]"):
        many.run(x[:, :2])


def test_two_streams_share_nothing_and_a_network_is_not_kept_alive() -> None:
    rng = np.random.default_rng(7)
    model = network()
    raw = random_counts(rng, model, 2, 20)
    streams = [engine.Stream(model), engine.Stream(model)]
    for samples in raw.transpose(1, 0, 2):
        for stream, sample in zip(streams, samples, strict=True):
            stream.push(sample)
    wanted = reference.run(model, raw).scores
    for stream, scores in zip(streams, wanted, strict=True):
        np.testing.assert_array_equal(stream.scores, scores)
    gone = weakref.ref(model)
    del model, stream, streams
    gc.collect()
    assert gone() is None


def test_an_unknown_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EdgeLstmError, match="unknown kernel 'fast': choose one of vnni, avx512"):
        engine.run(network(), np.zeros((1, 20, 3), np.int16), kernel="fast")
    monkeypatch.setenv("EDGE_LSTM_KERNEL", "portable")
    assert target.choose().name == "portable"


def test_kernels_are_made_for_the_kind_of_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intel's cores for servers make twice as many dot products as Zen 4; one that nobody has heard of is taken for such a one."""
    assert {core_called(name) for name in ("znver4", "tigerlake")} == {"one_dot"}
    assert {core_called(name) for name in ("emeraldrapids", "znver5", "unheard-of")} == {"two_dots"}
    monkeypatch.setenv("EDGE_LSTM_CORE", "quick")
    with pytest.raises(EdgeLstmError, match="unknown kind of core EDGE_LSTM_CORE=quick: choose one of one_dot, two_dots"):
        target.choose()
    for kind, core in CORES.items():
        monkeypatch.setenv("EDGE_LSTM_CORE", kind)
        assert (f"tuned for {core.words}" in target.why(target.choose())) == target.choose().is_avx512


def test_why_a_kernel_was_taken_is_said() -> None:
    fastest = target.choose(target.fastest())
    assert target.why(fastest).startswith(f"{fastest.name}: ")
    if fastest.name != "portable":
        assert f"the fastest here is {fastest.name}" in target.why(target.choose("portable"))
    foreign = "neon" if fastest.name != "neon" else "vnni"
    with pytest.raises(EdgeLstmError, match=f"the kernel '{foreign}' needs a processor with"):
        target.choose(foreign)


@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
def test_outputs_are_scores_in_real_units(read_out: str) -> None:
    rng = np.random.default_rng(8)
    model = replace(network(read_out), softmax=False)
    raw = random_counts(rng, model, 4, 10)
    wanted = reference.run(model, raw).scores * model.score_scale / (10 if read_out == "mean" else 1)
    np.testing.assert_allclose(engine.outputs(model, raw), wanted, rtol=1e-6)
    np.testing.assert_allclose(engine.outputs(model, raw * model.normalize.units_per_count), wanted, rtol=1e-6)
    e = np.exp(wanted)
    probabilities = engine.outputs(replace(model, softmax=True), raw.astype(np.int64))
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, e / e.sum(-1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
def test_outputs_of_ragged_sequences_are_those_of_each_alone(read_out: str) -> None:
    rng = np.random.default_rng(9)
    model = replace(network(read_out), softmax=True)
    lengths = np.array([7, 10, 1])
    raw = random_counts(rng, model, 3, 10)
    x = raw * model.normalize.units_per_count
    alone = [engine.outputs(model, raw[k : k + 1, :length])[0] for k, length in enumerate(lengths)]
    for k, length in enumerate(lengths):
        x[k, length:] = np.nan
    padded = model(x, lengths)
    for k, length in enumerate(lengths):
        np.testing.assert_array_equal(padded[k, :length] if read_out == "every" else padded[k], alone[k])
    if read_out == "every":
        assert not padded[0, 7:].any()
    packed = np.concatenate([x[k, :length] for k, length in enumerate(lengths)])
    np.testing.assert_array_equal(model(packed, lengths), np.concatenate(alone) if read_out == "every" else np.stack(alone))
    with pytest.raises(EdgeLstmError, match="lengths add up to 17, but 18 rows"):
        model(packed, [7, 9, 1])
    with pytest.raises(EdgeLstmError, match="2 lengths came for 3 sequences"):
        model(raw, [7, 10])


def test_floats_become_the_nearest_count_within_int16() -> None:
    front = replace(network().normalize, units_per_count=np.array([0.5, 2.0, 1.0]))
    x = np.array([[0.24, 3.0, -40000.0], [0.25, -3.0, 40000.0]])
    np.testing.assert_array_equal(engine.counts(front, x), [[0, 2, -32768], [1, -1, 32767]])
    with pytest.raises(EdgeLstmError, match=r"NaN at \[1, 0\]"):
        engine.counts(front, np.array([[0.0, 0, 0], [np.nan, 0, 0]]))
    with pytest.raises(EdgeLstmError, match=r"expected \[..., 3\]"):
        engine.counts(front, np.zeros((2, 4)))


def test_outputs_refuse_nan_and_counts_beyond_int16() -> None:
    x = np.zeros((2, 20, 3))
    x[1, 5, 2] = np.nan
    with pytest.raises(EdgeLstmError, match=r"\[1, 5, 2\]"):
        engine.outputs(network(), x)
    with pytest.raises(EdgeLstmError, match="beyond int16"):
        engine.outputs(network(), np.full((1, 20, 3), 40000))
