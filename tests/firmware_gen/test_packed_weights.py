"""Weights of 4 and 2 bits that share bytes: fewer of them, and every bit of the result as in the reference."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_deep, random_input, random_integer

from edge_lstm.engine import reference
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.quantize import Options, quantize
from firmware_gen.few_columns import indexes, segments
from firmware_gen.header import header
from firmware_gen.host import HostModel
from firmware_gen.model import build
from firmware_gen.packed import fewest_bits, pack, row_bytes
from firmware_gen.toolchain import WARNINGS

FOUR = {"gates": "4", "candidates": "4", "dense": "4"}
TERNARY = {"gates": "ternary", "candidates": "ternary", "dense": "4"}
MIXED = {"gates": "binary", "candidates": "4"}


def at_the_ends(network: IntegerNetwork, largest: int) -> IntegerNetwork:
    """The same with all weights at an end of their range."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, IntegerDense):
            layer = replace(layer, W=np.where(layer.W > 0, 7, -7).astype(np.int8))
        elif isinstance(layer, IntegerRecurrent):
            ends = {
                name: replace(
                    row, W=None if row.W is None else np.where(row.W > 0, largest, -largest).astype(np.int8),
                    R=tuple(np.where(R > 0, largest, -largest).astype(np.int8) for R in row.R),
                )
                for name, row in layer.rows.items()
            }  # fmt: skip
            layer = replace(layer, rows=ends)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def networks() -> list[IntegerNetwork]:
    """Odd and even lengths of rows, rows that fill a byte and rows that do not, a mean, a hidden layer, two layers, layers in front."""
    rng = np.random.default_rng(20)
    made = [
        random_integer(rng, "lstm", 9, 11, "threshold", "mean", decimation=2, outputs=6, bits=FOUR),
        random_integer(rng, "lstm_coupled", 8, 6, "threshold", "mean", outputs=5, bits=TERNARY),
        random_integer(rng, "gru", 3, 7, "threshold", "last", layers=2, hidden=5, bits=MIXED | {"dense": "4"}, initial=True),
        random_integer(rng, "gru_reset_before", 1, 13, "sigmoid", "every", bits=TERNARY),
        random_integer(rng, "lstm", 2, 2, "threshold", "last", bits=MIXED),
    ]
    deep = random_deep(rng, "lstm", "threshold", "mean")
    made.append(quantize(deep, random_input(rng, deep, 8, 24), Options(FOUR)))
    made.append(at_the_ends(random_integer(rng, "lstm", 3, 41, "threshold", "last", bits=FOUR), 7))  # its sums of columns leave 16 bits
    return [*made, at_the_ends(made[0], 7), at_the_ends(made[1], 1), alike(made[1], 2), alike(made[4], 1)]


def alike(network: IntegerNetwork, shift: int) -> IntegerNetwork:
    """The same with one shift of x for all rows: columns of x and of states then share a list, if their sums fit 16 bits."""
    layer = network.recurrent[0]
    rows = {name: replace(row, input_shift=shift) for name, row in layer.rows.items()}
    return replace(network, layers=(replace(layer, rows=rows), *network.layers[1:]))


def bits_by_columns(network: IntegerNetwork, strategy: str) -> set[int]:
    return {group.bits for text in build(network, "m", strategy).layers for group in text.column_plan.groups}


