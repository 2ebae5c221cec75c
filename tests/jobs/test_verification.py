"""Verification runs every engine on the whole family, on inputs that reach the ends, and counts what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_deep, random_input, random_integer

from edge_lstm.cells import family
from edge_lstm.engine import reference
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import verification
from edge_lstm.jobs.memory import flash, memory, state
from edge_lstm.jobs.networks import parameters
from edge_lstm.network import Conv1d, Pool


def test_random_counts_cover_the_range_of_x_and_the_ends_of_int16() -> None:
    network = random_integer(np.random.default_rng(3), "lstm", 4, 5, "threshold", "mean", decimation=3, steps=15)
    raw = verification.random_counts(network, 16, 15, seed=1)
    assert raw.shape == (16, 45, 4)
    x = reference.normalize(network.normalize, raw)
    assert np.ptp(x[:8].astype(int)) > 150
    assert len(np.unique(x[:8])) > 50
    assert {-32768, 32767} <= set(np.unique(raw[8:]).tolist())
    np.testing.assert_array_equal(raw, verification.random_counts(network, 16, 15, seed=1))
    assert (raw != verification.random_counts(network, 16, 15, seed=2)).any()


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_1997"])
@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
def test_all_engines_agree_without_a_compiler(name: str, read_out: str) -> None:
    network = random_integer(np.random.default_rng(5), name, 3, 6, "threshold", read_out, steps=8)
    checks = verification.verify(network, sequences=6, compilers=False)
    both = ["Numba, whole sequences", "Numba, streamed", "ONNX Runtime", "ONNX Runtime, streamed"]
    assert [check.engine for check in checks.checks] == both
    assert checks.differing == 0
    scores = 3 * (8 if read_out == "every" else 1)
    states = sum(layer.units * len(layer.states) for layer in network.recurrent) * 8
    assert checks.checks[0].values == 6 * (scores + states)
    assert len(family()) > 10


def test_engines_agree_where_some_steps_make_none() -> None:
    rng = np.random.default_rng(8)
    network = random_deep(rng, "gru", "threshold", "every")
    while max(layer.stride for layer in network.layers if isinstance(layer, (Conv1d, Pool))) == 1:
        network = random_deep(rng, "gru", "threshold", "every")
    checks = verification.verify(quantize(network, random_input(rng, network, 8, 24)), sequences=6, compilers=False)
    assert (len(checks.checks), checks.differing, checks.missing) == (4, 0, ("the generated C, as asked",))


def test_a_flaw_in_one_score_is_one_differing_value(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_integer(np.random.default_rng(6), "lstm", 3, 6, "threshold", "last", steps=8)
    run = verification.engine.run

    def flawed(*arguments, **options):
        ran = run(*arguments, **options)
        ran.scores[2, 1] += 1
        return ran

    monkeypatch.setattr(verification.engine, "run", flawed)
    checks = verification.verify(network, sequences=6, compilers=False)
    assert [check.differing for check in checks.checks] == [1, 0, 0, 0]


def test_without_a_compiler_memory_is_counted_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import firmware_gen.toolchain

    network = random_integer(np.random.default_rng(7), "lstm", 6, 32, "threshold", "mean", outputs=7, steps=50, decimation=4)
    measured = memory(network)
    monkeypatch.setattr(firmware_gen.toolchain, "compilers", lambda: ())
    counted = memory(network)
    assert counted.how.startswith("Counted")
    assert "no C compiler" in counted.how
    assert state(counted) == state(measured)
    assert abs(flash(counted) - dict(measured.parts).get("constants (flash)", flash(counted))) < 200
    assert flash(counted) >= parameters(replace(network, layers=network.layers[:1]))


def test_parameters_are_the_learned_numbers() -> None:
    network = random_integer(np.random.default_rng(8), "lstm_peephole", 5, 7, "sigmoid", "last", outputs=3, steps=8)
    rows = sum(
        (0 if row.W is None else row.W.size) + sum(R.size for R in row.R) + row.bias.size for row in network.recurrent[0].rows.values()
    )
    assert parameters(network) == rows + 3 * 7 + 3
