"""Integer models for sequences of different lengths, and with states as inputs and outputs: the bits of the reference in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from network_equality import difference
from random_features import broad_counts, random_featured
from random_networks import BEHIND, GATES, random_counts, random_deep, random_input, random_integer, random_recurrent

from edge_lstm import engine, onnx_io
from edge_lstm.cells import family
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Conv1d, Dense, Network, Pool, Preprocess, ReadOut
from edge_lstm.onnx_io.integer_session import IntegerSession, StreamSession

READ_OUTS = ("last", "mean", "every")


def networks() -> list[Any]:
    """(name, network): every cell, one of the gates and read-outs each, with initial states, decimation, one or two layers."""
    found = []
    for k, name in enumerate(family()):
        rng = np.random.default_rng(k)
        options = {"layers": 1 + k % 2, "decimation": (1, 4)[k % 2], "initial": bool(k % 3), "hidden": 4 * (k % 2), "squash": "any"}
        options["behind"] = BEHIND[k % len(BEHIND)]
        read_out, gates = READ_OUTS[k % 3], GATES[k % len(GATES)]
        found.append(pytest.param(random_integer(rng, name, 3, 5, gates, read_out, steps=12, **options), id=f"{name}-{read_out}"))
    return found


def deep(streams: bool, read_out: str) -> IntegerNetwork:
    rng = np.random.default_rng([streams, len(read_out)])
    network = random_deep(rng, "lstm", "sigmoid", read_out, streams=streams)
    return quantize(network, random_input(rng, network, 8, 24))


def assert_lengths(network: IntegerNetwork, raw: np.ndarray, lengths: list[int]) -> None:
    expected = reference.run(network, raw, lengths, states=True)
    found = IntegerSession(network, states=True, lengths=True).run(raw, lengths)
    steps = expected.scores.shape[1]
    if network.read_out.kind == "every":
        assert not found.scores[:, steps:].any()
        found_scores = found.scores[:, :steps]
    else:
        found_scores = found.scores
    np.testing.assert_array_equal(found_scores, expected.scores)
    np.testing.assert_array_equal(found.label, found.scores.argmax(-1))
    for layer, (states, wanted) in enumerate(zip(found.states, expected.states, strict=True)):
        for name, value in wanted.items():
            np.testing.assert_array_equal(states[name][:, : value.shape[1]], value, err_msg=f"layer {layer}, state {name}")
            assert not states[name][:, value.shape[1] :].any()


@pytest.mark.parametrize("network", networks())
def test_sequences_of_different_lengths(network: IntegerNetwork) -> None:
    rng = np.random.default_rng(5)
    block = network.normalize.decimation
    for extremes in (False, True):
        raw = random_counts(rng, network, 4, 12, extremes=extremes)
        assert_lengths(network, raw, [12 * block, block, 7 * block + block // 2, 5 * block])


@pytest.mark.parametrize("read_out", [*READ_OUTS, "final"])
@pytest.mark.parametrize("streams", [True, False], ids=["causal", "both directions"])
def test_lengths_go_through_convolution_pooling_and_both_directions(streams: bool, read_out: str) -> None:
    network = deep(streams, read_out)
    raw = random_counts(np.random.default_rng(6), network, 4, 20)
    raw[1, 15:] = raw[3, 17:] = 32767  # what lies behind the end does not count
    assert_lengths(network, raw, [20, 15, 20, 17])


def causal(read_out: str) -> IntegerNetwork:
    """A dense layer, a dilated causal convolution, an LSTM and a GRU."""
    rng = np.random.default_rng(len(read_out))
    first = Dense(rng.normal(0, 0.6, (4, 3)), rng.normal(0, 0.2, 4))
    convolution = Conv1d(rng.normal(0, 0.4, (5, 4, 3)), rng.normal(0, 0.2, 5), 1, (4, 0), 2)
    lstm, gru = random_recurrent(rng, "lstm", 5, 6, "threshold"), random_recurrent(rng, "gru", 6, 7, initial=True)
    last = Dense(rng.normal(0, 0.5, (3, 7)), rng.normal(0, 0.1, 3))
    network = Network((first, convolution, lstm, gru, ReadOut(read_out), last), window=17)
    return quantize(network, random_input(rng, network, 8, 24))


def assert_stream(network: IntegerNetwork, raw: np.ndarray, chunks: list[int]) -> None:
    """Stock ONNX Runtime, fed `chunks` blocks at a time with the states carried by hand."""
    model = onnx_io.integer_model(network, form="stream")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    optional = {value.name for value in session.get_overridable_initializers()}
    assert {f"state.{name.partition('.')[2]}" for name in names[3:]} == {name for name in optional if name.startswith("state.")}
    block, done, states, scores = network.normalize.decimation, 0, {}, []
    for chunk in chunks:
        part = raw[:, done * block : (done + chunk) * block]
        results = dict(zip(names, session.run(None, {"raw": part, **states}), strict=True))
        states = {f"state.{name.partition('.')[2]}": value for name, value in results.items() if name.startswith("next.")}
        done += chunk
        scores.append(results["scores"])
        counted = min(done, network.read_out.window) if network.read_out.kind == "mean" else done
        expected = reference.run(network, raw[:, : counted * block], states=True)
        if network.read_out.kind != "every":
            np.testing.assert_array_equal(results["scores"], expected.scores)
        if counted == done:
            for k, layer in enumerate(expected.states):
                for name, trace in layer.items():
                    np.testing.assert_array_equal(states[f"state.{k}.{name}"], trace[:, -1], err_msg=f"layer {k}, state {name}")
    if network.read_out.kind == "every":
        np.testing.assert_array_equal(np.concatenate(scores, 1), reference.run(network, raw[:, : done * block]).scores)


@pytest.mark.parametrize("network", networks())
def test_states_go_out_and_come_in_again(network: IntegerNetwork) -> None:
    rng = np.random.default_rng(7)
    for extremes, chunks in ((False, [1] * 12), (True, [1, 4, 2, 5])):
        assert_stream(network, random_counts(rng, network, 2, 12, extremes=extremes), chunks)


@pytest.mark.parametrize("read_out", READ_OUTS)
def test_a_convolution_keeps_the_steps_that_it_needs_and_a_mean_its_window(read_out: str) -> None:
    network = causal(read_out)
    assert_stream(network, random_counts(np.random.default_rng(8), network, 2, 21), [1, 1, 6, 7, 1, 5])


def test_the_bits_of_the_numba_stream() -> None:
    network = random_integer(np.random.default_rng(9), "lstm", 4, 6, "threshold", "every")
    raw = random_counts(np.random.default_rng(10), network, 1, 20)
    session = onnxruntime.InferenceSession(
        onnx_io.integer_model(network, form="stream").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    stream, states = engine.Stream(network), {}
    for sample in raw[0]:
        stream.push(sample)
        scores, _, steps, *after = session.run(None, {"raw": sample[None, None], **states})
        assert steps == [1]
        states = {o.name.replace("next", "state"): value for o, value in zip(session.get_outputs()[3:], after, strict=True)}
        np.testing.assert_array_equal(scores[0, -1], stream.scores)
        for name, value in stream.states[0].items():
            np.testing.assert_array_equal(states[f"state.0.{name}"][0], value)


@pytest.mark.parametrize("form", ["lengths", "stream"])
def test_every_form_is_read_back_as_the_same_network(form: str, tmp_path: Path) -> None:
    network = causal("mean")
    onnx_io.save_integer(network, tmp_path / "model.int.onnx", form=form)
    found = onnx_io.load(tmp_path / "model.int.onnx")
    assert isinstance(found, IntegerNetwork)
    assert difference(found, network) is None


def late(read_out: str) -> IntegerNetwork:
    """Nothing is due at once: a block of 3 samples, a strided convolution that begins late, a pool with gaps between its windows."""
    rng = np.random.default_rng(len(read_out))
    convolution = Conv1d(rng.normal(0, 0.4, (5, 3, 3)), rng.normal(0, 0.2, 5), 2, (1, 0), 1)
    layers = (convolution, Pool("average", 2, 3, 5), random_recurrent(rng, "lstm", 5, 6, "threshold"), ReadOut(read_out))
    front = Preprocess(3, np.zeros(3), np.full(3, 1 / 500))
    window = 22  # steps, of which the read-out sees 4
    network = Network((*layers, Dense(rng.normal(0, 0.5, (3, 6)), rng.normal(0, 0.1, 3))), front, window=window)
    return quantize(network, random_input(rng, network, 8, 48))


@pytest.mark.parametrize("read_out", ["last", "mean"])
def test_strides_pools_and_blocks_are_due_when_the_stream_says(read_out: str) -> None:
    """Sample by sample, and in calls of any size; behind a mean, nothing changes any more once its window is full."""
    network = late(read_out)
    streams, sessions = [engine.Stream(network) for _ in range(2)], (StreamSession(network), StreamSession(network))
    raw = random_counts(np.random.default_rng(11), network, 2, 40)
    calls, made_in_call, made_before = iter([2, 1, 40, 3, 17, 9, 48, 0]), 0, 0
    waiting, total = next(calls), 0
    for t in range(raw.shape[1]):
        made = [stream.push(sample) for stream, sample in zip(streams, raw[:, t], strict=True)]
        assert [sessions[0].push(raw[:, t : t + 1])] * 2 == made
        made_in_call, total = made_in_call + made[0], total + made[0]
        if t - made_before + 1 == waiting:
            assert sessions[1].push(raw[:, made_before : t + 1]) == made_in_call
            made_before, made_in_call, waiting = t + 1, 0, next(calls)
            for name in streams[0].states[0]:
                states = np.stack([stream.states[0][name] for stream in streams])
                assert all(np.array_equal(session.states[0][name], states) for session in sessions), f"sample {t}, state {name}"
        if total:
            scores = np.stack([stream.scores for stream in streams])
            assert np.array_equal(sessions[0].scores, scores), f"sample {t}"
    assert (total, made_before) == (4 if read_out == "mean" else 7, 120)


def test_features_run_on_between_calls_and_into_the_next_window() -> None:
    rng = np.random.default_rng(12)
    for _ in range(4):
        network = random_featured(rng, read_out="last", mix=1)
        raw = broad_counts(rng, 1, 15 * network.normalize.decimation, network.inputs)
        stream, session = engine.Stream(network), StreamSession(network)
        for t, sample in enumerate(raw[0]):
            made = stream.push(sample)
            assert session.push(sample[None, None]) == made
            if made:
                assert np.array_equal(session.scores[0], stream.scores), f"sample {t}"
            if t == 7:
                stream.next_window()
                session.next_window()
            if t == 11:
                stream.reset()
                session.reset()


def test_what_cannot_be_streamed_is_refused_with_the_reason(tmp_path: Path) -> None:
    early = causal("last")
    convolution = early.layers[1]
    assert isinstance(convolution, IntegerConv1d)
    early = replace(early, layers=(early.layers[0], replace(convolution, padding=(convolution.reach, 0)), *early.layers[2:]))
    for network, reason in ((deep(False, "last"), "from its end"), (early, "pad by at most 4")):
        with pytest.raises(EdgeLstmError, match=reason):
            onnx_io.save_integer(network, tmp_path / "model.int.onnx", form="stream")
        with pytest.raises(EdgeLstmError, match=reason):
            engine.Stream(network)
    with pytest.raises(EdgeLstmError, match="unknown form"):
        onnx_io.integer_model(causal("last"), form="ragged")
    assert not list(tmp_path.iterdir())
