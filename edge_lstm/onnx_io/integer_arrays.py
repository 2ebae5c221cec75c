"""What each node of an integer model carries: arrays as inputs of the node, everything else as attributes.

inputs       the arrays that the function computes with, in the order of `inputs`
definition   attribute: JSON text of all that is no array
others       attribute: arrays that only people, hosts and generators need (real values of one unit), as double tensors
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool, IntegerReadOut, IntegerRecurrent, Normalize

Array = npt.NDArray[np.generic]
Layer = Normalize | IntegerRecurrent | IntegerConv1d | IntegerPool | IntegerReadOut | IntegerDense

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "Normalize": ("definition", "scale", "units_per_count"),
    "Recurrent": ("definition", "input_scale", "row_scales"),
    "ReadOut": ("definition",),
    "Pool": ("definition",),
    "Dense": ("definition", "scale"),
    "Conv1d": ("definition", "scale"),
}


def input_weights(row: str) -> str:
    """Name of W of a row, int8 [units, inputs]."""
    return f"W.{row}"


def recurrent_weights(row: str, source: int) -> str:
    """Name of R of a row for its source number `source`, int8 [units, units]."""
    return f"R{source}.{row}"


def bias(row: str) -> str:
    """Name of the bias of a row, int32 [units]."""
    return f"bias.{row}"


def vector(name: str) -> str:
    """Name of a constant per unit, int32 [units]."""
    return f"vector.{name}"


def table(name: str) -> str:
    """Name of the knots of a curve, int16 [segments + 1]."""
    return f"table.{name}"


def initial(state: str) -> str:
    """Name of the value of a state after a reset, int32 [units]."""
    return f"initial.{state}"


def inputs(layer: Layer) -> dict[str, Array]:
    """Name -> array of the node's inputs behind the value that flows through, in order."""
    if isinstance(layer, Normalize):
        return {"offset": layer.offset, "limit": layer.limit, "multiplier": layer.multiplier}
    if isinstance(layer, (IntegerDense, IntegerConv1d)):
        requantize: dict[str, Array | None] = {"limit": layer.limit, "multiplier": layer.multiplier}
        requantize["knots"] = None if layer.curve is None else layer.curve.knots
        return {"W": layer.W, "bias": layer.bias, **{k: v for k, v in requantize.items() if v is not None}}
    if not isinstance(layer, IntegerRecurrent):
        return {}
    arrays: dict[str, Array] = {}
    for row in layer.rows.values():
        if row.W is not None:
            arrays[input_weights(row.name)] = row.W
        arrays.update({recurrent_weights(row.name, k): R for k, R in enumerate(row.R)})
        arrays[bias(row.name)] = row.bias
    arrays.update({vector(name): values for name, values in layer.vectors.items()})
    arrays.update({table(name): knots for name, knots in layer.tables.items()})
    arrays.update({initial(state.name): state.initial for state in layer.states})
    return arrays


def tensors(layer: Layer) -> dict[str, Array]:
    """Name -> array of the node's tensor attributes."""
    if isinstance(layer, Normalize):
        return {"scale": layer.scale, "units_per_count": layer.units_per_count}
    if isinstance(layer, (IntegerDense, IntegerConv1d)):
        return {"scale": layer.scale}
    if isinstance(layer, IntegerRecurrent):
        return {"input_scale": layer.input_scale, "row_scales": np.stack([row.scale for row in layer.rows.values()])}
    return {}
