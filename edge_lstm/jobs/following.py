"""Following a model over one recording: signal, gates, memory and running decision of every step, for a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm import data, float_inference
from edge_lstm.engine import gate_activity, reference
from edge_lstm.engine.gate_activity import GateCourse
from edge_lstm.engine.physical import finished
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork
from edge_lstm.fixed_point.operators import average
from edge_lstm.jobs import inputs
from edge_lstm.network import Dense
from edge_lstm.report import float_course
from edge_lstm.report.holding import holding
from edge_lstm.report.recording_course import Decisions, RecordingCourse, Signal

Array = npt.NDArray[np.generic]


def chosen_recording(dataset: data.Dataset, name: str | None) -> data.Recording:
    """The recording of that name, the first one for None. Raises UsageError when there is none."""
    found = next((r for r in dataset.recordings if name is None or r.name == name), None)
    if found is None:
        raise UsageError(f"no recording is called {name}; the first are {', '.join(r.name for r in dataset.recordings[:5])}")
    return found


def follow(
    network: inputs.AnyNetwork, dataset: data.Dataset, name: str | None = None, part: tuple[float, float] | None = None, *,
    continuous: bool = False, ignore_rate: bool = False,
) -> RecordingCourse:  # fmt: skip
    """The course of a model over one recording.

    name: of the recording, None for the first. part: from, to in seconds (in steps where the dataset has no rate) of what is followed.
    The model is reset after each decision, as firmware does that decides window by window; with `continuous` it is never reset, and a mean
    is taken over the last window. ignore_rate: as in `inputs.fitting`.
    Raises UsageError for an unknown recording or an empty part, EdgeLstmError for data that do not fit.
    """
    dataset = inputs.fitting(network, dataset, ignore_rate=ignore_rate)
    recording = chosen_recording(dataset, name)
    block = inputs.decimation(network)
    step_seconds = block / dataset.rate_hz if dataset.rate_hz else None
    steps = len(recording.samples) // block
    first, last = (0, steps) if part is None else (round(edge / (step_seconds or 1.0)) for edge in part)
    first, last = max(0, first), min(steps, last)
    if first >= last:
        raise UsageError(f"nothing is left of {recording.name}: it has {steps} steps{f' of {step_seconds:g} s' if step_seconds else ''}")
    samples = recording.samples[first * block : last * block]
    pieces = [courses(network, inputs.model_input(network, dataset, piece[None])) for piece in _pieces(network, samples, continuous)]
    if not pieces:
        raise EdgeLstmError(f"{recording.name}: {last - first} steps are fewer than this model needs")
    layers = tuple(holding(list(layer)) for layer in zip(*(layers for layers, _ in pieces), strict=True))
    window = inputs.window_samples(network) // block
    return RecordingCourse(
        title=f"{network.name} on {recording.name}",
        numbers="integers" if isinstance(network, IntegerNetwork) else "floats",
        first_step=first,
        step_seconds=step_seconds,
        signal=_signal(dataset, samples, block),
        layers=layers,
        decisions=_decisions(network, [features for _, features in pieces], window),
        truth=_truth(recording, first, last, block),
    )


def _pieces(network: inputs.AnyNetwork, samples: Array, continuous: bool) -> list[Array]:
    """The samples between two resets. An unfinished last piece is followed too, if only recurrent layers stand before the read-out."""
    window = inputs.window_samples(network)
    if continuous or not window or window >= len(samples):
        return [samples]
    pieces = [samples[start : start + window] for start in range(0, len(samples), window)]
    recurrent_first = len(network.recurrent) and type(network.layers[0]) is type(network.recurrent[0])
    return pieces if len(pieces[-1]) == window or recurrent_first else pieces[:-1]


def courses(network: inputs.AnyNetwork, x: Array) -> tuple[list[GateCourse], npt.NDArray[np.number]]:
    """The course of every recurrent layer for x as `inputs.model_input` gives it; and what reaches the read-out."""
    if isinstance(network, IntegerNetwork):
        return gate_activity.course_and_features(network, np.asarray(x, np.int16))
    return float_course.course_and_features(network, x)


def _signal(dataset: data.Dataset, samples: Array, block: int) -> Signal:
    """Means of the blocks, in physical units."""
    physical = inputs.physical(dataset, samples).astype(np.float64)
    return Signal(physical.reshape(-1, block, physical.shape[1]).mean(1), dataset.channels, dataset.units)


def _truth(recording: data.Recording, first: int, last: int, block: int) -> npt.NDArray[np.int64]:
    """[steps] class of each step (of the last sample of its block), -1 where there is none."""
    if recording.step_labels is not None:
        return np.asarray(recording.step_labels[first * block : last * block][block - 1 :: block], np.int64)
    return np.full(last - first, data.UNLABELLED if recording.label is None else recording.label)


def _decisions(network: inputs.AnyNetwork, pieces: list[npt.NDArray[np.number]], window: int) -> Decisions:
    """What the model would decide after each step of each piece."""
    found = [_running(network, piece[0], window) for piece in pieces]
    values = np.concatenate(found)
    due = [int(end) - 1 for end in np.cumsum([len(piece) for piece in found])]
    if window and len(found[-1]) < window:
        due = due[:-1]  # the last window is unfinished
    return Decisions(values, network.classes, network.softmax, tuple(due))


def _running(network: inputs.AnyNetwork, features: npt.NDArray[np.number], window: int) -> npt.NDArray[np.float64]:
    """Real outputs [steps, outputs] after each step, for features [steps, width]; NaN where the end of the sequence is needed."""
    kind = network.read_out.kind
    steps = len(features)
    if kind == "final" or any(layer.reverse for layer in network.recurrent):
        return np.full((steps, network.outputs), np.nan)
    counts = np.ones(steps, np.int64)
    if kind == "mean":
        counts = np.minimum(np.arange(1, steps + 1), window or steps)
        sums = np.concatenate([np.zeros_like(features[:1]), features.cumsum(0)])
        features = sums[1:] - sums[np.arange(1, steps + 1) - counts]
    read_outs = [index for index, layer in enumerate(network.layers) if layer is network.read_out]
    behind = network.layers[read_outs[0] + 1 :]
    if isinstance(network, IntegerNetwork):
        return _integer_outputs(network, behind, np.asarray(features, np.int64), counts)
    v: npt.NDArray[np.floating] = np.asarray(features / counts[:, None], np.float64)
    for layer in behind:
        assert isinstance(layer, Dense)
        v = float_inference.dense(layer, v)
    return np.asarray(float_inference.softmax(v) if network.softmax else v, np.float64)


def _integer_outputs(
    network: IntegerNetwork, behind: tuple[object, ...], v: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    rows = []
    for row, count in zip(v, counts.tolist(), strict=True):
        steps = count if network.read_out.sums else 1
        if network.read_out.gain is not None:
            row = average(row, count, network.read_out.gain)
        for layer in behind:
            assert isinstance(layer, IntegerDense)
            row, steps = reference.dense(layer, row[None], steps)[0], 1
        rows.append(row * network.score_scale / (count if network.read_out.sums else 1))
    return np.asarray(finished(network, np.array(rows)), np.float64)
