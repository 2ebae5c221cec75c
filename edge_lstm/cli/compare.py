"""`edge-lstm compare`: accuracy, latency and memory side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, progress, table


def command(
    models: Annotated[list[Path], typer.Argument(help="Model files, float or integer.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", "-d", help="Recordings: .npz, .csv, .parquet, a folder, or the word `watch`.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML report.")] = Path("compare.html"),
    window: Annotated[int | None, typer.Option(min=1, help="Samples of a window (default: as the models say).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: one window).")] = None,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    classes: options.Classes = None,
    ignore_rate: options.IgnoreRate = False,
    json: options.Json = False,
) -> None:
    """Compare models on the same recordings: accuracy, confusion, latency, memory, gates, bounds; as an HTML report.

    Example: [bold]edge-lstm compare model.onnx model.int.onnx --data edge-lstm-demo/unseen.npz -o compare.html[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.jobs.comparison import compare, lines, summary
    from edge_lstm.jobs.folders import ready_files
    from edge_lstm.jobs.networks import distinct_names, named
    from edge_lstm.report import page

    ready_files([output], [*models, data])
    loaded = [named(onnx_io.load(path), options.names(classes)) for path in models]
    networks = dict(zip(distinct_names(models), loaded, strict=True))
    dataset = options.read_data(data, options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count))
    with progress() as report:
        compared = compare(networks, dataset, window=window, stride=stride, ignore_rate=ignore_rate, progress=report)
    page.write(compared, output)
    if json:
        as_json({**summary(compared), "report": output})
        return
    rows = table("model", "accuracy", "one step", "one window", "bytes", numbers=4)
    for row in lines(compared):
        rows.add_row(*row)
    console().print(rows)
    line(compared.lead)
    line(f"wrote {output}")
