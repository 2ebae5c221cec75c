"""Training as a function: from arrays to a network, alone or many at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Memory
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize_with_ranges
from edge_lstm.fixed_point.unit_order import unit_orders
from edge_lstm.network import Network, Preprocess, front_layers, steps_before, steps_through
from edge_lstm.train.initial import initial_network
from edge_lstm.train.loop import History, Progress, judge, train
from edge_lstm.train.parameters import with_network_vector
from edge_lstm.train.passes import require_trainable
from edge_lstm.train.recipe import Recipe
from edge_lstm.train.regression import standard
from edge_lstm.train.sequences import require_classes, sequences
from edge_lstm.train.turning import require_vectors

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Result:
    """What training gives.

    network: the float network; integer: the integer network that was in the loop, whose accuracy the history reports, or None when there
    was none (quantize a soft network with `fixed_point.quantize`); history: losses and accuracies.
    """

    network: Network
    integer: IntegerNetwork | None
    history: History

    def called(self, name: str) -> Result:
        """The same with another name for both networks."""
        return replace(self, network=replace(self.network, name=name), integer=self.integer and replace(self.integer, name=name))


def fit(
    recipe: Recipe,
    x: Array,
    y: Array,
    *,
    classes: Sequence[str] = (),
    preprocess: Preprocess | None = None,
    validation: tuple[Any, ...] | None = None,
    lengths: Array | None = None,
    memory: Memory | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Makes a network by `recipe` and trains it.

    x: [n, samples, channels], integer sensor counts, or floats in physical units; without `preprocess` they are what the network reads.
    y: [n] class indices, or [n, time] (after decimation, -1 where unlabelled) when every step is read out. Or floats, numbers to be
        learned: [n], [n, outputs], or [n, time, outputs] (NaN where unknown); the network's outputs are then in the unit of y.
    classes: name of each index, none for numbers; preprocess: learned on the training part by the caller;
    lengths: [n] valid samples of each sequence.
    memory: of the features of `preprocess` before the first sample of each sequence (see `features.run_features`), None: each sequence
    begins with a reset. validation: (x, y), (x, y, lengths) or (x, y, lengths, memory) to be judged on, and for early stopping;
    progress: called with (done, total, loss) after every iteration, may raise to interrupt;
    checkpoint: file from which an interrupted training goes on, see `loop.train`.

    Raises EdgeLstmError for arrays that do not fit, NaN, and a class that never occurs.
    """
    x = np.asarray(x)
    if x.ndim != 3 or 0 in x.shape:
        raise EdgeLstmError(f"x has shape {x.shape}, expected [sequences, samples, channels], none of them 0")
    steps = x.shape[1] // (1 if preprocess is None else preprocess.decimation)
    outputs, numbers = len(classes), np.asarray(y)
    if numbers.dtype.kind == "f":
        if classes:
            raise EdgeLstmError(f"labels have type {numbers.dtype}, expected integers: an index into the classes {', '.join(classes)}")
        outputs = numbers.shape[-1] if numbers.ndim == (3 if recipe.read_out == "every" else 2) else 1
    elif not classes:
        raise EdgeLstmError("the names of the classes are missing (for numbers to be learned, give y as floats)")
    features = None if preprocess is None else preprocess.features
    inputs = x.shape[2] if features is None else features.count
    network = initial_network(recipe, inputs, outputs, tuple(classes), steps, preprocess)
    return _trained(network, x, y, recipe, validation, lengths, memory, progress, checkpoint, fresh=True)


def finetune(
    network: Network,
    x: Array,
    y: Array,
    recipe: Recipe,
    *,
    validation: tuple[Any, ...] | None = None,
    lengths: Array | None = None,
    memory: Memory | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Result:
    """Trains an existing float network further (its gates as they are: see `fixed_point.quantize.harden`).

    Of the recipe all but the shape of the network is used. Arguments and errors as for `fit`; EdgeLstmError too for a layer that cannot
    be trained.
    """
    return _trained(network, x, y, recipe, validation, lengths, memory, progress, checkpoint, fresh=False)


def _trained(
    network: Network,
    x: Array,
    y: Array,
    recipe: Recipe,
    validation: tuple[Any, ...] | None,
    lengths: Array | None,
    memory: Memory | None,
    progress: Progress | None,
    checkpoint: Path | None,
    *,
    fresh: bool,
) -> Result:
    """fresh: an untrained network, which knows nothing of the targets' unit yet."""
    require_trainable(network)
    if recipe.rotation:
        require_vectors(network.preprocess, recipe.vectors, network.inputs)
    data = sequences(network, x, y, lengths, memory=memory)
    require_classes(data, network.classes or tuple(str(k) for k in range(network.outputs)))
    judged = None
    if validation is not None:
        judged_x, judged_y, judged_lengths, judged_memory = (*validation, None, None)[:4]
        judged = sequences(network, judged_x, judged_y, judged_lengths, memory=judged_memory, what="validation")
    if network.window == 0 and network.read_out.kind in ("mean", "last", "final"):
        front = network.layers[: front_layers(network)]
        network = replace(network, window=steps_before(front, steps_through(front, data.steps)))
    unit = standard(network, data)
    if unit is None:
        trained = train(network, data, judged, recipe, progress, checkpoint)
        result, history = with_network_vector(network, trained.vector), trained.history
    else:
        inner = network if fresh else unit.inner(network)
        trained = train(inner, unit.learned(data), None if judged is None else unit.learned(judged), recipe, progress, checkpoint)
        result = unit.outer(with_network_vector(inner, trained.vector))
        of_validation = None if judged is None else judge(result, trained.ranges, judged, recipe)
        history = replace(trained.history, training=judge(result, trained.ranges, data, recipe), validation=of_validation)
    integer = None
    if trained.ranges is not None:
        integer = quantize_with_ranges(result, trained.ranges, recipe.options, unit_orders(result, data.x))
    return Result(result, integer, history)


def fit_many(
    jobs: Sequence[Callable[[Progress | None], Result]], progress: Progress | None = None, threads: int | None = None
) -> list[Result]:
    """Runs several trainings at once, each on one core; the results do not depend on how many threads there are.

    jobs: functions that train with the progress callback they are given, e.g. `lambda report: fit(recipe, x, y, ..., progress=report)`;
    progress: called with the iterations done and planned by all jobs so far, and the loss of the one that reports; threads: None for one
    per core. An exception or an interrupt stops all jobs.
    """
    done: dict[int, tuple[int, int]] = {}
    stopped = False

    def watch(job: int) -> Progress:
        def report(finished: int, total: int, loss: float) -> None:
            if stopped:
                raise KeyboardInterrupt
            done[job] = finished, total
            if progress is not None:
                known = list(done.values())
                planned = sum(t for _, t in known) + (len(jobs) - len(known)) * total
                progress(sum(f for f, _ in known), planned, loss)

        return report

    pool = ThreadPoolExecutor(max_workers=threads or os.cpu_count() or 1)
    try:
        futures = [pool.submit(job, watch(k)) for k, job in enumerate(jobs)]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()  # raises what the job raised
        return [future.result() for future in futures]
    finally:
        stopped = True
        pool.shutdown(wait=True, cancel_futures=True)
