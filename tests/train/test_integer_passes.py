"""The integer network inside training is the integer network: every score in every bit, for every cell."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network

from edge_lstm.cells import family
from edge_lstm.engine import reference
from edge_lstm.fixed_point.quantize import Options, Ranges, calibrate, quantize_with_ranges
from edge_lstm.network import Network
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.parameters import network_vector, with_network_vector
from edge_lstm.train.passes import Passes

BATCH, STEPS, INPUTS, UNITS = 7, 11, 5, 6


def in_training(network: Network, ranges: Ranges, raw: np.ndarray, options: Options) -> tuple[np.ndarray, IntegerPasses, np.ndarray]:
    """Scores [batch, outputs] or [batch, time, outputs] of the training kernels, the passes, and the numbers that the integers represent."""
    integers = IntegerPasses(Passes(network, STEPS, len(raw)), network, ranges, options)
    represented = integers.refresh(network_vector(network))
    x8 = np.ascontiguousarray(reference.normalize(integers.normalize, raw).transpose(1, 2, 0))
    x = (x8 * integers.input_scale[:, None]).astype(np.float32)
    scores = integers.integer_scores(x8, x, np.full(len(raw), STEPS))
    if network.read_out.kind == "every":
        return scores.reshape(-1, STEPS, len(raw)).transpose(2, 1, 0), integers, represented
    return scores.T, integers, represented


def check(network: Network, rng: np.random.Generator, options: Options | None = None, extremes: bool = False) -> IntegerPasses:
    network = with_network_vector(network, network_vector(network))  # float32, as training has it
    options = options or Options()
    ranges = calibrate(network, random_input(rng, network, 8, STEPS))
    integer = quantize_with_ranges(network, ranges, options)
    raw = random_counts(rng, integer, BATCH, STEPS, extremes=extremes)
    expected = reference.run(integer, raw, states=True)
    scores, integers, _ = in_training(network, ranges, raw, options)
    np.testing.assert_array_equal(scores, expected.scores)
    for memory, formats, states in zip(integers.passes.memory, integers.formats, expected.states, strict=True):
        for k, name in enumerate(memory.layer.cell.states):
            kept = memory.states[k, 1:].reshape(STEPS, UNITS, BATCH).transpose(2, 0, 1)
            np.testing.assert_array_equal(kept, (states[name] * np.float32(formats[name].scale)).astype(np.float32))
    return integers


@pytest.mark.parametrize("cell", sorted(family()))
@pytest.mark.parametrize("gates", ["threshold", "mixed"])
def test_scores_and_states_in_training_are_those_of_the_reference_engine(cell: str, gates: str) -> None:
    rng = np.random.default_rng(len(cell))
    check(random_network(rng, cell, INPUTS, UNITS, gates, "mean", steps=STEPS, decimation=2), rng)


@pytest.mark.parametrize(("read_out", "hidden", "layers"), [("last", 5, 1), ("every", 0, 2), ("mean", 0, 2), ("last", 0, 1)])
def test_read_outs_dense_layers_and_stacks_have_the_reference_bits(read_out: str, hidden: int, layers: int) -> None:
    rng = np.random.default_rng(3)
    network = random_network(
        rng, "lstm", INPUTS, UNITS, "threshold", read_out, layers=layers, hidden=hidden, steps=STEPS, decimation=3, initial=True
    )
    check(network, rng)
    check(network, rng, extremes=True)
    check(network, rng, Options({"i": 7, "g": 1}))
