"""`edge-lstm run`: labels for recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, line, long_table, progress
from edge_lstm.errors import UsageError

if TYPE_CHECKING:
    from edge_lstm.data import Source
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.jobs.inputs import AnyNetwork


def command(
    model: options.Model,
    data: options.Data,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write one line a window to this .csv or .jsonl file, for recordings of any size.")
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Write the score of every class, too.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Feed sample by sample; one line per step, and the label when a decision is due.")
    ] = False,
    window: Annotated[int | None, typer.Option(min=1, help="Samples of a window (default: as the model says).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: one window).")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads at most (default: one for each processor).")] = None,
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
    """Label recordings with a float or an integer model, window by window, or as a stream as the device would.

    Recordings are read piece by piece, so that a file may be larger than the memory; with --output labels are written as they come.
    With --json, one JSON document, or with --stream one a line.

    Example: [bold]edge-lstm run edge-lstm-demo/model.int.onnx edge-lstm-demo/unseen.npz[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.jobs import inputs
    from edge_lstm.jobs.folders import ready_files
    from edge_lstm.jobs.networks import named

    ready_files([output], [model, data])
    network = named(onnx_io.load(model), options.names(classes))
    reading = options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count)
    source = inputs.fitting(network, options.open_data(data, reading), ignore_rate=ignore_rate)
    if scores and inputs.output_names(network):
        raise UsageError("--scores are those of classes; this model gives numbers, which are written anyway")
    if scores and output is None:
        raise UsageError("--scores are written to a file: name one with --output")
    if stream:
        if not isinstance(network, IntegerNetwork):
            raise UsageError(f"{model} is a float model; only integer models are streamed: make one with edge-lstm convert")
        if window or stride or output or threads:
            raise UsageError("a stream decides when the model says so; leave out --window, --stride, --output and --threads")
        _stream(network, source, json)
    else:
        _whole(network, source, window, stride, threads, output, scores, json)


def _whole(
    network: AnyNetwork,
    source: Source,
    window: int | None,
    stride: int | None,
    threads: int | None,
    output: Path | None,
    scores: bool,
    json: bool,
) -> None:
    from contextlib import ExitStack

    from edge_lstm.jobs import inputs, labelling

    samples = inputs.window_length(network, source.lengths, window)
    kept: list[dict[str, Any]] = []
    count = known = right = 0
    with ExitStack() as stack:
        write = kept.append if output is None else stack.enter_context(labelling.writer(output, network, scores=scores))
        report = stack.enter_context(progress(not json))
        for batch in labelling.label(network, source, samples, stride, threads=threads, progress=report):
            labelled = batch.windows.y >= 0
            count, known = count + len(batch.windows), known + int(labelled.sum())
            right += int((batch.labels == batch.windows.y)[labelled].sum())
            for values in labelling.rows(network, source, batch, scores=scores):
                write(values)
    if json:
        windows: object = kept if output is None else count
        written = {} if output is None else {"output": str(output)}
        as_json({"window_samples": samples, "windows": windows, "labelled": known, "right": right, **written})
        return
    numbers = inputs.output_names(network)
    if output is None:
        if numbers:
            rows = [(row["recording"], *(f"{row[name]:.4g}" for name in numbers), f"{row['start']:,}") for row in kept]
            long_table(("recording", *numbers, "from sample"), rows, numbers=1 + len(numbers))
        else:
            rows = [(row["recording"], row["label"], "–" if row["true"] is None else row["true"], f"{row['start']:,}") for row in kept]
            long_table(("recording", "label", "true label", "from sample"), rows, numbers=1)
        line()
    judged = f"; {right} of {known} labelled ones right" if known and not numbers else ""
    line(f"{count} windows of {samples} samples{'' if output is None else f' written to {output}'}{judged}")


def _stream(network: IntegerNetwork, source: Source, json: bool) -> None:
    """One line a step. After a decision the state is reset, as firmware does that decides window by window."""
    from edge_lstm import engine
    from edge_lstm.engine.physical import real_values
    from edge_lstm.jobs import inputs
    from edge_lstm.jobs.labelling import class_names

    names, numbers = class_names(network), inputs.output_names(network)
    made = engine.Stream(network)
    step = 0
    for piece in source.pieces():
        counts = inputs.counts(network, source, piece.samples)
        length = len(counts) // piece.count
        for index, sample in enumerate(counts):
            recording, at = source.names[piece.recording + index // length], piece.start + index % length
            if at == 0:
                made.reset()
                step = 0
            if not made.push(sample):
                continue
            step += 1
            ready = made.ready
            decision, found = None, dict[str, object]()
            if numbers:
                real = real_values(network, made.scores, network.read_out.window or 1) if ready else None
                found |= dict.fromkeys(numbers) if real is None else dict(zip(numbers, real.tolist(), strict=True))
                decision = None if real is None else "\t".join(f"{number:.6g}" for number in real)
            else:
                decision = names[made.label] if ready else None
                found |= {"label": decision, "scores": made.scores if ready else None}
            if json:
                as_json({"recording": recording, "step": step, "sample": at, **found})
            else:
                line(f"{recording}\t{step}\t{decision or ''}".rstrip("\t"))
            if ready and network.read_out.window:
                made.reset()