@pytest.mark.parametrize("by", ["rows", "columns"])
def test_packed_weights_give_the_bits_of_the_reference(any_compiler, by):
    """By columns each compiler has a strategy of its own, since compiling takes most of the time; tables are for binary rows."""
    flags = (*WARNINGS, "-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    made, rng, sums = networks(), np.random.default_rng(21), set()
    binary = [1 in bits_by_columns(network, "event-packed") for network in made]
    if by == "rows":
        strategies = ["rows"] * len(made)
    elif any_compiler.name == "gcc":
        strategies = ["delta-packed"] * len(made)
    else:
        strategies = ["event-tables" if one else "event-packed" for one in binary]
    assert 0 < sum(binary) < len(made)
    for strategy in dict.fromkeys(strategies):
        chosen = [network for network, own in zip(made, strategies, strict=True) if own == strategy]
        for network, host in zip(chosen, HostModel.several(chosen, any_compiler, flags, strategy=strategy), strict=True):
            sums |= build(network, "m", strategy).tables.packed
            for extremes in (False, True):
                raw = random_counts(rng, network, 2, 20, extremes=extremes)
                expected, found = reference.run(network, raw, states=True), host.run(raw, states=True)
                assert np.array_equal(expected.scores, found.scores)
                for a, b in zip(expected.states, found.states, strict=True):
                    assert all(np.array_equal(a[name], b[name]) for name in a)
    by_rows, listed = {("dot", 2), ("dot", 4), ("dot_sum", 4)}, "dot_at" if any_compiler.name == "gcc" else "dot_listed"
    assert sums == by_rows if by == "rows" else sums >= {(listed, 2), (listed, 4)}
    parts = [segments(text.flow, group) for text in build(made[-2], "m", "event-packed").layers for group in text.column_plan.groups]
    assert [[part.joined for part in group] for group in parts] == [[False, True]]
    assert set().union(*(bits_by_columns(network, "event-packed") for network in made)) == {1, 2, 4}


def test_sums_of_packed_columns_fit_16_bits_for_any_input_and_the_banner_says_so():
    """Their bound is reached: all inputs at the ends of their range, with the signs of a row's weights."""
    network = at_the_ends(random_integer(np.random.default_rng(7), "lstm", 5, 50, "threshold", bits=FOUR), 7)
    (text,) = build(network, "m", "event-packed").layers
    (group,) = text.column_plan.groups
    parts = segments(text.flow, group)
    assert [(part.first, part.last, part.from_) for part in parts] == [(0, 36, 0), (36, 50, 36), (50, 55, 0)]
    assert [part.largest for part in parts] == [127 * 7 * 36, 127 * 7 * 14, 127 * 7 * 5]
    assert 127 * 7 * 37 > 2**15 - 1
    text = header(network, prefix="m", strategy="event-packed")
    assert re.search(rf"16-bit sums of row f, i, o +-{parts[0].largest} to {parts[0].largest}\n", text)


def test_packed_columns_take_the_bits_of_their_weights():
    rng = np.random.default_rng(8)
    plain = random_integer(rng, "lstm", 6, 32, "threshold")
    bytes_ = {"8": build(plain, "m", "event").tables.bytes}
    gates = 3 * 32 * (6 + 32)
    for bits, share in (("4", 2), ("ternary", 4), ("binary", 8)):
        model = build(random_integer(rng, "lstm", 6, 32, "threshold", bits={"gates": bits}), "m", "event-packed")
        (table,) = [table for table in model.tables.tables if table.bits < 8]
        assert table.bytes == gates / share
        bytes_[bits] = model.tables.bytes
    assert bytes_["8"] > bytes_["4"] + 0.4 * gates > bytes_["ternary"] > bytes_["binary"] + 0.1 * gates
    for strategy in ("delta-packed", "event-tables"):
        with pytest.raises(UsageError, match="no row by columns has those"):
            header(plain, prefix="m", strategy=strategy)


def test_tables_of_x_take_a_byte_for_every_few_inputs_of_a_row():
    network = random_integer(np.random.default_rng(9), "lstm", 20, 24, "threshold", bits={"gates": "binary"})
    (text,) = build(network, "m", "event-tables", target="cortex-m0plus").layers
    (group,) = text.column_plan.groups
    *_, part = segments(text.flow, group)
    assert (part.first, part.last, part.source, part.elements, part.tables) == (24, 44, None, group.tables, -(-20 // group.tables))
    for index in group.rows:
        row = text.flow.layer.rows[text.flow.ops[index].name]
        entries = indexes(text.flow, index, group, part)
        bits = ((entries[:, :, None] >> np.arange(group.tables)) & 1).reshape(32, -1)
        assert np.array_equal(2 * bits[:24, :20] - 1, row.W)
        assert not bits[:, 20:].any()


@pytest.mark.parametrize("length", range(1, 10))
@pytest.mark.parametrize(("bits", "largest"), [(4, 7), (2, 1)])
def test_a_packed_row_holds_its_weights_lowest_bits_first(bits, largest, length):
    values = np.random.default_rng(length).integers(-largest, largest, (50, 3, length), endpoint=True).astype(np.int8)
    packed = pack(values, bits)
    assert packed.shape == (50, 3, row_bytes(length, bits))
    number = sum(packed[..., k].astype(np.int64) << (8 * k) for k in range(packed.shape[-1]))
    fields = np.stack([(number >> (bits * k)) & (2**bits - 1) for k in range(length)], axis=-1)
    assert np.array_equal(np.where(fields >= 2 ** (bits - 1), fields - 2**bits, fields), values)
    assert np.all(number >> (bits * length) == 0)


SMALLEST = [(8, 9, 8), (7, 9, 4), (7, 1, 8), (1, 9, 2), (1, 2, 4), (1, 3, 2), (1, 1, 8), (0, 4, 2)]


@pytest.mark.parametrize(("largest", "length", "bits"), SMALLEST)
def test_weights_take_the_fewest_bits_that_save_a_byte(largest, length, bits):
    assert fewest_bits(np.full((3, length), -largest, np.int8)) == bits


def test_constants_are_as_many_as_the_banner_says_and_fewer_than_in_8_bits():
    rng = np.random.default_rng(5)
    network = random_integer(rng, "lstm", 9, 8, "threshold", "mean", outputs=6, bits=FOUR)
    (dense,) = [one for one in network.layers if isinstance(one, IntegerDense)]
    saved = 4 * 8 * (9 - 5 + 8 - 4) + 6 * (8 - 4)
    loud = replace(network, layers=(at_the_ends(network, 8).layers[0], *network.layers[1:-1], replace(dense, W=np.full_like(dense.W, 8))))
    packed, plain = (build(one, "m", "rows").tables for one in (network, loud))
    assert plain.packed == set()
    assert plain.bytes - packed.bytes == saved
    text = header(network, prefix="m", strategy="rows")
    assert f"flash      {packed.bytes} bytes of constants" in text
    assert "weights    4 bits, two in a byte:" in text
    assert "but\n" not in header(loud, prefix="m", strategy="rows").split("Proved")[0]


def test_other_strategies_pack_the_read_out_alone_and_only_where_it_is_worth_a_function():
    rng = np.random.default_rng(6)
    small, large = (random_integer(rng, "lstm", 4, units, "threshold", "mean", outputs=7, bits=FOUR) for units in (8, 32))
    assert build(small, "m", "event-bytes").tables.packed == set()
    assert [t.name for t in build(large, "m", "event-bytes").tables.tables if t.bits < 8] == ["m_output_W"]
