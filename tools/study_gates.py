"""Which gates may be thresholds, coupled and uncoupled, trained how, at how many bits: the whole factorial on three sets.

    python tools/study_gates.py run lines.jsonl        # trains what is not in the file yet, one line a training; may be interrupted
    python tools/study_gates.py table lines.jsonl      # writes docs/results/gates.csv and gates.md

hard      none, i, f, o, io, all for the cell lstm; none, i, o, all (= io) for lstm_coupled, whose f is 1 - i
method    straight_through, slope_annealing, concrete (each ends with hard thresholds for the last 40 %)
bits      8, 4 (all weights), ternary (rows of the gates, the others 8)
Accuracies are those of the integer engine. All cells of the table have integers in the forward pass for the last 40 %, soft gates too.
The learning rate is chosen for each set, cell, method and none/all hard on validation people, with seeds that are not used again (on the
watch set these are people of two folds, whom other folds test).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from study_sets import FOLDS, SETS, accuracy, hits_by_person, split

from edge_lstm import train

CELLS = {"lstm": ("none", "i", "f", "o", "io", "all"), "lstm_coupled": ("none", "i", "o", "all")}
GATES = {"lstm": ("i", "f", "o"), "lstm_coupled": ("i", "o")}
METHODS = ("straight_through", "slope_annealing", "concrete")
BITS: dict[str, dict[str, int | str]] = {"8": {}, "4": {"gates": 4, "candidates": 4, "dense": 4}, "ternary": {"gates": "ternary"}}
RATES = (1e-2, 2e-2)
DECIMATION = {"watch": 8, "hapt": 4, "vowels": 1}
EVERY = {"watch": 1, "hapt": 4, "vowels": 1}
HIDDEN, ITERATIONS, BATCH, HARD_FROM, CHOOSING_SEEDS = 16, 600, 32, 0.6, (1000, 1001)


@dataclass(frozen=True)
class Case:
    """One training. hard: which gates; rate: learning rate, 0 for the chosen one; purpose: "rate" or "study"."""

    purpose: str
    set: str
    cell: str
    hard: str
    method: str
    bits: str
    fold: int
    seed: int
    rate: float

    @property
    def hard_gates(self) -> tuple[str, ...]:
        every = GATES[self.cell]
        return {"none": (), "all": every}.get(self.hard, tuple(self.hard))


def configurations() -> Iterator[tuple[str, str, str, str]]:
    """(cell, hard, method, bits) of every cell of the table; without a hard gate there is only one method."""
    for bits in BITS:
        for cell, choices in CELLS.items():
            for hard in choices:
                for method in METHODS if hard != "none" else METHODS[:1]:
                    yield cell, hard, method, bits


def choosing() -> Iterator[Case]:
    """Trainings that choose the learning rates."""
    for name in SETS:
        for cell in CELLS:
            for hard, method in (("none", METHODS[0]), *(("all", method) for method in METHODS)):
                for rate in RATES:
                    for seed in CHOOSING_SEEDS:
                        yield Case("rate", name, cell, hard, method, "8", seed % FOLDS[name], seed, rate)


def studying(seeds: int) -> Iterator[Case]:
    """All seeds of all configurations, seed by seed, so that an interrupted study is balanced; on the watch set each seed has its fold.

    Straight-through comes first, and 8 bits first of all: they answer the main question.
    """
    for others in (False, True):
        for of_bits in BITS:
            for seed in range(seeds):
                for name in SETS:
                    for cell, hard, method, bits in configurations():
                        if (method != METHODS[0]) == others and bits == of_bits:
                            yield Case("study", name, cell, hard, method, bits, seed % FOLDS[name], seed, 0.0)


def chosen_rate(case: Case, lines: dict[Case, dict[str, object]]) -> float:
    """The rate with the best mean validation accuracy; the smaller one of equals."""
    hard = "none" if case.hard == "none" else "all"

    def judged(rate: float) -> float:
        found = [
            float(line["validation"])  # type: ignore[arg-type]
            for c, line in lines.items()
            if c.purpose == "rate" and (c.set, c.cell, c.hard, c.method, c.rate) == (case.set, case.cell, hard, case.method, rate)
        ]
        return sum(found) / len(found)

    return max(RATES, key=lambda rate: (judged(rate), -rate))


def run_case(case: Case, rate: float) -> dict[str, object]:
    """Trains and judges one case."""
    made = split(case.set, case.fold, DECIMATION[case.set], EVERY[case.set], imu=False)
    gates = {gate: "hard" if gate in case.hard_gates else "soft" for gate in GATES[case.cell]}
    recipe = train.Recipe(
        cell=case.cell, hidden=HIDDEN, gates=gates, gate_method=case.method, relax_until=HARD_FROM, integer_from=HARD_FROM,
        weight_bits=BITS[case.bits], iterations=ITERATIONS, batch=BATCH, learning_rate=rate, noise=made.noise, seed=case.seed,
    )  # fmt: skip
    started = time.process_time()
    learned = made.training
    result = train.fit(recipe, learned.x, learned.y, classes=made.classes, preprocess=made.front, lengths=learned.lengths)
    assert result.integer is not None
    seconds = time.process_time() - started
    validation = accuracy(hits_by_person(result.integer, made.validation))
    found = {**asdict(case), "rate_used": rate, "seconds": round(seconds, 3), "validation": validation}
    if case.purpose == "study":
        found["test"] = hits_by_person(result.integer, made.test)
    return found


def read_lines(path: Path) -> dict[Case, dict[str, object]]:
    """Case -> line of every finished training."""
    fields = Case.__dataclass_fields__
    lines = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    return {Case(**{key: line[key] for key in fields}): line for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=("run", "table"))
    parser.add_argument("lines", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    lines = read_lines(arguments.lines)
    if arguments.job == "table":
        from study_gates_table import write_tables

        write_tables(lines)
        return
    with arguments.lines.open("a") as file:
        for case in (*choosing(), *studying(arguments.seeds)):
            if case not in lines:
                lines[case] = run_case(case, case.rate or chosen_rate(case, lines))
                print(json.dumps(lines[case]), file=file, flush=True)


if __name__ == "__main__":
    main()
