"""Strategies only change which terms of a sum are added, and in which order: every bit stays, over the family and beyond it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_integer, random_network
from test_random_dataflows import random_dataflow

from edge_lstm.cells import cell
from edge_lstm.engine import reference
from edge_lstm.fixed_point.quantize import Options, quantize
from firmware_gen import header, write
from firmware_gen.columns import STRATEGIES, plan_columns
from firmware_gen.host import HostModel
from firmware_gen.model import build
from firmware_gen.schedule import schedule
from firmware_gen.simplify import simplify
from firmware_gen.toolchain import WARNINGS

BY_COLUMNS = ("dense", "event", "delta")
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
    rng = np.random.default_rng(21)
    hosts = HostModel.several([s.network for s in family], compiler, (*WARNINGS, "-O0"), strategy=strategy)
    wrong = {}
    for sample, host in zip(family, hosts, strict=True):
        network = sample.network
        for raw in every_kind_of_counts(rng, network):
            if found := differences(network, host, raw):
                wrong[sample.what] = found
    assert wrong == {}


@pytest.mark.parametrize("strategy", BUT_DENSE)
def test_random_dataflows_give_the_bits_of_the_reference(compiler, strategy):
    networks = [random_dataflow(seed) for seed in range(60)]
    flags = (*WARNINGS, "-O0", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    hosts, rng = HostModel.several(networks, compiler, flags, strategy=strategy), np.random.default_rng(2)
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
    assert [names[index] for index in group.listed] == ["g"]
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


def four_bits(rng, name: str, inputs: int, units: int, **options):
    """A network whose gate rows have weights of 4 bits."""
    network = random_network(rng, name, inputs, units, "threshold", **options)
    gates = {row.name: 7 for row in cell(name).rows if row.name in cell(name).gates}
    return quantize(network, random_input(rng, network, 6), Options(weight_levels=gates))


@pytest.mark.parametrize("strategy", BY_COLUMNS)
def test_weights_of_four_bits_give_the_same_bits(any_compiler, strategy):
    """Extreme inputs fill the halves of the words again and again, so that lists have parts."""
    rng = np.random.default_rng(31)
    networks = [
        four_bits(rng, "lstm", 6, 32, read_out="mean"), four_bits(rng, "lstm", 9, 71, layers=2), four_bits(rng, "gru", 3, 21),
        four_bits(rng, "lstm_1997_gate_recurrence", 4, 18), four_bits(rng, "janet", 5, 9, initial=True),
    ]  # fmt: skip
    flags = (*WARNINGS, "-O1")
    for network, host in zip(networks, HostModel.several(networks, any_compiler, flags, strategy=strategy), strict=True):
        for raw in every_kind_of_counts(rng, network):
            assert differences(network, host, raw) == []


def test_weights_of_four_bits_take_half_the_flash():
    rng = np.random.default_rng(32)
    network = four_bits(rng, "lstm", 6, 32)
    eight = random_integer(rng, "lstm", 6, 32, "threshold")
    saved = build(eight, "m", "event").tables.bytes - build(network, "m", "event").tables.bytes
    assert saved == 3 * 32 * (6 + 32) / 2
    assert "weights of 4 bits in rows" in header(network, strategy="delta")
    assert "weights of 4 bits" not in header(eight, strategy="delta")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lists_stay_within_their_arrays(sanitizing, tmp_path, strategy):
    """Address and undefined-behaviour sanitizers, on counts that list every element and change every element."""
    compiler, flags = sanitizing
    rng = np.random.default_rng(33)
    networks = [four_bits(rng, "lstm", 7, 23), random_integer(rng, "lstm", 7, 23, "threshold"), random_integer(rng, "gru", 3, 8)]
    networks.append(four_bits(rng, "lstm_1997_gate_recurrence", 5, 16))
    lines = []
    for k, network in enumerate(networks):
        write(network, tmp_path, self_test=random_counts(rng, network, 3, 20, extremes=True), prefix=f"m{k}", strategy=strategy)
        lines.append(f'#include "m{k}_selftest.c"')
    calls = " || ".join(f"m{k}_selftest()" for k in range(len(networks)))
    (tmp_path / "all.c").write_text("\n".join([*lines, f"int main(void) {{ return {calls}; }}", ""]))
    compiler.run([tmp_path / "all.c"], tmp_path / "all", *WARNINGS, *flags)
    result = subprocess.run([str(tmp_path / "all")], capture_output=True, text=True, check=False, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
