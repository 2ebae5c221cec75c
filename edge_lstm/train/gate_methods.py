"""How training gets to hard thresholds: straight through from the start, or softened or noisy ones first, then straight through.

With u the progress (0 to 1), v = u / relax_until, z the preactivation and L a logistic random number of its own for each gate, unit,
step and sequence, a gate in the forward pass is

    straight_through   [z > 0] throughout; backward the surrogate's derivative (Bengio, Leonard & Courville 2013)
    slope_annealing    sigmoid(k z), k = 10^v (Chung, Ahn & Bengio 2017), then [z > 0]
    concrete           sigmoid((z + L) / T), T = 0.9 (4/9)^v (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017), then [z > 0]
    noise              [z + (1 - v) L > 0], open with probability sigmoid(z / (1 - v)), then [z > 0]; backward the surrogate's derivative
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
METHODS = ("straight_through", "slope_annealing", "concrete", "noise")
_LARGEST_SLOPE = 10.0
_FIRST_TEMPERATURE, _LAST_TEMPERATURE = 0.9, 0.4


@dataclass(frozen=True)
class Relaxation:
    """What stands in for hard thresholds in one iteration. thresholds: as in `plan.Plan`; noise: factor of L; sharpness: k."""

    thresholds: str
    noise: float
    sharpness: float


def relaxation(method: str, part: float) -> Relaxation:
    """The relaxation at v = `part` (0 to 1) of a method of METHODS other than the first."""
    if method == "slope_annealing":
        return Relaxation("soft", 0.0, _LARGEST_SLOPE**part)
    if method == "concrete":
        return Relaxation("soft", 1.0, 1 / (_FIRST_TEMPERATURE * (_LAST_TEMPERATURE / _FIRST_TEMPERATURE) ** part))
    return Relaxation("noisy", 1 - part, 1.0)


def logistic(rng: np.random.Generator, shape: tuple[int, ...], factor: float) -> Array:
    """factor * L of `shape`, float32; one zero for each threshold when the factor is 0: [1, *shape[1:]]."""
    if not factor:
        return np.zeros((1, *shape[1:]), np.float32)
    uniform = np.maximum(rng.random(shape, np.float32), np.float32(2.0**-25))
    return np.asarray(np.float32(factor) * (np.log(uniform) - np.log(1 - uniform)))
