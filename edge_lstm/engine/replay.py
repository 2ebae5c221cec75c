"""The value of every operator over whole sequences, from the states that a kernel left after every step.

With the states known, the steps no longer wait for one another: one walk over the dataflow does thousands of them at once, with the bits
of the step by step walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.gates import Gates, gate_operators, openings
from edge_lstm.fixed_point.integer_network import IntegerRecurrent

Int64Array = npt.NDArray[np.int64]
States = Mapping[str, npt.NDArray[np.int32]]
CHUNK = 1 << 14  # steps that are looked at together: bounds the memory, changes no value


def replay(
    layer: IntegerRecurrent, x: npt.NDArray[np.integer], firsts: Int64Array, states: States
) -> Iterator[tuple[slice, dict[str, Int64Array], list[Int64Array]]]:
    """Chunk after chunk of steps: (rows, states before, value of every operator [rows, units]).

    x: [rows, inputs], sequences one after the other; firsts: row of each one's first step; states: after each step, [rows, units].
    """
    start = reference.initial_state(layer, 1)
    begins = np.zeros(len(x), np.bool_)
    begins[firsts] = True
    for at in range(0, len(x), CHUNK):
        rows = slice(at, min(at + CHUNK, len(x)))
        before = {}
        for state, after in states.items():
            shifted = np.empty((rows.stop - at, layer.units), np.int64)
            shifted[0] = after[at - 1] if at else 0
            shifted[1:] = after[at : rows.stop - 1]
            shifted[begins[rows]] = start[state]
            before[state] = shifted
        yield rows, before, reference.step(layer, x[rows].astype(np.int64), before)[2]


def gates_of(
    layer: IntegerRecurrent, x: npt.NDArray[np.integer], firsts: Int64Array, states: States
) -> tuple[npt.NDArray[np.int8], Gates]:
    """The outputs int8 [rows, units] and the opening of each gate [rows, units]; arguments of `replay`."""
    operators = gate_operators(layer)
    output = np.empty((len(x), layer.units), np.int8)
    found: Gates = {gate: np.empty((len(x), layer.units), np.float32) for gate in operators}
    for rows, _, values in replay(layer, x, firsts, states):
        output[rows] = values[layer.output]
        for gate, opening in openings(operators, values).items():
            found[gate][rows] = opening
    return output, found
