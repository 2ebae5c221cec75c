"""Guarantee G1: the same bits on every output and every state of every step, in all engines, over the whole family.

Each case draws a structure (cell, activation mix, layers, read-out, front end) and several networks of it, of random sizes and weights.
NumPy is the reference; Numba, stock ONNX Runtime and the generated C must differ in no bit.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from random_networks import BEHIND, GATES, every_member, random_counts, random_deep, random_input, random_integer

import firmware_gen.host
from edge_lstm import engine
from edge_lstm.cells import cell, family
from edge_lstm.engine import reference
from edge_lstm.engine.stages import prepare
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.onnx_io.integer_session import IntegerSession, StreamSession
from firmware_gen.toolchain import compilers

NETWORKS = 24  # per (cell, gates): over 2,000 networks in all
KERNELS = {"mixed": 2}
MEMBERS = every_member()


def assert_same(expected: reference.Run, found: reference.Run, what: str) -> None:
    assert found.scores.dtype == np.int32
    assert np.array_equal(expected.scores, found.scores), f"{what}: scores differ"
    assert len(expected.states) == len(found.states)
    for k, (a, b) in enumerate(zip(expected.states, found.states, strict=True)):
        assert a.keys() == b.keys()
        for name in a:
            differing = np.argwhere(a[name] != b[name])
            assert a[name].shape == b[name].shape
            assert not len(differing), f"{what}: layer {k}, state {name} differs first at [sequence, step, unit] {differing[0].tolist()}"


def inputs(rng: np.random.Generator, network: IntegerNetwork, sequences: int) -> list[np.ndarray]:
    """Ordinary and extreme counts, T > 1."""
    return [random_counts(rng, network, sequences, 12, extremes=extremes) for extremes in (False, True)]


def numba(network: IntegerNetwork, raw: np.ndarray) -> reference.Run:
    """By compiled kernels alone: nothing can fall back to the reference."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("step", "recurrent", "dense", "read_out"):
            patch.delattr(reference, name)
        return engine.run(network, raw, states=True)


def stream(network: IntegerNetwork, raw: np.ndarray) -> np.ndarray:
    """Scores after the last sample of each sequence, fed sample by sample with the state kept in between."""
    scores = []
    one = engine.Stream(network)
    for sequence in raw:
        one.reset()
        for sample in sequence:
            one.push(sample)
        scores.append(one.scores)
    return np.stack(scores)


def stream_in_onnx_runtime(network: IntegerNetwork, raw: np.ndarray) -> reference.Run:
    """The streaming form of the model, fed random numbers of samples with the memories carried over."""
    rng, session, scores, traces, done = np.random.default_rng(raw.shape[1]), StreamSession(network, every_state=True), [], [], 0
    while done < raw.shape[1]:
        count = int(rng.integers(1, 6))
        if session.push(raw[:, done : done + count]):
            scores.append(session.scores)
        traces.append(session.traces)
        done += count
    layers = zip(*traces, strict=True)
    states = tuple({name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]} for parts in layers)
    return reference.Run(np.concatenate(scores, 1) if network.read_out.kind == "every" else scores[-1], states)


