"""Layers in front of the recurrent ones as the user writes them: "conv16x5/2,max2" becomes convolutions and poolings.

    conv16x5        a causal convolution of 16 outputs over 5 steps, with relu
    conv16x5/2      the same, every 2 steps
    conv16x5:tanh   with another activation (any that dense layers may have)
    max2, average2  pooling over 2 steps, every 2 steps; average4/1: over 4 steps, every step
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edge_lstm.cells import KINDS, activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Conv1d, Layer, Pool

_PART = re.compile(
    r"conv(?P<outputs>\d+)x(?P<kernel>\d+)(?:/(?P<stride>\d+))?(?::(?P<activation>\w+))?"
    r"|(?P<pool>max|average)(?P<size>\d+)(?:/(?P<every>\d+))?"
)


@dataclass(frozen=True)
class FrontLayer:
    """One layer in front.

    kind: "conv", "max" or "average"; outputs: of a convolution; span: steps that it reads; stride: from one to the next.
    """

    kind: str
    outputs: int
    span: int
    stride: int
    activation: str = "relu"


def parse(text: str) -> tuple[FrontLayer, ...]:
    """The layers that a text names; () for "". Raises EdgeLstmError for anything else."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _PART.fullmatch(part)
        if match is None:
            raise EdgeLstmError(f"layer in front {part!r}: expected conv16x5 (outputs x steps), conv16x5/2 (every 2 steps), max2, average2")
        if match["pool"]:
            size = int(match["size"])
            found.append(FrontLayer(match["pool"], 0, size, int(match["every"] or size)))
        else:
            outputs, span, stride = int(match["outputs"]), int(match["kernel"]), int(match["stride"] or 1)
            found.append(FrontLayer("conv", outputs, span, stride, match["activation"] or "relu"))
        one = found[-1]
        if one.span < 1 or one.stride < 1 or (one.kind == "conv" and one.outputs < 1):
            raise EdgeLstmError(f"layer in front {part!r}: outputs, steps and stride must be at least 1")
        if one.activation not in KINDS or one.activation in ("threshold", "gelu", "gelu_tanh"):
            raise EdgeLstmError(f"layer in front {part!r}: unknown activation {one.activation!r}; try relu, tanh, hard_tanh or identity")
    return tuple(found)


def initial_front(layers: tuple[FrontLayer, ...], rng: np.random.Generator, inputs: int) -> tuple[list[Layer], int]:
    """The untrained layers, and how many outputs they have.

    Weights are uniform with variance 2 / (inputs * steps) (He et al. 2015), biases 0, convolutions causal.
    """
    made: list[Layer] = []
    for one in layers:
        if one.kind == "conv":
            bound = np.sqrt(6 / (inputs * one.span))
            W = rng.uniform(-bound, bound, (one.outputs, inputs, one.span)).astype(np.float32)
            made.append(Conv1d(W, np.zeros(one.outputs, np.float32), one.stride, (one.span - 1, 0), 1, activation(one.activation)))
            inputs = one.outputs
        else:
            made.append(Pool(one.kind, one.span, one.stride, inputs))
    return made, inputs
