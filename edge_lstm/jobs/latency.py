"""Latency of one step and of one window, side by side: our engines on the integer network, ONNX Runtime on the float one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

import firmware_gen.host
import firmware_gen.toolchain
from edge_lstm import engine, float_inference, onnx_io
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network
from edge_lstm.report.content import Latencies, Latency
from edge_lstm.report.timing import Timing, interleaved, load, machine, versions
from firmware_gen.model import build

C_WINDOWS = 64  # windows of one call into the compiled C, so that the call itself does not count
Contestant = tuple[Callable[[], object], int]  # a function, and how many units of work one call of it does


def latencies(
    integer: Mapping[str, IntegerNetwork],
    floats: Mapping[str, Network],
    integer_window: Mapping[str, npt.NDArray[np.int16]],
    float_window: Mapping[str, npt.NDArray[np.generic]],
    *,
    rounds: int = 21,
) -> Latencies:
    """Times every network, all taking turns, one thread each.

    integer, floats: name -> network. integer_window, float_window: name -> its input [1, samples, channels], from `inputs.model_input`.
    """
    step: dict[str, Contestant] = {}
    window: dict[str, Contestant] = {}
    notes: dict[str, tuple[str, bool]] = {}
    for name, network in integer.items():
        _add_integer(name, network, integer_window[name], step, window, notes)
    for name, float_network in floats.items():
        _add_float(name, float_network, float_window[name], step, window, notes)
    steps = _steps(integer, integer_window, floats, float_window)
    timed_steps, timed_windows = _timed(step, rounds), _timed(window, rounds)
    rows = [Latency(name, timed_steps.get(name), timed_windows.get(name), *notes[name]) for name in notes]
    how = (
        f"Measured here: {machine()}; {load()}; {versions('numpy', 'numba', 'onnxruntime')}; one thread; "
        f"medians of {rounds} rounds in which all took turns. A step is one normalized input in, state carried on; "
        "a window starts from a reset and ends with scores, on inputs normalized beforehand (the C starts from raw counts)."
    )
    return Latencies(rows, steps, how)


def _timed(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Timing]:
    found = interleaved({name: function for name, (function, _) in contestants.items()}, rounds)
    return {name: timing.per(contestants[name][1]) for name, timing in found.items()}


def _steps(
    integer: Mapping[str, IntegerNetwork],
    integer_window: Mapping[str, npt.NDArray[np.int16]],
    floats: Mapping[str, Network],
    float_window: Mapping[str, npt.NDArray[np.generic]],
) -> int:
    if integer:
        name, network = next(iter(integer.items()))
        return integer_window[name].shape[1] // network.normalize.decimation
    name, float_network = next(iter(floats.items()))
    front = float_network.preprocess
    return float_window[name].shape[1] // (1 if front is None else front.decimation)


def _add_integer(
    name: str,
    network: IntegerNetwork,
    raw: npt.NDArray[np.int16],
    step: dict[str, Contestant],
    window: dict[str, Contestant],
    notes: dict[str, tuple[str, bool]],
) -> None:
    x = reference.normalize(network.normalize, raw)
    ours = f"{name}: Numba"
    notes[ours] = "one Python call a step", True
    if (stream := _stream(network)) is not None:
        rows = list(x[0])

        def stepwise() -> None:  # a whole window, since a full one makes no further steps
            stream.reset()
            for row in rows:
                stream.step(row)

        def whole() -> object:
            stream.reset()
            stream.run(x[0])
            return stream.scores

        step[ours] = stepwise, len(rows)
        window[ours] = whole, 1
    else:
        window[ours] = (lambda: engine.run_normalized(network, x)), 1
    if _has_c(network) and (compilers := firmware_gen.toolchain.compilers()):
        model = firmware_gen.host.HostModel(network, compilers[0])
        batch = np.repeat(raw, C_WINDOWS, axis=0)
        in_c = f"{name}: generated C"
        step[in_c] = (lambda: model.run(batch)), C_WINDOWS * x.shape[1]
        window[in_c] = (lambda: model.run(batch)), C_WINDOWS
        notes[in_c] = f"{compilers[0].name} -O2, portable C99, {C_WINDOWS} windows a call; a step is a part of a window", True


def _stream(network: IntegerNetwork) -> engine.Stream | None:
    try:
        return engine.Stream(network)
    except EdgeLstmError:  # it needs whole sequences; `verify` says why
        return None


def _has_c(network: IntegerNetwork) -> bool:
    try:
        build(network)
    except EdgeLstmError:  # the memory section and `verify` say why
        return False
    return True


def _add_float(
    name: str,
    network: Network,
    x: npt.NDArray[np.generic],
    step: dict[str, Contestant],
    window: dict[str, Contestant],
    notes: dict[str, tuple[str, bool]],
) -> None:
    normalized = x if network.preprocess is None else float_inference.preprocess(network.preprocess, x)
    run = float_session(replace(network, preprocess=None))
    label = f"{name}: ONNX Runtime"
    whole, single = np.asarray(normalized, np.float32), np.asarray(normalized[:, :1], np.float32)
    window[label] = (lambda: run(whole)), 1
    if network.streams:
        step[label] = (lambda: run(single)), 1
    notes[label] = "32-bit floats; a step is timed as a sequence of one step", False


def float_session(network: Network) -> Callable[[npt.NDArray[np.generic]], npt.NDArray[np.floating]]:
    """ONNX Runtime, one thread, on a float network: input as the saved model takes it -> output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx_io.network_model(network).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = np.float64 if "double" in entry.type else np.float32
    return lambda x: session.run(None, {entry.name: np.asarray(x, dtype)})[0]
