"""Threads and processes that run the same network at once, kernels whose compilation is interrupted, a disk that fills: the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer
from test_kernel_cache import PROGRAM, ROOT

from edge_lstm import engine
from edge_lstm.engine import reference, stages, whole
from edge_lstm.errors import EdgeLstmError


def test_threads_may_share_a_network_from_its_first_use_on() -> None:
    rng = np.random.default_rng(1)
    network = random_integer(rng, "rnn", 2, 5)
    raw = random_counts(rng, network, 200, 20)
    lengths = rng.integers(1, 21, 200)
    wanted = reference.run(network, raw, lengths, states=True)
    stages._prepared.clear()

    def whole(turn: int) -> None:
        came = engine.run(network, raw, lengths, states=True, threads=1 + turn % 3)
        np.testing.assert_array_equal(came.scores, wanted.scores)
        for state, values in wanted.states[0].items():
            np.testing.assert_array_equal(came.states[0][state], values)

    def streamed(turn: int) -> None:
        stream = engine.Stream(network)
        for k in range(turn, 200, 40):
            stream.reset()
            for sample in raw[k, : lengths[k]]:
                stream.push(sample)
            np.testing.assert_array_equal(stream.scores, wanted.scores[k])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit((whole, streamed)[turn % 2], turn) for turn in range(24)]:
            done.result()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_failure_of_one_thread_is_raised_and_the_others_stop(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "ENOUGH_FOR_A_THREAD", 1)
    monkeypatch.setattr(whole, "MOST_BYTES", 4000)
    rng = np.random.default_rng(1)
    network = random_integer(rng, "rnn", 2, 5)
    raw, good, parts = random_counts(rng, network, 2000, 20), whole._Job._run, []

    def fails(job: whole._Job, part: np.ndarray) -> object:
        parts.append(part)
        if len(parts) == 4:
            raise EdgeLstmError("a disk was pulled out")
        return good(job, part)

    monkeypatch.setattr(whole._Job, "_run", fails)
    with pytest.raises(EdgeLstmError, match="pulled out"):
        engine.run(network, raw, threads=threads)
    assert len(parts) <= 3 + threads
    parts[:] = [np.zeros(0)] * 4
    np.testing.assert_array_equal(engine.run(network, raw, threads=threads).scores, reference.run(network, raw).scores)
    taken = np.concatenate(parts[4:])
    assert sorted(taken.tolist()) == list(range(2000))  # every sequence once


def start(cache: Path, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "EDGE_LSTM_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, **pipes, **options)  # type: ignore[call-overload]


def finish(process: subprocess.Popen[str]) -> str:
    """What the process logged; it must have come to the same bits."""
    out, log = process.communicate(timeout=240)
    assert out.split()[:1] == ["same"], log
    return log


def test_processes_that_compile_into_one_folder_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    for log in [finish(process) for process in [start(tmp_path), start(tmp_path)]]:
        assert "cannot be used" not in log
    assert finish(start(tmp_path)) == ""  # what they left is whole


@pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
def test_what_an_interrupted_or_starved_compilation_leaves_does_no_harm(tmp_path: Path) -> None:
    import resource

    killed = start(tmp_path)
    assert killed.stderr is not None
    assert "compiling kernels" in killed.stderr.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    # No file may grow beyond 2 kB: no compiled code fits, as on a disk that is full.
    starved = start(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)))
    assert "cannot be used" in finish(starved)
    assert "cannot be used" not in finish(start(tmp_path))
    assert finish(start(tmp_path)) == ""
