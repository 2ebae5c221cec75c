"""`edge-lstm codegen`: the C header."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, line


def command(
    model: options.IntegerModel,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the header; made if it is missing.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the header and of everything in it (default: the model's).")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Write a C program, too, that runs test vectors and compares every bit.")
    ] = False,
    vectors: Annotated[int, typer.Option(min=1, help="Number of test vectors of the self-test: half random, half extremes.")] = 8,
    json: options.Json = False,
) -> None:
    """Write an integer model as one C header, for C99 and C++: no float, no division, no heap, no other file needed.

    Example: [bold]edge-lstm codegen model.int.onnx -o firmware/ --name watch --self-test[/bold]
    """
    import firmware_gen
    from edge_lstm.jobs.memory import memory
    from edge_lstm.jobs.networks import load_integer
    from edge_lstm.jobs.verification import STEPS_WITHOUT_WINDOW, random_counts

    network = load_integer(model)
    counts = random_counts(network, vectors, network.read_out.window or STEPS_WITHOUT_WINDOW, seed=0) if self_test else None
    paths = firmware_gen.write(network, output, self_test=counts, prefix=name)
    takes = memory(network)
    if json:
        as_json({"files": paths, "bytes": dict(takes.parts), "how": takes.how})
        return
    for path in paths:
        line(f"wrote {path}")
    line("; ".join(f"{what}: {size:,} bytes" for what, size in takes.parts))
    line(takes.how)
