"""Accuracy on people never seen: float LSTM, its integer form, and the hard-gated integer LSTM, on the bundled smart-watch recordings.

Leave-2-people-out (5 folds) x seeds; windows of 4 s at 12.5 Hz; LSTM with 32 units, mean read-out. All three learn on the same windows
for the same number of iterations; the float network takes the better of two learning rates, chosen on the same test people (which favours
it).

    python tools/study_watch.py                     # writes docs/results/watch.json and watch.md
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
from edge_lstm import data, engine, files, train
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.float_inference import run
from edge_lstm.network import Preprocess

ROOT = Path(__file__).resolve().parents[1]
WINDOW, STRIDE, DECIMATION, FOLDS, FOLD_SEED, CALIBRATION = 200, 100, 4, 5, 0, 256
FLOAT_RATES = (1e-2, 2e-2)
HARD_RATE = train.Recipe.learning_rate
VARIANTS = {
    "float": "float, soft gates",
    "integer_soft": "integers, soft gates, quantized after training",
    "integer_hard": "integers, threshold gates, trained with the integers in the loop",
}


@dataclass(frozen=True)
class Case:
    """One training: fold, seed, and the recipe's gates and learning rate."""

    fold: int
    seed: int
    gates: str
    rate: float | None


def accuracy(scores: Any, y: Any) -> float:
    """Share of windows whose largest score is that of their class."""
    return float((np.asarray(scores).argmax(1) == y).mean())


