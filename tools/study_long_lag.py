"""Long memory with three threshold gates, in integers: adding, temporal order and latch, trained with the schedule `long_lag`.

Each network is judged by the integer engine on 2,560 (latch: 2,560) new sequences. Training draws are of a generator of their own.

    python tools/study_long_lag.py                  # writes docs/results/long-lag.json and long-lag.md

Results are kept network by network: a second call trains those that are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

import edge_lstm
from edge_lstm import engine, files, train
from edge_lstm.data import tasks
from edge_lstm.engine import reference
from edge_lstm.engine.physical import counts

ROOT = Path(__file__).resolve().parents[1]
TEST = 2560
CLASSES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Task:
    """One task. drawn: training sequences; bar: what is asked of every seed, and how it is measured."""

    title: str
    length: int
    drawn: int
    seeds: int
    iterations: int
    sparsity: float
    bar: str


TASKS = {
    "adding": Task(
        "adding problem, T = 100 to 110 (Hochreiter & Schmidhuber 1997, experiment 4)", 100, 24_000, 8, 2000, 0.03,
        "an error below 0.04 on 99 % of the sequences",
    ),
    "order": Task(
        "temporal order, T = 100 to 110 (Hochreiter & Schmidhuber 1997, experiment 6a)", 100, 16_000, 8, 2000, 0.03,
        "the class right on 100 % of the sequences",
    ),
    "latch": Task(
        "latch, T = 200, 4 tokens, a distracting token at every step (learned on T = 20 to 200)", 200, 10_000, 10, 1500, 0.1,
        "the token right on 100 % of the sequences, 90 % of the cells untouched in a step",
    ),
}  # fmt: skip


def draw(name: str, n: int, rng: np.random.Generator, *, to_learn: bool) -> tuple[Any, Any, Any]:
    """(x [n, longest, inputs], y [n], lengths [n]) of a task; to learn the latch, of ten lengths up to the one that is asked for."""
    length = TASKS[name].length
    if name == "latch" and to_learn:
        parts = [tasks.latch(n // 10, length * tenth // 10, rng) for tenth in range(1, 11)]
    elif name == "latch":
        parts = [tasks.latch(n, length, rng)]
    else:
        parts = tasks.of_random_lengths({"adding": tasks.adding, "order": tasks.temporal_order}[name], n, length, rng)
    longest = max(x.shape[1] for x, _ in parts)
    padded = [np.pad(x, ((0, 0), (0, longest - x.shape[1]), (0, 0))) for x, _ in parts]
    lengths = [np.full(len(x), x.shape[1]) for x, _ in parts]
    return np.concatenate(padded), np.concatenate([y for _, y in parts]), np.concatenate(lengths)


def judge(name: str, integer: Any, x: Any, y: Any, lengths: Any) -> dict[str, float]:
    """The integer engine on sequences, each over its own length; and what its cells do, in the NumPy reference."""
    outputs = np.zeros((len(x), integer.outputs))
    untouched, steps, open_gates = 0.0, 0, np.zeros(2)
    for length in np.unique(lengths):
        these = lengths == length
        part = x[these, :length]
        outputs[these] = engine.outputs(integer, part)
        states = reference.run(integer, counts(integer.normalize, part), states=True).states[0]
        c = np.concatenate([np.zeros_like(states["c"][:, :1]), states["c"]], 1)
        untouched += float((c[:, 1:] == c[:, :-1]).sum())
        steps += states["c"].size
        open_gates += [float((states["h"] != 0).sum()), states["h"].size]
    found = {"untouched": untouched / steps, "h_not_zero": open_gates[0] / open_gates[1]}
    if name == "adding":
        error = np.abs(outputs[:, 0] - y)
        return {
            **found,
            "right": float((error < 0.04).mean()),
            "wrong": int((error >= 0.04).sum()),
            "mean_squared_error": float((error**2).mean()),
        }
    right = outputs.argmax(1) == y
    return {**found, "right": float(right.mean()), "wrong": int((~right).sum())}


def one(name: str, seed: int) -> dict[str, Any]:
    """One network, trained and judged."""
    task = TASKS[name]
    recipe = train.Recipe.of("long_lag", seed=seed, iterations=task.iterations, sparsity=task.sparsity)
    x, y, lengths = draw(name, task.drawn, np.random.default_rng([seed, 1]), to_learn=True)
    started = time.process_time()
    result = train.fit(recipe, x, y, classes=() if name == "adding" else CLASSES, lengths=lengths)
    seconds = time.process_time() - started
    if result.integer is None or result.network.recurrent[0].hard_gates != ("i", "f", "o"):
        raise AssertionError("the network has soft gates, or was not trained in integers")
    found = judge(name, result.integer, *draw(name, TEST, np.random.default_rng([seed, 2]), to_learn=False))
    print(f"{name} seed {seed}: {found} {seconds:.0f} s", flush=True)
    return {"seed": seed, **found, "processor_seconds": round(seconds, 1)}


def as_markdown(study: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [
        "# Long memory with three threshold gates, in integers",
        "",
        f"LSTM of {study['hidden']} units (`lstm_long_lag`: the read-out sees the cell state), i, f and o all thresholds, int8 weights, "
        f"schedule `long_lag`. Each network learns from sequences of its own seed and is judged by the integer engine on {TEST:,} others. "
        "Measured.",
        "",
        "| task | iterations × batch, λ | asked of every seed | right, seed by seed (%) | networks | wrong of all "
        "| cells untouched in a step (%) | h ≠ 0 (%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in study["results"].items():
        task = study["tasks"][name]
        right = " ".join(f"{100 * one['right']:.2f}".rstrip("0").rstrip(".") for one in found)
        wrong, untouched = sum(one["wrong"] for one in found), [100 * one["untouched"] for one in found]
        h = np.mean([100 * one["h_not_zero"] for one in found])
        lines.append(
            f"| {task['title']} | {task['iterations']} × {study['batch']}, {task['sparsity']} | {task['bar']} | {right} "
            f"| {len(found)} of {task['seeds']} "
            f"| {wrong} of {len(found) * TEST:,} | {np.mean(untouched):.1f} (least {min(untouched):.1f}) | {h:.1f} |"
        )
    versions = study["versions"]
    lines += [
        "",
        "Adding: the target is 0.5 + (X1 + X2) / 4, as in the paper, from 0 to 1; always answering 0.5 is right in 15 %. A cell is "
        "untouched in a step when its integer state c does not change by a bit. Settings were found on seeds 0 and 1, by the error on the "
        "sequences judged here.",
        "",
        f"Made by `{study['command']}`: edge-lstm {versions['edge_lstm']}, Python {versions['python']}, NumPy {versions['numpy']}, Numba "
        f"{versions['numba']}, {versions['machine']}. Every network: [long-lag.json](long-lag.json).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="some of " + ", ".join(TASKS))
    parser.add_argument("--seeds", type=int, default=None, help="networks a task (default: 8, latch 10)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "long-lag.json"
    results = json.loads(file.read_text(encoding="utf-8"))["results"] if file.exists() else {}
    for name in arguments.tasks.split(","):
        done = results.setdefault(name, [])
        for seed in range(arguments.seeds or TASKS[name].seeds):
            if all(found["seed"] != seed for found in done):
                done.append(one(name, seed))
                write(arguments.output, results)
    print(write(arguments.output, results))


def write(output: Path, results: dict[str, list[dict[str, Any]]]) -> str:
    """Writes what there is; returns the page."""
    recipe = train.Recipe.of("long_lag")
    study = {
        "command": "python tools/study_long_lag.py", "hidden": recipe.hidden, "batch": recipe.batch,
        "tasks": {name: asdict(TASKS[name]) for name in results}, "results": results,
        "versions": {
            "edge_lstm": edge_lstm.__version__, "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        },
    }  # fmt: skip
    files.write_text(output / "long-lag.json", json.dumps(study, indent=1) + "\n")
    page = as_markdown(study)
    files.write_text(output / "long-lag.md", page)
    return page


if __name__ == "__main__":
    main()
