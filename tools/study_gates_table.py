"""The tables of `study_gates.py`: accuracies, paired differences with intervals over people, and the answer about the input gate."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from study_gates import BATCH, BITS, CELLS, DECIMATION, HIDDEN, ITERATIONS, METHODS, Case, configurations
from study_sets import SETS, accuracy, bootstrap

import edge_lstm
from edge_lstm import files

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FEWEST_PEOPLE = 6  # for an interval: fewer draws would repeat the same few people
Key = tuple[str, str, str, str, str]  # set, cell, hard, method, bits
People = Mapping[str, float]  # person (or speaker) -> accuracy or difference
_CELL_NAMES = {"lstm": "uncoupled", "lstm_coupled": "coupled"}


class Results:
    """The finished trainings of a study: of each method and bits the seeds that all their configurations of all sets have."""

    def __init__(self, lines: Mapping[Case, Mapping[str, Any]]) -> None:
        found: dict[Key, dict[int, Mapping[str, Any]]] = {}
        for case, line in lines.items():
            if case.purpose == "study":
                found.setdefault((case.set, case.cell, case.hard, case.method, case.bits), {})[case.seed] = line
        wanted: list[Key] = [(name, *configuration) for name in SETS for configuration in configurations()]
        self.seeds = {
            (method, bits): sorted(set.intersection(*(set(found.get(key, {})) for key in wanted if key[3:] == (method, bits))))
            for method in METHODS
            for bits in BITS
        }
        if not all(self.seeds.values()):
            raise SystemExit("no seed is finished for every configuration yet")
        self.lines = {key: [found[key][seed] for seed in self.seeds[key[3:]]] for key in wanted}
        self.seconds = sum(float(line["seconds"]) for line in lines.values())
        self.trainings = len(lines)

    def accuracies(self, key: Key) -> np.ndarray:
        """[seeds] test accuracy, in points."""
        return np.array([100 * accuracy(line["test"]) for line in self.lines[key]])

    def people(self, key: Key, seeds: Sequence[int]) -> People:
        """Test accuracy of each person in points, over those of `seeds` that tested them."""
        hits: dict[str, list[tuple[int, int]]] = {}
        for line in self.lines[key]:
            if line["seed"] not in seeds:
                continue
            for who, (right, cases) in line["test"].items():
                hits.setdefault(who, []).append((right, cases))
        return {who: 100 * float(np.mean([right / cases for right, cases in found])) for who, found in hits.items()}


def difference(results: Results, key: Key, other: Key) -> People:
    """key minus other, person by person, over the seeds that both have."""
    seeds = [seed for seed in results.seeds[key[3:]] if seed in results.seeds[other[3:]]]
    theirs = results.people(other, seeds)
    return {who: mine - theirs[who] for who, mine in results.people(key, seeds).items()}


def interval(people: Sequence[float]) -> str:
    """Mean over people and its 95 % interval; of too few people to draw from, their number."""
    values = np.array(people)
    if len(values) < FEWEST_PEOPLE:
        return f"{values.mean():+.1f} ({len(values)} people)"
    low, high = bootstrap(values)
    return f"{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def without(key: Key) -> Key:
    """The same set, cell and bits with soft gates."""
    return (key[0], key[1], "none", METHODS[0], key[4])


def write_tables(lines: Mapping[Case, Mapping[str, Any]]) -> None:
    """Writes gates.csv (one row a configuration) and gates.md."""
    results = Results(lines)
    files.write_text(RESULTS / "gates.csv", as_csv(results))
    files.write_text(RESULTS / "gates.md", as_markdown(results))


def as_csv(results: Results) -> str:
    """One row a configuration; difference: to soft gates of the same set, cell and bits, people drawn for the interval."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    head = ["set", "cell", "hard", "method", "bits", "rate", "seeds", "validation", "test", "sd", "difference", "low", "high", "each_seed"]
    out.writerow(head)
    for key in results.lines:
        found = results.accuracies(key)
        people = np.array(list(difference(results, key, without(key)).values()))
        low, high = bootstrap(people)
        validation = 100 * float(np.mean([line["validation"] for line in results.lines[key]]))
        numbers = [validation, found.mean(), found.std(ddof=1) if len(found) > 1 else 0.0, people.mean(), low, high]
        rate = results.lines[key][0]["rate_used"]
        out.writerow([*key, f"{rate:g}", len(found), *(f"{number:.2f}" for number in numbers), " ".join(f"{one:.2f}" for one in found)])
    return text.getvalue()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows), ""]


