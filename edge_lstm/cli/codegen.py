"""`edge-lstm codegen`: the C header."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, line
from edge_lstm.errors import UsageError

if TYPE_CHECKING:
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from firmware_gen.activity import LayerActivity

WINDOWS = 64  # of the recordings: enough to see how often gates open


def measured(network: IntegerNetwork, recordings: Path, ignore_rate: bool = False) -> tuple[LayerActivity, ...]:
    """The activity of the layers on windows spread over all recordings."""
    import numpy as np

    from edge_lstm.jobs import inputs
    from firmware_gen import activity

    dataset = inputs.fitting(network, options.read_data(recordings), ignore_rate=ignore_rate)
    windows = inputs.cut(network, dataset).x
    chosen = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).round().astype(int))
    return activity.measure(network, inputs.counts(network, dataset, windows[chosen]))


def command(
    model: options.IntegerModel,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the header; made if it is missing.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the header and of everything in it (default: the model's).")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Write a C program, too, that runs test vectors and compares every bit.")
    ] = False,
    vectors: Annotated[int, typer.Option(min=1, help="Number of test vectors of the self-test: half random, half extremes.")] = 8,
    package: Annotated[
        str | None,
        typer.Option(help="Write the folder as a package: arduino, platformio, zephyr, cmake or cmsis-pack.", show_default=False),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Page of your project, for the description of a package.", show_default=False)] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How rows are summed: rows, dense, event or delta, the last two also as event-packed and so on, with weights of few bits "
            "in common words, event-tables, with tables of x for binary ones, or event-bytes, without (default: chosen for each layer).",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Core to choose the strategy for, such as cortex-m4 (default: all alike).", show_default=False),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option("--data", help="Recordings whose activity decides the strategy: .npz, a folder, or `watch`.", show_default=False),
    ] = None,
    ignore_rate: options.IgnoreRate = False,
    json: options.Json = False,
) -> None:
    """Write an integer model as one C header, for C99 and C++: no float, no division, no heap, no other file needed.

    Strategies and targets change how fast it runs where, never a bit of what it computes. With --package the folder is what the tools of
    that ecosystem take, with an example.

    Example: [bold]edge-lstm codegen model.int.onnx -o firmware/ --name watch --self-test[/bold]
    """
    import firmware_gen
    from edge_lstm.jobs.folders import ready_folder
    from edge_lstm.jobs.memory import memory
    from edge_lstm.jobs.networks import load_integer
    from edge_lstm.jobs.verification import random_counts, sequence_steps
    from firmware_gen import packaging

    if package is not None and self_test:
        raise UsageError("--self-test goes with a plain header, not with --package; write the header once more without a package")
    if url is not None and package is None:
        raise UsageError("--url goes with --package: a plain header names no page")
    ready_folder(output, make=False)
    network = load_integer(model)
    counts = random_counts(network, vectors, sequence_steps(network), seed=0) if self_test else None
    activity = None if recordings is None else measured(network, recordings, ignore_rate)
    if package is None:
        paths = firmware_gen.write(network, output, self_test=counts, prefix=name, strategy=strategy, target=target, activity=activity)
    else:
        paths = packaging.write(network, output, package, prefix=name, strategy=strategy, target=target, activity=activity, url=url)
    takes = memory(network, strategy=strategy, target=target, activity=activity)
    if json:
        as_json({"files": paths, "bytes": dict(takes.parts), "how": takes.how})
        return
    for path in paths:
        line(f"wrote {path}")
    if package == "arduino" and url is None:
        line("arduino-lint and the Library Manager ask a library for the page of its project: --url names it")
    line("; ".join(f"{what}: {size:,} bytes" for what, size in takes.parts))
    line(takes.how)
