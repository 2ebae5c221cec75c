"""`edge-lstm train`: a network from recordings, for classes or for numbers."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from edge_lstm.cli import options
from edge_lstm.cli import train_report as reporting
from edge_lstm.cli.console import as_json, console, line, progress
from edge_lstm.errors import UsageError


class Features(str, Enum):
    """What the network sees of the sensor."""

    raw = "raw"
    imu = "imu"


class ReadOut(str, Enum):
    """Which steps decide."""

    mean = "mean"
    last = "last"
    every = "every"


class Schedule(str, Enum):
    """How training goes about it."""

    standard = "standard"
    long_lag = "long_lag"


class Method(str, Enum):
    """Ways to hard gates."""

    straight_through = "straight_through"
    slope_annealing = "slope_annealing"
    concrete = "concrete"
    noise = "noise"


def _weights(text: str | None) -> Any:
    """`4` or `gates=ternary,candidates=8` as `Recipe.weight_bits`."""
    if text is None or "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): bits.strip() for name, _, bits in pairs}


def command(
    data: options.Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="The float model; the integer one goes beside it, as model.int.onnx.")],
    cell: Annotated[str | None, typer.Option(help="Cell of the family: lstm, lstm_peephole, gru, janet, ... (default: lstm)")] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Number of hidden units.")] = 32,
    gates: Annotated[
        str, typer.Option(help="hard: thresholds, trained with the integers in the loop; soft: sigmoids; i,o: these hard.")
    ] = "hard",
    read_out: Annotated[
        ReadOut | None, typer.Option(help="Answer by the mean over the window (default), by its last step, or at every step.")
    ] = None,
    layers: Annotated[int, typer.Option(min=1, help="Recurrent layers, one above the other.")] = 1,
    front: Annotated[
        str, typer.Option(metavar="conv16x5/2,max2", help="Convolutions and poolings in front: outputs x steps / stride; trained too.")
    ] = "",
    bidirectional: Annotated[
        bool, typer.Option("--bidirectional", help="Read each window from both ends; such a network does not stream and has no C.")
    ] = False,
    window: Annotated[int | None, typer.Option(min=2, help="Samples of a window (default: 4 s, or 200 where no rate is known).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: half a window).")] = None,
    decimation: Annotated[int, typer.Option(min=1, help="Samples averaged to one step.")] = 1,
    features: Annotated[
        Features, typer.Option(help="raw: counts; imu: gravity, companded body acceleration and turning rate, in integers.")
    ] = Features.raw,
    imu: Annotated[
        list[str] | None,
        typer.Option(metavar="acc=0,1,2", help="Channels of the accelerometer or the gyroscope, once each: gyro=3,4,5, acc=0,1,2:m/s^2."),
    ] = None,
    rotation: Annotated[
        float | None, typer.Option(min=0, help="Turn of the whole sensor in training, sd in radians (default: 0.1 for imu, else 0).")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Samples a second, where the recordings do not say.")] = None,
    folds: Annotated[int, typer.Option(min=0, help="Cross-validation: leave people out in so many parts; 0 for none.")] = 5,
    iterations: Annotated[int | None, typer.Option(min=1, help="Training iterations (default: the recipe's).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and folds.")] = 0,
    sparsity: Annotated[float | None, typer.Option(min=0, help="Weight of open gates in the loss: 0.03 to 0.1 saves work.")] = None,
    work_target: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Instead: share of the products that may be left, such as 0.3; finds the weight.")
    ] = None,
    schedule: Annotated[Schedule, typer.Option(help="long_lag: for an answer that hangs on events long ago.")] = Schedule.standard,
    gate_method: Annotated[Method | None, typer.Option(help="Way to hard gates (default: the schedule's).")] = None,
    weights: Annotated[str | None, typer.Option(help="Bits of the weights: 4, or gates=ternary,candidates=8 (4, ternary, binary).")] = None,
    squash: Annotated[str | None, typer.Option(help="Candidate and output: hard_tanh needs no tables (default: the cell's own).")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File from which an interrupted training goes on; removed when all is written.")
    ] = None,
    target: options.Target = None,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    json: options.Json = False,
) -> None:
    """Train a network on labelled recordings, and say how good it is on people it never saw.

    It learns classes, or with --target numbers; of a window, or with --read-out every of each step. Accuracy (of numbers R², mean squared
    and mean absolute error) is that of cross-validation, split by person; the model that is written learns from all people. With hard
    gates the integer model is written beside it.

    Example: [bold]edge-lstm train recordings.npz -o model.onnx --hidden 32 --gates hard --decimation 4[/bold]

    With an inertial sensor: [bold]edge-lstm train walks.npz -o walk.onnx --features imu --imu acc=0,1,2 --imu gyro=3,4,5[/bold]

    Numbers at every step: [bold]edge-lstm train ride.csv -o speed.onnx --target speed --read-out every --person-column rider[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.files import stem
    from edge_lstm.jobs.folders import ready_files
    from edge_lstm.jobs.front_end import with_rate
    from edge_lstm.jobs.networks import integer_path
    from edge_lstm.jobs.training import Plan, cross_validate, of_fold, prepare, train_on_all

    reading = options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count)
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: a model file ends in .onnx")
    ready_files([output, integer_path(output), checkpoint], [data])
    dataset = with_rate(options.read_data(data, reading, target), rate)
    asked = {
        "sparsity": sparsity, "work_target": work_target, "gate_method": gate_method and gate_method.value,
        "weight_bits": _weights(weights), "squash": squash,
    }  # fmt: skip
    shape = {"layers": layers, "front": front, "bidirectional": bidirectional}
    others = {**shape, **{name: value for name, value in asked.items() if value is not None}}
    plan = Plan(
        cell, hidden, gates, read_out and read_out.value, window, stride, decimation, iterations, seed, features.value, tuple(imu or ()),
        rotation, schedule.value, bool(dataset.targets) and (target is not None or not dataset.classes), others,
    )  # fmt: skip
    prepared = prepare(dataset, plan)
    with progress() as report:
        judged = cross_validate(prepared, plan, folds, progress=report, checkpoint=checkpoint) if folds else None
        made = train_on_all(prepared, plan, progress=report, checkpoint=checkpoint).called(stem(output))
    onnx_io.save_network(made.network, output)
    files = [output]
    if made.integer is not None:
        files.append(integer_path(output))
        onnx_io.save_integer(made.integer, files[-1])
    if checkpoint is not None:
        for done in (checkpoint, *(of_fold(checkpoint, fold) for fold in range(folds))):
            done.unlink(missing_ok=True)
    if json:
        learned = made.history.training
        as_json(
            {
                "files": files, "windows": len(prepared.windows), **reporting.as_values(judged),
                "training": {"loss": learned.loss, "r2" if plan.numbers else "accuracy": learned.accuracy, "cases": learned.cases},
                "plan": vars(plan),
            }
        )  # fmt: skip
        return
    if judged:
        console().print(reporting.people_table(judged, "steps" if prepared.every else "windows"))
    for text in reporting.lines(judged, made, prepared.every, seed):
        line(text)
    for file in files:
        line(f"wrote {file}")
    if made.integer is None:
        given = " ".join(f"--{name.replace('_', '-')} {quote(str(value))}" for name, value in vars(reading).items() if value is not None)
        line(f"make integers of it with: edge-lstm convert {quote(str(output))} -c {quote(str(data))} {given}".rstrip())
