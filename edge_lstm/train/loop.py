"""The training loop: batches, passes, optimizer; in its last part with the integer network in the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Ranges
from edge_lstm.network import Conv1d, Network, Pool, Recurrent
from edge_lstm.train import head
from edge_lstm.train.checkpoint import Checkpoint, fingerprint, ranges_as_values, ranges_from_values
from edge_lstm.train.gate_methods import relaxation
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.judging import Judgement, Tally
from edge_lstm.train.optimizer import AdamW, learning_rate
from edge_lstm.train.parameters import network_vector
from edge_lstm.train.passes import Passes
from edge_lstm.train.recipe import Recipe
from edge_lstm.train.sequences import Sequences, class_weights, draw, take
from edge_lstm.train.work import Sparsity

Array = npt.NDArray[Any]
Progress = Callable[[int, int, float], None]  # (iterations done, iterations in all, loss)


@dataclass(frozen=True)
class Evaluation:
    """The validation part as seen after `iteration` iterations."""

    iteration: int
    judgement: Judgement


@dataclass(frozen=True)
class History:
    """What happened in training.

    loss: [iterations done] cross-entropy of each batch; evaluations: of the validation part, in order; kept: iterations after which the
    returned weights were reached; training: the returned network on the whole training part, without augmentation (the integer network
    when the integers were in the loop); validation: likewise; None without that part.
    """

    loss: tuple[float, ...]
    evaluations: tuple[Evaluation, ...]
    kept: int
    training: Judgement
    validation: Judgement | None


@dataclass(frozen=True)
class Trained:
    """The trained numbers, the calibrated ranges when the integers were in the loop, and the history."""

    vector: Array
    ranges: Ranges | None
    history: History


class _Training:
    def __init__(self, network: Network, data: Sequences, validation: Sequences | None, recipe: Recipe) -> None:
        self.network, self.data, self.validation, self.recipe = network, data, validation, recipe
        self.passes = Passes(network, data.steps, recipe.batch, truncated=recipe.truncated)
        self.relaxed: dict[str, Passes] = {}
        self.integers: IntegerPasses | None = None
        self.weights = class_weights(recipe, data, network.outputs)
        self.rng, self.noise = np.random.default_rng([recipe.seed, 1]), np.random.default_rng([recipe.seed, 2])
        self.vector = network_vector(network)
        self.optimizer = AdamW(recipe, len(self.vector))
        self.sparsity = Sparsity(recipe)
        self.losses: list[float] = []
        self.evaluations: list[Evaluation] = []
        self.best: tuple[Evaluation, Array] | None = None
        self.stopped = False  # early

    def run(self, progress: Progress | None, checkpoint: Checkpoint | None) -> Trained:
        recipe = self.recipe
        every = max(1, recipe.iterations // recipe.evaluations)
        if checkpoint is not None:
            self.restore(checkpoint)
        while len(self.losses) < recipe.iterations and not self.stopped:
            if len(self.losses) == recipe.integers_start and self.integers is None:
                self.start_integers()
                self.best = None  # from here on another network is judged: the integer one
            self.losses.append(self.iterate(self.optimizer, len(self.losses)))
            done = len(self.losses)
            if self.validation is not None and recipe.patience is not None and done % every == 0:
                self._evaluate(self.validation)
            if checkpoint is not None and (done % every == 0 or done == recipe.iterations or self.stopped):
                self.save(checkpoint)
            if progress is not None:
                progress(done, recipe.iterations, self.losses[-1])
        kept = len(self.losses)
        if self.best is not None:
            kept, self.vector = self.best[0].iteration, self.best[1]
        judged = None if self.validation is None else self.judge(self.validation)
        history = History(tuple(self.losses), tuple(self.evaluations), kept, self.judge(self.data), judged)
        return Trained(self.vector, None if self.integers is None else self.integers.ranges, history)

    def save(self, checkpoint: Checkpoint) -> None:
        """Everything that the rest of the training depends on."""
        arrays = {"vector": self.vector, "mean": self.optimizer.mean, "square": self.optimizer.square, "losses": np.array(self.losses)}
        if self.best is not None:
            arrays["best"] = self.best[1]
        values = {
            "steps": self.optimizer.steps,
            "generators": [generator.bit_generator.state for generator in (self.rng, self.noise)],
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            "best": None if self.best is None else asdict(self.best[0]),
            "ranges": ranges_as_values(None if self.integers is None else self.integers.ranges),
            "stopped": self.stopped, "left": self.sparsity.left,
        }
        checkpoint.save(arrays, values)

    def restore(self, checkpoint: Checkpoint) -> None:
        """The training as it was saved, if it was."""
        found = checkpoint.load()
        if found is None:
            return
        arrays, values = found
        self.vector, self.losses = arrays["vector"], arrays["losses"].tolist()
        self.optimizer.mean, self.optimizer.square, self.optimizer.steps = arrays["mean"], arrays["square"], values["steps"]
        for generator, state in zip((self.rng, self.noise), values["generators"], strict=True):
            generator.bit_generator.state = state
        self.evaluations = [_evaluation(one) for one in values["evaluations"]]
        self.best = None if values["best"] is None else (_evaluation(values["best"]), arrays["best"])
        self.stopped, self.sparsity.left = values["stopped"], values["left"]
        ranges = ranges_from_values(values["ranges"])
        if ranges is not None:
            self.use_integers(ranges)

    def _evaluate(self, validation: Sequences) -> None:
        self.evaluations.append(Evaluation(len(self.losses), self.judge(validation)))
        if self.best is None or self.evaluations[-1].judgement.loss < self.best[0].judgement.loss:
            self.best = self.evaluations[-1], self.vector.copy()
        else:
            self.stopped = self._is_stale(self.best[0])

    def _is_stale(self, best: Evaluation) -> bool:
        """Whether patience has run out. Never before the integers are in the loop, since the result must be theirs."""
        since = sum(e.iteration > best.iteration for e in self.evaluations)
        waits = self.integers is None and self.recipe.integers_start < self.recipe.iterations
        return not waits and self.recipe.patience is not None and since >= self.recipe.patience

    def iterate(self, optimizer: AdamW, iteration: int) -> float:
        """One step of the optimizer; returns the loss of its batch."""
        scale = None if self.integers is None else self.integers.input_scale
        batch = draw(self.data, self.recipe, self.rng, self.weights, scale)
        while not batch.weights.any():  # every step of the batch unlabelled
            batch = draw(self.data, self.recipe, self.rng, self.weights, scale)
        passes, slope = self._passes(iteration)
        if self.integers is None:
            vector = self.vector
            scores = passes.scores(vector, batch.x, batch.lengths)
        else:
            vector = self.integers.refresh(self.vector)
            scores = self.integers.scores(batch.integers, batch.x, batch.lengths)
        loss, d_scores = head.loss(scores, batch.labels, batch.weights)
        sparsity = self.sparsity.weight(iteration, passes, batch.mask(passes.steps)) if self.recipe.is_sparse else 0.0
        mask = batch.mask(passes.steps) if sparsity else None
        penalties = [] if mask is None else [self._penalty(sparsity, mask, memory.layer.units) for memory in passes.memory]
        gradient = passes.gradient(vector, d_scores, slope, penalties, mask)
        optimizer.step(self.vector, gradient, learning_rate(self.recipe, iteration))
        return loss

    def _passes(self, iteration: int) -> tuple[Passes, float]:
        """The passes of an iteration's batch, with its relaxation of the thresholds, and the slope of their backward pass."""
        if iteration >= self.recipe.hard_start:
            return self.passes, self.recipe.slope
        found = relaxation(self.recipe.gate_method, iteration / self.recipe.hard_start)
        if found.thresholds not in self.relaxed:
            self.relaxed[found.thresholds] = Passes(
                self.network, self.data.steps, self.recipe.batch, thresholds=found.thresholds, truncated=self.recipe.truncated
            )
        passes = self.relaxed[found.thresholds]
        passes.relax(self.noise, found.noise, found.sharpness)
        return passes, found.sharpness if found.thresholds == "soft" else self.recipe.slope

    def _penalty(self, sparsity: float, mask: Array, units: int) -> dict[str, float]:
        return dict.fromkeys(self.recipe.sparse_gates, sparsity / (float(mask.sum()) * units))

    def start_integers(self) -> None:
        """Fixes the formats from the float network on the training part, and gives all sequences their int8 form."""
        states: list[dict[str, float]] = []
        outputs: list[float] = []
        mean = 0.0
        for batch, _ in self._chunks(self.data):
            self.passes.scores(self.vector, batch.x, batch.lengths)
            found = self.passes.ranges()
            states = found if not states else [{s: max(a[s], b[s]) for s in a} for a, b in zip(states, found, strict=True)]
            dense = self.passes.dense_ranges()
            mean = max(mean, float(np.abs(self.passes.dense_values[0]).max()) if self.passes.kind == "mean" else 0.0)
            outputs = dense if not outputs else [max(pair) for pair in zip(outputs, dense, strict=True)]
        self.use_integers(Ranges(np.abs(self.data.x).max((0, 1)).astype(np.float64), tuple(states), tuple(outputs), mean))

    def use_integers(self, ranges: Ranges) -> None:
        """The integer network with the formats of `ranges` from here on."""
        self.integers = IntegerPasses(self.passes, self.network, ranges, self.recipe.options)
        self.data = self.data.with_integers(self.integers.normalize)
        if self.validation is not None:
            self.validation = self.validation.with_integers(self.integers.normalize)

    def _chunks(self, data: Sequences) -> Any:
        """All sequences in batches, with 1 for each that counts (the last batch is filled up)."""
        scale = None if self.integers is None else self.integers.input_scale
        for first in range(0, len(data), self.recipe.batch):
            index = np.arange(first, first + self.recipe.batch)
            valid = (index < len(data)).astype(np.float64)
            yield take(data, np.minimum(index, len(data) - 1), np.ones(self.network.outputs), valid, scale), valid

    def judge(self, data: Sequences) -> Judgement:
        """The network as it is now on sequences as they are."""
        tally = Tally(self.network.outputs)
        if self.integers is not None:
            self.integers.refresh(self.vector)
        if data.steps != self.passes.input_steps:
            learned = self.passes.input_steps
            raise EdgeLstmError(f"validation sequences have {data.steps} steps, training sequences {learned}; cut or pad them")
        for batch, _ in self._chunks(data):
            if self.integers is None:
                decisions = scores = self.passes.scores(self.vector, batch.x, batch.lengths)
            else:
                scores = self.integers.scores(batch.integers, batch.x, batch.lengths)
                decisions = self.integers.last_scores  # float32 might round two scores to a tie
            tally.add(scores, decisions, batch)
        return tally.judgement()


