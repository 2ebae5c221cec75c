"""Regression: the network learns targets of mean 0 and standard deviation 1; its last layer takes the physical unit up afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.cells.activations import IDENTITY
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Dense, Network
from edge_lstm.train.sequences import Sequences

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each output, float64 [outputs]."""

    mean: Array
    deviation: Array

    def learned(self, data: Sequences) -> Sequences:
        """The same sequences with standardized targets."""
        return replace(data, y=((data.y - self.mean) / self.deviation).astype(np.float32))

    def inner(self, network: Network) -> Network:
        """The network with standardized outputs."""
        return self._with_head(
            network, lambda head: replace(head, W=head.W / self.deviation[:, None], b=(head.b - self.mean) / self.deviation)
        )

    def outer(self, network: Network) -> Network:
        """The network with outputs in the targets' own unit."""
        return self._with_head(
            network, lambda head: replace(head, W=head.W * self.deviation[:, None], b=head.b * self.deviation + self.mean)
        )

    @staticmethod
    def _with_head(network: Network, change: Any) -> Network:
        return network.with_layers((*network.layers[:-1], change(network.layers[-1])))


def standard(network: Network, data: Sequences) -> Standard | None:
    """The standardization of the targets of `data`; None for classes. Raises EdgeLstmError for a network that cannot give any number."""
    if not data.of_numbers:
        return None
    last = network.layers[-1]
    if not isinstance(last, Dense) or last.activation != IDENTITY:
        raise EdgeLstmError("numbers can be learned by a network that ends in a dense layer without activation only")
    known = data.y.reshape(-1, network.outputs)[data.known.ravel()].astype(np.float64)
    deviation = known.std(0)
    return Standard(known.mean(0), np.where(deviation > 0, deviation, 1.0))
