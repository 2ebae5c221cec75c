"""The generated C gives the bits of the reference: every output and every state of every step."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from firmware_gen.host import HostModel
from firmware_gen.toolchain import WARNINGS


def differences(network, host, raw) -> list[str]:
    expected, got = reference.run(network, raw, states=True), host.run(raw, states=True)
    wrong = [] if np.array_equal(expected.scores, got.scores) else ["scores"]
    for layer, (a, b) in enumerate(zip(expected.states, got.states, strict=True)):
        wrong += [f"state {name} of layer {layer}" for name in a if not np.array_equal(a[name], b[name])]
    return wrong


def test_every_cell_with_every_gate_gives_the_bits_of_the_reference(family, any_compiler):
    """Half of the family small by gcc, the other half by clang; what gcc leaves it compiles unoptimized, and so warns of nothing in all of
    it (clang: in the self-test under the sanitizers). tests/integration/test_same_bits.py has the family unoptimized by both."""
    rng = np.random.default_rng(3)
    family, rest = (family[(any_compiler.name == "gcc") ^ other :: 2] for other in (0, 1))
    hosts = HostModel.several([sample.network for sample in family], any_compiler, (*WARNINGS, "-Os"))
    if any_compiler.name == "gcc":
        hosts += HostModel.several([sample.network for sample in rest], any_compiler, (*WARNINGS, "-O0"))
        family += rest
    wrong = {}
    for sample, host in zip(family, hosts, strict=True):
        for extremes in (False, True):
            raw = random_counts(rng, sample.network, 3, 20, extremes=extremes)
            if found := differences(sample.network, host, raw):
                wrong[f"{sample.what}{' extremes' if extremes else ''}"] = found
    assert wrong == {}


def test_optimized_code_of_stacked_and_wide_layers_gives_the_same_bits(any_compiler):
    rng = np.random.default_rng(4)
    networks = [
        random_integer(rng, "lstm", 7, 40, "threshold", "mean", layers=2, outputs=9, decimation=4),
        random_integer(rng, "lstm_peephole", 9, 33, "mixed", "every", hidden=17),
        random_integer(rng, "gru_reset_before", 5, 32, "threshold", "last", layers=3, decimation=3),
        random_integer(rng, "gru", 6, 24, "sigmoid", "mean", layers=2),
        random_integer(rng, "fastgrnn", 6, 24, "three_level", "last", hidden=8),
    ]
    for network, host in zip(networks, HostModel.several(networks, any_compiler, ("-O2",)), strict=True):
        for extremes in (False, True):
            assert differences(network, host, random_counts(rng, network, 4, 20, extremes=extremes)) == []


def test_a_cell_that_counts_saturates_as_in_the_reference(compiler):
    """Constant extreme inputs for as long as it takes an LSTM without a forget gate to reach the ends of its 16-bit format."""
    rng = np.random.default_rng(5)
    networks = [random_integer(rng, "lstm_1997", 2, 6, gates, "last", steps=400) for gates in ("threshold", "sigmoid", "three_level")]
    reached = 0
    for network, host in zip(networks, HostModel.several(networks, compiler), strict=True):
        raw = np.repeat(rng.choice(np.array([-32768, 32767], np.int16), (8, 1, 2)), 400, axis=1)
        assert differences(network, host, raw) == []
        cell = host.run(raw, states=True).states[0]["c"]
        reached = max(reached, int(np.abs(cell).max()))
    assert reached == 32767


def test_all_weights_and_inputs_at_their_extremes(compiler):
    rng = np.random.default_rng(6)
    networks = []
    for name, gates in (("lstm", "threshold"), ("lstm", "sigmoid"), ("gru", "threshold"), ("gru_reset_before", "hard_sigmoid")):
        network = random_integer(rng, name, 3, 8, gates, "last")
        for layer in network.recurrent:
            for row in layer.rows.values():
                for matrix in (row.W, *row.R):
                    if matrix is not None:
                        matrix[...] = rng.choice(np.array([-127, 127], np.int8), matrix.shape)
        networks.append(network)
    for network, host in zip(networks, HostModel.several(networks, compiler), strict=True):
        assert differences(network, host, random_counts(rng, network, 6, 30, extremes=True)) == []


def test_a_sequence_fed_sample_by_sample_gives_the_bits_of_the_whole_sequence(compiler):
    rng = np.random.default_rng(8)
    network = random_integer(rng, "gru", 4, 9, "threshold", "last", decimation=3, outputs=5)
    host, raw = HostModel(network, compiler), random_counts(rng, network, 1, 20)
    stream = host.stream()
    made = [stream.push(sample) for sample in raw[0]]
    assert made == [(k + 1) % 3 == 0 for k in range(60)]
    label, scores = stream.decide()
    assert np.array_equal(scores, reference.run(network, raw).scores[0])
    assert label == int(scores.argmax())


def test_two_instances_share_nothing_and_reset_forgets_everything(compiler):
    rng = np.random.default_rng(9)
    network = random_integer(rng, "lstm_peephole", 3, 7, "mixed", "mean", decimation=2, initial=True)
    host, raw = HostModel(network, compiler), random_counts(rng, network, 2, 20)
    streams = [host.stream(), host.stream()]
    for t in range(raw.shape[1]):
        for stream, sequence in zip(streams, raw, strict=True):
            stream.push(sequence[t])
    expected = reference.run(network, raw).scores
    assert [s.decide()[1].tolist() for s in streams] == expected.tolist()
    assert not np.array_equal(expected[0], expected[1])
    streams[0].push(raw[0, 0])  # an unfinished block
    streams[0].reset()
    fresh = host.stream()
    assert streams[0].state.tobytes() == fresh.state.tobytes()
    for sample in raw[1]:
        streams[0].push(sample)
    assert streams[0].decide()[1].tolist() == expected[1].tolist()


def test_steps_beyond_the_window_of_a_mean_change_nothing(compiler):
    rng = np.random.default_rng(10)
    network = random_integer(rng, "lstm", 3, 5, "threshold", "mean", steps=6)
    host, raw = HostModel(network, compiler), random_counts(rng, network, 1, 9)
    stream = host.stream()
    assert [stream.push(sample) for sample in raw[0]] == [True] * 6 + [False] * 3
    assert np.array_equal(stream.decide()[1], reference.run(network, raw[:, :6]).scores[0])


def test_the_first_class_wins_a_tie(compiler):
    rng = np.random.default_rng(11)
    network = random_integer(rng, "rnn", 2, 4, read_out="last", outputs=4)
    output = network.layers[-1]
    output.W[...] = output.W[1]
    output.bias[...] = [0, 5, 5, 4]
    stream = HostModel(network, compiler).stream()
    stream.push(random_counts(rng, network, 1, 1)[0, 0])
    label, scores = stream.decide()
    assert scores[1] == scores[2] > scores[3]
    assert label == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((1, 4, 3), np.int32), "int16 counts"),
        (np.zeros((1, 4, 2), np.int16), "int16 counts"),
        (np.zeros((1, 1, 3), np.int16), "fewer samples than one block of 2"),
    ],
)
def test_counts_of_another_type_or_shape_are_refused(compiler, raw, message):
    host = HostModel(random_integer(np.random.default_rng(1), "rnn", 3, 2, decimation=2), compiler, ("-O0",))
    with pytest.raises(EdgeLstmError, match=message):
        host.run(raw)
