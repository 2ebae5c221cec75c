"""Training what lies behind convolutional, pooling and dense layers: these are frozen, and computed once, in integers.

The layers behind are trained as a network of their own, whose sensor counts are the int8 outputs of the front. A count x stands for the
real value x s, s being the front's output scale, while a network with preprocessing reads x (4 / 127): the first recurrent W is
multiplied by the ratio while it is trained, and divided by it afterwards, so that the integer input of the network is x itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.formats import INT8
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)
from edge_lstm.fixed_point.quantize import INPUT_RANGE
from edge_lstm.network import Bidirectional, Network, Preprocess, Recurrent, RowWeights

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FrozenFront:
    """The layers in front of the first recurrent one, and what is needed to take the others apart from them and to join them again.

    whole, integer: the network with its front, and its integers (calibrated, not fine-tuned); count: layers of the front.
    """

    whole: Network
    integer: IntegerNetwork
    count: int

    @property
    def scale(self) -> Array:
        """[outputs] real value of one unit of the front's output."""
        scale: Array = self.integer.normalize.scale
        for layer in self.integer.layers[: self.count]:
            scale = np.full(layer.outputs, layer.output_scale) if isinstance(layer, IntegerConv1d | IntegerDense) else scale
        return scale

    def outputs(self, raw: npt.NDArray[np.integer]) -> npt.NDArray[np.int16]:
        """What the front makes of sensor counts [n, samples, channels]: [n, time, outputs], in [-127, 127]."""
        parts = []
        for first in range(0, len(raw), 256):
            v = np.asarray(reference.normalize(self.integer.normalize, raw[first : first + 256]), np.int64)
            for layer in self.integer.layers[: self.count]:
                assert isinstance(layer, IntegerConv1d | IntegerPool | IntegerDense)
                v = reference.feed_forward(layer, v)
            parts.append(v.astype(np.int16))
        return np.concatenate(parts)

    def behind(self) -> Network:
        """The layers behind, as a network that reads the front's output as counts."""
        first = self.whole.layers[self.count]
        if not isinstance(first, Recurrent | Bidirectional):
            raise EdgeLstmError(f"layer {self.count} ({type(first).__name__}) cannot be trained yet")
        front = Preprocess(1, np.zeros(first.inputs), np.full(first.inputs, INPUT_RANGE / INT8))
        layers = (self._scaled(first, self.scale * INT8 / INPUT_RANGE), *self.whole.layers[self.count + 1 :])
        return replace(self.whole, layers=layers, preprocess=front)

    def joined(self, trained: Network) -> Network:
        """The float network with its front before the trained layers."""
        first = self._scaled(trained.layers[0], INPUT_RANGE / INT8 / self.scale)
        return replace(self.whole, layers=(*self.whole.layers[: self.count], first, *trained.layers[1:]), window=self.whole.window)

    def joined_integers(self, trained: IntegerNetwork) -> IntegerNetwork:
        """The integer network with its front before the trained layers, proved as a whole."""
        first = trained.layers[0]
        assert isinstance(first, IntegerRecurrent | IntegerBidirectional)
        if isinstance(first, IntegerRecurrent):
            first = replace(first, input_scale=self.scale)
        else:
            both = (replace(one, input_scale=self.scale) for one in (first.forward, first.backward))
            first = IntegerBidirectional(*both)
        behind = [self.integer.read_out if isinstance(layer, IntegerReadOut) else layer for layer in trained.layers[1:]]
        joined = replace(self.integer, layers=(*self.integer.layers[: self.count], first, *behind))
        prove_network(joined)
        return joined

    @staticmethod
    def _scaled(layer: Any, factor: Array) -> Recurrent | Bidirectional:
        if isinstance(layer, Bidirectional):
            forward, backward = FrozenFront._scaled(layer.forward, factor), FrozenFront._scaled(layer.backward, factor)
            assert isinstance(forward, Recurrent)
            assert isinstance(backward, Recurrent)
            return Bidirectional(forward, backward)
        assert isinstance(layer, Recurrent)
        rows = {}
        for name, row in layer.rows.items():
            W = None if row.W is None else np.asarray(row.W * factor, row.W.dtype)
            rows[name] = RowWeights(W, row.R, row.b)
        return replace(layer, rows=rows)
