"""`edge-lstm convert`: a float network to integers."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, line, note, progress


class Form(str, Enum):
    """What the ONNX file of the integer model is fed."""

    sequences = "sequences"
    lengths = "lengths"
    stream = "stream"


class Gates(str, Enum):
    """What becomes of the gates."""

    keep = "keep"
    hard = "hard"
    soft = "soft"


class Freeze(str, Enum):
    """Layers that fine-tuning leaves alone."""

    front = "front"
    nothing = "nothing"


def command(
    model: Annotated[Path, typer.Argument(help="A float model: .onnx (PyTorch, tf2onnx, `train`) or .keras.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The integer model (default: model.int.onnx beside model.onnx).")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", "-c", help="Recordings to choose number formats from: .npz, .csv, .parquet, a folder, or `watch`."),
    ] = None,
    gates: Annotated[Gates, typer.Option(help="keep: as the network was trained; hard: thresholds; soft: by tables.")] = Gates.keep,
    finetune: Annotated[
        bool,
        typer.Option(
            "--finetune",
            help="Train on with the integers in the loop, on the labels of the recordings or, without any, on the float network's outputs.",
        ),
    ] = False,
    tries: Annotated[
        int, typer.Option(min=1, help="With --finetune: the best of so many seeds, judged on people (or windows) held out.")
    ] = 1,
    prune: Annotated[bool, typer.Option("--prune", help="Take out gates that never change and units that never give anything.")] = False,
    freeze: Annotated[
        Freeze, typer.Option(help="With --finetune: whether layers in front of the recurrent ones stay as they are.")
    ] = Freeze.front,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="With --finetune: file beside which trainings are kept, to go on from if interrupted; removed at the end."),
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Accept the loss of gates that the network was not trained for.")] = False,
    window: Annotated[int | None, typer.Option(min=1, help="Samples of a window (default: as the model says).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: half a window).")] = None,
    separate_rows: Annotated[
        bool,
        typer.Option("--separate-rows", help="Scales of their own for the weights of input and states: for networks trained elsewhere."),
    ] = False,
    input_bits: Annotated[
        int, typer.Option(help="8, or 16 for inputs that span many powers of ten (spectra, powers): twice the work for the input.")
    ] = 8,
    cell_bits: Annotated[int, typer.Option(help="16, or 32 for cells that count, whose states grow far beyond 16.")] = 16,
    form: Annotated[
        Form,
        typer.Option(help="What the ONNX file is fed: whole sequences; also their `lengths`; or a `stream`, states as inputs and outputs."),
    ] = Form.sequences,
    seed: Annotated[int, typer.Option(min=0, help="Seed of fine-tuning.")] = 0,
    target: options.Target = None,
    start: options.Start = "",
    end: options.End = "",
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
    """Turn a float network into integers: formats by calibration, proved not to overflow, written as an ONNX model.

    Gates that a network was not trained for cost accuracy: they need --finetune, or your word that you accept it (--untrained).

    Example: [bold]edge-lstm convert model.onnx -c recordings.npz --gates hard --finetune[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.jobs.conversion import convert, describe
    from edge_lstm.jobs.folders import ready_files
    from edge_lstm.jobs.networks import integer_path, load_float, named

    written = output or integer_path(model)
    ready_files([written, checkpoint], [model, calibration])
    network = named(load_float(model, start=start, end=end), options.names(classes))
    dataset = None
    if calibration is not None:
        reading = options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count)
        dataset = options.read_data(calibration, reading, target)
    with progress() as report:
        made = convert(
            network,
            dataset,
            gates=gates.value,
            finetune=finetune,
            untrained=untrained,
            window=window,
            stride=stride,
            seed=seed,
            separate_rows=separate_rows,
            input_bits=input_bits,
            cell_bits=cell_bits,
            tries=tries,
            prune=prune,
            checkpoint=checkpoint,
            freeze=freeze is Freeze.front,
            ignore_rate=ignore_rate,
            progress=report,
        )
    onnx_io.save_integer(made.integer, written, form=form.value)
    if checkpoint is not None:
        from edge_lstm.jobs.hardening import remove_checkpoints

        remove_checkpoints(checkpoint, tries, seed)
    if json:
        accuracies = {name: found.mean for name, found in made.accuracies.items()}
        wrong = {name: {"r2": found.r2[0], "mse": found.squared[0], "mae": found.absolute[0]} for name, found in made.errors.items()}
        measured = {"accuracy_on_calibration": accuracies, **({"errors_on_calibration": wrong} if wrong else {})}
        as_json({"file": written, "model": describe(made.integer), **measured, "remarks": made.remarks})
        return
    for remark in made.remarks:
        note(f"note: {remark}")
    for name, found in made.accuracies.items():
        line(f"{name}: {found} of {found.total:,} calibration windows right")
    for name, off in made.errors.items():
        line(f"{name}: {off} on {off.total:,} calibration {'steps' if made.integer.read_out.kind == 'every' else 'windows'}")
    line(f"wrote {written}: {describe(made.integer)}")