def _evaluation(values: Mapping[str, Any]) -> Evaluation:
    return Evaluation(values["iteration"], Judgement(**values["judgement"]))


def _structure(network: Network) -> list[str]:
    """What a network is, apart from its numbers."""
    found = []
    for layer in network.layers:
        activations: object = ""
        if isinstance(layer, Recurrent):
            activations = sorted((k, str(v)) for k, v in layer.activations.items())
        if isinstance(layer, Conv1d):
            activations = layer.stride, layer.padding, layer.dilation, str(layer.activation)
        elif isinstance(layer, Pool):
            activations = str(layer)
        cell = layer.cell.name if isinstance(layer, Recurrent) else ""
        found.append(f"{type(layer).__name__} {cell} {activations}")
    return [*found, network.read_out.kind]


def train(
    network: Network, data: Sequences, validation: Sequences | None, recipe: Recipe, progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Trained:  # fmt: skip
    """Trains all numbers of `network`. Deterministic: the same arguments give the same numbers on the same kind of processor.

    checkpoint: file in which the training is kept, `recipe.evaluations` times and at its end; where it exists, training goes on from
    it and ends with the same numbers. Nothing else is written, so an interrupt (KeyboardInterrupt, from here or from `progress`)
    leaves nothing else behind.
    """
    training = _Training(network, data, validation, recipe)
    kept = None
    if checkpoint is not None:
        parts = [data.x, data.y, data.lengths, *([] if validation is None else [validation.x, validation.y, validation.lengths])]
        kept = Checkpoint(checkpoint, fingerprint(recipe.as_text(), _structure(network), training.vector, *parts))
    return training.run(progress, kept)


def judge(network: Network, ranges: Ranges | None, data: Sequences, recipe: Recipe) -> Judgement:
    """The network on sequences as they are; with `ranges`, the integer network of these ranges."""
    judged = _Training(network, data, None, recipe)
    if ranges is not None:
        judged.use_integers(ranges)
    return judged.judge(judged.data)
