"""Every way of summing rows on every core that is emulated: the same bits, whatever is listed and whatever is added always."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from firmware_gen import choice, emulation
from firmware_gen.few_columns import segments
from firmware_gen.model import build

WAYS = {
    "dense": [(False, False)],
    "event": [(False, True), (True, True)],
    "delta": [(False, False), (True, True)],
}


@pytest.mark.parametrize(("strategy", "lists"), [(strategy, lists) for strategy, ways in WAYS.items() for lists in ways])
def test_every_strategy_gives_the_bits_of_the_reference(core, strategy, lists, monkeypatch):
    """Half of the counts are held for a while, so that lists are neither empty nor full; a second sequence holds the extremes of int16."""
    rng = np.random.default_rng(5)
    network = random_integer(rng, "lstm", 5, 13, "threshold", read_out="last", initial=True)
    held = np.repeat(random_counts(rng, network, 1, 4), 4, axis=1)[:, :14]
    raw = np.concatenate([held, random_counts(rng, network, 1, 14, extremes=True)])
    monkeypatch.setattr(choice, "_lists", lambda *_: lists)
    found = emulation.profile(network, raw, core, strategy=strategy)
    assert (found.differing, found.strategy) == (0, strategy)
    assert found.values > raw.size
    if strategy == "delta" and core.name == "atmega328p":  # which keeps sums in 24 bits
        assert found.ram.state <= build(network, "m", strategy).state_bytes - 3 * 16


@pytest.mark.parametrize("units", [32, 35])
@pytest.mark.parametrize("strategy", ["event", "delta"])
def test_lists_of_short_and_of_long_entries_give_the_bits_of_the_reference(strategy, units):
    """More than 32 columns, or differences, do not fit two bytes; the first layer's gates have two rows alone, whose signs share a word."""
    target = emulation.target("cortex-m4")
    if not emulation.cross.compilers(target):
        pytest.skip("no compiler for cortex-m4")
    rng = np.random.default_rng(units)
    network = random_integer(rng, "lstm_coupled", 3, units, "threshold", read_out="every", layers=2, initial=True)
    raw = np.concatenate([random_counts(rng, network, 1, 9), random_counts(rng, network, 1, 9, extremes=True)])
    found = emulation.profile(network, raw, target, strategy=strategy)
    model = build(network, "model", strategy, target="cortex-m4")
    assert model.narrow == (strategy == "event" and units == 32)
    assert all(any("_signs" in kind for kind in text.columns.kinds) for text in model.layers)
    assert (found.differing, found.strategy) == (0, strategy)


@pytest.mark.parametrize(("target", "strategy"), [("cortex-m0plus", "delta"), ("cortex-m3", "delta"), ("cortex-m3", "event")])
def test_columns_of_x_in_words_give_the_bits_of_the_reference(target, strategy):
    """An odd number of inputs, quiet ones in one chunk and extremes in several; rows of the second layer shift x by other numbers."""
    if not emulation.cross.compilers(emulation.target(target)):
        pytest.skip(f"no compiler for {target}")
    rng = np.random.default_rng(17)
    network = random_integer(rng, "lstm", 9, 17, "threshold", read_out="last", layers=2, initial=True)
    rows = {name: replace(row, input_shift=0 if name == "f" else 3) for name, row in network.recurrent[1].rows.items()}
    layers = [replace(layer, rows=rows) if layer is network.recurrent[1] else layer for layer in network.layers]
    network = replace(network, layers=tuple(layers))
    raw = np.concatenate([random_counts(rng, network, 2, 8, extremes=extremes) for extremes in (False, True)])
    found = emulation.profile(network, raw, target, strategy=strategy)
    groups = [group for text in build(network, "m", strategy).layers for group in text.column_plan.groups]
    assert [(group.x_in_words, group.shift) for group in groups][1:] == [(True, 0), (True, 3)]
    assert (found.differing, found.strategy) == (0, strategy)


