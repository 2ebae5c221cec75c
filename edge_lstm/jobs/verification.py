"""The same bits: every engine at hand against the plain NumPy reference, on every output and every state of every step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

import firmware_gen.host
import firmware_gen.model
import firmware_gen.toolchain
from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, Normalize
from edge_lstm.jobs.inputs import input_steps
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.report.content import Check, Checks
from firmware_gen.feed_forward import due_steps

Int16Array = npt.NDArray[np.int16]
RANDOM_SEQUENCES = 32
STREAMED_SEQUENCES = 8  # a stream is fed sample by sample from Python, so fewer of them
STEPS_WITHOUT_WINDOW = 64
SAMPLES_OF_A_CALL = 7  # of the streaming model

Engine = Callable[[Int16Array], reference.Run]


def sequence_steps(network: IntegerNetwork) -> int:
    """Steps of a sequence that gives one decision; STEPS_WITHOUT_WINDOW for a network that names no window."""
    return input_steps(network, network.read_out.window) or STEPS_WITHOUT_WINDOW


def random_counts(network: IntegerNetwork, sequences: int, steps: int, seed: int) -> Int16Array:
    """Counts [sequences, steps * decimation, channels]: half spread over the range of x, half only the extremes of int16, 0 and ±1."""
    rng = np.random.default_rng(seed)
    front = network.normalize
    shape = (sequences - sequences // 2, steps * front.decimation, front.inputs)
    if front.features is None:
        plausible = rng.normal(0, 50, shape) / _gain(front) + front.offset / front.decimation
    else:  # of all sizes, around a level of their own
        each = shape[0], 1, shape[2]
        plausible = rng.normal(0, 1, shape) * 10 ** rng.uniform(0, 4.5, each) + rng.normal(0, 3000, each)
    extremes = rng.choice(np.array([-32768, 32767, 0, 1, -1], np.int16), (sequences // 2, *shape[1:]))
    return np.concatenate([np.clip(np.round(plausible), -32768, 32767).astype(np.int16), extremes])


def _gain(front: Normalize) -> npt.NDArray[np.float64]:
    """Units of x per count that stays the same for a whole block."""
    return np.asarray(front.multiplier * front.decimation / 2.0**front.shift)


def verify(
    network: IntegerNetwork,
    recordings: Int16Array | None = None,
    *,
    sequences: int = RANDOM_SEQUENCES,
    seed: int = 0,
    compilers: bool = True,
    progress: Progress = silent,
) -> Checks:
    """Runs every engine on random and extreme counts, and on recorded ones.

    recordings: int16 [windows, samples, channels] of the model's own window, or None. Engines: Numba, whole sequences and streamed;
    ONNX Runtime on the integer model and on its streaming form; the generated C, for every compiler that is found (`compilers=False`:
    for none).

    Raises EdgeLstmError when `recordings` does not fit the network. Differing bits are reported in the result, not raised.
    """
    inputs = [random_counts(network, sequences, sequence_steps(network), seed)]
    if recordings is not None:
        inputs.append(np.asarray(recordings, np.int16))
    progress("checking bits", 0, 1, "NumPy reference")
    expected = [reference.run(network, raw, states=True) for raw in inputs]
    runners, missing = _engines(network, compilers)
    checks = []
    for done, (name, (run, note, most)) in enumerate(runners.items()):
        progress("checking bits", done, len(runners), name)
        values = differing = 0
        for raw, wanted in zip(inputs, expected, strict=True):
            came = run(raw[:most])
            some = _compare(_first(wanted, most), came, name)
            values, differing = values + some[0], differing + some[1]
        checks.append(Check(name, values, differing, note))
    progress("checking bits", len(runners), len(runners))
    steps = sum(len(raw) * (raw.shape[1] // network.normalize.decimation) for raw in inputs)
    recorded = f" and {len(inputs[1])} recorded windows" if recordings is not None else ""
    how = (
        f"Measured: scores and every state after every step, against the plain NumPy reference, on {sequences} sequences of random "
        f"and extreme counts (seed {seed}){recorded}; {steps:,} steps in all. A value is one 32-bit integer."
    )
    return Checks(tuple(checks), tuple(missing), how)


def _engines(network: IntegerNetwork, compilers: bool) -> tuple[dict[str, tuple[Engine, str, int | None]], list[str]]:
    """Name -> (runner, remark, largest number of sequences or None), and what could not be had."""
    from edge_lstm.onnx_io.integer_session import IntegerSession

    session = IntegerSession(network, states=True)

    def onnx_runtime(raw: Int16Array) -> reference.Run:
        ran = session.run(raw)
        return reference.Run(ran.scores, ran.states)

    engines: dict[str, tuple[Engine, str, int | None]] = {"Numba, whole sequences": (partial(engine.run, network, states=True), "", None)}
    missing = []
    try:
        engine.Stream(network)
        remark = f"{STREAMED_SEQUENCES} sequences of each kind"
        engines["Numba, streamed"] = partial(_streamed, network), remark, STREAMED_SEQUENCES
    except EdgeLstmError as reason:  # this network cannot be fed step by step
        missing.append(f"Numba, streamed: {reason}")
    remark = f"onnxruntime {version('onnxruntime')}, no custom operators"
    engines["ONNX Runtime"] = onnx_runtime, remark, None
    if network.streams:
        engines["ONNX Runtime, streamed"] = (
            partial(_streamed_in_onnx_runtime, network),
            f"{remark}, {SAMPLES_OF_A_CALL} samples a call",
            None,
        )
    if not compilers:
        return engines, [*missing, "the generated C, as asked"]
    try:
        firmware_gen.model.build(network)
    except EdgeLstmError as reason:
        return engines, [*missing, f"the generated C: {reason}"]
    if not firmware_gen.toolchain.compilers():
        missing.append("the generated C, since no C compiler was found (gcc or clang on the PATH, or `pip install ziglang`)")
    for compiler in firmware_gen.toolchain.compilers():
        model = firmware_gen.host.HostModel(network, compiler)
        engines[f"C, {compiler.name}"] = partial(model.run, states=True), "the generated header, streamed", None
    return engines, missing


def _streamed(network: IntegerNetwork, raw: Int16Array) -> reference.Run:
    """Every sequence through `engine.Stream`, sample by sample."""
    decimation = network.normalize.decimation
    due, read_out = due_steps(network, raw.shape[1] // decimation)
    states = tuple(
        {s.name: np.zeros((len(raw), len(steps), layer.units), np.int32) for s in layer.states}
        for layer, steps in zip(network.recurrent, due, strict=True)
    )
    every = network.read_out.kind == "every"
    scores = np.zeros((len(raw), len(read_out), network.outputs) if every else (len(raw), network.outputs), np.int32)
    stream = engine.Stream(network)
    for index, sequence in enumerate(raw):
        stream.reset()
        for t, sample in enumerate(sequence):
            made = stream.push(sample)
            if (t + 1) % decimation:
                continue
            for trace, steps, layer_states in zip(states, due, stream.states, strict=True):
                place = int(np.searchsorted(steps, t // decimation))
                if place < len(steps) and steps[place] == t // decimation:
                    for name, value in layer_states.items():
                        trace[name][index, place] = value
            if every and made:
                scores[index, stream.steps - 1] = stream.scores
        if not every:
            scores[index] = stream.scores
    return reference.Run(scores, states)


def _streamed_in_onnx_runtime(network: IntegerNetwork, raw: Int16Array) -> reference.Run:
    """All sequences through the streaming form of the model, a few samples at a time."""
    from edge_lstm.onnx_io.integer_session import StreamSession

    session, scores, traces = StreamSession(network, every_state=True), [], []
    for first in range(0, raw.shape[1], SAMPLES_OF_A_CALL):
        if session.push(raw[:, first : first + SAMPLES_OF_A_CALL]):
            scores.append(session.scores)
        traces.append(session.traces)
    layers = zip(*traces, strict=True)
    states = tuple({name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]} for parts in layers)
    return reference.Run(np.concatenate(scores, 1) if network.read_out.kind == "every" else scores[-1], states)


def _first(run: reference.Run, count: int | None) -> reference.Run:
    return reference.Run(run.scores[:count], tuple({name: value[:count] for name, value in layer.items()} for layer in run.states))


def _compare(wanted: reference.Run, came: reference.Run, name: str) -> tuple[int, int]:
    """(values compared, values that differ)."""
    pairs = [(wanted.scores, came.scores)]
    for ours, theirs in zip(wanted.states, came.states, strict=True):
        pairs += [(ours[state], theirs[state]) for state in ours]
    for expected, given in pairs:
        if expected.shape != given.shape:
            raise EdgeLstmError(f"{name} gives an array of shape {given.shape}, the reference {expected.shape}")
    return sum(a.size for a, _ in pairs), sum(int((a != b).sum()) for a, b in pairs)
