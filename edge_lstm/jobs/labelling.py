"""Labelling recordings of any size with a model, window by window: some megabytes at a time, from the file to the output."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import data
from edge_lstm.engine.physical import real_values
from edge_lstm.errors import UsageError
from edge_lstm.files import atomic_path
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs import inputs
from edge_lstm.jobs.progress import Progress, silent

SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Labelled:
    """A batch of windows and what the model makes of them.

    windows: as `data.windows` gives them, samples included; scores: [windows, outputs], those of the last step where every step is read
    out; labels: int64 [windows], the class that they name (without a meaning where they are numbers).
    """

    windows: data.Windows
    scores: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64]


def label(
    network: inputs.AnyNetwork, source: data.Source, window: int | None = None, stride: int | None = None, *,
    threads: int | None = None, progress: Progress = silent,
) -> Iterator[Labelled]:  # fmt: skip
    """The windows of `source` in order, batch by batch; the memory needed is that of some batches, however large the source.

    source: as `inputs.fitting` gives it for the network. window, stride: raw samples of a window, and from one to the next (None: as the
    model says, one window); threads: how many at most (None: as many as the process may use).
    Raises EdgeLstmError as `inputs.window_length`, `data.window_batches` and `engine.run`.
    """
    length = inputs.window_length(network, source.lengths, window)
    before = np.concatenate([[0], np.cumsum(source.lengths)])
    for batch in data.window_batches(source, length, stride or length):
        progress("labelling", int(before[batch.recording[0]] + batch.start[0]), source.samples)
        scores = inputs.scores(network, inputs.model_input(network, source, batch.x), threads)
        yield Labelled(batch, scores, inputs.decided(network, scores))
    progress("labelling", source.samples, source.samples)


def rows(network: inputs.AnyNetwork, source: data.Source, batch: Labelled, *, scores: bool = False) -> Iterator[dict[str, Any]]:
    """The windows of a batch as plain values: recording, start (sample), label, true label or None, and the scores if asked for.

    Of a network that was trained on numbers: recording, start, and the numbers by their names.
    """
    if numbers := inputs.output_names(network):
        steps = batch.windows.x.shape[1] // inputs.decimation(network)
        real = real_values(network, np.asarray(batch.scores, np.int32), steps) if isinstance(network, IntegerNetwork) else batch.scores
        for recording, start, of_window in zip(batch.windows.recording.tolist(), batch.windows.start.tolist(), real.tolist(), strict=True):
            yield {"recording": source.names[recording], "start": start, **dict(zip(numbers, of_window, strict=True))}
        return
    names, windows = class_names(network), batch.windows
    each = zip(windows.recording.tolist(), windows.start.tolist(), batch.labels.tolist(), windows.y.tolist(), batch.scores, strict=True)
    for recording, start, found, true, of_classes in each:
        values = {
            "recording": source.names[recording],
            "start": start,
            "label": names[found],
            "true": source.classes[true] if true >= 0 else None,
        }
        yield {**values, "scores": of_classes.tolist()} if scores else values


def class_names(network: inputs.AnyNetwork) -> tuple[str, ...]:
    """Names of the classes; their numbers where the model has none, of which a single score has two: 1 above 0."""
    return network.classes or tuple(map(str, range(max(network.outputs, 2))))


@contextmanager
def writer(path: str | os.PathLike[str], network: inputs.AnyNetwork, *, scores: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Gives a function that appends one of `rows` to the file `path`, which appears when all are written, and only then.

    A .csv file has a header and one line a window, a .jsonl file one JSON object a line. Raises UsageError for another kind of file,
    EdgeLstmError where it cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: labels are written to {' or '.join(SUFFIXES)} files")
    columns = ["recording", "start", *(inputs.output_names(network) or ("label", "true"))]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")

        def as_csv(values: dict[str, Any]) -> None:
            lines.writerow([values[name] for name in columns] + values.get("scores", []))

        def as_json(values: dict[str, Any]) -> None:
            file.write(json.dumps(values, ensure_ascii=False) + "\n")

        if suffix == ".csv":
            names = class_names(network)[-network.outputs :] if scores else ()
            lines.writerow([*columns, *(f"score {name}" for name in names)])
        yield as_csv if suffix == ".csv" else as_json
