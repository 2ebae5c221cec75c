"""From recordings to what a model takes: its channels, its classes, its windows, its counts."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from edge_lstm import data
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point import decisions
from edge_lstm.fixed_point.decisions import OUTPUTS, RATE
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerNetwork, IntegerPool
from edge_lstm.network import Dense, Network, front_layers, steps_through

if TYPE_CHECKING:
    from edge_lstm.train import Result

AnyNetwork = Network | IntegerNetwork
Array = npt.NDArray[np.generic]


def decimation(network: AnyNetwork) -> int:
    """Raw samples of one step."""
    if isinstance(network, IntegerNetwork):
        return network.normalize.decimation
    return network.preprocess.decimation if network.preprocess is not None else 1


def window_samples(network: AnyNetwork) -> int:
    """Raw samples of one decision; 0 when the model does not say."""
    steps = input_steps(network, network.read_out.window) if isinstance(network, IntegerNetwork) else network.window
    return steps * decimation(network)


def _read_out_steps(network: AnyNetwork, samples: int) -> int:
    """Steps that reach the read-out of so many samples; below 1 where these are too few."""
    steps = samples // decimation(network)
    if isinstance(network, Network):
        return steps_through(network.layers[: front_layers(network)], steps)
    for layer in network.layers[: network.layers.index(network.read_out)]:
        if isinstance(layer, IntegerConv1d):
            steps = (steps + sum(layer.padding) - layer.reach) // layer.stride + 1
        elif isinstance(layer, IntegerPool):
            steps = (steps - layer.size) // layer.stride + 1
    return steps


def input_steps(network: IntegerNetwork, steps: int) -> int:
    """The fewest steps that enter the network when `steps` reach its read-out."""
    for layer in reversed(network.layers[: network.layers.index(network.read_out)]):
        if isinstance(layer, IntegerConv1d):
            steps = max(1, (steps - 1) * layer.stride + layer.reach - sum(layer.padding)) if steps else 0
        elif isinstance(layer, IntegerPool):
            steps = (steps - 1) * layer.stride + layer.size if steps else 0
    return steps


@overload
def fitting(network: AnyNetwork, dataset: data.Dataset, *, ignore_rate: bool = ...) -> data.Dataset: ...
@overload
def fitting(network: AnyNetwork, dataset: data.Source, *, ignore_rate: bool = ...) -> data.Source: ...
def fitting(network: AnyNetwork, dataset: data.Dataset | data.Source, *, ignore_rate: bool = False) -> data.Dataset | data.Source:
    """The recordings with their labels numbered as the model's classes.

    ignore_rate: take recordings of another rate, sample for sample.
    Raises EdgeLstmError when it has another number of channels or another rate than the model, or a class that the model does not know.
    """
    data.require_channels(dataset, network.inputs)
    rate = decisions.sampling_rate(network.metadata)
    if rate and dataset.rate_hz and not ignore_rate and not 0.99 < dataset.rate_hz / rate < 1.01:
        raise EdgeLstmError(
            f"{dataset.name} has {dataset.rate_hz:g} samples a second, the model learned from {rate:g}: resample it, "
            "or take it sample for sample by --ignore-rate"
        )
    if not dataset.classes:
        return dataset
    if network.classes:
        if isinstance(dataset, data.Source):
            return data.with_source_classes(dataset, network.classes)
        return data.with_classes(dataset, network.classes)
    known = max(network.outputs, 2)  # of one score, above 0 is a class and the rest is the other
    if len(dataset.classes) > known and not gives_numbers(network):
        raise EdgeLstmError(f"{dataset.name}: {len(dataset.classes)} classes, but the model tells only {known} apart")
    return dataset


def cut(
    network: AnyNetwork, dataset: data.Dataset, window: int | None = None, stride: int | None = None, *, across: bool = False
) -> data.Windows:
    """Windows for the model. window: raw samples of one (None: as the model says); stride: from one to the next (None: one window);
    across: see `data.windows`.

    Raises EdgeLstmError as `window_length`, and when it is longer than every recording.
    """
    length = window_length(network, {len(recording.samples) for recording in dataset.recordings}, window)
    return data.windows(dataset, length, stride or length, across=across)


def window_length(network: AnyNetwork, lengths: Collection[int], window: int | None = None) -> int:
    """Raw samples of a window, for recordings of these lengths. window: what the user asks for (None: as the model says).

    Raises EdgeLstmError when neither says how long a window is, when it is shorter than one step, or longer than the model allows.
    """
    own = window_samples(network)
    length = window or own
    if not length:
        if min(lengths) < max(lengths):
            raise EdgeLstmError(
                f"the model names no window and the recordings have {min(lengths)} to {max(lengths)} samples; give the samples of a window"
            )
        length = int(max(lengths))
    if length < decimation(network):
        raise EdgeLstmError(f"a window of {length} samples is shorter than one step of the model, which takes {decimation(network)}")
    if own and network.read_out.kind == "mean" and _read_out_steps(network, length) > _read_out_steps(network, own):
        raise EdgeLstmError(
            f"a window of {length} samples is longer than the {own} samples of the model; its running sum is proved for these only"
        )
    return length


def model_input(network: AnyNetwork, dataset: data.Dataset | data.Source, x: Array) -> Array:
    """Samples x of `dataset`, [windows, time, channels], in what the model takes.

    An integer network gets int16 counts; a float network gets counts where it preprocesses counts of the same size, floats else.
    Physical units are the common ground: counts of another size are converted through them.
    """
    if isinstance(network, IntegerNetwork):
        if x.dtype == np.int16 and _same_counts(dataset, network.normalize.units_per_count):
            return x
        from edge_lstm import engine

        return engine.counts(network.normalize, physical(dataset, x))
    front = network.preprocess
    if x.dtype == np.int16 and front is not None and (front.units_per_count is None or _same_counts(dataset, front.units_per_count)):
        return x
    return physical(dataset, x)


def counts(network: IntegerNetwork, dataset: data.Dataset | data.Source, x: Array) -> npt.NDArray[np.int16]:
    """`model_input` of an integer network."""
    return np.asarray(model_input(network, dataset, x), np.int16)


def physical(dataset: data.Dataset | data.Source, x: Array) -> npt.NDArray[np.float32]:
    """Samples in physical units, float32."""
    samples = np.asarray(x, np.float64)
    return np.asarray(samples if dataset.units_per_count is None else samples * dataset.units_per_count, np.float32)


def _same_counts(dataset: data.Dataset | data.Source, units_per_count: npt.NDArray[np.floating] | None) -> bool:
    """Whether a count of the dataset is a count of the model. A model whose unit is the count itself takes counts as they are."""
    if dataset.units_per_count is None or units_per_count is None:
        return False
    if (units_per_count == 1).all():
        return True
    return bool(np.allclose(dataset.units_per_count, units_per_count, rtol=1e-6, atol=0))


def labels(network: AnyNetwork, x: Array) -> npt.NDArray[np.int64]:
    """Class index [windows] for input as `model_input` gives it; of the last step, for a model that reads out every step."""
    return decided(network, scores(network, x))


def decided(network: AnyNetwork, scores: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Class index [windows] for scores [windows, outputs]: the highest; of one, 1 above 0, or above 0.5 behind the sigmoid of a float."""
    if isinstance(network, Network) and network.outputs == 1:
        return np.asarray(scores[:, 0] > 0.5, np.int64)
    return decisions.decisions(scores)


