"""The choice of a strategy: activity is what the reference does, and the choice follows it; it never changes a bit."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_integer, random_network

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.quantize import quantize
from firmware_gen import header
from firmware_gen.activity import LayerActivity, Vector, assumed, measure
from firmware_gen.choice import TARGETS, Instructions, choose, column_bytes, cost
from firmware_gen.model import build


def test_activity_is_what_the_reference_leaves_in_the_states(watch):
    raw = random_counts(np.random.default_rng(1), watch, 5, 40)
    (found,) = measure(watch, raw)
    layer = watch.recurrent[0]
    h = reference.run(watch, raw, states=True).states[0]["h"]
    before = np.concatenate([np.zeros_like(h[:, :1]), h[:, :-1]], axis=1)  # what the rows of each step read
    (source,) = {a for op in layer.ops if op.code == "row" for a in op.args}
    assert found.vectors[source].nonzero == pytest.approx((before != 0).mean())
    assert found.vectors[source].changed == pytest.approx((before[:, 1:] != before[:, :-1]).mean())
    x = reference.normalize(watch.normalize, raw)
    assert found.x == Vector(pytest.approx((x != 0).mean()), pytest.approx((x[:, 1:] != x[:, :-1]).mean()))
    assert found.steps == 5 * 40


def test_a_gate_that_is_always_closed_is_measured_as_closed(watch):
    layer = watch.recurrent[0]
    rows = {**layer.rows, "o": replace(layer.rows["o"], bias=np.full(layer.units, -(10**7), np.int32))}
    closed = replace(watch, layers=(replace(layer, rows=rows), *watch.layers[1:]))
    (found,) = measure(closed, random_counts(np.random.default_rng(1), closed, 2, 20))
    gates = {op.args[0] for op in layer.ops if op.code == "select" and layer.ops[layer.ops[op.args[0]].args[0]].name == "o"}
    assert [found.open[gate] for gate in gates] == [0.0]
    assert all(v.nonzero == 0 for v in found.vectors.values())


def activity_of(layer, nonzero: float, changed: float, x: float = 1.0) -> LayerActivity:
    known = assumed(layer)
    return replace(known, x=Vector(x, x), vectors={index: Vector(nonzero, changed) for index in known.vectors}, steps=1000)


@pytest.mark.parametrize("target", [None, *TARGETS])
def test_the_choice_follows_the_activity(watch, target):
    layer = watch.recurrent[0]
    cases = {"delta": (0.9, 0.02), "event": (0.05, 0.05)}
    chosen = {name: choose(layer, None, target, activity_of(layer, *case)).strategy for name, case in cases.items()}
    kept = "dense" if target == "cortex-m55" else "delta"  # vectors keep no sums
    assert chosen == {"delta": kept, "event": "event"}


def test_16_bit_multiplications_make_dense_the_best_for_busy_layers(watch):
    layer = watch.recurrent[0]
    assert choose(layer, None, "cortex-m4", activity_of(layer, 0.95, 0.95)).strategy == "dense"
    assert choose(layer, None, "cortex-m4", activity_of(layer, 0.1, 0.1)).strategy == "event"


def test_costs_grow_with_activity(watch):
    layer = watch.recurrent[0]
    for target in TARGETS.values():
        for strategy in ("event", "delta"):
            costs = [cost(layer, strategy, activity_of(layer, a, a), target) for a in (0.0, 0.2, 0.5, 1.0)]
            assert costs == sorted(costs)
            assert costs[0] < costs[-1]


def test_a_list_that_two_groups_share_is_counted_once(watch):
    """Row f with another shift of x stands in a group of its own, which reads the list of the same states."""
    layer = watch.recurrent[0]
    rows = {**layer.rows, "f": replace(layer.rows["f"], input_shift=layer.rows["f"].input_shift + 1)}
    apart = replace(watch, layers=(replace(layer, rows=rows), *watch.layers[1:]))
    listing = replace(Instructions(**{field.name: float(field.name in ("list", "compare")) for field in fields(Instructions)}), words=None)
    for strategy in ("event", "delta"):
        (text,) = build(apart, "watch", strategy).layers
        assert len(text.column_plan.groups) == 2
        assert text.columns.locals.entries < 2 * (layer.units + 3) + layer.units * (strategy == "delta")
        for network in (watch, apart):
            assert cost(network.recurrent[0], strategy, assumed(layer), listing) == layer.units


def test_columns_of_inputs_of_16_bits_are_counted():
    """Twice the inputs cost what twice the columns take, whatever the strategy; they are never listed, however quiet they are."""
    few, many = (random_integer(np.random.default_rng(3), "lstm", n, 32, "threshold", input_bits=16).recurrent[0] for n in (6, 12))
    for target in TARGETS.values():
        quiet = [activity_of(layer, 0.2, 0.1, x=0.05) for layer in (few, many)]
        more = [cost(many, strategy, quiet[1], target) - cost(few, strategy, quiet[0], target) for strategy in ("dense", "event", "delta")]
        lazy = 32 * 0.5 * 6 * target.dot_values  # the candidate row, behind a gate
        assert more == pytest.approx([6 * 4 * 3 * target.wide[0] + 6 * target.gather + lazy] * 3)
    assert not any(choose(few, strategy, None, quiet[0]).lists_x for strategy in ("event", "delta"))


def test_memory_is_not_spent_on_activity_that_nobody_measured(watch):
    """Kept sums take 12 bytes a unit."""
    soft = quantize(random_network(rng := np.random.default_rng(2), "lstm", 6, 32), random_input(rng, random_network(rng, "lstm", 6, 32)))
    assert choose(watch.recurrent[0], None).strategy == "event"
    assert choose(soft.recurrent[0], None).strategy == "dense"


def test_few_bits_share_words_where_that_is_worth_its_instructions():
    network = random_integer(np.random.default_rng(4), "lstm", 6, 64, "threshold", bits={"gates": "4"})
    (layer,) = network.recurrent
    busy = activity_of(layer, 0.9, 0.9)
    for target in ("cortex-m0plus", "cortex-m3", "rv32imc"):
        assert choose(layer, None, target, busy).few
        costs = [cost(layer, strategy, busy, TARGETS[target]) for strategy in ("event-packed", "event")]
        assert costs == sorted(costs)
        assert choose(layer, "event", target, busy).few
        assert not choose(layer, "event-bytes", target, busy).few
    assert not choose(layer, None, "cortex-m4", busy).few  # two columns at a time take fewer there
    assert (column_bytes(layer, few=False), column_bytes(layer, few=True)) == (3 * 64 * 70, 3 * 64 * 70 // 2)
    small = random_integer(np.random.default_rng(4), "lstm", 2, 3, "threshold", bits={"gates": "4"}).recurrent[0]
    assert not choose(small, "event", "cortex-m3", activity_of(small, 0.9, 0.9)).few  # 16 units take no fewer bytes than 8
    assert f"flash of its weights by columns: {3 * 64 * 70} bytes, {3 * 64 * 70 // 2} packed" in header(network, target="cortex-m3")
    assert re.search(r"strategy event-packed: .*\n.* event \d+, delta \d+, event-packed \d+", header(network, target="cortex-m3"))


def test_binary_rows_read_tables_of_x_where_that_saves_a_tenth_of_the_instructions():
    rng = np.random.default_rng(5)
    wide, narrow = (random_integer(rng, "lstm", n, 64, "threshold", bits={"gates": "binary"}).recurrent[0] for n in (32, 2))
    seldom = activity_of(wide, 0.1, 0.1)
    for target in ("cortex-m0plus", "rv32imc"):
        found = choose(wide, None, target, seldom)
        assert found.tables in (4, 6, 8)
        tabled, packed, in_bytes = (cost(wide, strategy, seldom, TARGETS[target]) for strategy in ("event-tables", "event-packed", "event"))
        assert tabled < 0.9 * packed
        assert tabled < in_bytes
        assert choose(wide, "event-packed", target, seldom).tables == 0
    assert choose(narrow, None, "cortex-m4", activity_of(narrow, 0.1, 0.1)).tables == 0


def test_the_banner_explains_the_choice(watch):
    raw = random_counts(np.random.default_rng(1), watch, 3, 40)
    text = header(watch, target="cortex-m0plus", activity=measure(watch, raw))
    strategy = build(watch, target="cortex-m0plus", activity=measure(watch, raw)).layers[0].strategy
    assert f"strategy {strategy}: " in text
    assert re.search(r"chosen for cortex-m0plus; instructions of its sums a step, estimated: dense \d+, event \d+, delta \d+", text)
    assert "activity measured over 120 steps: x " in text
    assert "activity assumed" in header(watch)
    assert "chosen" not in header(watch, strategy="delta")


def test_each_layer_has_its_own_choice():
    network = random_integer(np.random.default_rng(3), "lstm", 4, 24, "threshold", layers=2)
    first, second = network.recurrent
    model = build(network, target="cortex-m4", activity=(activity_of(first, 0.95, 0.95), activity_of(second, 0.5, 0.02, x=0.1)))
    assert [text.strategy for text in model.layers] == ["dense", "delta"]


def test_what_does_not_exist_is_refused(watch):
    with pytest.raises(UsageError, match="no strategy 'fast'; choose one of rows, dense, event, delta"):
        header(watch, strategy="fast")
    with pytest.raises(UsageError, match="no cost model for the target 'z80'"):
        header(watch, target="z80")
    with pytest.raises(EdgeLstmError, match="expected int16 counts"):
        measure(watch, np.zeros((1, 8, 3), np.int16))
