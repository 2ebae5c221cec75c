"""Networks with random weights for the measurements of the tools."""

from __future__ import annotations

import numpy as np

from edge_lstm.cells import activation, cell
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Dense, Network, Preprocess, ReadOut, Recurrent, RowWeights


def hard_lstm(inputs: int, hidden: int, outputs: int = 5, window: int = 128, decimation: int = 1) -> IntegerNetwork:
    """An LSTM with threshold gates and clamps, for int16 counts of a standard deviation of 1000."""
    rng = np.random.default_rng(inputs * 1000 + hidden)
    member = cell("lstm")
    rows = {
        row.name: RowWeights(
            rng.normal(0, 1 / np.sqrt(inputs), (hidden, inputs)),
            (rng.normal(0, 1 / np.sqrt(hidden), (hidden, hidden)),),
            rng.normal(0, 0.2, hidden),
        )
        for row in member.rows
    }
    activations = {role.name: activation("threshold" if role.gate else "hard_tanh") for role in member.roles}
    dense = Dense(rng.normal(0, 1 / np.sqrt(hidden), (outputs, hidden)), rng.normal(0, 0.1, outputs))
    front = Preprocess(decimation, np.zeros(inputs), np.full(inputs, 1 / 1000), np.ones(inputs))
    network = Network((Recurrent(member, activations, rows), ReadOut("last"), dense), front, window=window)
    return quantize(network, counts(rng, 16, window * decimation, inputs))


def counts(rng: np.random.Generator, batch: int, samples: int, channels: int) -> np.ndarray:
    """int16 [batch, samples, channels]."""
    return np.clip(rng.normal(0, 1000, (batch, samples, channels)), -32768, 32767).astype(np.int16)
