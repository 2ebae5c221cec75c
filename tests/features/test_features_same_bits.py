"""Guarantee G1 behind random front ends: NumPy, Numba (whole and streamed), ONNX Runtime and C give the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from random_features import broad_counts, random_featured
from random_networks import random_counts, random_integer, random_network

import firmware_gen.host
from edge_lstm import engine, onnx_io
from edge_lstm.engine import batch, front, reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import FeatureOp, memories
from edge_lstm.fixed_point.bounds import needs_clamp
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.float_inference import run
from edge_lstm.network import Network
from edge_lstm.onnx_io.integer_session import IntegerSession
from firmware_gen.header import header
from firmware_gen.toolchain import compilers

NETWORKS = 40


@pytest.fixture(scope="module")
def networks() -> list[IntegerNetwork]:
    """Front ends at random, one structure of the network behind (its kernel is compiled once)."""
    rng = np.random.default_rng(1)
    return [random_featured(rng, read_out="last", mix=1) for _ in range(NETWORKS)]


def inputs(seed: int, network: IntegerNetwork) -> list[np.ndarray]:
    """Ordinary and extreme counts, with an unfinished last block."""
    rng, decimation = np.random.default_rng(seed), network.normalize.decimation
    return [broad_counts(rng, 3, 14 * decimation + decimation // 2, network.inputs, extremes=extremes) for extremes in (False, True)]


def test_whole_sequences_give_the_same_bits(networks: list[IntegerNetwork], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "ENOUGH_FOR_A_KERNEL", 0)
    host = firmware_gen.host.HostModel.several(networks, compilers()[-1], ["-O1"])
    for number, (network, in_c) in enumerate(zip(networks, host, strict=True)):
        session = IntegerSession(network, states=True)
        for raw in inputs(number, network):
            expected = reference.run(network, raw, states=True)
            given = batch.checked(raw, None, network.inputs, np.int16, "counts", "samples")
            x, _ = front.normalize(network.normalize, given, np.arange(len(raw)))
            wanted = reference.normalize(network.normalize, raw)
            assert np.array_equal(x.reshape(wanted.shape), wanted)
            for found in (engine.run(network, raw, states=True), in_c.run(raw, states=True), session.run(raw)):
                assert np.array_equal(found.scores, expected.scores), number
                for ours, theirs in zip(found.states, expected.states, strict=True):
                    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs), number


def test_a_clamp_that_changes_nothing_is_left_out_of_the_c(networks: list[IntegerNetwork]) -> None:
    """With multipliers of 14 bits it mostly does; the bits of both kinds are compared above."""
    needed = [needs_clamp(network.normalize) for network in networks]
    texts = [header(network) for network in networks]
    assert ["_input_limit" in text for text in texts] == needed
    assert len(set(needed)) == 2


def test_the_inputs_of_the_network_vary(networks: list[IntegerNetwork]) -> None:
    """Else the comparison would compare nothing."""
    seen = [reference.normalize(n.normalize, inputs(k, n)[0]) for k, n in enumerate(networks)]
    assert np.mean([len(np.unique(x)) > 20 for x in seen]) > 0.7


def test_a_stream_of_raw_counts_gives_the_same_bits(networks: list[IntegerNetwork]) -> None:
    for number, network in enumerate(networks[::2]):
        raw = inputs(number, network)[0]
        expected = reference.run(network, raw).scores
        stream = engine.Stream(network)
        for sequence, wanted in zip(raw, expected, strict=True):
            stream.push(sequence[-1])  # the reset forgets the average, the difference and the unfinished block
            stream.reset()
            made = sum(stream.push(sample) for sample in sequence)
            assert made == raw.shape[1] // network.normalize.decimation
            assert np.array_equal(stream.scores, wanted)
        x = reference.normalize(network.normalize, raw)
        stream.reset()
        assert stream.run(x[0]) == x.shape[1]
        assert np.array_equal(stream.scores, expected[0])


def test_the_front_end_runs_on_from_window_to_window(networks: list[IntegerNetwork]) -> None:
    """`next_window` of the stream and of the C: as if each window began with what the front end remembered."""
    chosen = networks[:8]
    hosts = firmware_gen.host.HostModel.several(chosen, compilers()[0], ["-O1"])
    for number, (network, host) in enumerate(zip(chosen, hosts, strict=True)):
        normalize = network.normalize
        features, decimation = normalize.features, normalize.decimation
        assert features is not None
        recording = broad_counts(np.random.default_rng(number), 1, 24 * decimation, network.inputs)[0]
        starts = np.arange(3) * 8 * decimation
        memory = memories(features, decimation, [recording], np.zeros(3, np.int64), starts)
        x = reference.normalize(normalize, np.stack([recording[at : at + 8 * decimation] for at in starts]), memory)
        wanted = reference.run_normalized(network, x).scores
        stream, in_c = engine.Stream(network), firmware_gen.host.HostStream(host)
        for at, expected in zip(starts, wanted, strict=True):
            for sample in recording[at : at + 8 * decimation]:
                stream.push(sample)
                in_c.push(sample)
            assert np.array_equal(stream.scores, expected)
            assert np.array_equal(in_c.decide()[1], expected)
            stream.next_window()
            in_c.next_window()
            assert stream.steps == 0


def test_a_stream_without_features_keeps_its_unfinished_block_for_the_next_window() -> None:
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 4, 6, "threshold", read_out="last", decimation=4, mix=1)
    raw = random_counts(rng, network, 1, 12)[0]
    stream = engine.Stream(network)
    for sample in raw[:18]:
        stream.push(sample)
    stream.next_window()
    for sample in raw[18:40]:
        stream.push(sample)
    assert np.array_equal(stream.scores, reference.run(network, raw[None, 16:40]).scores[0])


def test_a_window_of_one_stream_ends_without_the_others(networks: list[IntegerNetwork]) -> None:
    network = networks[1]
    raw = inputs(1, network)[0]
    many, alone = engine.Streams(network, len(raw)), [engine.Stream(network) for _ in raw]
    for t in range(raw.shape[1]):
        if t == raw.shape[1] // 2:
            many.next_window([2, 0])
            alone[0].next_window()
            alone[2].next_window()
        many.push(np.ascontiguousarray(raw[:, t]))
        for stream, sample in zip(alone, raw[:, t], strict=True):
            stream.push(sample)
    assert many.steps.tolist() == [stream.steps for stream in alone]
    assert np.array_equal(many.scores(), np.stack([stream.scores for stream in alone]))


def test_two_streams_of_one_network_share_nothing(networks: list[IntegerNetwork]) -> None:
    network = networks[0]
    raw = inputs(0, network)[0]
    streams = [engine.Stream(network) for _ in raw]
    for samples in raw.swapaxes(0, 1):
        for stream, sample in zip(streams, samples, strict=True):
            stream.push(sample)
    assert np.array_equal(np.stack([stream.scores for stream in streams]), reference.run(network, raw).scores)


def test_many_streams_give_the_same_bits(networks: list[IntegerNetwork]) -> None:
    rng = np.random.default_rng(8)
    for number, network in enumerate(networks[::4]):
        raw = inputs(number, network)[0]
        many, single = engine.Streams(network, len(raw)), [engine.Stream(network) for _ in raw]
        for turn, samples in enumerate(raw.swapaxes(0, 1)):
            some = np.arange(len(raw)) if turn % 2 else np.sort(rng.permutation(len(raw))[:2])
            made = many.push(samples[some], some)
            assert made.tolist() == [single[k].push(samples[k]) for k in some]
            if turn == len(raw[0]) // 2:
                many.reset([1])
                single[1].reset()
        begun = np.flatnonzero(many.steps)
        assert len(begun)
        assert np.array_equal(many.scores(begun), [single[k].scores for k in begun])


def test_a_model_file_keeps_its_front_end(networks: list[IntegerNetwork], tmp_path) -> None:
    for network in networks[:5]:
        onnx_io.save_integer(network, tmp_path / "model.int.onnx")
        read = onnx_io.load(tmp_path / "model.int.onnx")
        assert isinstance(read, IntegerNetwork)
        assert read.normalize.features == network.normalize.features
        assert header(read) == header(network)


def test_a_damaged_front_end_is_refused(networks: list[IntegerNetwork], tmp_path) -> None:
    network = networks[0]
    features = network.normalize.features
    assert features is not None
    for damaged, complaint in (
        (replace(features, ops=(*features.ops[:-1], FeatureOp("average", (0,), (99,)))), "shift 99"),
        (replace(features, outputs=(*features.outputs, 0)), "features but"),
    ):
        onnx_io.save_integer(network, tmp_path / "whole.onnx")
        broken = replace(network, normalize=replace(network.normalize, features=damaged))
        from edge_lstm.onnx_io.integer_check import check

        with pytest.raises(EdgeLstmError, match=complaint):
            check(broken)


def test_the_float_network_computes_the_same_features(networks: list[IntegerNetwork], tmp_path) -> None:
    """Its ONNX model agrees with float inference, and is read back with the same front end."""
    from random_features import random_preprocess

    rng = np.random.default_rng(9)
    for number in range(4):
        front_end, counts = random_preprocess(rng)
        network = replace(random_network(rng, "lstm", len(front_end.offset), 7, "sigmoid"), preprocess=front_end)
        onnx_io.save_network(network, tmp_path / "model.onnx")
        read = onnx_io.load(tmp_path / "model.onnx")
        assert isinstance(read, Network)
        assert read.preprocess is not None
        assert read.preprocess.features == front_end.features
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (found,) = session.run(None, {"counts": counts.astype(np.float32)})
        assert np.abs(found - run(network, counts)).max() < 1e-9, number
        assert np.array_equal(run(read, counts), run(network, counts))


def test_the_banner_states_the_front_end_and_its_bounds(networks: list[IntegerNetwork]) -> None:
    for network in networks[:5]:
        features = network.normalize.features
        assert features is not None
        text = header(network).split("*/")[0]
        for index, op in enumerate(features.ops):
            assert f"v{index} = " in text
            assert f"feature v{index} {op.code}" in text
