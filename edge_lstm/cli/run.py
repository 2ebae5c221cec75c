"""`edge-lstm run`: labels for recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, table
from edge_lstm.errors import UsageError

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.network import Network


def command(
    model: options.Model,
    data: options.Data,
    stream: Annotated[
        bool, typer.Option("--stream", help="Feed sample by sample; one line per step, and the label when a decision is due.")
    ] = False,
    window: Annotated[int | None, typer.Option(min=1, help="Samples of a window (default: as the model says).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Samples from one window to the next (default: one window).")] = None,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    json: options.Json = False,
) -> None:
    """Label recordings with a float or an integer model, window by window, or as a stream as the device would.

    With --json, one JSON document, or with --stream one a line.

    Example: [bold]edge-lstm run edge-lstm-demo/model.int.onnx edge-lstm-demo/unseen.npz[/bold]
    """
    from edge_lstm import onnx_io
    from edge_lstm.fixed_point.integer_network import IntegerNetwork
    from edge_lstm.jobs import inputs

    network = onnx_io.load(model)
    dataset = inputs.fitting(
        network, options.read_data(data, label_column, labels, person_column, recording_column, channels, units_per_count)
    )
    if stream:
        if not isinstance(network, IntegerNetwork):
            raise UsageError(f"{model} is a float model; only integer models are streamed: make one with edge-lstm convert")
        if window or stride:
            raise UsageError("a stream decides when the model says so; leave out --window and --stride")
        _stream(network, dataset, json)
    else:
        _whole(network, dataset, window, stride, json)


def _whole(network: Network | IntegerNetwork, dataset: Dataset, window: int | None, stride: int | None, json: bool) -> None:
    from edge_lstm.jobs import inputs

    windows = inputs.cut(network, dataset, window, stride)
    predicted = inputs.labels(network, inputs.model_input(network, dataset, windows.x))
    known = windows.y >= 0
    right = int((predicted == windows.y)[known].sum())
    rows = [
        {
            "recording": dataset.recordings[int(recording)].name,
            "start": int(start),
            "label": _name(network, int(label)),
            "true": dataset.classes[int(true)] if true >= 0 else None,
        }
        for recording, start, label, true in zip(windows.recording, windows.start, predicted, windows.y, strict=True)
    ]
    if json:
        as_json({"window_samples": windows.x.shape[1], "windows": rows, "labelled": int(known.sum()), "right": right})
        return
    shown = table("recording", "label", "true label", "from sample", numbers=1)
    for row in rows:
        shown.add_row(str(row["recording"]), str(row["label"]), "–" if row["true"] is None else str(row["true"]), f"{row['start']:,}")
    console().print(shown)
    line(
        f"{len(rows)} windows of {windows.x.shape[1]} samples" + (f"; {right} of {known.sum()} labelled ones right" if known.any() else "")
    )


def _stream(network: IntegerNetwork, dataset: Dataset, json: bool) -> None:
    """One line a step. After a decision the state is reset, as firmware does that decides window by window."""
    from edge_lstm import engine
    from edge_lstm.jobs import inputs

    made = engine.Stream(network)
    for recording in dataset.recordings:
        made.reset()
        step = 0
        for at, sample in enumerate(inputs.counts(network, dataset, recording.samples[None])[0]):
            if not made.push(sample):
                continue
            step += 1
            decision = _name(network, made.label) if made.ready else None
            if json:
                as_json(
                    {
                        "recording": recording.name,
                        "step": step,
                        "sample": at,
                        "label": decision,
                        "scores": made.scores if made.ready else None,
                    }
                )
            else:
                line(f"{recording.name}\t{step}\t{decision or ''}".rstrip("\t"))
            if made.ready and network.read_out.window:
                made.reset()


def _name(network: Network | IntegerNetwork, label: int) -> str:
    return network.classes[label] if network.classes else str(label)