def gives_numbers(network: AnyNetwork) -> bool:
    """Whether the outputs are numbers and name no class (`IntegerNetwork.gives_numbers`)."""
    if isinstance(network, IntegerNetwork):
        return network.gives_numbers
    if len(network.classes) > 1 or decisions.output_names(network.metadata):
        return len(network.classes) < 2
    last = network.layers[-1]
    halves = isinstance(last, Dense) and last.activation.kind in ("sigmoid", "hard_sigmoid") and last.activation(np.zeros(1))[0] == 0.5
    return network.outputs == 1 and not halves


def scores(network: AnyNetwork, x: Array, threads: int | None = None) -> Array:
    """Scores [windows, outputs] for input as `model_input` gives it; of the last step, for a model that reads out every step.

    threads: how many at most work on them (None: as many as the process may use).
    """
    if isinstance(network, IntegerNetwork):
        from edge_lstm import engine

        found: Array = engine.run(network, np.asarray(x, np.int16), threads=threads).scores
    else:
        found = network(np.asarray(x))
    return found[:, -1] if found.ndim == 3 else found


def output_names(network: AnyNetwork) -> tuple[str, ...]:
    """Names of the numbers that a network gives: those it was trained on, or "output"; () for classes.

    Raises EdgeLstmError where they are not as many as its outputs.
    """
    names = decisions.output_names(network.metadata)
    if names and len(names) != network.outputs:
        raise EdgeLstmError(f"the model names {len(names)} outputs ({', '.join(names)}) but has {network.outputs}")
    return names or (("output",) if gives_numbers(network) else ())


def with_task(made: Result, dataset: data.Dataset, numbers: bool) -> Result:
    """What training gave, with the rate of its recordings and, if it learned numbers, their names."""
    text = {OUTPUTS: json.dumps(list(dataset.targets), ensure_ascii=False)} if numbers else {}
    text |= rate_text(dataset)
    network = replace(made.network, metadata={**made.network.metadata, **text})
    integer = None if made.integer is None else replace(made.integer, metadata={**made.integer.metadata, **text})
    return replace(made, network=network, integer=integer)


def rate_text(dataset: data.Dataset) -> dict[str, str]:
    """The metadata of the rate of recordings, where they say one that a model may have."""
    rate = dataset.rate_hz or 0.0
    return {RATE: f"{rate:.9g}"} if decisions.SLOWEST <= rate <= decisions.FASTEST else {}


def outputs(network: AnyNetwork, x: Array) -> npt.NDArray[np.floating]:
    """Real-valued outputs, before any softmax, for input as `model_input` gives it."""
    if isinstance(network, IntegerNetwork):
        from edge_lstm import engine

        return engine.outputs(replace(network, softmax=False), np.asarray(x, np.int16))
    return replace(network, softmax=False)(np.asarray(x))


def with_window(network: Network, dataset_window: int) -> Network:
    """The float network with a window of so many raw samples. Raises EdgeLstmError when that is less than one step."""
    steps = dataset_window // decimation(network)
    if steps < 1:
        raise EdgeLstmError(
            f"a window of {dataset_window} samples is shorter than one step of the model, which takes {decimation(network)}"
        )
    return replace(network, window=steps)