@pytest.mark.parametrize("name", ["cortex-m4", "atmega328p"])  # which tell sums of 24 bits apart, or keep them so
def test_changes_whose_sum_leaves_24_bits_give_the_bits_of_the_reference(name, monkeypatch):
    """All elements of x go from one end to the other, through weights of 127 and a factor of 64: twice a sum that just fits."""
    core = emulation.target(name)
    if not emulation.cross.compilers(core) or emulation.machine.missing(core):
        pytest.skip(f"nothing to compile or to emulate for {name}")
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 8, 8, "threshold")
    (layer,) = network.recurrent
    sign = rng.choice(np.array([-1, 1], np.int8), (8, 1))
    loud = {"W": 127 * np.repeat(sign, 8, axis=1), "bias": np.zeros(8, np.int32), "input_shift": 6}
    rows = {
        row.name: replace(row, **loud, R=tuple(np.clip(R, -60, 60) for R in row.R)) if row.name != "g" else row
        for row in layer.rows.values()
    }
    network = replace(network, layers=(replace(layer, rows=rows), *network.layers[1:]))
    monkeypatch.setattr(choice, "_lists", lambda *_: (True, True, False, 0))
    (group,) = build(network, "m", "delta").layers[0].column_plan.groups
    assert (len(group.rows), group.lists_x) == (3, True)
    raw = np.repeat(rng.choice(np.array([-32768, 32767], np.int16), (2, 12, 1)), 8, axis=2)
    assert emulation.profile(network, raw, core, strategy="delta").differing == 0


OFTEN = ("event", "delta")
SELDOM = {"cortex-m0plus": ("rows", "dense"), "cortex-m4": ("dense",), "rv32imc": ("rows",), "atmega328p": ("dense",)}


def test_inputs_of_16_bits_give_the_bits_of_the_reference(core):
    """An odd number of inputs. Sums of threshold gates join those of states: all in one kernel, or by different powers of two."""
    for strategy in ("event",) if core.name == "cortex-m55" else OFTEN + SELDOM.get(core.name, ()):  # its vectors know no strategies
        rng = np.random.default_rng(19)
        network = random_integer(rng, "lstm", 5, 13, "mixed" if strategy == "dense" else "threshold", initial=True, input_bits=16, mix=1)
        (layer,) = network.recurrent
        if strategy == "event":
            ops = tuple(replace(op, numbers=(5,)) if op.code == "raise" else op for op in layer.ops)
            network = replace(network, layers=(replace(layer, ops=ops), *network.layers[1:]))
        raw = np.concatenate([random_counts(rng, network, 1, 9, extremes=extremes) for extremes in (False, True)])
        (text,) = build(network, "m", strategy).layers
        groups = [group for group in text.column_plan.groups if group.wide]
        assert [len(group.joints) for group in groups] == {"rows": [], "dense": [2, 0], "event": [3], "delta": [3]}[strategy]
        assert len({joint.shift for group in groups for joint in group.joints}) == {"rows": 0, "event": 1}.get(strategy, 2)
        assert text.column_plan.dense == {}
        found = emulation.profile(network, raw, core, strategy=strategy)
        assert (found.differing, found.strategy) == (0, strategy)


@pytest.mark.parametrize("strategy", ["event-tables", "delta-packed"])
def test_weights_that_share_words_give_the_bits_of_the_reference(core, strategy):
    """Three layers: rows behind a gate and 4 bits, 1 bit (which may read tables) beside 2, 2 bits beside rows in bytes, which the same
    blocks of units hold."""
    rng = np.random.default_rng(6)
    first, second, third = {"gates": "4", "candidates": "ternary"}, {"gates": "binary", "candidates": "ternary"}, {"gates": "ternary"}
    formats = [("lstm", first), ("gru", second), ("gru", third)]
    made = [random_integer(rng, cell, 13, 13, "threshold", read_out="last", layers=3, initial=True, bits=bits) for cell, bits in formats]
    layers = [network.layers[k] for k, network in enumerate(made)]
    # Where all rows shift x alike, its columns stand in one list with those of states.
    layers[2] = replace(layers[2], rows={name: replace(row, input_shift=1) for name, row in layers[2].rows.items()})
    network = replace(made[0], layers=(*layers, *made[0].layers[3:]))
    groups = [group for text in build(network, "m", strategy).layers for group in text.column_plan.groups]
    assert [group.bits for group in groups] == [4, 2, 1, 8, 2]
    tabled = strategy == "event-tables"
    assert [group.tables > 0 for group in groups] == [False, False, tabled, False, False]
    text = build(network, "m", strategy).layers[2]
    joined = [part.joined for group in text.column_plan.groups if group.bits < 8 for part in segments(text.flow, group)]
    assert joined == [False, tabled or text.choice.lists_x]
    held = np.repeat(random_counts(rng, network, 1, 3), 3, axis=1)[:, :8]
    raw = np.concatenate([held, random_counts(rng, network, 1, 8, extremes=True)])
    found = emulation.profile(network, raw, core, strategy=strategy)
    assert (found.differing, found.strategy) == (0, "event-packed, event-tables" if tabled else "delta-packed")
    assert found.ram.stack <= build(network, "m", strategy).stack_bound
