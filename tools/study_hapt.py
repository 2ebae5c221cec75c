"""HAPT, six activities of people never seen: raw counts against the integer IMU front end, at several sizes; all from the integer engine.

Settings are chosen by 5 folds over the 21 training people; each chosen one is then trained on all of them, once a seed, and judged on the
nine official test people. What was chosen and judged there before options were added is told on the page too. Windows of 2.56 s, half
overlapping; the front end runs on from window to window, as on a device that is not reset, and is restarted at each window for comparison.

    python tools/study_hapt.py                     # writes docs/results/hapt.json and hapt.md; what hapt.json has already is kept
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numba
import numpy as np

import edge_lstm
from edge_lstm import data, engine, files, train
from edge_lstm.data.hapt_recordings import TEST_PEOPLE, activities
from edge_lstm.engine import reference
from edge_lstm.engine.gate_activity import activity, course
from edge_lstm.features import Imu, imu_features, memories
from edge_lstm.float_inference import preprocess, run
from edge_lstm.network import Preprocess
from firmware_gen.model import build

ROOT = Path(__file__).resolve().parents[1]
WINDOW, STRIDE, DECIMATION, FOLDS, FOLD_SEED = 128, 64, 4, 5, 0
IMU = Imu()


@dataclass(frozen=True)
class Option:
    """One way to train. features: imu or raw; changes: of the recipe."""

    features: str
    changes: tuple[tuple[str, Any], ...]

    @property
    def text(self) -> str:
        return ", ".join([self.features, *(f"{name} {value}" for name, value in self.changes)])


def option(features: str = "imu", **changes: Any) -> Option:
    return Option(features, tuple(changes.items()))


@dataclass(frozen=True)
class Setting:
    """A line of the table. options: of which validation picks the best by `by`, among those with at most `work` of the products left and at
    most `size` bytes of constants on every fold; repeats: trainings of an option on a fold."""

    title: str
    options: tuple[Option, ...]
    seeds: int = 5
    by: str = "accuracy"
    work: float = 1.0
    size: int = 2**31
    repeats: int = 1


SMALL = {"squash": "hard_tanh"}  # needs no tables
TERNARY_GATES = {"gates": "ternary", "candidates": 4, "dense": 4}
SETTINGS = {
    "hard": Setting("all gates hard, at most 6 KB", (option(hidden=32, rotation=0.1, **SMALL), option(hidden=32, rotation=0.2, **SMALL))),
    "sparse": Setting(
        "all gates hard, at most 0.30 of the work",
        (option(hidden=32, rotation=0.1, sparsity=0.1, **SMALL), option(hidden=32, rotation=0.1, work_target=0.29, **SMALL)),
        work=0.30,
    ),
    "tiny": Setting(
        "all gates hard, at most 600 bytes",
        (
            option(cell="lstm_coupled", hidden=7, rotation=0.2, **SMALL),
            option(cell="lstm_coupled", hidden=10, rotation=0.1, weight_bits=4, **SMALL),
            option(cell="lstm_coupled", hidden=11, rotation=0.1, weight_bits=4, **SMALL),
            option(cell="lstm_coupled", hidden=12, rotation=0.1, weight_bits=TERNARY_GATES, **SMALL),
            option(hidden=9, rotation=0.1, weight_bits=4, **SMALL),
        ),
        10,
        "macro_f1",
        size=600,
        repeats=2,  # the seeds of so small a network differ more than the options do
    ),
    "small": Setting(
        "all gates hard, at most 2 KB",
        (option(hidden=16, rotation=0.1, **SMALL), option(hidden=23, rotation=0.1, weight_bits=4, **SMALL)),
        size=2048,
    ),
    "float": Setting("float, soft gates, 32 units", (option(hidden=32, rotation=0.1, gates="soft", learning_rate=1e-2),)),
    "raw": Setting("all gates hard, raw counts, 32 units", (option("raw", hidden=32, rotation=0.2),)),
}


class Data:
    """The recordings, cut, and what the front end remembers at the beginning of every window."""

    @cached_property
    def recordings(self) -> data.Dataset:
        return activities(data.hapt())

    @cached_property
    def windows(self) -> data.Windows:
        return data.windows(self.recordings, WINDOW, STRIDE)

    @cached_property
    def features(self) -> Any:
        units = self.recordings.units_per_count
        assert units is not None
        return imu_features(IMU, units, DECIMATION, self.recordings.rate_hz or 0)

    @cached_property
    def memory(self) -> Any:
        samples = [np.asarray(recording.samples, np.int16) for recording in self.recordings.recordings]
        return memories(self.features, DECIMATION, samples, self.windows.recording, self.windows.start)

    @cached_property
    def is_test(self) -> Any:
        return np.isin(self.windows.person, TEST_PEOPLE)

    @cached_property
    def folds(self) -> list[tuple[Any, Any]]:
        """Index pairs of all windows, test people left out."""
        learn = np.flatnonzero(~self.is_test)
        return [(learn[a], learn[b]) for a, b in data.person_folds(self.windows.person[learn], FOLDS, FOLD_SEED)]

    def remembered(self, which: Any, features: str) -> Any:
        return None if features == "raw" else {k: values[which] for k, values in self.memory.items()}

    def front(self, learn: Any, features: str) -> Preprocess:
        """Standardized on the windows `learn`."""
        units = self.recordings.units_per_count
        count, program = (9, self.features) if features == "imu" else (6, None)
        plain = Preprocess(DECIMATION, np.zeros(count), np.ones(count), units, program)
        values = preprocess(plain, self.windows.x[learn], self.remembered(learn, features)).reshape(-1, count)
        return replace(plain, offset=values.mean(0), scale=1 / values.std(0))


def scores_of(y: Any, labels: Any) -> dict[str, float]:
    """Accuracy and macro-F1."""
    table = np.zeros((6, 6), int)
    np.add.at(table, (y, labels), 1)
    f1 = 2 * table.diagonal() / np.maximum(table.sum(0) + table.sum(1), 1)
    return {"accuracy": float((y == labels).mean()), "macro_f1": float(f1.mean())}


def judged(source: Data, one: Option, learn: Any, test: Any, iterations: int, seed: int, report: Any = None) -> tuple[Any, dict[str, Any]]:
    """Trains on the windows `learn`; what it does on the windows `test`."""
    windows = source.windows
    recipe = train.Recipe(**{"iterations": iterations, "batch": 64, "seed": seed, "vectors": IMU.vectors, **dict(one.changes)})
    before = source.remembered(test, one.features)
    result = train.fit(
        recipe, windows.x[learn], windows.y[learn], classes=source.recordings.classes, preprocess=source.front(learn, one.features),
        memory=source.remembered(learn, one.features), validation=(windows.x[test], windows.y[test], None, before), progress=report,
    )  # fmt: skip
    x, y = windows.x[test], windows.y[test]
    if result.integer is None:
        front = result.network.preprocess
        assert front is not None
        inside = replace(result.network, preprocess=None)
        outputs = run(inside, preprocess(front, x, before).astype(np.float32))
        return result, {**scores_of(y, outputs.argmax(1)), "restarted": scores_of(y, run(result.network, x).argmax(1))}
    integer = result.integer
    running = engine.run_normalized(integer, reference.normalize(integer.normalize, x, before)).scores
    found: dict[str, Any] = {**scores_of(y, running.argmax(1)), "restarted": scores_of(y, engine.run(integer, x).scores.argmax(1))}
    told = result.history.validation
    if told is None or told.accuracy != found["accuracy"]:
        raise AssertionError(f"training reported {told}, the engine finds {found}")
    seen = activity(course(integer, x[:: max(1, len(x) // 600)])[0])
    found |= {"work": seen.products_left, "unchanged": seen.unchanged}
    rows = build(integer, "model", "rows")
    found |= {"bytes": rows.tables.bytes, "bytes_by_columns": build(integer, "model").tables.bytes, "state_bytes": rows.state_bytes}
    found["by_person"] = {
        str(p): float((running.argmax(1) == y)[windows.person[test] == p].mean()) for p in np.unique(windows.person[test])
    }
    return result, found


class Study:
    def __init__(self, path: Path, iterations: int, threads: int | None):
        self.path, self.iterations, self.threads, self.source = path, iterations, threads, Data()
        self.cases: dict[str, Any] = json.loads(path.read_text()).get("cases", {}) if path.exists() else {}
        self.started = time.time()

    def run(self, names: list[str]) -> None:
        for name in names:
            setting = SETTINGS[name]
            tried = setting.options if len(setting.options) > 1 else ()
            every = [(one, seed) for seed in range(FOLDS * setting.repeats) for one in tried]
            self.fit([(f"{name} | {one.text} | {fold_case(seed)}", one, *self.source.folds[seed % FOLDS], seed) for one, seed in every])
            chosen = self.chosen(name)
            learn, test = (np.flatnonzero(self.source.is_test == which) for which in (False, True))
            self.fit([(f"{name} | {chosen.text} | test, seed {seed}", chosen, learn, test, seed) for seed in range(setting.seeds)])

    def fit(self, wanted: list[tuple[str, Option, Any, Any, int]]) -> None:
        """Trains what is not there yet; every network is in the file as soon as it is judged."""

        def work(key: str, one: Option, learn: Any, test: Any, seed: int, report: Any) -> Any:
            result, self.cases[key] = judged(self.source, one, learn, test, self.iterations, seed, report)
            shown = {name: value for name, value in self.cases[key].items() if isinstance(value, (int, float))}
            print(f"{time.time() - self.started:6.0f} s  {key}  {shown}", flush=True)
            self.save()
            return result

        missing = [case for case in wanted if case[0] not in self.cases]
        if missing:
            _ = self.source.memory, self.source.folds  # made once, before there are several threads
            train.fit_many([partial(work, *case) for case in missing], threads=self.threads)

    def save(self) -> None:
        files.write_text(self.path, json.dumps({**self.about(), "cases": dict(sorted(self.cases.items()))}, indent=1) + "\n")

    def about(self) -> dict[str, Any]:
        return {
            "command": f"python tools/study_hapt.py --iterations {self.iterations}",
            "data": f"windows of {WINDOW} samples at 50 Hz, one every {STRIDE}, {DECIMATION} to a step",
            "recipe": asdict(train.Recipe(iterations=self.iterations, batch=64, vectors=IMU.vectors)),
            "fold_seed": FOLD_SEED,
            "versions": {
                "edge_lstm": edge_lstm.__version__, "python": platform.python_version(), "numpy": np.__version__,
                "numba": numba.__version__, "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            },
        }  # fmt: skip

    def of(self, name: str, one: Option, what: str) -> list[dict[str, Any]]:
        """The cases of an option: "fold" or "test"."""
        return [case for key, case in self.cases.items() if key.startswith(f"{name} | {one.text} | {what}")]

    def chosen(self, name: str) -> Option:
        """The option with the best mean over the folds, among those within the work and the size allowed (all, if none is)."""
        setting = SETTINGS[name]
        tried = [o for o in setting.options if self.of(name, o, "fold")]
        if len(setting.options) == 1 or not tried:
            return setting.options[0]
        allowed = [o for o in tried if self.within(setting, self.of(name, o, "fold"))]
        return max(allowed or tried, key=lambda o: float(np.mean([c[setting.by] for c in self.of(name, o, "fold")])))

    @staticmethod
    def within(setting: Setting, folds: list[dict[str, Any]]) -> bool:
        """Whether an option is within the limits of a setting."""
        return bool(np.mean([case["work"] for case in folds]) <= setting.work) and max(case["bytes"] for case in folds) <= setting.size

    def judged_before(self, names: list[str]) -> list[str]:
        """A paragraph on the options that were chosen, and judged on the test people, while there were fewer of them."""
        found = []
        for name in names:
            for one in SETTINGS[name].options:
                f1 = np.array([case["macro_f1"] for case in self.of(name, one, "test")])
                if len(f1) and one != self.chosen(name):
                    found.append(f"*{name}*: {one.text}: {f1.mean():.3f} ± {f1.std(ddof=1):.3f}")
        told = "Chosen and judged on the test people (macro-F1) before there were all the options below, so these people were not unseen: "
        return ["", told + "; ".join(found) + "."] if found else []

    def page(self) -> str:
        people = len(set(self.source.windows.person[~self.source.is_test].tolist()))
        lines = [
            "# HAPT: six activities of people never seen",
            "",
            f"{(~self.source.is_test).sum():,} windows of {people} people to learn from, {self.source.is_test.sum():,} of the "
            f"{len(TEST_PEOPLE)} official test people; {self.about()['data']}. LSTM, mean read-out, {self.iterations} iterations of 64 "
            "windows. Measured, by the integer engine with the integer front end (float: float engine behind the same integer features).",
            "",
            "## Test people",
            "",
            "| | setting chosen on validation | accuracy % | lowest | front end restarted | macro-F1 | lowest | bytes | work | seeds |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        done = [name for name in SETTINGS if self.of(name, self.chosen(name), "test")] if self.cases else []
        for name in done:
            one, cases = self.chosen(name), self.of(name, self.chosen(name), "test")
            accuracy, f1 = (np.array([case[what] for case in cases]) for what in ("accuracy", "macro_f1"))
            restarted = np.array([case["restarted"]["accuracy"] for case in cases])
            size = f"{max(case['bytes'] for case in cases):,}" if "bytes" in cases[0] else ""
            work = f"{np.mean([case['work'] for case in cases]):.2f}" if "work" in cases[0] else ""
            lines.append(
                f"| {SETTINGS[name].title} | {one.text} | {percent(accuracy)} | {100 * accuracy.min():.2f} | {percent(restarted)} | "
                f"{f1.mean():.3f} ± {f1.std(ddof=1):.3f} | {f1.min():.3f} | {size} | {work} | {len(cases)} |"
            )
        lines += [
            "", "± is the standard deviation over seeds, on the same nine people. Bytes: all constants of the generated C (weights, "
            "biases, scales, tables, front end) with rows summed element by element, the smallest form. Work: share of the multiplications "
            "left over by closed gates and zeros, counted by running. Restarted: gravity averaged anew from each window's first step.",
            *self.judged_before(done), "", "## Validation", "",
            f"{FOLDS} folds over the training people; ± is the standard deviation over folds, which are different people "
            f"(*tiny*: over {SETTINGS['tiny'].repeats} seeds of each fold). "
            "What has one option only was taken from earlier experiments on other folds of these people, with features in float, "
            "which had been judged on the nine test people too. Options of *tiny* that earlier validation put behind (4 bits with turns of "
            "0.2 rad, twice the iterations, 6 or 8 uncoupled units) are not tried again; they are in the history of this page.", "",
            "| | option | accuracy % | macro-F1 | bytes | work |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for name in done:
            for one in SETTINGS[name].options:
                cases = self.of(name, one, "fold")
                if cases:
                    accuracy, f1 = (np.array([case[what] for case in cases]) for what in ("accuracy", "macro_f1"))
                    mark = " **(chosen)**" if one == self.chosen(name) else ""
                    work = f"{np.mean([case['work'] for case in cases]):.2f}"
                    size = f"{max(case['bytes'] for case in cases):,}"
                    lines.append(
                        f"| {name} | {one.text}{mark} | {percent(accuracy)} | {f1.mean():.3f} ± {f1.std(ddof=1):.3f} | {size} | {work} |"
                    )
        versions = self.about()["versions"]
        lines += [
            "", f"Made by `{self.about()['command']}`: edge-lstm {versions['edge_lstm']}, Python {versions['python']}, NumPy "
            f"{versions['numpy']}, Numba {versions['numba']}, {versions['machine']}. Every network: [hapt.json](hapt.json).",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def fold_case(seed: int) -> str:
    """The name of one training on a fold: each fold has a seed of its own, and FOLDS further ones for repetitions."""
    return f"fold {seed % FOLDS}" + (f", seed {seed}" if seed >= FOLDS else "")


def percent(values: Any) -> str:
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2400)
    parser.add_argument("--threads", type=int, default=None, help="trainings at once (default: one per core; the results are the same)")
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), default=list(SETTINGS), help="these lines of the table")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    study = Study(arguments.output / "hapt.json", arguments.iterations, arguments.threads)
    study.run(arguments.only)
    study.save()
    files.write_text(arguments.output / "hapt.md", study.page())
    print(study.page())


if __name__ == "__main__":
    main()
