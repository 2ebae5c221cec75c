"""How does the host engine scale: two threads in bulk, thousands of streams, ragged sequences? All figures of one process run.

    python tools/bench_scale.py                 all, as a Markdown table
    python tools/bench_scale.py --size 32,128

Contestants take turns, round after round; a figure is the median over the rounds, with its quartiles, in wall-clock time (threads work in
parallel). Meant for a quiet machine: what else runs is said in the first line.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from random_models import counts, hard_lstm

from edge_lstm import engine
from edge_lstm.engine import target
from edge_lstm.engine.whole import available_threads
from edge_lstm.report.timing import load, machine

SIZES = ((6, 32), (9, 64), (32, 128), (64, 256))
STEPS, BATCH, STREAMS = 128, 1024, 10_000


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float, float]]:
    """Quartiles of the seconds of each call."""
    for call in calls.values():
        call()  # compiles, and fills the caches
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
    quartiles = {name: np.quantile(seconds, [0.25, 0.5, 0.75]).tolist() for name, seconds in found.items()}
    return {name: (low, middle, high) for name, (low, middle, high) in quartiles.items()}


def measure(inputs: int, hidden: int, rounds: int) -> list[str]:
    """The cells of one row of the table."""
    rng = np.random.default_rng(1)
    network = hard_lstm(inputs, hidden, window=STEPS)
    raw = counts(rng, BATCH, STEPS, inputs)
    lengths = rng.integers(1, STEPS + 1, BATCH)
    cores = available_threads()
    lone, shared = engine.Streams(network, STREAMS, threads=1), engine.Streams(network, STREAMS, threads=cores)
    samples = counts(rng, STREAMS, 1, inputs)[:, 0]
    some = np.sort(rng.permutation(STREAMS)[: STREAMS // 4])
    few = samples[: len(some)]
    single = engine.Stream(network)
    lines = list(samples[:1000])
    seconds = interleaved(
        {
            "one": lambda: engine.run(network, raw, threads=1),
            "all": lambda: engine.run(network, raw, threads=cores),
            "ragged": lambda: engine.run(network, raw, lengths, threads=1),
            "streams": lambda: lone.push(samples),
            "some": lambda: lone.push(few, some),
            "shared": lambda: shared.push(samples),
            "single": lambda: [single.push(line) for line in lines],
        },
        rounds,
    )
    one, ragged = seconds["one"][1], seconds["ragged"][1] * STEPS * BATCH / lengths.sum()
    rates = [STREAMS / seconds["streams"][1], len(some) / seconds["some"][1], STREAMS / seconds["shared"][1], 1000 / seconds["single"][1]]
    return [
        f"{inputs}, {hidden}",
        " - ".join(f"{1e3 * value:.3g}" for value in seconds["one"]),
        f"{one / seconds['all'][1]:.2f} ×",
        f"{ragged / one:.2f} ×",
        *(f"{rate / 1e6:.3g}" for rate in rates),
        f"{rates[0] / 50:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="inputs,hidden (default: the four sizes)")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in options.size] if options.size else SIZES
    print(f"{machine()}; {available_threads()} of {os.cpu_count()} processors; {target.why(target.choose())}. Before: {load()}.\n")
    columns = [
        "size", f"{BATCH} sequences of {STEPS} steps, one thread (ms: quartiles)", f"{available_threads()} threads", "ragged, per step",
        f"{STREAMS:,} streams, one thread (million samples/s)", "a quarter of them", f"{available_threads()} threads (million samples/s)",
        "one stream (million samples/s)", "watches of 50 Hz a core",
    ]  # fmt: skip
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for inputs, hidden in sizes:
        print("| " + " | ".join(measure(inputs, hidden, options.rounds)) + " |", flush=True)


if __name__ == "__main__":
    main()
