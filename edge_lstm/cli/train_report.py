"""What `edge-lstm train` says of a training: accuracy or errors on people that the network never saw, and on what it learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge_lstm.cli.console import table

if TYPE_CHECKING:
    from rich.table import Table

    from edge_lstm.jobs.training import Judged
    from edge_lstm.report.metrics import Accuracy, Errors
    from edge_lstm.train import Result


def as_values(judged: Judged | None) -> dict[str, Any]:
    """Accuracy, or errors, of all and by person, for JSON."""
    if judged is None:
        return {"accuracy": {}, "by_person": {}}
    if judged.errors:
        return {
            "errors": {
                name: {"r2": found.r2, "mse": found.squared, "mae": found.absolute, "cases": found.total}
                for name, found in judged.errors.items()
            },
            "by_person": {
                name: {
                    person: {"r2": found.r2[k], "mse": found.squared[k], "mae": found.absolute[k]} for k, person in enumerate(judged.people)
                }
                for name, found in judged.errors_by_person.items()
            },
        }
    return {
        "accuracy": {
            name: {"mean": found.mean, "sd": found.sd, "cases": found.total, "parts": found.parts}
            for name, found in judged.accuracies.items()
        },
        "by_person": {name: dict(zip(judged.people, found.parts, strict=True)) for name, found in judged.by_person.items()},
    }


def people_table(judged: Judged, cases: str) -> Table:
    """A row a person: accuracy, or R² and mean absolute error, of each network."""
    cells = {name: [f"{100 * part:.1f} %" for part in found.parts] for name, found in judged.by_person.items()}
    for name, found in judged.errors_by_person.items():
        cells[name] = [f"R² {r2:.3f}, off by {off:.3g}" for r2, off in zip(found.r2, found.absolute, strict=True)]
    first = next(iter(judged.by_person.values()), None) or next(iter(judged.errors_by_person.values()))
    rows = table("person", cases, *cells, numbers=1 + len(cells))
    for index, person in enumerate(judged.people):
        rows.add_row(person, f"{first.cases[index]:,}", *(column[index] for column in cells.values()))
    return rows


def lines(judged: Judged | None, made: Result, every: bool, seed: int) -> Iterator[str]:
    """Of each network, on people it never saw; then of the network that is written, on what it learned from."""
    cases = "steps" if every else "windows"
    everything: dict[str, Accuracy | Errors] = {} if judged is None else {**judged.accuracies, **judged.errors}
    for name, found in everything.items():
        folds = len(found.cases)
        yield f"{name}: {found} on people it never saw (mean ± sd over {folds} folds, {found.total:,} {cases}, seed {seed})"
    learned = made.history.training
    how = f"{100 * learned.accuracy:.1f} %"
    if not made.network.classes:
        how = f"R² {learned.accuracy:.4g}, mean squared error {learned.loss:.4g}"
    which = "integers" if made.integer is not None else "float"
    yield f"{which}, trained on all: {how} on the {learned.cases:,} {cases} that it learned from"
