"""AdamW with warm-up and cosine decay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.train.products import OPTIONS, kernel
from edge_lstm.train.recipe import Recipe

Array = npt.NDArray[Any]


def learning_rate(recipe: Recipe, iteration: int) -> float:
    """Linear rise over the first `warm_up` part, times a cosine from 1 to 0 over all iterations."""
    rise = min(1.0, (iteration + 1) / max(1.0, recipe.warm_up * recipe.iterations))
    return recipe.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * iteration / recipe.iterations))


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019) and a bound on the gradient's norm."""

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe = recipe
        self.mean, self.square = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self.steps = 0

    def step(self, vector: Array, gradient: Array, rate: float) -> None:
        """Changes `vector` in place. Raises EdgeLstmError when the gradient is not finite."""
        norm = math.sqrt(float(np.square(gradient, dtype=np.float64).sum()))
        if not math.isfinite(norm):
            raise EdgeLstmError("training diverged: the gradient is not finite; lower the learning rate")
        self.steps += 1
        (beta1, beta2), shrink = self.recipe.betas, min(1.0, self.recipe.clip_norm / (norm + 1e-9))
        step_size = rate / (1 - beta1**self.steps)
        correction = math.sqrt(1 - beta2**self.steps)
        keep = 1 - rate * self.recipe.weight_decay
        numbers = (np.float32(v) for v in (beta1, beta2, shrink, step_size, correction, keep))
        _update(vector, gradient, self.mean, self.square, *numbers)


@kernel(cache=True, **OPTIONS)
def _update(
    vector: Array, gradient: Array, mean: Array, square: Array,
    beta1: Any, beta2: Any, shrink: Any, step_size: Any, correction: Any, keep: Any,
) -> None:  # fmt: skip
    one, tiny = np.float32(1), np.float32(1e-8)
    for k in range(vector.size):
        g = gradient[k] * shrink
        mean[k] = beta1 * mean[k] + (one - beta1) * g
        square[k] = beta2 * square[k] + (one - beta2) * g * g
        vector[k] = vector[k] * keep - step_size * mean[k] / (np.sqrt(square[k]) / correction + tiny)
