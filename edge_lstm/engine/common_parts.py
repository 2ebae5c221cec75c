"""What kernels of all structures have in common, compiled once in a process: how scores come out.

Generated modules bind this function. The slots of the header that they read are the same for all structures.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from edge_lstm.engine.layout import DENSE_SLOTS, LANES, NETWORK_SLOTS, Target
from edge_lstm.engine.looks import source_to_int32
from edge_lstm.engine.memory import larger, load_i32, load_i64, smaller, store_i32
from edge_lstm.engine.sweeps import add_products


def _at(name: str) -> int:
    """Byte offset of a slot of the header."""
    return 8 * NETWORK_SLOTS.index(name)


AT_VALUES, AT_VALUES_BYTES, AT_SUM, AT_GAIN = _at("values"), _at("values_bytes"), _at("sum"), _at("gain")
AT_UNITS, AT_GROUPS, AT_DENSE, AT_DENSE_LAYERS, AT_OUTPUTS = _at("units"), _at("groups"), _at("dense"), _at("dense_layers"), _at("outputs")
(
    DENSE_INPUTS, DENSE_GROUPS, DENSE_WEIGHTS, DENSE_BIAS, DENSE_LIMIT, DENSE_MULTIPLIER, DENSE_SHIFT, DENSE_HALF, DENSE_LOW, DENSE_HIGH,
    DENSE_KNOTS, DENSE_REACH, DENSE_SEGMENT_SHIFT, DENSE_CURVE_SHIFT, DENSE_CURVE_HALF,
) = (8 * k for k in range(len(DENSE_SLOTS)))  # fmt: skip
DENSE_BYTES = 8 * len(DENSE_SLOTS)


@njit(inline="always", error_model="numpy")
def along_curve(model: int, layer: int, value: int) -> int:
    """`operators.interpolate` of the curve of a dense layer."""
    reach, segment = load_i64(layer + DENSE_REACH), load_i64(layer + DENSE_SEGMENT_SHIFT)
    from_left = smaller(larger(value, -reach), reach - 1) + reach
    knot = model + load_i64(layer + DENSE_KNOTS) + 4 * (from_left >> segment)
    left, right, within = load_i32(knot), load_i32(knot + 4), from_left & ((1 << segment) - 1)
    return ((left << segment) + (right - left) * within + load_i64(layer + DENSE_CURVE_HALF)) >> load_i64(layer + DENSE_CURVE_SHIFT)


@cache
def reading_out(target: Target, mean: bool) -> Any:
    """(model, record, output, steps, scores): scores of one record, int32: the last output, or with `mean` the sum of all, through the
    dense layers. output: address of the last output."""
    widen_output = source_to_int32(target, add=False)

    @njit(error_model="numpy")
    def read_out(model: int, record: int, output: int, steps: int, scores: int) -> None:
        values = record + load_i64(model + AT_VALUES)
        results = values + load_i64(model + AT_VALUES_BYTES)
        times = 1
        if mean:
            gain, reach = load_i64(model + AT_GAIN), 127 * steps
            times = steps if gain < 0 else 1
            for k in range(load_i64(model + AT_UNITS)):
                value = 1 * load_i32(record + load_i64(model + AT_SUM) + 4 * k)
                if gain >= 0:  # the mean, with nothing negative to divide
                    value = (2 * (smaller(larger(value << gain, -reach), reach) + reach) + steps) // (2 * steps) - 127
                store_i32(values + 4 * k, value)
        else:
            widen_output(output, values, load_i64(model + AT_GROUPS))
        layer = model + load_i64(model + AT_DENSE)
        for _ in range(load_i64(model + AT_DENSE_LAYERS)):
            inputs, groups = load_i64(layer + DENSE_INPUTS), load_i64(layer + DENSE_GROUPS)
            weights, bias = model + load_i64(layer + DENSE_WEIGHTS), model + load_i64(layer + DENSE_BIAS)
            for k in range(LANES * groups):
                store_i32(results + 4 * k, load_i32(bias + 4 * k) * times)
            add_products(weights, values, inputs, results, groups)
            if load_i64(layer + DENSE_LIMIT) != 0:
                limits, multipliers = model + load_i64(layer + DENSE_LIMIT), model + load_i64(layer + DENSE_MULTIPLIER)
                for k in range(LANES * groups):
                    limit = load_i32(limits + 4 * k)
                    clamped = smaller(larger(load_i32(results + 4 * k), -limit), limit)
                    scaled = (clamped * load_i32(multipliers + 4 * k) + load_i64(layer + DENSE_HALF)) >> load_i64(layer + DENSE_SHIFT)
                    if load_i64(layer + DENSE_KNOTS) != 0:
                        scaled = along_curve(model, layer, scaled)
                    store_i32(results + 4 * k, smaller(larger(scaled, load_i64(layer + DENSE_LOW)), load_i64(layer + DENSE_HIGH)))
            values, results = results, values
            layer += DENSE_BYTES
            times = 1
        for k in range(load_i64(model + AT_OUTPUTS)):
            store_i32(scores + 4 * k, load_i32(values + 4 * k))

    return read_out
