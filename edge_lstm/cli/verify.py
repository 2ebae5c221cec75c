"""`edge-lstm verify`: every engine against every other, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, progress, table
from edge_lstm.errors import EdgeLstmError


def command(
    model: options.IntegerModel,
    data: Annotated[
        Path | None,
        typer.Argument(help="Recordings to run as well: .npz, .csv, .parquet, a folder, or the word `watch`.", show_default=False),
    ] = None,
    sequences: Annotated[int, typer.Option(min=2, help="Number of random sequences; half of them are extremes.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random sequences.")] = 0,
    compilers: Annotated[bool, typer.Option("--c/--no-c", help="Compile and run the generated C, if a compiler is found.")] = True,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    ignore_rate: options.IgnoreRate = False,
    json: options.Json = False,
) -> None:
    """Check that all engines give the same bits: NumPy reference, Numba, ONNX Runtime, and C where a compiler is found.

    Compares all scores and every state after every step. Exit status 1 if a single bit differs.

    Example: [bold]edge-lstm verify edge-lstm-demo/model.int.onnx watch[/bold]
    """
    from edge_lstm.jobs import inputs
    from edge_lstm.jobs.networks import load_integer
    from edge_lstm.jobs.verification import verify

    network = load_integer(model)
    recorded = None
    if data is not None:
        dataset = options.read_data(data, options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count))
        dataset = inputs.fitting(network, dataset, ignore_rate=ignore_rate)
        recorded = inputs.counts(network, dataset, inputs.cut(network, dataset).x)
    with progress() as report:
        checks = verify(network, recorded, sequences=sequences, seed=seed, compilers=compilers, progress=report)
    if json:
        engines = {check.engine: {"values": check.values, "differing": check.differing} for check in checks.checks}
        as_json({"same": checks.differing == 0, "engines": engines, "not_run": checks.missing, "how": checks.how})
    else:
        rows = table("engine", "values compared", "differing", numbers=2)
        for check in checks.checks:
            rows.add_row(check.engine, f"{check.values:,}", f"[red]{check.differing:,}[/red]" if check.differing else "[green]0[/green]")
        console().print(rows)
        for missing in checks.missing:
            line(f"Not run: {missing}")
        line(checks.how)
    if checks.differing:
        raise EdgeLstmError(
            f"{checks.differing:,} of {checks.values:,} values differ from the NumPy reference: this is a bug, please report it"
        )