def draw(rng: np.random.Generator, name: str, gates: str) -> list[IntegerNetwork]:
    """Networks of one structure, the first of them larger than the others.

    Their kernels differ where values never leave the range of a clip or a table, so random networks of one structure may need ten of them:
    those that need another than the ones most seen among the first are drawn again. Over the family, every form of every operator remains.
    """
    structure = {
        "read_out": str(rng.choice(["last", "mean", "every"])),
        "layers": int(rng.choice([1, 1, 1, 1, 1, 2])),
        "hidden": int(rng.choice([0, 4])),
        "decimation": int(rng.choice([1, 4])),
        "initial": bool(rng.integers(2)),
        "clip": [None, 1.5][int(rng.integers(2))],
        "cell_bits": int(rng.choice([16, 16, 32])),
        "squash": str(rng.choice(["own", "tanh", "hard_tanh", "softsign", "scaled_sigmoid"])),
        "mix": int(rng.integers(1000)),
        "behind": str(rng.choice(BEHIND)),
    }
    structure["separate_rows"], structure["input_bits"] = structure["mix"] % 3 == 0, 16 if structure["mix"] % 4 == 1 else 8
    formats = np.random.default_rng(len(MEMBERS) + structure["mix"])  # its own: sizes and weights do not depend on it

    def network(units: tuple[int, int]) -> tuple[str, IntegerNetwork]:
        bits = {
            "gates": str(formats.choice(["8", "8", "4", "ternary", "binary"])),
            "candidates": str(formats.choice(["8", "8", "4", "ternary"])),
            "dense": str(formats.choice(["8", "8", "4"])),
        }
        inputs, size = int(rng.integers(1, 9)), int(rng.integers(*units))
        drawn = random_integer(rng, name, inputs, size, gates, bits=bits, calibration_steps=6, **structure)
        return kernel(drawn), drawn

    large = [network((24, 40)) for _ in range(4)]
    others = [network((1, 24)) for _ in range(NETWORKS // 2)]
    seen = Counter(source for source, _ in large)
    seen.update(source for source, _ in others if source in seen)
    kept = [source for source, _ in seen.most_common(KERNELS.get(gates, 1))]
    networks = [one for source, one in large if source in kept][:1] + [one for source, one in others if source in kept]
    for _ in range(20 * NETWORKS):
        if len(networks) == NETWORKS:
            return networks
        source, one = network((1, 24))
        networks += [one] if source in kept else []
    raise AssertionError(f"{name}, {gates}: only {len(networks)} of {20 * NETWORKS} random networks share {len(kept)} kernels")


def kernel(network: IntegerNetwork) -> str:
    """Source of the kernel that runs the network."""
    whole = prepare(network).whole
    assert whole is not None
    return whole.kernels.source


def in_c(networks: list[IntegerNetwork], member: int) -> dict[int, firmware_gen.host.HostModel]:
    """Number of a network -> its C, compiled: by each compiler, optimized and not, dense and by rows (where few bits share bytes)."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number in range(len(networks)):
        groups.setdefault((("dense", "rows")[number % 2], "-O2" if number < 2 else "-O0"), []).append(number)
    found: dict[int, firmware_gen.host.HostModel] = {}
    for (strategy, level), numbers in groups.items():
        compiler = compilers()[(member + (strategy == "rows") + (level == "-O0")) % len(compilers())]
        models = firmware_gen.host.HostModel.several([networks[k] for k in numbers], compiler, [level], strategy=strategy)
        found |= dict(zip(numbers, models, strict=True))
    return found


@pytest.mark.parametrize(("name", "gates"), MEMBERS)
def test_all_engines_give_the_same_bits(name: str, gates: str) -> None:
    member = MEMBERS.index((name, gates))
    rng = np.random.default_rng([member, 1])
    networks = draw(rng, name, gates)
    hosts = in_c(networks, member)
    streams = gates == GATES[list(family()).index(name) % len(GATES)] or not cell(name).gates  # each cell, the gates in turn
    streamed = [k for k, network in enumerate(networks) if kernel(network) == kernel(networks[0])][:3]
    for number, network in enumerate(networks):
        host = hosts[number]
        session = IntegerSession(network, states=True)
        # 37 are one whole block of a kernel and a rest that is no multiple of a tile
        for raw in inputs(rng, network, 37 if number == 0 else 3):
            expected = reference.run(network, raw, states=True)
            assert_same(expected, numba(network, raw), f"Numba, network {number}")
            assert_same(expected, host.run(raw, states=True), f"C, network {number}")
            found = session.run(raw)
            assert_same(expected, reference.Run(found.scores, found.states), f"ONNX Runtime, network {number}")
            assert np.array_equal(found.label, expected.scores.argmax(-1))
        if streams and number in streamed:  # compiling the kernels of a stream is what costs
            last = expected.scores[:, -1] if network.read_out.kind == "every" else expected.scores
            assert np.array_equal(stream(network, raw[:3]), last[:3]), f"Numba stream, network {number}"
            if number == 0:
                assert_same(expected, stream_in_onnx_runtime(network, raw), "ONNX Runtime, streamed")


@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "rnn"])
def test_layers_around_the_cell_give_the_same_bits(name: str, streams: bool, read_out: str) -> None:
    rng = np.random.default_rng([len(name), streams, len(read_out)])
    for gates in ("threshold", "sigmoid"):
        network = random_deep(rng, name, gates, read_out, streams=streams)
        integer = quantize(network, random_input(rng, network, 8, 24), Options(input_bits=16 if read_out == "mean" else 8))
        session, host = IntegerSession(integer, states=True), firmware_gen.host.HostModel(integer) if integer.streams else None
        for extremes in (False, True):
            raw = random_counts(rng, integer, 3, 24, extremes=extremes)
            expected = reference.run(integer, raw, states=True)
            found = session.run(raw)
            assert_same(expected, reference.Run(found.scores, found.states), "ONNX Runtime")
            assert_same(expected, engine.run(integer, raw, states=True), "Numba")
            if host:
                assert_same(expected, host.run(raw, states=True), "C")
                assert_same(expected, stream_in_onnx_runtime(integer, raw), "ONNX Runtime, streamed")


def test_dense_layers_with_every_activation_give_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    networks = [random_integer(rng, "rnn", 3, 6, "sigmoid", "last", hidden=5, behind=kind) for kind in BEHIND]
    hosts = firmware_gen.host.HostModel.several(networks, compilers()[0], ["-O0"])
    for kind, network, host in zip(BEHIND, networks, hosts, strict=True):
        session = IntegerSession(network, states=True)
        for raw in inputs(rng, network, 5):
            expected = reference.run(network, raw, states=True)
            assert_same(expected, numba(network, raw), f"Numba, {kind}")
            assert_same(expected, host.run(raw, states=True), f"C, {kind}")
            found = session.run(raw)
            assert_same(expected, reference.Run(found.scores, found.states), f"ONNX Runtime, {kind}")


def test_the_sweep_is_as_large_as_it_claims() -> None:
    assert len(MEMBERS) * NETWORKS >= 2000
