"""`edge-lstm demo`: the whole job, once, on the bundled smart-watch recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, line, note, progress


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for models, header and report; made if it is missing.")] = Path(
        "edge-lstm-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split by person and of training.")] = 0,
    json: options.Json = False,
) -> None:
    """Do the whole job on the bundled smart-watch recordings: train, convert to integers, check every engine, write C and a report.

    Trains soft and hard gates on 5 folds of people (about two minutes on two cores).

    Example: [bold]edge-lstm demo --output /tmp/demo[/bold]
    """
    from edge_lstm.jobs.demo import demo

    with progress() as report:
        done = demo(output, seed=seed, progress=report, say=note)
    if json:
        as_json(done.summary)
        return
    for text in done.lines:
        line(text)
    line()
    line(f"The report:  {done.report.resolve()}")
    for path, what in done.files:
        line(f"  {path}  {what}")
    line()
    line("Next, for example:")
    for example in done.examples:
        line(f"  {example}")