def as_markdown(results: Results) -> str:
    """The tables that answer the questions."""
    seeds = {key: len(found) for key, found in results.seeds.items()}
    straight = ", ".join(f"{seeds[METHODS[0], bits]} at {bits}" for bits in BITS)
    lines = [
        "# Which gates may be thresholds",
        "",
        f"{HIDDEN} units, mean read-out, {ITERATIONS} iterations of {BATCH}. Seeds of every configuration that is trained straight "
        f"through: {straight}; of the other ways at least {min(seeds.values())} ({len(results.lines)} configurations, "
        f"{results.trainings:,} trainings with those that chose learning rates, "
        f"{results.seconds / 60:.0f} minutes of processor time). Accuracy of the integer engine on test people, "
        "in %. Differences are paired by seed, fold and person, in points, with a 95 % bootstrap interval over people "
        "(watch 10, HAPT 9; vowels: its 9 speakers, who are the classes). What it means: "
        "[study-gates.md](../study-gates.md). Every configuration: [gates.csv](gates.csv).",
        "",
        "## The input gate, coupled and uncoupled",
        "",
        "Hard input gate minus soft gates, straight-through. Coupled, f = 1 - i is hard then too. Last column: uncoupled minus coupled.",
        "",
    ]
    lines += table(["set", "bits", "uncoupled, i hard", "coupled, i hard", "what coupling costs"], _input_gate(results, "i", "i"))
    lines += ["All gates hard minus soft gates, straight-through.", ""]
    lines += table(["set", "bits", "uncoupled, all hard", "coupled, all hard", "what coupling costs"], _input_gate(results, "all", "all"))
    for name in SETS:
        lines += [f"## {name}: straight-through, every choice of hard gates", ""]
        lines += table(["cell", "hard", *(f"{bits} bits" if bits.isdigit() else bits for bits in BITS)], _choices(results, name))
    lines += [
        "## Ways to train",
        "",
        "Minus straight-through with the same hard gates; mean over the choices of hard gates (5 uncoupled, 3 coupled), then over people.",
        "",
    ]
    lines += table(["set", "cell", "bits", "slope annealing", "concrete"], _methods(results))
    lines += [
        f"Steps: watch {200 // DECIMATION['watch']}, HAPT {128 // DECIMATION['hapt']}, vowels up to 29. Made by `python "
        f"tools/study_gates.py run lines.jsonl --seeds {max(seeds.values())}` and `... table lines.jsonl`: edge-lstm "
        f"{edge_lstm.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}, "
        f"{platform.machine()}.",
        "",
    ]
    return "\n".join(lines)


def _input_gate(results: Results, uncoupled: str, coupled: str) -> list[list[str]]:
    rows = []
    pooled: dict[str, list[float]] = {"u": [], "c": [], "d": []}
    for name in SETS:
        for bits in BITS:
            u = _against_soft(results, (name, "lstm", uncoupled, METHODS[0], bits))
            c = _against_soft(results, (name, "lstm_coupled", coupled, METHODS[0], bits))
            d = {who: u[who] - c[who] for who in u}
            rows.append([name, bits, *(interval(list(one.values())) for one in (u, c, d))])
        pooled["u"] += list(_mean_of_bits(results, name, "lstm", uncoupled).values())
        pooled["c"] += list(_mean_of_bits(results, name, "lstm_coupled", coupled).values())
    pooled["d"] = [a - b for a, b in zip(pooled["u"], pooled["c"], strict=True)]
    rows.append(["**all people**", "mean", *(f"**{interval(pooled[kind])}**" for kind in "ucd")])
    return rows


def _against_soft(results: Results, key: Key) -> People:
    return difference(results, key, without(key))


def _mean_of_bits(results: Results, name: str, cell: str, hard: str) -> People:
    return _mean([_against_soft(results, (name, cell, hard, METHODS[0], bits)) for bits in BITS])


def _mean(found: Sequence[People]) -> People:
    """Mean over what is known of each person (not every seed tests everybody)."""
    return {who: float(np.mean([one[who] for one in found if who in one])) for who in sorted(set().union(*found))}


def _choices(results: Results, name: str) -> list[list[str]]:
    rows = []
    for cell, choices in CELLS.items():
        for hard in choices:
            row = [_CELL_NAMES[cell], hard]
            for bits in BITS:
                key = (name, cell, hard, METHODS[0], bits)
                found = results.accuracies(key)
                said = f"{found.mean():.1f} ± {found.std(ddof=1) if len(found) > 1 else 0:.1f}"
                row.append(said if hard == "none" else f"{said}, {interval(list(_against_soft(results, key).values()))}")
            rows.append(row)
    return rows


def _methods(results: Results) -> list[list[str]]:
    rows = []
    for name in SETS:
        for cell, choices in CELLS.items():
            hard = [choice for choice in choices if choice != "none"]
            for bits in BITS:
                found = [_against_straight(results, name, cell, hard, method, bits) for method in METHODS[1:]]
                rows.append([name, _CELL_NAMES[cell], bits, *(interval(list(one.values())) for one in found)])
    return rows


def _against_straight(results: Results, name: str, cell: str, choices: Sequence[str], method: str, bits: str) -> People:
    """A method minus straight-through, mean over choices of hard gates."""
    return _mean([difference(results, (name, cell, one, method, bits), (name, cell, one, METHODS[0], bits)) for one in choices])
