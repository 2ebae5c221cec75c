"""Convolution, pooling and dense layers before the read-out: streamed through rings, they give the bits of the whole sequence."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_deep, random_input, random_integer

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerNetwork, IntegerPool
from edge_lstm.fixed_point.quantize import quantize
from firmware_gen import footprint, header, write
from firmware_gen.feed_forward import due_steps
from firmware_gen.host import HostModel
from firmware_gen.toolchain import WARNINGS

CELLS = ("lstm", "gru", "gru_reset_before", "rnn", "lstm_peephole")


def deep(seed: int, read_out: str, *, streams: bool = True) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    network = random_deep(rng, CELLS[seed % 5], ("threshold", "sigmoid")[seed % 2], read_out, streams=streams)
    return quantize(network, random_input(rng, network, 6, 24))


def pooled_between(seed: int) -> IntegerNetwork:
    """recurrent -> pooling -> recurrent -> pooling -> read-out: layers at three different rates, and an output that is no state."""
    network = random_integer(np.random.default_rng(seed), CELLS[seed % 5], 3, 6, "threshold", "last", layers=2, decimation=2)
    first, second, *rest = network.layers
    average, largest = IntegerPool("average", 3, 2, 6, (2**16 + 1) // 3, 16), IntegerPool("max", 2, 2, 6)
    return replace(network, layers=(first, average, second, largest, *rest))


@pytest.fixture(scope="module")
def networks() -> list[IntegerNetwork]:
    return [*(deep(k, ("last", "mean", "every", "final")[k % 4]) for k in range(20)), *map(pooled_between, range(5))]


def test_streamed_layers_give_the_bits_of_the_whole_sequence(networks, any_compiler):
    rng = np.random.default_rng(1)
    for network, host in zip(networks, HostModel.several(networks, any_compiler, (*WARNINGS, "-O0")), strict=True):
        for extremes in (False, True):
            raw = random_counts(rng, network, 3, 24, extremes=extremes)
            expected, got = reference.run(network, raw, states=True), host.run(raw, states=True)
            assert np.array_equal(expected.scores, got.scores)
            for a, b in zip(expected.states, got.states, strict=True):
                assert [name for name in a if not np.array_equal(a[name], b[name])] == []


def test_they_pass_their_self_test_under_the_sanitizers(networks, sanitizing, tmp_path):
    compiler, flags = sanitizing
    rng = np.random.default_rng(2)
    for k, network in enumerate(networks):
        write(network, tmp_path, self_test=random_counts(rng, network, 2, 24, extremes=True), prefix=f"m{k}")
    count = len(networks)
    lines = [*(f'#include "m{k}_selftest.c"' for k in range(count)), "int main(void)", "{", "    int wrong = 0;"]
    lines += [f"    wrong += m{k}_selftest() != 0;" for k in range(count)]
    (tmp_path / "all.c").write_text("\n".join([*lines, "    return wrong;", "}", ""]))
    compiler.run([tmp_path / "all.c"], tmp_path / "all", *WARNINGS, *flags)
    result = subprocess.run([str(tmp_path / "all")], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_step_is_reported_when_it_reaches_the_read_out(compiler):
    network = pooled_between(1)
    stream, raw = HostModel(network, compiler).stream(), random_counts(np.random.default_rng(3), network, 1, 24)[0]
    made = [t // 2 for t, sample in enumerate(raw) if stream.push(sample)]
    layers, due = due_steps(network, 24)
    assert made == due.tolist() == [4, 8, 12, 16, 20]  # 3 steps for the average, then one more every 2; two of these for the largest
    assert [len(steps) for steps in layers] == [24, 11]


def test_reset_empties_the_rings(compiler):
    network = deep(0, "last")
    host, raw = HostModel(network, compiler), random_counts(np.random.default_rng(4), network, 1, 24)[0]
    stream, fresh = host.stream(), host.stream()
    for sample in raw[:17]:
        stream.push(sample)
    stream.reset()
    assert stream.state.tobytes() == fresh.state.tobytes()


def test_the_banner_describes_the_layers_and_their_state(networks, compiler):
    for network in networks[::7]:
        banner = header(network).partition("*/")[0]
        for layer in network.layers:
            if isinstance(layer, IntegerConv1d):
                assert f"convolution over {layer.W.shape[2]} steps" in banner
                assert "convolution accumulator" in banner
            if isinstance(layer, IntegerPool):
                assert f"of {layer.size} steps, every {layer.stride}" in banner
        assert f"{footprint(network, compiler).state_bytes} bytes of state per sequence" in banner


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_network_that_needs_the_end_of_the_sequence_is_refused_with_the_reason(seed):
    with pytest.raises(EdgeLstmError, match="from its end"):
        header(deep(seed, "last", streams=False))


def test_a_reversed_layer_is_refused(watch):
    recurrent, *rest = watch.layers
    with pytest.raises(EdgeLstmError, match="from its end"):
        header(replace(watch, layers=(replace(recurrent, reverse=True), *rest)))


def test_padding_that_is_due_before_the_first_step_is_refused():
    network = deep(0, "last")
    convolution, *rest = network.layers
    assert isinstance(convolution, IntegerConv1d)
    with pytest.raises(EdgeLstmError, match=f"pad by at most {convolution.reach - 1}"):
        header(replace(network, layers=(replace(convolution, padding=(convolution.reach, 0)), *rest)))


def test_a_dense_layer_before_the_read_out_must_give_eight_bits():
    network = deep(0, "last")
    convolution, pool, dense, *rest = network.layers
    with pytest.raises(EdgeLstmError, match="layer 3: a dense layer before the read-out"):
        header(replace(network, layers=(convolution, pool, replace(dense, limit=None), *rest)))
