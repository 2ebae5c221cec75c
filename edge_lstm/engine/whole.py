"""Whole sequences in batches: the same bits as `edge_lstm.engine.reference`, many times faster."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import around, front, reference
from edge_lstm.engine.prepared import Prepared, Results
from edge_lstm.engine.reference import Run
from edge_lstm.engine.stages import JoinedStage, StackStage, prepare
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut

ENOUGH_FOR_A_THREAD = 1 << 22  # multiply-accumulates, some tenths of a millisecond: below, starting a thread costs more than it saves
ENOUGH_FOR_A_KERNEL = 1 << 15  # counts: below, NumPy normalizes them faster than a kernel is loaded from the disk
States = list[dict[str, npt.NDArray[np.int32]]]


def run(
    network: IntegerNetwork, raw: npt.NDArray[np.integer], *, states: bool = False, kernel: str | None = None, threads: int | None = None
) -> Run:
    """Runs whole sequences of int16 counts raw: [batch, samples, channels] from reset states.

    states: keep the states after each step; kernel: name of a kernel instead of the machine's fastest; threads: how many at most (None:
    as many as the process may use). Raises EdgeLstmError for another type or shape, and for sequences that do not fit the network.
    """
    raw = np.asarray(raw)
    _check(raw, network.inputs, np.dtype(np.int16), "counts", "samples")
    return run_normalized(network, _normalized(network, raw), states=states, kernel=kernel, threads=threads)


def run_normalized(
    network: IntegerNetwork, x: npt.NDArray[np.int8], *, states: bool = False, kernel: str | None = None, threads: int | None = None
) -> Run:
    """The same for int8 x: [batch, time, channels] that is normalized already."""
    x = np.asarray(x)
    if x.ndim == 3 and len(x):
        reference.check_steps(network, x.shape[1])
    _check(x, network.normalize.outputs, np.dtype(np.int8), "inputs", "time")
    stages = prepare(network, kernel)
    v: npt.NDArray[np.integer] = x
    traces: States = []
    times = 1
    for stage in stages.stages:
        if isinstance(stage, StackStage):
            v = _through_stack(stage, v, states, traces, threads)
        elif isinstance(stage, JoinedStage):
            v = np.concatenate([_through_stack(way, v, states, traces, threads) for way in (stage.forward, stage.backward)], 2)
        elif isinstance(stage, IntegerReadOut):
            times = v.shape[1] if stage.kind == "mean" else 1
            v = reference.read_out(stage, v.astype(np.int64), reference.backward_units(network))
        elif isinstance(stage, IntegerDense):
            v, times = around.dense(stage, v, times), 1
        else:
            v = around.apply(stage, v)
    return Run(v.astype(np.int32), tuple(traces))


def _normalized(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
    """`reference.normalize`; by its own kernel where there is enough to do."""
    if raw.size < ENOUGH_FOR_A_KERNEL:
        return reference.normalize(network.normalize, raw)
    return front.normalize(network.normalize, np.asarray(raw, np.int16))


def _check(values: npt.NDArray[np.generic], channels: int, wanted: np.dtype[np.generic], what: str, time: str) -> None:
    if values.dtype != wanted:
        raise EdgeLstmError(f"{what} have type {values.dtype}, expected {wanted}")
    if values.ndim != 3 or values.shape[2] != channels:
        raise EdgeLstmError(f"{what} have shape {values.shape}, expected [batch, {time}, {channels}]")
    if 0 in values.shape:
        raise EdgeLstmError(f"{what} of shape {values.shape} are empty")


def available_threads() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _through_stack(
    stage: StackStage, v: npt.NDArray[np.integer], states: bool, traces: States, threads: int | None
) -> npt.NDArray[np.int32]:
    """Scores of a stack, [batch, (time,) outputs]; adds what its states were to `traces`. All in the order of the input."""
    x = np.ascontiguousarray(v[:, ::-1] if stage.reverse else v, np.int8)
    results = stage.prepared.results(x.shape[0], x.shape[1], states)
    _in_threads(stage.prepared, x, results, threads)
    if results.traces is not None:
        traces += stage.prepared.named([trace[:, ::-1] for trace in results.traces] if stage.reverse else results.traces)
    return results.scores[:, ::-1] if stage.reverse else results.scores


def _in_threads(prepared: Prepared, x: npt.NDArray[np.int8], results: Results, threads: int | None) -> None:
    batch = len(x)
    work = x.shape[1] * prepared.packed.model.nbytes * batch
    count = min(threads or available_threads(), batch, max(1, work // ENOUGH_FOR_A_THREAD))
    if count == 1:
        prepared.run(x, 0, batch, results)
        return
    edges = [batch * k // count for k in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(prepared.run, x, first, last, results) for first, last in pairwise(edges)]:
            done.result()
