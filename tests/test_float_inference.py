"""Layers around the cells, directions, and batches of sequences of different lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_network, random_recurrent

from edge_lstm.cells import activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.float_inference import apply, convolve, pool, run, run_recurrent
from edge_lstm.network import Bidirectional, Conv1d, Dense, Network, Pool, ReadOut


def test_a_reversed_layer_reads_the_flipped_sequence() -> None:
    rng = np.random.default_rng(1)
    layer = random_recurrent(rng, "gru", 3, 5, initial=True)
    x = rng.normal(0, 1, (2, 9, 3))
    np.testing.assert_array_equal(run_recurrent(replace(layer, reverse=True), x), run_recurrent(layer, x[:, ::-1])[:, ::-1])


@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
def test_sequences_of_different_lengths_give_what_each_gives_alone(read_out: str) -> None:
    rng = np.random.default_rng(2)
    forward, backward = (random_recurrent(rng, "lstm", 3, 5, initial=True) for _ in range(2))
    head = Dense(rng.normal(0, 1, (2, 10)), np.zeros(2))
    network = Network((Bidirectional(forward, replace(backward, reverse=True)), ReadOut(read_out), head))
    x, lengths = rng.normal(0, 1, (4, 9, 3)), np.array([9, 1, 4, 7])
    together = run(network, x, lengths)
    for k, length in enumerate(lengths):
        alone = run(network, x[k : k + 1, :length])[0]
        np.testing.assert_allclose(together[k, :length] if read_out == "every" else together[k], alone, atol=1e-12)


def test_final_joins_the_last_step_of_each_direction() -> None:
    rng = np.random.default_rng(3)
    forward, backward = (random_recurrent(rng, "lstm", 3, 5) for _ in range(2))
    both = Bidirectional(forward, replace(backward, reverse=True))
    x = rng.normal(0, 1, (2, 6, 3))
    h = apply(Network((both, ReadOut("every"))), 0, x)
    np.testing.assert_array_equal(run(Network((both, ReadOut("final"))), x), np.concatenate([h[:, -1, :5], h[:, 0, 5:]], 1))
    np.testing.assert_array_equal(run(Network((both, ReadOut("last"))), x), h[:, -1])
    assert not Network((both, ReadOut("final"))).streams
    assert Network((forward, ReadOut("final"))).streams


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 3])
def test_convolution_follows_its_definition(stride: int, dilation: int) -> None:
    rng = np.random.default_rng(4)
    layer = Conv1d(rng.normal(0, 1, (4, 3, 5)), rng.normal(0, 1, 4), stride, (2, 1), dilation, activation("relu"))
    x = rng.normal(0, 1, (2, 20, 3))
    y = convolve(layer, x)
    for t in range(y.shape[1]):
        for o in range(4):
            total = layer.b[o]
            for k in range(5):
                at = t * stride + k * dilation - 2
                total = total + (layer.W[o, :, k] * x[:, at]).sum(1) if 0 <= at < 20 else total
            np.testing.assert_allclose(y[:, t, o], np.maximum(total, 0), atol=1e-12)
    assert (y.shape[1] - 1) * stride + layer.reach <= 23 < y.shape[1] * stride + layer.reach


def test_pooling_drops_an_unfinished_window() -> None:
    x = np.arange(14.0).reshape(1, 7, 2)
    np.testing.assert_array_equal(pool(Pool("average", 3, 2, 2), x)[0, :, 0], [2, 6, 10])
    np.testing.assert_array_equal(pool(Pool("max", 3, 3, 2), x)[0, :, 1], [5, 11])
    with pytest.raises(EdgeLstmError, match="shorter than the 8 steps"):
        pool(Pool("max", 8, 1, 2), x)


def test_fewer_samples_than_one_block_are_refused() -> None:
    network = random_network(np.random.default_rng(6), decimation=4)
    with pytest.raises(EdgeLstmError, match="3 samples are fewer than one block of 4"):
        run(network, np.zeros((1, 3, 5)))


def test_bad_lengths_are_refused() -> None:
    network = random_network(np.random.default_rng(5), inputs=3)
    x = np.zeros((2, 5, 3))
    for lengths in ([5], [5, 6], [0, 5]):
        with pytest.raises(EdgeLstmError, match="lengths must be 2 integers between 1 and 5"):
            run(network, x, np.array(lengths))
    convolved = network.with_layers((Conv1d(np.ones((3, 3, 2)), np.zeros(3)), *network.layers))
    with pytest.raises(EdgeLstmError, match="run them one by one"):
        run(convolved, x, np.array([4, 5]))
