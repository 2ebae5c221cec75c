"""Layers with their units in the order in which kernels keep them (`IntegerRecurrent.order`), and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.packing import Stack
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerRecurrent

Order = npt.NDArray[np.intp]


def laid_out(stack: Stack) -> tuple[Stack, tuple[Order | None, ...]]:
    """The stack with reordered units; of each recurrent layer the place of every unit in it, None where it stayed.

    The scores are the same. A last layer whose outputs are the scores keeps its units where they are.
    """
    before: Order | None = None
    layers: list[IntegerRecurrent] = []
    places: list[Order | None] = []
    for k, layer in enumerate(stack.recurrent):
        free = layer.order and (k < len(stack.recurrent) - 1 or stack.dense)
        order = np.array(layer.order, np.intp) if free else None
        layers.append(_moved(layer, before, order))
        places.append(None if order is None else np.argsort(order))
        before = order
    dense = stack.dense
    if before is not None:
        dense = (_reading(dense[0], before), *dense[1:])
    return replace(stack, recurrent=tuple(layers), dense=dense), tuple(places)


def _reading(dense: IntegerDense, before: Order) -> IntegerDense:
    return replace(dense, W=np.ascontiguousarray(dense.W[:, before]))


def _moved(layer: IntegerRecurrent, before: Order | None, order: Order | None) -> IntegerRecurrent:
    """before: order of what it reads."""
    if before is None and order is None:
        return layer
    own = np.arange(layer.units) if order is None else order
    read = np.arange(layer.inputs) if before is None else before
    rows = {}
    for name, row in layer.rows.items():
        W = None if row.W is None else np.ascontiguousarray(row.W[np.ix_(own, read)])
        R = tuple(np.ascontiguousarray(matrix[np.ix_(own, own)]) for matrix in row.R)
        rows[name] = replace(row, W=W, R=R, bias=row.bias[own], scale=row.scale[own])
    return replace(
        layer,
        rows=rows,
        vectors={name: vector[own] for name, vector in layer.vectors.items()},
        states=tuple(replace(state, initial=state.initial[own]) for state in layer.states),
        input_scale=layer.input_scale[read],
    )
