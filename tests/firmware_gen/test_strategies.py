"""Strategies only change which terms of a sum are added, and in which order: every bit stays, over the family and beyond it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from random_dataflows import random_dataflow
from random_networks import every_member, random_counts, random_integer

from edge_lstm.engine import reference
from firmware_gen import header
from firmware_gen.columns import plan_columns
from firmware_gen.host import HostModel
from firmware_gen.model import build
from firmware_gen.schedule import schedule
from firmware_gen.simplify import simplify
from firmware_gen.toolchain import WARNINGS, compilers

BY_COLUMNS = ("dense", "event", "delta")
READ_OUTS = ("last", "mean", "every")
BUT_DENSE = ("rows", "event", "delta")  # dense is what the other tests use


def differences(network, host, raw) -> list[str]:
    expected, got = reference.run(network, raw, states=True), host.run(raw, states=True)
    wrong = [] if np.array_equal(expected.scores, got.scores) else ["scores"]
    for layer, (a, b) in enumerate(zip(expected.states, got.states, strict=True)):
        wrong += [f"state {name} of layer {layer}" for name in a if not np.array_equal(a[name], b[name])]
    return wrong


def held_counts(rng, network, batch, steps):
    """Counts that often stay as they are for a while, and are often in the middle of their range: few columns change, many are zero."""
    raw = random_counts(rng, network, batch, steps)
    quiet = (network.normalize.offset / network.normalize.decimation).astype(np.int16)
    raw = np.where(rng.random(raw.shape) < 0.3, quiet, raw)
    block = network.normalize.decimation * 3
    return np.ascontiguousarray(np.repeat(raw[:, ::block], block, axis=1)[:, : raw.shape[1]])


def every_kind_of_counts(rng, network):
    ordinary, extreme = (random_counts(rng, network, 2, 20, extremes=extremes) for extremes in (False, True))
    return ordinary, extreme, held_counts(rng, network, 2, 20)


@pytest.mark.parametrize("strategy", BUT_DENSE)
def test_the_whole_family_gives_the_bits_of_the_reference(family, compiler, strategy):
    """tests/integration/test_same_bits.py has the whole family by rows, too: here every third of it, without a warning."""
    rng = np.random.default_rng(21)
    family = family[::3] if strategy == "rows" else family
    hosts = HostModel.several([s.network for s in family], compiler, (*WARNINGS, "-O0"), strategy=strategy)
    wrong = {}
    for sample, host in zip(family, hosts, strict=True):
        network = sample.network
        for raw in every_kind_of_counts(rng, network):
            if found := differences(network, host, raw):
                wrong[sample.what] = found
    assert wrong == {}


@pytest.fixture
def trapping(compiler):
    """A compiler, and flags with which undefined behaviour ends the process. clang takes half as long as gcc, which has the family."""
    flags = (*WARNINGS, "-O0", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    return next((one for one in compilers() if one.name == "clang"), compiler), flags


@pytest.mark.parametrize("strategy", BUT_DENSE)
def test_random_dataflows_give_the_bits_of_the_reference(trapping, strategy):
    networks = [random_dataflow(seed) for seed in range(60)]
    hosts, rng = HostModel.several(networks, *trapping, strategy=strategy), np.random.default_rng(2)
    used = 0
    for seed, (network, host) in enumerate(zip(networks, hosts, strict=True)):
        assert differences(network, host, random_counts(rng, network, 3, 12, extremes=seed % 2 == 0)) == [], seed
        used += sum(len(group.rows) for text in build(network, "m", strategy).layers for group in text.column_plan.groups)
    assert used > 60 or strategy == "rows"


@pytest.mark.parametrize("strategy", BUT_DENSE)
def test_optimized_code_of_stacked_layers_of_odd_sizes_gives_the_same_bits(any_compiler, strategy):
    rng = np.random.default_rng(4)
    networks = [
        random_integer(rng, "lstm", 7, 40, "threshold", "mean", layers=2, outputs=9, decimation=4, initial=True),
        random_integer(rng, "lstm_1997_gate_recurrence", 9, 17, "threshold", "last"),
        random_integer(rng, "gru", 5, 33, "threshold", "last", layers=2, decimation=3, initial=True),
        random_integer(rng, "gru_reset_before", 6, 24, "sigmoid", "mean"),
    ]
    hosts = HostModel.several(networks, any_compiler, ("-O2",), strategy=strategy)
    for network, host in zip(networks, hosts, strict=True):
        for raw in every_kind_of_counts(rng, network):
            assert differences(network, host, raw) == []


def random_networks_of_16_bits():
    rng = np.random.default_rng(26)
    few = {"gates": "4", "candidates": "ternary"}
    return [
        (name, gates, random_integer(rng, name, 1 + k % 5, 1 + 7 * k % 20, gates, READ_OUTS[k % 3], initial=k % 8 == 0, input_bits=16,
                                     bits=few if k % 3 == 0 else {}))
        for k, (name, gates) in enumerate(every_member()) if k % 4 == 0
    ]  # fmt: skip


def test_rows_over_inputs_of_16_bits_give_the_bits_of_the_reference(trapping):
    """Every cell, kinds of gates in turn; some weights of few bits, which share words beside those of x."""
    strategy, of_16_bits = "delta", random_networks_of_16_bits()
    rng = np.random.default_rng(27)
    hosts = HostModel.several([network for *_, network in of_16_bits], *trapping, strategy=strategy)
    joined = alone = 0
    for (name, gates, network), host in zip(of_16_bits, hosts, strict=True):
        for extremes in (False, True):
            assert differences(network, host, random_counts(rng, network, 2, 12, extremes=extremes)) == [], (name, gates)
        for group in (group for text in build(network, "m", strategy).layers for group in text.column_plan.groups):
            joined += len(group.joints)
            alone += len(group.rows) * (group.wide and not group.joints)
    assert joined > 10
    assert alone > 20


def test_two_rows_join_only_where_their_sum_fits_with_all_its_parts(compiler):
    """A bias of nearly 2^31 leaves no room for what some targets subtract: such a row is summed element by element, the others join.
    A factor that lifts the row of the states to nearly 2^31 leaves no room for the sum of both, which then are summed apart."""
    rng = np.random.default_rng(28)
    network = random_integer(rng, "lstm", 4, 9, "threshold", "last", input_bits=16)
    layer = network.recurrent[0]
    far = layer.rows["f"].bias - np.sign(layer.rows["f"].bias) * (2**31 - 12_000_000)
    alone = changed_row(network, "f", bias=np.where(np.arange(9) == 3, far, layer.rows["f"].bias).astype(np.int32))
    ops = [replace(op, numbers=(14,)) if op.code == "raise" else op for op in layer.ops]
    apart = replace(network, layers=(replace(layer, ops=tuple(ops)), *network.layers[1:]))
    found = []
    for one in (network, alone, apart):
        (text,) = build(one, "m", "event").layers
        wide = [group for group in text.column_plan.groups if group.wide]
        found.append((sum(len(group.joints) for group in wide), sum(len(group.rows) for group in wide), text.column_plan.dense))
        assert text.multiply_accumulates == 4 * 9 * (4 + 9) + 4 * 9 * len(text.column_plan.dense)  # in halves, twice
        assert differences(one, HostModel(one, compiler, strategy="event"), random_counts(rng, one, 3, 20)) == []
    assert found == [(3, 3, {}), (2, 2, {"f": "its sums may need more than 32 bits"}), (0, 3, {})]


def test_kept_sums_do_not_drift_over_a_thousand_steps(compiler):
    rng = np.random.default_rng(9)
    network = random_integer(rng, "lstm", 4, 19, "threshold", "last")
    host = HostModel(network, compiler, strategy="delta")
    assert differences(network, host, held_counts(rng, network, 2, 1000)) == []


def test_a_reset_forgets_the_kept_sums(compiler):
    rng = np.random.default_rng(10)
    network = random_integer(rng, "lstm", 3, 12, "threshold", "last", initial=True)
    stream = HostModel(network, compiler, strategy="delta").stream()
    raw = random_counts(rng, network, 2, 20)
    fresh = stream.state.tobytes()
    for sample in raw[0]:
        stream.push(sample)
    assert stream.state.tobytes() != fresh
    stream.reset()
    assert stream.state.tobytes() == fresh
    for sample in raw[1]:
        stream.push(sample)
    assert stream.decide()[1].tolist() == reference.run(network, raw[1:]).scores[0].tolist()


@pytest.mark.parametrize("strategy", BY_COLUMNS)
def test_every_row_of_an_lstm_goes_by_columns(watch, strategy):
    (text,) = build(watch, "watch", strategy).layers
    (group,) = text.column_plan.groups
    names = {index: op.name for index, op in text.flow.ops.items()}
    assert sorted(names[index] for index in group.rows) == ["f", "i", "o"]
    assert [names[index] for index in group.lazy] == ["g"]
    assert text.column_plan.dense == {}


def changed_row(network, name, **parts):
    layer = network.recurrent[0]
    rows = {**layer.rows, name: replace(layer.rows[name], **parts)}
    return replace(network, layers=(replace(layer, rows=rows), *network.layers[1:]))


@pytest.mark.parametrize("strategy", BY_COLUMNS)
def test_a_row_that_does_not_fit_stays_dense_and_the_banner_says_why(watch, compiler, strategy):
    """Half words tell two sums apart as long as both stay below 2^23: a row whose inputs are shifted far leaves that."""
    row = watch.recurrent[0].rows["f"]
    network = changed_row(watch, "f", input_shift=10)
    assert row.input_shift < 10
    text = header(network, prefix="watch", strategy=strategy)
    assert re.search(r"row f is summed element by element: its inputs leave 16 bits", text)
    assert "watch_f_R" in text
    rng = np.random.default_rng(3)
    for extremes in (False, True):
        raw = random_counts(rng, network, 2, 30, extremes=extremes)
        assert differences(network, HostModel(network, compiler, strategy=strategy), raw) == []


def test_vectors_that_are_made_within_the_step_are_listed_too():
    """The candidate row of this GRU reads r * h, the others h in 8 of its 16 bits: neither is stored as it is read."""
    layer = random_integer(np.random.default_rng(1), "gru_reset_before", 3, 9, "sigmoid").recurrent[0]
    flow = simplify(layer)
    for strategy in BY_COLUMNS:
        plan = plan_columns(flow, schedule(flow), strategy)
        assert plan.dense == {}
        assert sum(len(group.rows) for group in plan.groups) == 3
