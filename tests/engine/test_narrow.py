"""Lanes of 16 bits: the identities behind them, what is narrow, and that a kernel in 16 bits is what runs."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.engine.curves import signed_places
from edge_lstm.engine.narrow import narrow_forms
from edge_lstm.engine.plan import plan
from edge_lstm.fixed_point.operators import interpolate, round_shift

EDGES = [-32767, -32766, -1, 0, 1, 16384, 32766, 32767]


def rounding(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    return (a * b + (1 << 14)) >> 15


def numbers(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([np.array(EDGES), rng.integers(-32767, 32768, 4000)]).astype(np.int64)


@pytest.mark.parametrize("shift", [15, *range(17, 32)])
def test_a_product_is_shifted_by_rounding_multiplications(shift: int) -> None:
    rng = np.random.default_rng(shift)
    a, b = numbers(rng), rng.permutation(numbers(rng))
    product = a[:, None] * b[None, ::7]
    came = rounding(a[:, None], b[None, ::7]) if shift == 15 else rounding(product >> 16, 1 << (31 - shift))
    np.testing.assert_array_equal(came, round_shift(product, shift))


@pytest.mark.parametrize("segment", range(1, 11))
@pytest.mark.parametrize("out", [0, 1, 4, 8])
def test_a_curve_is_a_table_and_one_multiplication(segment: int, out: int) -> None:
    rng = np.random.default_rng(segment)
    knots = np.cumsum(rng.integers(-500, 501, 65)) if out else np.concatenate([np.cumsum(rng.integers(-32000, 32001, 1)), EDGES * 8])
    knots = np.clip(knots, -32000, 32000).astype(np.int64)
    steps = np.clip(np.diff(knots), -32767, 32767)
    knots = np.concatenate([knots[:1], knots[0] + np.cumsum(steps)])
    v = np.arange(-32 << segment, 32 << segment)
    place, within = (v >> segment) + 32, (v << (15 - segment)) & 0x7FFF
    if out == 0:
        came = knots[place] + rounding(steps[place], within)
    else:
        came = (knots[place] + (1 << (out - 1)) + (2 * steps[place] * within >> 16)) >> out
    np.testing.assert_array_equal(came, interpolate(v, knots, segment, out))


@pytest.mark.parametrize("segment", range(1, 11))
@pytest.mark.parametrize("out", [0, 1, 4])
def test_places_may_stay_signed_where_odd_knots_are_those_above(segment: int, out: int) -> None:
    rng = np.random.default_rng(segment)
    knots = np.cumsum(rng.integers(-400, 401, 65)).astype(np.int64)
    steps, v = np.diff(knots), np.arange(-32 << segment, 32 << segment)
    place = (v >> segment) + 32
    within = (v << (15 - segment)).astype(np.int16).astype(np.int64)  # what a shift in 16 bits leaves: its sign is the segment's lowest bit
    below = signed_places(knots)[place]
    if out == 0:
        came = below + rounding(steps[place], within)
    else:
        came = (below + (1 << (out - 1)) + (2 * steps[place] * within >> 16)) >> out
    np.testing.assert_array_equal(came, interpolate(v, knots, segment, out))


def test_a_soft_lstm_is_narrow_but_for_its_rows() -> None:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 20, "sigmoid")
    layer = network.recurrent[0]
    forms = narrow_forms(layer, plan(layer))
    assert {op.code for k, op in enumerate(layer.ops) if k not in forms} == {"row", "state"}


def test_threshold_gates_need_no_16_bits() -> None:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 20, "threshold", squash="own")
    layer = network.recurrent[0]
    forms = narrow_forms(layer, plan(layer))
    assert {layer.ops[k].code for k in forms} <= {"interpolate", "rescale"}
