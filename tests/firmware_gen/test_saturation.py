"""One clamp for all units of a rescaling: the curve behind it gives the same bits for any sum, near the clamps and far beyond them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.fixed_point.operators import interpolate, rescale
from firmware_gen.saturation import common_clamp
from firmware_gen.simplify import simplify

SEEDS = (0, 1, 3, 4)  # whose random factors lie within 4 of each other


def layer_of(seed: int):
    return random_integer(np.random.default_rng(seed), "lstm", 5, 24, "threshold").recurrent[0]


def find(flow):
    index = next(index for index, op in flow.ops.items() if op.code == "rescale")
    curve = next(flow.ops[user] for user in flow.users(index))
    return index, curve


@pytest.mark.parametrize("seed", SEEDS)
def test_a_common_clamp_changes_no_bit_behind_the_curve(seed):
    flow = simplify(layer_of(seed))
    index, curve = find(flow)
    op, layer = flow.ops[index], flow.layer
    clamp = common_clamp(flow, index)
    assert clamp is not None
    limit, multiplier = (layer.vectors[op.name + end].astype(np.int64) for end in (".limit", ".multiplier"))
    assert clamp * multiplier.max() + (1 << op.numbers[0] >> 1) < 2**31
    edges = np.concatenate([limit, [clamp, 0, 2**31 - 1, 2**23]])
    sums = np.unique(np.concatenate([s * edges + d for s in (-1, 1) for d in (-1, 0, 1)] + [np.arange(-2 * clamp, 2 * clamp, 997)]))
    v = np.repeat(np.clip(sums, -(2**31) + 1, 2**31 - 1)[:, None], len(limit), axis=1)
    knots, numbers = layer.tables[curve.name], curve.numbers
    each, common = (rescale(v, bound, multiplier, op.numbers[0]) for bound in (limit, np.full_like(limit, clamp)))
    assert np.array_equal(interpolate(each, knots, *numbers), interpolate(common, knots, *numbers))
    assert not np.array_equal(each, common)  # beyond the curve's ends


def test_there_is_no_common_clamp_where_a_product_would_leave_32_bits_or_the_clamp_itself_counts():
    layer = layer_of(1)
    index, _ = find(simplify(layer))
    name = layer.ops[index].name
    limit, multiplier = (layer.vectors[name + end] for end in (".limit", ".multiplier"))
    spread = np.where(np.arange(len(multiplier)) == 0, multiplier // 8, multiplier).astype(multiplier.dtype)
    wide = np.where(np.arange(len(limit)) == 0, limit * 8, limit).astype(limit.dtype)
    for changed in ({name + ".multiplier": spread, name + ".limit": wide}, {name + ".limit": (limit // 4).astype(limit.dtype)}):
        flow = simplify(replace(layer, vectors={**layer.vectors, **changed}))
        assert common_clamp(flow, find(flow)[0]) is None
