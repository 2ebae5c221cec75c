"""Layers on vectors give the bits of the reference: sizes that fill no vector, every way to sum rows, every operator of the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_dataflows import random_dataflow
from random_networks import random_counts, random_integer

from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent
from firmware_gen import emulation
from firmware_gen.activity import LayerActivity, Vector, assumed
from firmware_gen.emulation import cross, machine, profiling
from firmware_gen.emulation.targets import BY_NAME, Target
from firmware_gen.model import build

HIDDEN = {"hidden": 5, "behind": "tanh"}
# cell, inputs, units, gates, the rest; what of the kernels it is for
CASES = (
    ("lstm", 8, 5, "threshold", {}, "shifts that differ, units that fill no vector"),
    ("lstm", 6, 18, "sigmoid", {"read_out": "mean", "layers": 2} | HIDDEN, "soft gates, a second layer without a shift"),
    ("lstm_peephole", 17, 16, "mixed", {"cell_bits": 32}, "two vectors of x, products with the cell state of 32 bits"),
    ("lstm_coupled", 6, 33, "three_level", {"read_out": "mean", "decimation": 2}, "x in 16 bits, six rows at a time, three levels"),
    ("janet", 40, 150, "threshold", {}, "more vectors than registers, a gate and what is left of it"),
    ("lstm_no_output_gate", 20, 270, "threshold", {"read_out": "every"}, "a loop over vectors, a row for open gates only"),
    ("lstm_peephole", 140, 17, "mixed", {"input_bits": 16}, "x of 16 bits in a loop over vectors, sums of thresholds joined"),
    ("lstm_no_input_gate", 35, 2, "threshold", {"read_out": "mean"}, "fields of the state shorter than what a store of a vector spans"),
)


# Layers one behind the other in one header: several passes, because rows read what the same step has made.
STACK = (("gru", "threshold"), ("gru_reset_before", "sigmoid"), ("mgu", "threshold"), ("ugrnn", "mixed"), ("fastgrnn", "sigmoid"))


def stacked(rng: np.random.Generator, inputs: int, units: int) -> IntegerNetwork:
    """Every cell of STACK; the first layer has its own inputs, the read-out is a mean."""
    widths = [inputs] + [units] * (len(STACK) - 1)
    parts = [random_integer(rng, cell, n, units, gates, "mean") for (cell, gates), n in zip(STACK, widths, strict=True)]
    return replace(parts[0], layers=(*(part.recurrent[0] for part in parts), *parts[-1].layers[1:]))


def sparse(layer: IntegerRecurrent) -> LayerActivity:
    """Gates that are seldom open, vectors of which little is not 0."""
    found = assumed(layer)
    few = dict.fromkeys(found.vectors, Vector(0.02, 0.02))
    return replace(found, open=dict.fromkeys(found.open, 0.1), vectors=few)


@pytest.fixture(scope="module")
def cortex_m55() -> Target:
    target = BY_NAME["cortex-m55"]
    if reason := None if cross.compilers(target) else "no compiler":
        pytest.skip(reason)
    if reason := machine.missing(target):
        pytest.skip(reason)
    return target


@pytest.mark.parametrize(("cell", "inputs", "units", "gates", "options"), [case[:5] for case in CASES], ids=[case[5] for case in CASES])
def test_every_bit_is_that_of_the_reference(cortex_m55, cell, inputs, units, gates, options):
    rng = np.random.default_rng(units)
    network = random_integer(rng, cell, inputs, units, gates, **options)
    assert all(text.vectors is not None for text in build(network, "model", "event").layers)
    raw = random_counts(rng, network, 1, 6, extremes=units % 2 == 0)
    compiler = cross.compilers(cortex_m55)[-(units % 2)]  # gcc and clang, where both are there
    found = emulation.profile(network, raw, cortex_m55, strategy="event", compiler=compiler)
    assert (found.differing, found.steps) == (0, 6)
    assert found.step.kinds["vector"] > inputs * units / 16  # rows went by vectors
    assert found.ram.stack <= build(network, "model", "event").stack_bound


def test_rows_that_read_what_their_step_made_go_by_vectors(cortex_m55, monkeypatch):
    rng = np.random.default_rng(46)
    network = stacked(rng, 6, 46)  # the first layer reads x in 16 bits, the others whole vectors of it
    seldom = [sparse(layer) for layer in network.recurrent]
    monkeypatch.setattr(profiling, "build", lambda *values, **named: build(*values, **{**named, "activity": seldom}))
    texts = build(network, "model", "event", activity=seldom).layers
    assert [len(text.vectors.passes) for text in texts] == [1, 2, 2, 1, 1]  # that round h to 8 bits is part of the first
    assert any(kernel.group == 1 for kernel in texts[2].vectors.kernels)  # the candidate, where a gate of the pass before is open
    assert all(any(kernel.listed for kernel in text.vectors.kernels) for text in texts)
    assert texts[1].vectors.passes[1].before  # what is listed is made in the pass before
    raw = random_counts(rng, network, 1, 5, extremes=True)
    assert (np.abs(reference.run(network, raw, states=True).states[1]["h"]) > 128).sum(axis=-1).max() > 32  # more than two lists
    found = emulation.profile(network, raw, cortex_m55, strategy="event")
    assert (found.differing, found.steps) == (0, 5)
    assert found.ram.stack <= build(network, "model", "event").stack_bound


def test_random_dataflows_go_by_vectors(cortex_m55):
    first, *others = (random_dataflow(seed) for seed in (18, 5, 17, 22))
    network = replace(first, layers=(first.layers[0], *(other.layers[1] for other in others), *first.layers[2:]))
    texts = build(network, "model", "event").layers
    assert [len(text.vectors.passes) for text in texts] == [2, 2, 2, 3]
    assert "kept" in str(texts[0].vectors.locals)  # a value for a later pass
    raw = random_counts(np.random.default_rng(1), network, 1, 6, extremes=True)
    assert emulation.profile(network, raw, cortex_m55, strategy="event").differing == 0


@pytest.mark.parametrize(
    ("inputs", "units", "bits"), [(20, 64, 8), (6, 32, 8), (20, 10, 8), (20, 46, 16)],
    ids=["z is loaded again", "z is held", "less than a block", "two rows joined decide"],
)  # fmt: skip
def test_a_row_behind_a_gate_is_summed_alone_where_the_gate_is_seldom_open(cortex_m55, monkeypatch, inputs, units, bits):
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", inputs, units, "threshold", input_bits=bits)
    raw = random_counts(rng, network, 1, 6)
    (layer,) = network.recurrent
    often = assumed(layer)
    seldom = sparse(layer)
    kernels = {}
    for name, activity in (("often", often), ("seldom", seldom)):
        given = {"activity": [activity]}
        monkeypatch.setattr(profiling, "build", lambda *values, given=given, **named: build(*values, **{**named, **given}))
        found = emulation.profile(network, raw, cortex_m55, strategy="event")
        assert found.differing == 0
        (text,) = build(network, "model", "event", activity=[activity]).layers
        kernels[name] = sorted(kernel.group for kernel in text.vectors.kernels)
    assert 1 in kernels["seldom"]
    assert 1 not in kernels["often"]
    if units == 64:  # gathered: one list at first, when h is 0, then two
        nonzero = (reference.run(network, raw, states=True).states[0]["h"] != 0).sum(axis=-1)
        assert set((-(-nonzero // 16)).ravel().tolist()) == {2}
        assert any(kernel.listed for kernel in text.vectors.kernels)
