"""The kernels give the bits of the NumPy reference: for every cell, every kernel of this machine, every shape, whole and streamed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import assert_same, every_member, random_counts, random_deep, random_input, random_integer

from edge_lstm import engine
from edge_lstm.cells import family
from edge_lstm.engine import reference, target
from edge_lstm.engine.cores import CORES
from edge_lstm.engine.packing import Stack, structure_of
from edge_lstm.engine.stages import prepare
from edge_lstm.engine.sweeps import shared_weights
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent, IntegerRow
from edge_lstm.fixed_point.quantize import quantize


def runs_here(kernel: str) -> bool:
    try:
        return target.choose(kernel).name == kernel
    except EdgeLstmError:
        return False


KERNELS = [kernel for kernel in target.NAMES if runs_here(kernel)]
READ_OUTS = ("last", "mean", "every")


def streamed(network: IntegerNetwork, raw: np.ndarray, kernel: str | None = None) -> reference.Run:
    """Every sequence through one `Stream`, sample by sample."""
    stream = engine.Stream(network, kernel)
    scores, states = [], []
    for sequence in raw:
        stream.reset()
        course, after = [], []
        for sample in sequence:
            if stream.push(sample):
                course.append(stream.scores)
                after.append(stream.states)
        scores.append(course if network.read_out.kind == "every" else course[-1])
        states.append(after)
    layers = range(len(network.recurrent))
    return reference.Run(
        np.array(scores, np.int32),
        tuple({s: np.array([[step[k][s] for step in after] for after in states], np.int32) for s in states[0][0][k]} for k in layers),
    )


# tests/integration/test_same_bits.py runs the whole family on the first kernel; one member in twelve runs here, too. One in six is enough
# for the others, in turn: the dataflow is compiled by the same code.
OTHERS = KERNELS[1:]
# Kernels of AVX-512 are shaped for a kind of core; those for the other kinds run here, too.
KINDS = [(kernel, kind) for kernel in KERNELS for kind in (CORES if target.choose(kernel).is_avx512 else [target.choose(kernel).kind])]
OTHER_KINDS = [(kernel, kind) for kernel, kind in KINDS if kind != target.choose(kernel).kind]
MEMBERS = [(index, *member) for index, member in enumerate(every_member())]
CASES = [(KERNELS[0], None, *member) for member in MEMBERS if member[0] % 12 == 3]
CASES += [(OTHERS[member[0] // 6 % len(OTHERS)], None, *member) for member in MEMBERS if member[0] % 6 == 0 and OTHERS]
CASES += [(*OTHER_KINDS[member[0] // 6 % len(OTHER_KINDS)], *member) for member in MEMBERS if member[0] % 6 == 1 and OTHER_KINDS]


@pytest.mark.parametrize(("kernel", "kind", "index", "cell", "gates"), CASES)
def test_cells_give_the_bits_of_the_reference(
    kernel: str, kind: str | None, index: int, cell: str, gates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By compiled kernels alone: nothing falls back to the reference."""
    if kind:
        monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    rng = np.random.default_rng(index)
    network = random_integer(
        rng, cell, int(rng.integers(1, 10)), int(rng.integers(3, 40)), gates, READ_OUTS[index % 3], layers=1 + (index % 4 == 0),
        squash="any" if index % 2 else "own", hidden=5 * (index % 2), decimation=1 + index % 3, initial=index % 3 == 1,
    )  # fmt: skip
    for extremes in (False, True):
        raw = random_counts(rng, network, 37, 20, extremes=extremes)  # one whole block, and a rest that is no multiple of a tile
        wanted = reference.run(network, raw, states=True)
        with monkeypatch.context() as patch:
            for name in ("step", "recurrent", "dense", "read_out"):
                patch.delattr(reference, name)
            assert_same(engine.run(network, raw, states=True, kernel=kernel), wanted)


