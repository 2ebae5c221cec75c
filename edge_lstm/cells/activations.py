"""Activation functions of gates and squashings: their float value, their range, and nothing else.

Integer tables are made from these functions by `edge_lstm.fixed_point`; derivatives for training live in `edge_lstm.train`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


def _sigmoid(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), x.dtype)


def _gelu(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    """x Phi(x), with Phi the normal distribution (Hendrycks & Gimpel 2016)."""
    return np.asarray(0.5 * x * (1 + np.asarray(np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)), np.float64)), x.dtype)


def _gelu_tanh(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    """Its approximation by tanh, of the same paper."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), x.dtype)


@dataclass(frozen=True)
class Kind:
    """A family of activation functions with two optional parameters.

    value: function (x, alpha, beta) -> y, elementwise.
    bounds: function (alpha, beta) -> (lowest, highest) value, infinite where unbounded.
    saturation: function (alpha, beta) -> |x| beyond which y is constant to within 16 bits; None if it never is.
    """

    value: Callable[[FloatArray, float, float], FloatArray]
    bounds: Callable[[float, float], tuple[float, float]]
    saturation: Callable[[float, float], float | None]
    alpha: float = 0.0
    beta: float = 0.0


_INF = float("inf")

KINDS: dict[str, Kind] = {
    "sigmoid": Kind(_sigmoid, lambda a, b: (0.0, 1.0), lambda a, b: 8.0),
    "hard_sigmoid": Kind(
        lambda x, a, b: np.clip(a * x + b, 0, 1).astype(x.dtype), lambda a, b: (0.0, 1.0), lambda a, b: max(b, 1 - b) / a, 0.2, 0.5
    ),
    # The threshold gate is closed on a tie, so that an all-zero unit stays silent.
    "threshold": Kind(lambda x, a, b: (x > 0).astype(x.dtype), lambda a, b: (0.0, 1.0), lambda a, b: None),
    # 0, 1/2 or 1: the hard sigmoid with slope 1/4, rounded to half steps; ties go down.
    "three_level": Kind(
        lambda x, a, b: (0.5 * ((x > 1).astype(x.dtype) + (x > -1).astype(x.dtype))).astype(x.dtype),
        lambda a, b: (0.0, 1.0),
        lambda a, b: None,
    ),
    "tanh": Kind(lambda x, a, b: np.tanh(x), lambda a, b: (-1.0, 1.0), lambda a, b: 4.0),
    "hard_tanh": Kind(lambda x, a, b: np.clip(x, -1, 1), lambda a, b: (-1.0, 1.0), lambda a, b: 1.0),
    # clip(x, alpha, beta): ReLU6 and its like.
    "clamp": Kind(lambda x, a, b: np.clip(x, a, b).astype(x.dtype), lambda a, b: (a, b), lambda a, b: max(abs(a), abs(b)), 0.0, 6.0),
    "softsign": Kind(lambda x, a, b: x / (1 + np.abs(x)), lambda a, b: (-1.0, 1.0), lambda a, b: 16.0),
    "relu": Kind(lambda x, a, b: np.maximum(x, 0), lambda a, b: (0.0, _INF), lambda a, b: None),
    "identity": Kind(lambda x, a, b: x, lambda a, b: (-_INF, _INF), lambda a, b: None),
    # alpha * sigmoid(x) + beta: g(x) = 4 sigmoid(x) - 2 and h(x) = 2 sigmoid(x) - 1 of Hochreiter & Schmidhuber (1997).
    "scaled_sigmoid": Kind(
        lambda x, a, b: np.asarray(a * _sigmoid(x, 0, 0) + b, x.dtype),
        lambda a, b: (min(b, a + b), max(b, a + b)),
        lambda a, b: 8.0,
        2.0,
        -1.0,
    ),
    "leaky_relu": Kind(
        lambda x, a, b: np.where(x > 0, x, a * x).astype(x.dtype), lambda a, b: (-_INF, _INF), lambda a, b: None, 0.01
    ),
    "elu": Kind(
        lambda x, a, b: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))).astype(x.dtype), lambda a, b: (-a, _INF), lambda a, b: None, 1.0
    ),
    "gelu": Kind(_gelu, lambda a, b: (-0.17, _INF), lambda a, b: None),
    "gelu_tanh": Kind(_gelu_tanh, lambda a, b: (-0.171, _INF), lambda a, b: None),
}

WITH_PARAMETERS = ("hard_sigmoid", "scaled_sigmoid", "clamp")
# Of dense layers and convolutions alone: bent and without an upper limit. No recurrent cell has them.
FEED_FORWARD_ONLY = ("leaky_relu", "elu", "gelu", "gelu_tanh")


@dataclass(frozen=True)
class Activation:
    """One activation function: a kind of `KINDS` with its parameters.

    alpha, beta: only used by hard_sigmoid (clip(alpha x + beta, 0, 1)), scaled_sigmoid (alpha sigmoid(x) + beta), clamp
    (clip(x, alpha, beta)), leaky_relu (alpha x below 0) and elu (alpha (e^x - 1) below 0).
    Raises ValueError for an unknown kind, a slope that is not positive, or limits that leave nothing between them.
    """

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown activation {self.kind!r}: choose one of {', '.join(KINDS)}")
        if self.kind in ("hard_sigmoid", "scaled_sigmoid", "leaky_relu", "elu") and not 0 < self.alpha < _INF:
            raise ValueError(f"activation {self.kind} needs a positive slope alpha, got {self.alpha}")
        if self.kind == "clamp" and not (self.alpha <= 0 < self.beta and np.isfinite(self.beta - self.alpha)):
            raise ValueError(f"activation clamp needs finite limits around 0, got {self.alpha} and {self.beta}")

    def __call__(self, x: FloatArray) -> FloatArray:
        """The value at x (any shape, float32 or float64; the dtype is kept)."""
        return KINDS[self.kind].value(x, self.alpha, self.beta)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value; infinite where the function is unbounded."""
        return KINDS[self.kind].bounds(self.alpha, self.beta)

    @property
    def saturation(self) -> float | None:
        """|x| beyond which the value no longer changes in a 16-bit format; None if there is no such x."""
        return KINDS[self.kind].saturation(self.alpha, self.beta)

    @property
    def is_threshold(self) -> bool:
        """True for a gate whose value is exactly 0 or 1."""
        return self.kind == "threshold"

    def __str__(self) -> str:
        if self.kind in ("leaky_relu", "elu"):
            return f"{self.kind}({self.alpha:g})"
        return f"{self.kind}({self.alpha:g}, {self.beta:g})" if self.kind in WITH_PARAMETERS else self.kind


def activation(kind: str, alpha: float | None = None, beta: float | None = None) -> Activation:
    """An `Activation` whose missing parameters take the kind's defaults (ONNX: HardSigmoid 0.2 and 0.5)."""
    if kind not in KINDS:
        return Activation(kind)
    default = KINDS[kind]
    return Activation(kind, default.alpha if alpha is None else float(alpha), default.beta if beta is None else float(beta))


SIGMOID, TANH, IDENTITY = Activation("sigmoid"), Activation("tanh"), Activation("identity")
