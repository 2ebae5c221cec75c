"""What training reports of a network: loss and accuracy over sequences as they are, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.train import head
from edge_lstm.train.sequences import Batch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Judgement:
    """Of `cases` sequences (or steps, when every step is read out).

    Classes: loss is the mean cross-entropy, accuracy the share of right ones (0 to 1). Numbers: loss is the mean squared error,
    accuracy the coefficient of determination R^2, the mean over the outputs (1: perfect; 0: as good as always answering the mean).
    """

    loss: float
    accuracy: float
    cases: int


class Tally:
    """Sums over batches, from which a `Judgement` follows."""

    def __init__(self, outputs: int) -> None:
        self.loss = self.hits = self.cases = 0.0
        self.errors, self.sums, self.squares = np.zeros(outputs), np.zeros(outputs), np.zeros(outputs)
        self.of_numbers = False

    def add(self, scores: Array, decisions: Array, batch: Batch) -> None:
        """scores: [outputs, columns] real; decisions: the same, in the numbers that classes are decided by."""
        count = float(batch.weights.sum())
        if not count:
            return
        self.cases += count
        if batch.labels.dtype.kind == "f":
            self.of_numbers = True
            y = np.where(batch.weights > 0, batch.labels, 0).astype(np.float64)
            self.errors += (np.square(scores - y, dtype=np.float64) * batch.weights).sum(1)
            self.sums += (y * batch.weights).sum(1)
            self.squares += (y * y * batch.weights).sum(1)
        else:
            self.loss += head.cross_entropy(scores, batch.labels, batch.weights)[0] * count
            self.hits += float(((decisions.argmax(0) == batch.labels) * batch.weights).sum())

    def judgement(self) -> Judgement:
        """Of all that was added."""
        cases = max(self.cases, 1.0)
        if self.of_numbers:
            spread = np.maximum(self.squares - self.sums**2 / cases, 1e-30)
            return Judgement(float(self.errors.mean() / cases), float((1 - self.errors / spread).mean()), round(self.cases))
        return Judgement(self.loss / cases, self.hits / cases, round(self.cases))
