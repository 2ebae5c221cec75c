"""Weights of input and states in rows of their own: the same float function, fewer rounding errors where one channel is loud."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import every_member, random_input, random_network, random_recurrent

from edge_lstm import api, engine
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.fixed_point.separate_rows import RECURRENT, separated
from edge_lstm.float_inference import run_recurrent
from edge_lstm.jobs.conversion import convert
from edge_lstm.network import RowWeights


@pytest.mark.parametrize(("name", "gates"), every_member())
def test_separated_rows_compute_the_same(name: str, gates: str) -> None:
    rng = np.random.default_rng(1)
    layer = random_recurrent(rng, name, 4, 6, gates, "any", initial=True, clip=1.5)
    x = rng.normal(0, 1, (3, 9, 4))
    parts = separated(layer)
    np.testing.assert_allclose(run_recurrent(parts, x), run_recurrent(layer, x), rtol=0, atol=1e-9)
    for row in parts.cell.rows:
        assert not (row.input and row.sources) or any(a.is_threshold or a.kind == "three_level" for a in layer.activations.values())


def test_threshold_gates_keep_their_row() -> None:
    layer = random_recurrent(np.random.default_rng(2), "lstm", 4, 6, "threshold")
    assert [row.name for row in separated(layer).cell.rows if row.name.endswith(RECURRENT)] == ["g" + RECURRENT]


def test_a_loud_channel_no_longer_takes_the_levels_of_the_recurrent_weights() -> None:
    """The channel is silent but for a rare peak, to which its scale must reach; half of the units listen to it alone.

    So no one power of two suits all units.
    """
    rng = np.random.default_rng(3)
    errors: dict[bool, float] = {False: 0.0, True: 0.0}
    for _ in range(5):
        network = random_network(rng, "lstm", 4, 16)
        rows = {}
        for name, row in network.recurrent[0].rows.items():
            W = np.array(row.W)
            W[::2, 0] = W[1::2, 1:] = 0
            rows[name] = RowWeights(W, row.R, row.b)
        network = replace(network, layers=(replace(network.recurrent[0], rows=rows), *network.layers[1:]), softmax=False)
        x = random_input(rng, network, 16, 20)
        x[:, :, 0] = 0
        x[0, 0, 0] = 1000
        for separate in (False, True):
            integer = api.quantize(network, x, separate_rows=separate)
            scores = reference.run(integer, engine.counts(integer.normalize, x)).scores
            errors[separate] += float(np.mean((scores[1:] * integer.score_scale - network(x)[1:]) ** 2))
    assert np.sqrt(errors[True]) < 0.5 * np.sqrt(errors[False])


def test_a_format_of_a_row_is_that_of_both_its_parts() -> None:
    rng = np.random.default_rng(4)
    network = random_network(rng, "lstm", 4, 16)
    rows = quantize(network, random_input(rng, network), Options({"i": "4"}, separate_rows=True)).recurrent[0].rows
    largest = {name: max(np.abs(m).max() for m in (*row.R, *([] if row.W is None else [row.W]))) for name, row in rows.items()}
    assert {name for name, one in largest.items() if one <= 7} == {"i", "i" + RECURRENT}


def test_fine_tuning_with_separate_rows_is_refused() -> None:
    network = random_network(np.random.default_rng(5))
    with pytest.raises(EdgeLstmError, match="--separate-rows"):
        convert(network, finetune=True, separate_rows=True)
