"""`edge-lstm inspect`: what a model is, and what its gates do over time, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, showable, table

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.engine.gate_activity import GateCourse
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.jobs.inputs import AnyNetwork
    from edge_lstm.network import Network

_PICTURE = "Picture"
_SHADES, _PLAIN_SHADES = " ·░▒▓█", " .:+#@"  # how many units of a gate are open: none ... all


def command(
    model: options.Model,
    data: Annotated[
        Path | None,
        typer.Argument(help="Recordings to follow the gates over: .npz, .csv, .parquet, a folder, or `watch`.", show_default=False),
    ] = None,
    recording: Annotated[str | None, typer.Option(help="Name of the recording to draw (default: the first).")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw signal, gates, memory and decision of the recording: a .png, .svg, .pdf or .html file.", rich_help_panel=_PICTURE
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="FROM:TO", help="Seconds of the recording to draw (steps, where no rate is known).", rich_help_panel=_PICTURE),
    ] = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Never reset the model (default: after each decision).", rich_help_panel=_PICTURE)
    ] = False,
    layer: Annotated[int, typer.Option(min=1, help="Which recurrent layer to draw.", rich_help_panel=_PICTURE)] = 1,
    start: options.Start = "",
    end: options.End = "",
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    ignore_rate: options.IgnoreRate = False,
    json: options.Json = False,
) -> None:
    """Describe a model: layers, equations, number formats, proved bounds; with recordings, what its gates do over time.

    Of a model that cannot be read all reasons are listed, and what to change.

    Example: [bold]edge-lstm inspect edge-lstm-demo/model.int.onnx watch --recording 01-PEN-left --picture gates.png[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.errors import EdgeLstmError, UsageError
    from edge_lstm.jobs.description import describe
    from edge_lstm.jobs.folders import ready_files
    from edge_lstm.onnx_io.read_refusals import UnsupportedModel
    from edge_lstm.report.memory_picture import require_suffix

    ready_files([picture], [model, data])
    try:
        network = onnx_io.load(model, start=start, end=end)
    except UnsupportedModel as error:
        _list(error.reasons, json)
        raise EdgeLstmError(f"{model} cannot be read ({len(error.reasons)} reason{'s' if len(error.reasons) > 1 else ''})") from error
    facts = describe(network)
    courses: list[GateCourse] = []
    if data is None and (picture or recording or part or continuous):
        raise UsageError("name the recordings to follow the model over, or `watch` for the bundled ones")
    if picture is not None:
        require_suffix(picture)
    if data is not None:
        dataset = options.read_data(data, options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count))
        if picture is not None:
            held = _draw_picture(network, dataset, recording, picture, part, continuous, layer, ignore_rate)
            facts = {**facts, "picture": str(picture), "memory": held}
        elif part or continuous or layer != 1:
            raise UsageError("--part, --continuous and --layer are for a --picture")
        recording, courses = _follow(network, dataset, recording, ignore_rate)
    if json:
        from edge_lstm.engine.gate_activity import activity

        layers = [vars(activity(one)) for one in courses]
        as_json({**facts, "recording": recording, "activity": layers} if courses else facts)
        return
    _show(network, facts)
    for index, course in enumerate(courses):
        _draw(index, course, str(recording))
    if picture is not None:
        still, longest = held["units_still_percent"], held["longest_hold_steps"]
        line(f"\n{still:.1f} % of the units stand still in a step; the longest hold is {longest} steps")
        line(f"picture: {picture}")


def _follow(network: AnyNetwork, dataset: Dataset, name: str | None, ignore_rate: bool) -> tuple[str, list[GateCourse]]:
    from edge_lstm.jobs import inputs
    from edge_lstm.jobs.following import chosen_recording, courses

    fitted = inputs.fitting(network, dataset, ignore_rate=ignore_rate)
    chosen = chosen_recording(fitted, name)
    return chosen.name, courses(network, inputs.model_input(network, fitted, chosen.samples[None]))[0]


def _draw_picture(
    network: AnyNetwork, dataset: Dataset, name: str | None, picture: Path, part: str | None, continuous: bool, layer: int,
    ignore_rate: bool,
) -> dict[str, float]:  # fmt: skip
    """Writes the picture; returns what it shows in numbers."""
    from edge_lstm.errors import UsageError
    from edge_lstm.jobs.following import follow
    from edge_lstm.report import memory_picture

    if layer > len(network.recurrent):
        raise UsageError(f"there is no recurrent layer {layer}; the model has {len(network.recurrent)}")
    followed = follow(network, dataset, name, _edges(part), continuous=continuous, ignore_rate=ignore_rate)
    memory_picture.write(followed, picture, layer - 1)
    held = followed.layers[layer - 1]
    return {
        "units_still_percent": 100 * float(1 - held.moved.mean()),
        "steps_without_a_change_percent": 100 * float(held.still.mean()),
        "longest_hold_steps": int(held.longest.max()),
    }


def _edges(part: str | None) -> tuple[float, float] | None:
    from edge_lstm.errors import UsageError

    if part is None:
        return None
    try:
        first, last = (float(edge) for edge in part.split(":"))
    except ValueError:
        first, last = 1.0, 0.0
    if not 0 <= first < last < float("inf"):
        raise UsageError(f"--part {part}: expected FROM:TO, two numbers, the second one larger")
    return first, last


def _list(reasons: tuple[str, ...], json: bool) -> None:
    if json:
        as_json({"reasons": reasons})
        return
    line("not supported:")
    for reason in reasons:
        line(f"  - {reason}")


def _show(network: Network | IntegerNetwork, facts: dict[str, object]) -> None:
    said = "name", "numbers", "inputs", "outputs", "classes", "window_steps", "decimation", "parameters", "size", "file_metadata", "kernel"
    for what in said:
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
    from edge_lstm.engine.gate_activity import activity

    found, shades = activity(layer), _SHADES if showable(_SHADES) else _PLAIN_SHADES
    line(f"\ngates of recurrent layer {index + 1} over the {found.steps} steps of {recording} (from no unit open to all: '{shades}')")
    for gate, opening in layer.gates.items():
        units = opening[0].mean(axis=1)
        width = max(1, -(-len(units) // 96))
        parts = [float(units[k : k + width].mean()) for k in range(0, len(units), width)]
        drawn = "".join(shades[round(part * (len(shades) - 1))] for part in parts)
        what = "open" if gate in layer.hard else "mean opening"
        line(f"  {gate} |{drawn}| {100 * found.open[gate]:.1f} % {what}")
    line(f"  output is 0: {100 * found.zero:.1f} %; as in the step before: {100 * found.unchanged:.1f} %")
    if found.products_left is not None:
        line(f"  products that zeros and closed gates leave over: {100 * found.products_left:.1f} %")
