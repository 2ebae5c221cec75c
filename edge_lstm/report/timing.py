"""Latency, measured fairly: the contestants take turns, and the median over the rounds is reported with its quartiles."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROUND_SECONDS = 2e-3  # one turn of a contestant: long against the clock's resolution, short against what else the machine does


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median over `rounds` turns of `calls` calls each, with the quartiles."""

    median: float
    low: float
    high: float
    rounds: int
    calls: int

    def per(self, parts: int) -> Timing:
        """The time of one of `parts` equal parts of the call (a step of a window, say)."""
        return Timing(self.median / parts, self.low / parts, self.high / parts, self.rounds, self.calls)


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int = 21) -> dict[str, Timing]:
    """Times each function in turn, round after round, so that a busy moment of the machine meets all of them alike."""
    calls = {name: _calls_per_round(function) for name, function in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, function in contestants.items():
                seconds[name].append(_time(function, calls[name]) / calls[name])
    finally:
        if collecting:
            gc.enable()
    return {name: _timing(found, calls[name]) for name, found in seconds.items()}


def _time(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def _calls_per_round(function: Callable[[], object]) -> int:
    function()  # the first call may compile
    return max(1, round(ROUND_SECONDS / max(min(_time(function, 1) for _ in range(3)), 1e-8)))


def _timing(seconds: list[float], calls: int) -> Timing:
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return Timing(float(median), float(low), float(high), len(seconds), calls)


def machine() -> str:
    """The processor and the system, for the caption of a measurement."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = f", {len(models)} cores" if models else ""
    return f"{models[0] if models else name}{cores}, {platform.system()} {platform.machine()}"


def load() -> str:
    """How busy the machine is: "load average 1.2 in the last minute"; empty where the system does not say."""
    try:
        return f"load average {os.getloadavg()[0]:.1f} in the last minute"
    except (AttributeError, OSError):  # Windows
        return ""


def versions(*packages: str) -> str:
    """ "Python 3.11.7, numpy 2.4.6, ..." of the packages that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