def study(iterations: int, seeds: int, threads: int | None) -> dict[str, Any]:
    """Trains and judges everything; returns what goes into the JSON file."""
    recordings = data.watch()
    windows = data.windows(recordings, WINDOW, STRIDE)
    folds = data.person_folds(windows.person, FOLDS, FOLD_SEED)
    fronts = []
    for learn, _ in folds:
        found = data.standardize(windows.x[learn], DECIMATION, recordings.channels)
        fronts.append(Preprocess(DECIMATION, found.offset, 1 / found.scale, recordings.units_per_count))
    kinds: list[tuple[str, float | None]] = [*(("soft", rate) for rate in FLOAT_RATES), ("hard", None)]
    cases = [Case(fold, seed, gates, rate) for gates, rate in kinds for fold in range(FOLDS) for seed in range(seeds)]
    found_accuracies: dict[Case, dict[str, float]] = {}
    started = time.time()

    def job(case: Case) -> Any:
        def work(report: train.Progress | None) -> train.Result:
            learn, judge = folds[case.fold]
            x: Any = windows.x[judge]
            y: Any = windows.y[judge]
            recipe = train.Recipe(gates=case.gates, learning_rate=case.rate or HARD_RATE, iterations=iterations, seed=case.seed)
            result = train.fit(
                recipe, windows.x[learn], windows.y[learn], classes=recordings.classes, preprocess=fronts[case.fold],
                validation=(x, y), progress=report,
            )  # fmt: skip
            if result.integer is not None:
                found = {"integer_hard": accuracy(engine.run(result.integer, x).scores, y)}
                told = result.history.validation
                if told is None or told.accuracy != found["integer_hard"]:
                    raise AssertionError(f"training reported {told}, the engine finds {found}")
            else:
                integer = quantize(result.network, windows.x[learn][:: max(1, len(learn) // CALIBRATION)])
                found = {"float": accuracy(run(result.network, x), y), "integer_soft": accuracy(engine.run(integer, x).scores, y)}
            found_accuracies[case] = found
            print(f"{time.time() - started:6.0f} s  {case}  {found}", flush=True)
            return result

        return work

    train.fit_many([job(case) for case in cases], threads=threads)
    return {
        "command": f"python tools/study_watch.py --iterations {iterations} --seeds {seeds}",
        "data": {
            "name": recordings.name, "windows": len(windows), "people": len(set(windows.person.tolist())),
            "classes": list(recordings.classes),
            "window": f"{WINDOW} samples, one every {STRIDE}, {DECIMATION} averaged to one step", "folds": FOLDS, "fold_seed": FOLD_SEED,
            "test_windows": [len(judge) for _, judge in folds],
        },
        "recipe": asdict(train.Recipe(iterations=iterations)),
        "versions": {
            "edge_lstm": edge_lstm.__version__, "python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        },
        "seconds": round(time.time() - started),
        "results": summary(found_accuracies, seeds),
    }  # fmt: skip


def summary(found: dict[Case, dict[str, float]], seeds: int) -> dict[str, Any]:
    """Per variant: [fold][seed] accuracies, mean and spread; and the differences paired by fold and seed."""

    def table(name: str, gates: str, rate: float | None) -> Any:
        return np.array([[found[Case(fold, seed, gates, rate)][name] for seed in range(seeds)] for fold in range(FOLDS)])

    rate = max(FLOAT_RATES, key=lambda r: float(table("float", "soft", r).mean()))
    tables = {name: table(name, "soft", rate) for name in ("float", "integer_soft")}
    tables["integer_hard"] = table("integer_hard", "hard", None)
    result: dict[str, Any] = {
        "float_learning_rate": rate,
        "float_mean_by_learning_rate": {f"{r:g}": float(table("float", "soft", r).mean()) for r in FLOAT_RATES},
    }
    for name, values in tables.items():
        result[name] = {"accuracy": values.tolist(), **spread(values), "fold_means": values.mean(1).tolist()}
    for name in ("integer_soft", "integer_hard"):
        result[f"{name}_minus_float"] = spread(tables[name] - tables["float"])
    return result


def spread(values: Any) -> dict[str, float]:
    """Mean, standard deviation over all nets and over fold means, and the standard error from the fold means (no person is in two)."""
    by_fold = values.mean(1)
    return {
        "mean": float(values.mean()), "sd": float(values.std(ddof=1)), "sd_of_folds": float(by_fold.std(ddof=1)),
        "standard_error": float(by_fold.std(ddof=1) / np.sqrt(len(by_fold))),
    }  # fmt: skip


def as_markdown(study: dict[str, Any], seeds: int) -> str:
    """The result as a page."""
    results, about = study["results"], study["data"]
    lines = [
        "# Smart-watch exercises, people never seen",
        "",
        f"{about['windows']:,} windows of 4 s ({about['window']}) of {about['people']} people, {len(about['classes'])} exercises; "
        f"2 people left out in each of {about['folds']} folds, {seeds} seeds: {about['folds'] * seeds} networks a line. LSTM, 32 units, "
        f"mean read-out, {study['recipe']['iterations']} iterations of {study['recipe']['batch']} windows for every line. Accuracy in %, "
        "measured.",
        "",
        f"| | mean ± sd | {' | '.join(f'fold {k + 1}' for k in range(about['folds']))} | minus float, paired ± standard error |",
        "|---|---|" + "---|" * about["folds"] + "---|",
    ]
    for name, title in VARIANTS.items():
        found = results[name]
        difference = results.get(f"{name}_minus_float")
        paired = "" if difference is None else f"{100 * difference['mean']:+.2f} ± {100 * difference['standard_error']:.2f}"
        folds = " | ".join(f"{100 * mean:.2f}" for mean in found["fold_means"])
        lines.append(f"| {title} | {100 * found['mean']:.2f} ± {100 * found['sd']:.2f} | {folds} | {paired} |")
    rates = ", ".join(f"{100 * mean:.2f} at {rate}" for rate, mean in results["float_mean_by_learning_rate"].items())
    lines += [
        "",
        f"sd: over all {about['folds'] * seeds} networks, folds and seeds together. The float network's learning rate is the better of "
        f"those tried ({rates}), judged by the test people themselves, which favours float. The standard error of a difference is that of "
        f"its {about['folds']} fold means. Integer accuracies are those of the integer engine; with threshold gates they equal, network by "
        "network, what training reported. The recipe's settings were found in earlier experiments that had seen these ten people.",
        "",
        f"Made by `{study['command']}`: edge-lstm {study['versions']['edge_lstm']}, Python {study['versions']['python']}, NumPy "
        f"{study['versions']['numpy']}, Numba {study['versions']['numba']}, {study['versions']['machine']}. Every network: "
        "[watch.json](watch.json).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=train.Recipe().iterations)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="trainings at once (default: one per core; the results are the same)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    found = study(arguments.iterations, arguments.seeds, arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    files.write_text(arguments.output / "watch.json", json.dumps(found, indent=1) + "\n")
    page = as_markdown(found, arguments.seeds)
    files.write_text(arguments.output / "watch.md", page)
    print(page)


if __name__ == "__main__":
    main()
