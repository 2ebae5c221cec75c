"""Rescales in floating point give the bits of the integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from pieces_of_code import run_on
from random_networks import assert_same, random_counts, random_integer

from edge_lstm import engine
from edge_lstm.engine import reference, target
from edge_lstm.engine.code import Code
from edge_lstm.engine.cores import CORES
from edge_lstm.engine.curves import rescale_limits
from edge_lstm.engine.floating import float_constants, float_rescales, start_of, started_rows
from edge_lstm.engine.layout import LANES, LINE
from edge_lstm.engine.plan import plan
from edge_lstm.engine.stages import prepare
from edge_lstm.fixed_point.bounds import intervals, prove_network
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.operators import half

Ints = npt.NDArray[np.int64]
needs_avx512 = pytest.mark.skipif(not target.choose().instructions.permutes, reason="without AVX-512 nothing goes through floats")


def rescale_of_row(layer: IntegerRecurrent) -> int:
    (index,) = (k for k, op in enumerate(layer.ops) if op.code == "rescale" and layer.ops[op.args[0]].code == "row")
    return index


def changed(network: IntegerNetwork, shift: int, limit: npt.ArrayLike, multiplier: npt.ArrayLike) -> IntegerNetwork:
    """The network with other numbers of the rescale of its candidate."""
    (layer,) = network.recurrent
    index = rescale_of_row(layer)
    name = layer.ops[index].name
    ops = tuple(replace(op, numbers=(shift,)) if k == index else op for k, op in enumerate(layer.ops))
    vectors = {f"{name}.limit": limit, f"{name}.multiplier": multiplier}
    made = {key: np.broadcast_to(value, layer.units).astype(np.int32) for key, value in vectors.items()}
    return replace(network, layers=(replace(layer, ops=ops, vectors={**layer.vectors, **made}), *network.layers[1:]))


def rescaled_by_machine(arguments: Ints, constants: dict[str, npt.NDArray[np.float32]]) -> Ints:
    """[count, units] through the instruction sequence of the kernels, sixteen at a time."""

    def emit(code: Code, at: object) -> None:
        lanes = [code.lanes_at(code.plus(at, LINE * part)) for part in range(4)]
        code.store(code.rescale_in_float(*lanes), code.plus(at, 4 * LINE))

    count, units = arguments.shape
    memory = np.zeros((count, units // LANES, 5, LANES), np.int32)
    memory[:, :, 0] = arguments.reshape(count, -1, LANES)
    for part, name in enumerate(("multiplier", "addend", "cut"), 1):
        memory[:, :, part] = constants[name].view(np.int32).reshape(-1, LANES)
    run_on(memory.reshape(-1, 5, LANES), emit)
    return memory[:, :, 4].reshape(count, units).astype(np.int64)


@needs_avx512
@pytest.mark.parametrize("seed", range(6))
def test_every_rounding_is_that_of_the_integers(seed: int) -> None:
    """Arguments around the first one of each of some thousand results, around the limits, and at the ends of 24 bits."""
    rng = np.random.default_rng(seed)
    units, shift = 64, int(rng.integers(7, 23))
    multiplier = rng.integers(1, 1 << 15, units)
    limit = ((1 << 29) // multiplier).clip(1, (1 << 24) - 256)
    limit -= limit * multiplier % (1 << shift) == half(shift)  # at a tie the two ends have other results
    (layer,) = changed(random_integer(rng, "lstm", 6, units, "threshold", squash="hard_tanh"), shift, limit, multiplier).recurrent
    index, schedule = rescale_of_row(layer), plan(layer)
    assert index in float_rescales(layer, schedule, ())
    low, high = rescale_limits(layer, schedule)[layer.ops[index].name]
    most = int(((high * multiplier + half(shift)) >> shift).max())
    results = rng.integers(-most - 2, most + 3, (4000, 1)) << shift
    firsts = -((half(shift) - results) // multiplier)
    ends = np.array([[-(1 << 24) + 256], [-1], [0], [1], [(1 << 24) - 256]]) + np.zeros(units, np.int64)
    arguments = np.concatenate([firsts - 1, firsts, firsts + 1, ends, *(end[None] + k for end in (low, high) for k in (-1, 0, 1))])
    arguments = arguments.clip(-(1 << 24) + 256, (1 << 24) - 256)
    wanted = (arguments.clip(low, high) * multiplier + half(shift)) >> shift
    for left in {0, 1, (1 << layer.rows[layer.ops[layer.ops[index].args[0]].name].input_shift) - 1}:
        constants = float_constants(layer, schedule, index, np.full(units, left))
        np.testing.assert_array_equal(rescaled_by_machine(arguments - left, constants), wanted)


@pytest.mark.parametrize("kind", CORES)
def test_rows_that_leave_24_bits_stay_with_the_integers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bias decides whether the widest accumulator is a float."""
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", 5, 21, "threshold", squash="hard_tanh")
    raw = random_counts(rng, network, 23, 12, extremes=True)
    (layer,) = network.recurrent
    row = layer.rows[layer.ops[layer.ops[rescale_of_row(layer)].args[0]].name]
    (_, high), _ = intervals(layer)[layer.ops.index(next(op for op in layer.ops if op.code == "row" and op.name == row.name))]
    widest = (high - row.bias).max()
    assert row.W is not None
    found = []
    for over in (0, 1):
        bias = np.full_like(row.bias, (1 << 24) - (1 << row.input_shift) - widest + over)
        other = replace(network, layers=(replace(layer, rows={**layer.rows, row.name: replace(row, bias=bias)}), *network.layers[1:]))
        prove_network(other)
        assert_same(engine.run(other, raw, states=True), reference.run(other, raw, states=True))
        whole = prepare(other).whole
        assert whole is not None
        found.append("floats=()" not in whole.kernels.source)
    assert found == [target.choose().rescales_in_float, False]


def test_an_accumulator_begins_with_what_the_shift_of_x_keeps() -> None:
    rng = np.random.default_rng(2)
    (layer,) = random_integer(rng, "lstm", 5, 21, "threshold", squash="hard_tanh").recurrent
    schedule = plan(layer)
    (row,) = started_rows(layer, schedule, float_rescales(layer, schedule, ()))
    shift = layer.rows[layer.ops[row].name].input_shift
    bias = rng.integers(-(1 << 23), 1 << 23, 21)
    start, left = start_of(layer, schedule, row, bias)
    np.testing.assert_array_equal((start << shift) + left, bias)
    assert left.min() >= 0
    assert left.max() < 1 << shift
