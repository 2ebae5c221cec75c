"""Gates and squashings: values, and the slopes that the backward pass uses. A threshold gate has the slope of a sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SLOPE = 0.5


def surrogate(x: Tensor, slope: float) -> Tensor:
    """k s (1 - s) with s = sigmoid(k x): the slope that stands for that of a step (Bengio, Léonard & Courville 2013)."""
    s = torch.sigmoid(slope * x)
    return slope * s * (1 - s)


class _Threshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * surrogate(ctx.saved_tensors[0], ctx.slope), None


def threshold(x: Tensor, slope: float = SLOPE) -> Tensor:
    """A gate that is open (1) where x > 0 and closed (0) elsewhere, a tie included; same shape and dtype as x.

    Its gradient is that of sigmoid(slope * x): the step itself has none. For cells of your own; the modules have it built in.
    """
    return _Threshold.apply(x, slope)


@dataclass(frozen=True)
class Gates:
    """The gates of a layer side by side, [..., gates * units]: the first `hard` columns are thresholds, the others sigmoids."""

    hard: int
    slope: float

    def open(self, a: Tensor, out: Tensor) -> None:
        """Writes the gates' values at their preactivations a."""
        if self.hard:
            torch.gt(a[:, : self.hard], 0, out=out[:, : self.hard])
        if self.hard < a.shape[1]:
            torch.sigmoid(a[:, self.hard :], out=out[:, self.hard :])

    def slopes(self, a: Tensor, opened: Tensor) -> Tensor:
        """What the gradient of the gates' values is multiplied by to give that of a."""
        soft = opened[:, self.hard :]
        return torch.cat((surrogate(a[:, : self.hard], self.slope), soft * (1 - soft)), 1)


@dataclass(frozen=True)
class Squashing:
    """An activation function that is no gate. value: writes f(x) into its argument `out`; slope: f'(x), given x and f(x)."""

    value: Callable[..., Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


SQUASHINGS = {
    "tanh": Squashing(torch.tanh, lambda x, y: 1 - y * y),
    "hard_tanh": Squashing(lambda x, out: torch.clamp(x, -1, 1, out=out), lambda x, y: (x.abs() < 1).to(x.dtype)),
}
