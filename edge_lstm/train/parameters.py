"""All trained numbers of a network as one vector, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, ReadOut, Recurrent, RowWeights
from edge_lstm.train.plan import plan

Vector = npt.NDArray[Any]


Trained = Recurrent | Bidirectional | Dense | Conv1d  # layers that have numbers


def layer_vector(layer: Trained, dtype: npt.DTypeLike) -> Vector:
    """The numbers of one layer: for each group of rows (see `plan`) all W, then all R of each source, then all b; then the parameters.

    Of a dense layer or a convolution: W and b. Of two directions: those of the forward layer, then those of the reversed one.
    """
    parts: list[Any] = []
    if isinstance(layer, Bidirectional):
        return np.concatenate([layer_vector(layer.forward, dtype), layer_vector(layer.backward, dtype)])
    if isinstance(layer, Dense | Conv1d):
        parts = [layer.W, layer.b]
    else:
        for names in row_groups(layer):
            rows = [layer.rows[name] for name in names]
            parts += [row.W for row in rows if row.W is not None]
            for source in range(len(rows[0].R)):
                parts += [row.R[source] for row in rows]
            parts += [row.b for row in rows]
        parts += [layer.parameters[name] for name in layer.cell.parameters]
    return np.concatenate([np.asarray(part, dtype).ravel() for part in parts])


def row_groups(layer: Recurrent) -> list[list[str]]:
    """Names of the rows, group by group."""
    return [[layer.cell.ops[k].name for k in group] for group in plan(layer).groups]


class _Reader:
    def __init__(self, vector: Vector) -> None:
        self.vector, self.at = vector, 0

    def take(self, *shape: int) -> Vector:
        size = int(np.prod(shape))
        part = self.vector[self.at : self.at + size].reshape(shape)
        self.at += size
        return part


def with_vector(layer: Trained, vector: Vector) -> Any:
    """The layer with the numbers of `vector`, as views into it."""
    if isinstance(layer, Bidirectional):
        size = len(layer_vector(layer.forward, np.float32))
        return Bidirectional(with_vector(layer.forward, vector[:size]), with_vector(layer.backward, vector[size:]))
    reader = _Reader(vector)
    if isinstance(layer, Dense | Conv1d):
        return replace(layer, W=reader.take(*layer.W.shape), b=reader.take(len(layer.b)))
    units, rows = layer.units, {}
    for names in row_groups(layer):
        first = layer.rows[names[0]]
        W = [None if first.W is None else reader.take(units, layer.inputs) for _ in names]
        R = [[reader.take(units, units) for _ in names] for _ in first.R]
        b = [reader.take(units) for _ in names]
        for k, name in enumerate(names):
            rows[name] = RowWeights(W[k], tuple(source[k] for source in R), b[k])
    return replace(layer, rows=rows, parameters={name: reader.take(units) for name in layer.cell.parameters})


def network_vector(network: Network, dtype: npt.DTypeLike = np.float32) -> Vector:
    """The numbers of all layers, one after the other. Raises EdgeLstmError for a layer that cannot be trained."""
    return np.concatenate([layer_vector(layer, dtype) for layer in _with_numbers(network)])


def slices(network: Network) -> list[slice | None]:
    """For each layer its part of the vector; None for a read-out or a pooling."""
    found: list[slice | None] = []
    at = 0
    for layer in network.layers:
        if isinstance(layer, Trained):
            size = len(layer_vector(layer, np.float32))
            found.append(slice(at, at + size))
            at += size
        else:
            found.append(None)
    return found


def with_network_vector(network: Network, vector: Vector) -> Network:
    """The network with the numbers of `vector`, copied."""
    own = vector.copy()
    layers: list[Layer] = []
    for layer, part in zip(network.layers, slices(network), strict=True):
        layers.append(with_vector(layer, own[part]) if part is not None and isinstance(layer, Trained) else layer)
    return network.with_layers(tuple(layers))


def _with_numbers(network: Network) -> list[Trained]:
    found: list[Trained] = []
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Trained):
            found.append(layer)
        elif not isinstance(layer, ReadOut | Pool):
            raise EdgeLstmError(f"layer {index} ({type(layer).__name__}) cannot be trained yet; keep it, and train the layers behind it")
    return found
