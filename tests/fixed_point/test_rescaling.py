"""The constants of the operator `rescale`: what they compute, for ratios of any size."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lstm.fixed_point.operators import rescale
from edge_lstm.fixed_point.rescaling import rescaling


@pytest.mark.parametrize("reach", [1, 127, 2**15, 2**20])
def test_any_ratio_is_met_up_to_the_reach_and_fits_32_bits(reach: int) -> None:
    rng = np.random.default_rng(reach)
    for _ in range(50):
        ratio = 10.0 ** rng.uniform(-1, rng.choice([2.0, 40.0]), 1)
        limit, multiplier, shift = rescaling(ratio, reach)
        assert multiplier.min() > 0
        assert (limit.astype(object) * multiplier + (1 << shift)).max() < 2**31
        for v in (np.array([-(2**31), -1000, -1, 0, 1, 1000, 2**31 - 1]), rng.integers(-(2**31), 2**31, 20)):
            found = rescale(np.asarray(v[:, None], np.int32), limit, multiplier, shift)
            wanted = np.clip(v[:, None] * ratio, -reach, reach)
            beyond = np.abs(v[:, None] * ratio) >= reach + 1
            assert (np.abs(found[beyond]) >= 0.98 * reach).all()
            assert (np.sign(found) * np.sign(wanted) >= 0).all()
            steps = 0.02 * np.abs(wanted) + 1  # few bits of a multiplier are left where the reach is 20 bits
            assert (np.abs(np.clip(found, -reach, reach) - wanted) <= steps).all()
