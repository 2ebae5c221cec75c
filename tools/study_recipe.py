"""Whether the default recipe wins: every setting that could be another way, one at a time, on people held out of the training parts.

    python tools/study_recipe.py run lines.jsonl       # trains what is not in the file yet, one line a training; may be interrupted
    python tools/study_recipe.py table lines.jsonl     # writes docs/results/recipe.md

Five folds a set, none with a test person of `study_sets` in it (watch: of the same fold): HAPT, the 21 training people; watch, the two
validation people of each fold; vowels, fifths of each speaker's training utterances. Seeds are those of the folds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from study_figures import BUDGET, joined, work
from study_sets import SETS, Part, Split, front, labels, split

from edge_lstm import data, files, train
from edge_lstm.float_inference import preprocess

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
FOLDS = 5
DEFAULT = "the default recipe"
OPTIONS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "float, soft gates, learning rate 0.01": {"gates": "soft", "learning_rate": 1e-2},
    "work target 0.30": {"work_target": 0.30},
    "sparsity 0.1": {"sparsity": 0.1},
    "learning rate 0.01 (0.02)": {"learning_rate": 1e-2},
    "learning rate 0.03": {"learning_rate": 3e-2},
    "surrogate slope 1 (0.5)": {"slope": 1.0},
    "integers for the last 60 % (40 %)": {"integer_from": 0.4},
    "Bernoulli gates in the first 40 %": {"gate_method": "noise", "relax_until": 0.4},
    "weight decay 0.1 (0.001)": {"weight_decay": 0.1},
    "half the noise on the inputs": {"noise": 0.5},
    "twice the noise on the inputs": {"noise": 2.0},
    "hard tanh (tanh)": {"squash": "hard_tanh"},
    "twice the iterations": {"iterations": 2},
}
FACTORS = ("iterations", "noise")  # options of these are times the set's own value


@dataclass(frozen=True)
class Case:
    """One training."""

    set: str
    option: str
    fold: int


@cache
def fold(name: str, number: int) -> Split:
    """What is learned from and judged on (as the split's validation part)."""
    if name == "watch":
        return split(name, number)
    made = split(name, 0)
    known = joined(made.training, made.validation)
    if name == "hapt":
        learn, judge = data.person_folds(known.person, FOLDS, 0)[number]
        return _again(made, known.take(learn), known.take(judge))
    rank = np.empty(len(known), np.int64)  # of an utterance among those of its speaker, in random order
    order = np.random.default_rng(0).permutation(len(known))
    for label in range(len(made.classes)):
        own = order[known.y[order] == label]
        rank[own] = np.arange(len(own))
    return _again(made, known.take(rank % FOLDS != number), known.take(rank % FOLDS == number))


def _again(made: Split, training: Part, validation: Part) -> Split:
    """The split with other parts, standardized on the new training part."""
    if made.front.features is None:
        return replace(made, training=training, validation=validation, front=front(training, 1, data.japanese_vowels()[0]))
    count = made.front.features.count
    plain = replace(made.front, offset=np.zeros(count), scale=np.ones(count))
    values = preprocess(plain, training.x, training.memory).reshape(-1, count)
    return replace(made, training=training, validation=validation, front=replace(plain, offset=values.mean(0), scale=1 / values.std(0)))


def run_case(case: Case) -> dict[str, Any]:
    """Trains and judges one case."""
    made = fold(case.set, case.fold)
    iterations, batch = BUDGET[case.set]
    changes: dict[str, Any] = {"iterations": iterations, "noise": made.noise}
    for name, value in OPTIONS[case.option].items():
        changes[name] = value * changes[name] if name in FACTORS else value
    recipe = train.Recipe(batch=batch, seed=case.fold, vectors=made.vectors, rotation=made.rotation, **changes)
    part = made.training
    result = train.fit(recipe, part.x, part.y, classes=made.classes, preprocess=made.front, lengths=part.lengths, memory=part.memory)
    network = result.integer if result.integer is not None else result.network
    found = {**asdict(case), "accuracy": float((labels(network, made.validation) == made.validation.y).mean())}
    if result.integer is not None:
        found["work"] = work(result.integer, made.validation)
    return found


def read_lines(path: Path) -> dict[Case, dict[str, Any]]:
    """Case -> line of every finished training."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return {Case(line["set"], line["option"], line["fold"]): line for line in lines}


def as_markdown(lines: dict[Case, dict[str, Any]]) -> str:
    """The table: for each option and set accuracy, difference to the default, work."""
    rows = []
    for option in OPTIONS:
        cells = []
        for name in SETS:
            found = [lines.get(Case(name, option, k)) for k in range(FOLDS)]
            base = [lines.get(Case(name, DEFAULT, k)) for k in range(FOLDS)]
            if any(one is None for one in (*found, *base)):
                cells += ["", "", ""]
                continue
            values, reference = (np.array([100 * one["accuracy"] for one in part if one]) for part in (found, base))
            paired = values - reference
            error = paired.std(ddof=1) / np.sqrt(FOLDS)
            shares = [one["work"] for one in found if one and "work" in one]
            cells += [f"{values.mean():.2f}", "" if option == DEFAULT else f"{paired.mean():+.2f} ± {error:.2f}",
                      f"{np.mean(shares):.2f}" if shares else ""]  # fmt: skip
        if any(cells):
            rows.append(f"| {option} | {' | '.join(cells)} |")
    return "\n".join([
        "# Does the default recipe win?", "",
        f"One setting changed at a time, LSTM with 32 units, {FOLDS} folds of each set's training part, one seed a fold: accuracy in % on "
        "people (vowels: utterances) not learned from, integer engine (float: float engine); difference to the default, paired by fold, ± "
        "standard error; share of the multiply-accumulates left. No test person of [figures.md](figures.md) is in it, but for the watch, "
        "whose ten people are tested in one fold and may validate in another.", "",
        f"| | {' | '.join(f'{name} | difference | work' for name in SETS)} |", "|---|" + "---|---|---|" * len(SETS), *rows, "",
        f"{len(rows)} settings, {len(SETS)} sets, {FOLDS} pairs each: single differences of about two standard errors are to be expected "
        "by chance. The question is whether a setting is better on all sets. "
        "Made by `python tools/study_recipe.py run lines.jsonl`, then `... table lines.jsonl`.",
    ]) + "\n"  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=("run", "table"))
    parser.add_argument("lines", type=Path)
    arguments = parser.parse_args()
    lines = read_lines(arguments.lines)
    if arguments.job == "table":
        files.write_text(RESULTS / "recipe.md", as_markdown(lines))
        return
    with arguments.lines.open("a", encoding="utf-8") as file:
        for case in (Case(name, option, k) for option in OPTIONS for name in SETS for k in range(FOLDS)):
            if case not in lines:
                lines[case] = run_case(case)
                print(json.dumps(lines[case]), file=file, flush=True)


if __name__ == "__main__":
    main()