def without_packing(kernel: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels for a processor with AVX-512 that lacks `Target.packs_bytes`, as the first with VNNI do."""
    plain = replace(target.choose(kernel), packs_bytes=False)
    monkeypatch.setattr(target, "_target", lambda *_: plain)


@pytest.mark.parametrize(
    ("kernel", "kind", "packs"), [*((*case, True) for case in KINDS), *((*case, False) for case in KINDS if case[0] == "vnni")]
)
@pytest.mark.parametrize(("cell", "gates"), [("lstm", "threshold"), *((cell, "sigmoid") for cell in ("lstm", "gru", "mgu", "rnn"))])
def test_tiles_give_the_bits_of_the_reference(
    kernel: str, kind: str, packs: bool, cell: str, gates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units of one tile among the products of the next, or not: an odd number of tiles, fewer sequences than fill one, and a rest."""
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    if not packs:
        without_packing(kernel, monkeypatch)
    for units in (3, 20, 28, 33):
        network = random_integer(np.random.default_rng(units), cell, 5, units, gates)
        raw = random_counts(np.random.default_rng(units), network, 21, 5)
        wanted = reference.run(network, raw).scores
        for count in (1, 3, 4, 5, 8, 21):
            came = engine.run(network, raw[:count], kernel=kernel, threads=1).scores
            np.testing.assert_array_equal(came, wanted[:count], err_msg=f"{units} units, {count} sequences")


STREAMED = [
    ("lstm", "threshold", "last", 2),
    ("lstm", "sigmoid", "mean", 1),
    ("gru_reset_before", "mixed", "every", 1),
    ("lstm_peephole", "threshold", "mean", 2),
]


@pytest.mark.parametrize(
    ("kernel", "cell", "gates", "read_out", "layers"),
    [(KERNELS[0], *case) for case in STREAMED] + [(kernel, *STREAMED[k % len(STREAMED)]) for k, kernel in enumerate(OTHERS, 1)],
)
def test_streaming_equals_whole_sequence(kernel: str, cell: str, gates: str, read_out: str, layers: int) -> None:
    rng = np.random.default_rng(11)
    network = random_integer(rng, cell, 5, 21, gates, read_out, layers=layers, decimation=3, initial=True)
    raw = random_counts(rng, network, 3, 20)
    assert_same(streamed(network, raw, kernel), reference.run(network, raw, states=True))


# Whole sequences alone are compared in tests/integration/test_same_bits.py, for more cells and every read-out.
@pytest.mark.parametrize(("seed", "streams"), [(1, True), (2, True), (3, True), (0, False)])
def test_layers_around_the_recurrent_ones(seed: int, streams: bool) -> None:
    rng = np.random.default_rng(seed)
    network = random_deep(rng, ("lstm", "gru")[seed % 2], ("threshold", "sigmoid")[seed % 2], READ_OUTS[seed % 3], streams=streams)
    integer = quantize(network, random_input(rng, network, 5, 40))
    raw = random_counts(rng, integer, 4, 24)
    wanted = reference.run(integer, raw, states=True)
    assert_same(engine.run(integer, raw, states=True), wanted)
    if streams:
        assert_same(streamed(integer, raw), wanted)
    else:
        with pytest.raises(EdgeLstmError, match="from its end"):
            engine.Stream(integer)


# Curves are where kernels differ most.
EITHER_GATES = [(KERNELS[0], "threshold"), *((kernel, "sigmoid") for kernel in KERNELS)]


@pytest.mark.parametrize(("kernel", "gates"), EITHER_GATES)
def test_units_inputs_and_batch_of_any_size(kernel: str, gates: str) -> None:
    sizes = [(1, 1, 1, 1), (15, 3, 2, 7), (16, 4, 3, 6), (17, 5, 4, 5), (33, 9, 35, 3), (64, 2, 1, 4), (100, 6, 7, 3), (130, 50, 5, 3)]
    for units, inputs, batch, steps in sizes:
        rng = np.random.default_rng(units)
        network = random_integer(rng, "lstm", inputs, units, gates)
        raw = random_counts(rng, network, batch, steps)
        wanted = reference.run(network, raw, states=True)
        assert_same(engine.run(network, raw, states=True, kernel=kernel), wanted)
        stream = engine.Stream(network, kernel)  # visits the units in another order than a batch
        stream.run(reference.normalize(network.normalize, raw)[0])
        for state, values in stream.states[0].items():
            np.testing.assert_array_equal(values, wanted.states[0][state][0, -1], err_msg=state)


def with_extreme_weights(rng: np.random.Generator, network: IntegerNetwork) -> IntegerNetwork:
    """All weights +-127, whole rows of one sign among them."""

    def matrix(like: np.ndarray) -> np.ndarray:
        signs = rng.choice([-1, 1], like.shape) if rng.integers(2) else np.broadcast_to(rng.choice([-1, 1], (len(like), 1)), like.shape)
        return (127 * signs).astype(np.int8)

    def row(old: IntegerRow) -> IntegerRow:
        return replace(old, W=None if old.W is None else matrix(old.W), R=tuple(matrix(R) for R in old.R))

    layers = tuple(
        replace(layer, rows={name: row(old) for name, old in layer.rows.items()}) if isinstance(layer, IntegerRecurrent) else layer
        for layer in network.layers
    )
    extreme = replace(network, layers=layers)
    prove_network(extreme)
    return extreme


@pytest.mark.parametrize(("kernel", "gates"), EITHER_GATES)
def test_the_largest_weights_and_inputs_overflow_nothing(kernel: str, gates: str) -> None:
    rng = np.random.default_rng(5)
    network = with_extreme_weights(rng, random_integer(rng, "lstm", 60, 70, gates))
    raw = random_counts(rng, network, 9, 12, extremes=True)
    assert_same(engine.run(network, raw, states=True, kernel=kernel), reference.run(network, raw, states=True))


@pytest.mark.parametrize(("kernel", "kind"), [case for case in KINDS if case[0] in (KERNELS[0], "portable")])
def test_products_at_the_ends_of_16_bits(kernel: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rescale whose limits and multiplier just fit 16 bits is made otherwise than one where they do not.

    So is one whose limits reach the ends of the clip behind it, if nothing overflows then, for an output that a gate lets through.
    """
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 7, 19, "threshold", squash="hard_tanh")
    raw = random_counts(rng, network, 41, 20, extremes=True)
    (layer,) = network.recurrent
    (index,) = (k for k, op in enumerate(layer.ops) if op.code == "rescale" and layer.ops[op.args[0]].code == "clip")
    found = []
    cases = [(32767, 32767, 22), (32767, 32767, 23), (32767, 8000, 22), (16193, 32767, 22), (16192, 32767, 22), (32768, 8000, 22)]
    for limit, multiplier, shift in [*cases, (32767, 32768, 22)]:
        changed = {"limit": limit, "multiplier": multiplier}
        vectors = {f"{layer.ops[index].name}.{part}": np.full(19, value, np.int32) for part, value in changed.items()}
        ops = tuple(replace(op, numbers=(shift,)) if k == index else op for k, op in enumerate(layer.ops))
        other = replace(network, layers=(replace(layer, ops=ops, vectors={**layer.vectors, **vectors}), *network.layers[1:]))
        prove_network(other)
        assert_same(engine.run(other, raw, states=True, kernel=kernel), reference.run(other, raw, states=True))
        whole = prepare(other, kernel).whole
        assert whole is not None
        found.append(("short=()" not in whole.kernels.source, "saturated=Saturated" in whole.kernels.source))
    chosen = target.choose(kernel)
    short, saturated = chosen.core.slow_products, chosen.stores_saturate
    assert found == [
        (short, saturated), (short, False), (short, False), (short, saturated), (short, False), (False, False), (False, False)
    ]  # fmt: skip


@pytest.mark.parametrize(("kernel", "kind"), [case for case in KINDS if case[0] in (KERNELS[0], "portable")])
def test_leaving_out_zeros_changes_nothing(kernel: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sequence of many units, step by step and in one call, with extremes of weights and inputs."""
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    for extremes in (False, True):
        rng = np.random.default_rng(4)
        network = random_integer(rng, "lstm", 7, 150, "threshold", initial=True)
        if extremes:
            network = with_extreme_weights(rng, network)
        x = reference.normalize(network.normalize, random_counts(rng, network, 1, 40, extremes=extremes))
        wanted = reference.run_normalized(network, x, states=True)
        h = np.pad(wanted.states[0]["h"][0], ((0, 0), (0, -150 % 4)))
        zero = (h.reshape(len(h), -1, target.choose(kernel).tile_sources) == 0).all(2)
        assert zero.any()
        assert not zero.all()
        stream = engine.Stream(network, kernel)
        for at_once in (True, False):
            stream.reset()
            assert (stream.run(x[0]) if at_once else sum(map(stream.step, x[0]))) == 40
            np.testing.assert_array_equal(stream.scores, wanted.scores[0])
            for state, values in stream.states[0].items():
                np.testing.assert_array_equal(values, wanted.states[0][state][0, -1])


@pytest.mark.parametrize("kind", CORES)
@pytest.mark.parametrize(
    ("kernel", "read_out", "layers", "packs"),
    [(None, "last", 1, True), (None, "mean", 2, True), (None, "last", 1, False), ("portable", "last", 1, True)],
)
def test_batches_that_leave_out_zeros_give_the_same_bits(
    kernel: str | None, read_out: str, layers: int, packs: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ragged sequences, in blocks that are not full, by one thread and two; extremes too. One block decides how the rest runs.

    packs: also with instructions that not every processor of the kernel has, see `Target.packs_bytes`.
    """
    monkeypatch.setenv("EDGE_LSTM_CORE", kind)
    if not packs:
        without_packing(kernel, monkeypatch)
    for extremes in (False, True):
        rng = np.random.default_rng(5)
        network = random_integer(rng, "lstm", 7, 150, "threshold", initial=True, read_out=read_out, layers=layers)
        if extremes:
            network = with_extreme_weights(rng, network)
        x = reference.normalize(network.normalize, random_counts(rng, network, 103, 9, extremes=extremes))
        lengths = rng.integers(1, x.shape[1] + 1, len(x))
        whole = prepare(network, kernel).whole
        assert whole is not None
        assert all(sorted(layer.order) == list(range(150)) and layer.order[:2] != (0, 1) for layer in network.recurrent)
        wanted = [reference.run_normalized(network, one[None, :length]).scores[0] for one, length in zip(x, lengths, strict=True)]
        states = []
        # (limit of what is busy, columns that take as long as a tile): every way of running the rest
        for most, columns in ((-1.0, 2.7), (2.0, 0.01), (2.0, 100.0)):
            monkeypatch.setitem(CORES, whole.target.kind, replace(whole.target.core, most_busy=most, batch_columns=(columns, 3)))
            for threads in (1, 2):
                whole.lists = None
                came = engine.run_normalized(network, x, lengths, threads=threads, kernel=kernel)
                np.testing.assert_array_equal(came.scores, wanted)
            states.append(engine.run_normalized(network, x, states=True, kernel=kernel))
        assert_same(states[0], states[1])
        assert_same(states[0], states[2])
        listed = {"run_tiles", "run_columns"} if target.choose(kernel).name == "vnni" else {"run_tiles"}
        assert {entry for entry in whole.kernels._calls if entry.startswith("run_")} == listed


@pytest.mark.parametrize(("cell", "layers", "read_out"), [("lstm", 2, "mean"), ("gru", 1, "last"), ("lstm", 1, "every")])
def test_the_order_of_units_changes_no_bit(cell: str, layers: int, read_out: str) -> None:
    """Any order, in a batch and step by step; states come back as the network names them."""
    rng = np.random.default_rng(6)
    network = random_integer(rng, cell, 7, 37, "threshold", read_out, initial=True, layers=layers)
    raw = random_counts(rng, network, 40, 12)
    wanted = reference.run(network, raw, states=True)
    for _ in range(2):
        moved = tuple(
            replace(one, order=tuple(rng.permutation(37).tolist())) if isinstance(one, IntegerRecurrent) else one for one in network.layers
        )
        other = replace(network, layers=moved)
        assert_same(engine.run(other, raw, states=True), wanted)
        assert_same(streamed(other, raw[:2]), reference.run(network, raw[:2], states=True))


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(2)
    network = random_integer(rng, "lstm", 6, 32, "threshold", "mean")
    raw = random_counts(rng, network, 300, 20)
    wanted = reference.run(network, raw, states=True)
    for threads in (1, 2, 5):
        assert_same(engine.run(network, raw, states=True, threads=threads), wanted)


@pytest.mark.parametrize("gates", ["threshold", "sigmoid"])
def test_what_is_left_of_a_block_is_rounded_up_within_it(gates: str) -> None:
    """Records of a block behind the last sequence step with it: there must be as many as a tile wants, for every member of the family."""
    for name in sorted(family()):
        network = random_integer(np.random.default_rng(1), name, 3, 5, gates)
        for kernel, kind in KINDS:
            chosen = replace(target.choose(kernel), kind=kind)
            stack = Stack(network.normalize, network.recurrent, network.read_out, ())
            assert chosen.core.block % shared_weights(structure_of(stack, chosen), chosen) == 0


def test_a_run_leaves_no_trace_in_the_next() -> None:
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 6, 20, "threshold", initial=True)
    raw = random_counts(rng, network, 40, 20)
    first = engine.run(network, raw).scores
    engine.run(network, raw[::-1].copy())
    np.testing.assert_array_equal(engine.run(network, raw).scores, first)
    np.testing.assert_array_equal(engine.run(network, raw[7:8]).scores, first[7:8])


PROCESSORS = [("x86-64", "", "portable"), ("x86-64-v3", "+avx2", "avx2")] if platform.machine() in ("x86_64", "AMD64") else []


@pytest.mark.parametrize(("processor", "features", "kernel"), PROCESSORS)
def test_older_processors_take_their_own_kernel(processor: str, features: str, kernel: str, tmp_path: Path) -> None:
    code = f"""
from dataclasses import replace
import numpy as np
from random_networks import random_counts, random_integer
from edge_lstm import engine
from edge_lstm.engine import reference, target
from edge_lstm.engine.cores import CORES
from edge_lstm.engine.stages import prepare
assert target.choose().name == {kernel!r}, target.choose()
for gates in ("threshold", "sigmoid"):
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", 5, 40, gates)
    raw = random_counts(rng, network, 40, 10)
    wanted = reference.run(network, raw).scores
    for most in (-1, 2):
        CORES[target.choose().kind] = replace(target.choose().core, most_busy=most)
        np.testing.assert_array_equal(engine.run(network, raw).scores, wanted)
    stream = engine.Stream(network)
    assert sum(map(stream.push, raw[0])) == 10
    np.testing.assert_array_equal(stream.scores, wanted[0])
print("same")
"""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "EDGE_LSTM_CACHE": str(tmp_path)}
    environment.pop("EDGE_LSTM_KERNEL", None)
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "tests")])
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "same", done.stderr
