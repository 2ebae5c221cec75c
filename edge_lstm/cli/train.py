"""`edge-lstm train`: a classifier from recordings."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, progress, table
from edge_lstm.errors import UsageError


class Gates(str, Enum):
    """How gates open."""

    hard = "hard"
    soft = "soft"


class ReadOut(str, Enum):
    """Which steps decide."""

    mean = "mean"
    last = "last"


def command(
    data: options.Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The float model; the integer one goes beside it, as model.int.onnx.")],
    cell: Annotated[str, typer.Option(help="Cell of the family: lstm, lstm_peephole, gru, janet, ...")] = "lstm",
    hidden: Annotated[int, typer.Option(min=1, help="Number of hidden units.")] = 32,
    gates: Annotated[Gates, typer.Option(help="hard: thresholds, trained with the integers in the loop; soft: sigmoids.")] = Gates.hard,
    read_out: Annotated[ReadOut, typer.Option(help="Decide on the mean over the window, or on its last step.")] = ReadOut.mean,
    window: Annotated[int | None, typer.Option(min=2, help="Samples of a window (default: 4 s, or 200 where no rate is known).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: half a window).")] = None,
    decimation: Annotated[int, typer.Option(min=1, help="Samples averaged to one step.")] = 1,
    folds: Annotated[int, typer.Option(min=0, help="Cross-validation: leave people out in so many parts; 0 for none.")] = 5,
    iterations: Annotated[int | None, typer.Option(min=1, help="Training iterations (default: the recipe's).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and folds.")] = 0,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    json: options.Json = False,
) -> None:
    """Train a classifier on labelled recordings, and say how good it is on people it never saw.

    Accuracy is that of cross-validation, split by person; the model that is written learns from all people. With hard gates
    the integer model is written beside it.

    Example: [bold]edge-lstm train recordings.npz -o model.onnx --hidden 32 --gates hard --decimation 4[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.jobs.folders import ready_folder
    from edge_lstm.jobs.networks import integer_path
    from edge_lstm.jobs.training import Plan, cross_validate, prepare, train_on_all

    dataset = options.read_data(data, label_column, labels, person_column, recording_column, channels, units_per_count)
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: a model file ends in .onnx")
    ready_folder(output.parent, make=False)
    plan = Plan(cell, hidden, gates.value, read_out.value, window, stride, decimation, iterations, seed)
    prepared = prepare(dataset, plan)
    with progress() as report:
        judged = cross_validate(prepared, plan, folds, progress=report) if folds else None
        made = train_on_all(prepared, plan, progress=report)
    onnx_io.save_network(made.network, output)
    files = [output]
    if made.integer is not None:
        files.append(integer_path(output))
        onnx_io.save_integer(made.integer, files[-1])
    if json:
        accuracy = {}
        if judged:
            accuracy = {
                name: {"mean": found.mean, "sd": found.sd, "cases": found.total, "parts": found.parts}
                for name, found in judged.accuracies.items()
            }
        people = {name: dict(zip(judged.people, found.parts, strict=True)) for name, found in judged.by_person.items()} if judged else {}
        as_json({"files": files, "windows": len(prepared.windows), "accuracy": accuracy, "by_person": people, "plan": vars(plan)})
        return
    if judged:
        names = list(judged.by_person)
        rows = table("person", "windows", *names, numbers=1 + len(names))
        for index, person in enumerate(judged.people):
            first = judged.by_person[names[0]]
            rows.add_row(person, f"{first.cases[index]:,}", *(f"{100 * judged.by_person[name].parts[index]:.1f} %" for name in names))
        console().print(rows)
        for name, found in judged.accuracies.items():
            line(f"{name}: {found} on people it never saw (mean ± sd over {len(found.parts)} folds, {found.total:,} windows, seed {seed})")
    for file in files:
        line(f"wrote {file}")
    if gates is Gates.soft:
        line(f"make integers of it with: edge-lstm convert {output} -c {data}")
