"""`edge-lstm inspect`: what a model is, and what its gates do over time, as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, table

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.network import Network
    from edge_lstm.report.activity import GateCourse

_SHADES = " ·░▒▓█"  # how many units of a gate are open: none ... all


def command(
    model: options.Model,
    data: Annotated[
        Path | None,
        typer.Argument(help="Recordings to follow the gates over: .npz, .csv, .parquet, a folder, or `watch`.", show_default=False),
    ] = None,
    recording: Annotated[str | None, typer.Option(help="Name of the recording to draw (default: the first).")] = None,
    start: options.Start = "",
    end: options.End = "",
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    json: options.Json = False,
) -> None:
    """Describe a model: layers, equations, number formats, proved bounds; with recordings, what its gates do over time.

    Of a model that cannot be read all reasons are listed, and what to change.

    Example: [bold]edge-lstm inspect edge-lstm-demo/model.int.onnx watch --recording 01-PEN-left[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.errors import EdgeLstmError, UsageError
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.jobs.description import describe
    from edge_lstm.onnx_io.read_refusals import UnsupportedModel

    try:
        network = onnx_io.load(model, start=start, end=end)
    except UnsupportedModel as error:
        _list(error.reasons, json)
        raise EdgeLstmError(f"{model} cannot be read ({len(error.reasons)} reason{'s' if len(error.reasons) > 1 else ''})") from error
    facts = describe(network)
    courses: list[GateCourse] = []
    if data is not None:
        if not isinstance(network, IntegerNetwork):
            raise UsageError(f"{model} is a float model; gates are followed in integer models: make one with edge-lstm convert")
        dataset = options.read_data(data, label_column, labels, person_column, recording_column, channels, units_per_count)
        recording, courses = _follow(network, dataset, recording)
    if json:
        from edge_lstm.report.activity import activity

        layers = [vars(activity(layer)) for layer in courses]
        as_json({**facts, "recording": recording, "activity": layers} if courses else facts)
        return
    _show(network, facts)
    for index, layer in enumerate(courses):
        _draw(index, layer, str(recording))


def _follow(network: IntegerNetwork, dataset: Dataset, name: str | None) -> tuple[str, list[GateCourse]]:
    from edge_lstm.errors import UsageError
    from edge_lstm.jobs import inputs
    from edge_lstm.report.activity import course

    fitted = inputs.fitting(network, dataset)
    chosen = next((r for r in fitted.recordings if name is None or r.name == name), None)
    if chosen is None:
        raise UsageError(f"no recording is called {name}; the first are {', '.join(r.name for r in fitted.recordings[:5])}")
    return chosen.name, course(network, inputs.counts(network, fitted, chosen.samples[None]))


def _list(reasons: tuple[str, ...], json: bool) -> None:
    if json:
        as_json({"reasons": reasons})
        return
    line("not supported:")
    for reason in reasons:
        line(f"  - {reason}")


def _show(network: Network | IntegerNetwork, facts: dict[str, object]) -> None:
    for what in ("name", "numbers", "inputs", "outputs", "classes", "window_steps", "decimation", "parameters", "file_metadata"):
        if facts.get(what):
            line(f"{what.replace('_', ' ')}: {facts[what]}")
    for index, layer in enumerate(facts["layers"], 1):  # type: ignore[arg-type, var-annotated]
        line(f"\nlayer {index}: {layer['what']}")
        for text in layer.get("lines", ()):
            line(f"    {text}")
        if layer.get("bounds"):
            rows = table("    proved for any input", "lowest", "highest", "bits of 32", numbers=3)
            for bound in layer["bounds"]:
                rows.add_row(f"    {bound['what']}", f"{bound['low']:,}", f"{bound['high']:,}", str(bound["bits"]))
            console().print(rows)


def _draw(index: int, layer: GateCourse, recording: str) -> None:
    """One line a gate: each character is a few steps, the darker the more units are open."""
    from edge_lstm.report.activity import activity

    found = activity(layer)
    line(f"\ngates of recurrent layer {index + 1} over the {found.steps} steps of {recording} (from no unit open to all: '{_SHADES}')")
    for gate, opening in layer.gates.items():
        units = opening[0].mean(axis=1)
        width = max(1, -(-len(units) // 96))
        parts = [float(units[k : k + width].mean()) for k in range(0, len(units), width)]
        drawn = "".join(_SHADES[round(part * (len(_SHADES) - 1))] for part in parts)
        what = "open" if gate in layer.hard else "mean opening"
        line(f"  {gate} |{drawn}| {100 * found.open[gate]:.1f} % {what}")
    line(f"  output is 0: {100 * found.zero:.1f} %; as in the step before: {100 * found.unchanged:.1f} %")
