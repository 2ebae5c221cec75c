"""Units that never give anything to anybody are taken out of an integer network, exactly: all other bits stay.

A unit is dead when every number of it that rows, the next layer or the read-out see is 0 at every step: its columns then add nothing. That
is proved where the interval analysis says so for any input; or measured, on recordings, and then holds for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.bounds import op_interval, prove_network
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut, IntegerRecurrent
from edge_lstm.fixed_point.operators import Interval

Mask = npt.NDArray[np.bool_]
_KEEPS_ZERO = ("select", "multiply", "shift", "raise", "clip", "rescale")  # 0 where the value they change is 0


def visible(layer: IntegerRecurrent) -> tuple[int, ...] | None:
    """Operators whose values other units, other layers or the read-out see; None where one of them need not be 0 when the states are."""
    seen = {layer.output, *(a for op in layer.ops if op.code == "row" for a in op.args)}
    states = {state.update for state in layer.states}
    for index in seen:
        op = layer.ops[index]
        if op.code != "state" and index not in states and op.code not in _KEEPS_ZERO:
            return None
    return tuple(sorted(seen))


def proved_dead(layer: IntegerRecurrent) -> Mask:
    """[units] units that are dead for any input."""
    seen = visible(layer)
    if seen is None:
        return np.zeros(layer.units, np.bool_)
    found = _with_zero_states(layer)
    dead: Mask = np.ones(layer.units, np.bool_)
    updates = {state.name: state for state in layer.states}
    for index in seen:
        op = layer.ops[index]
        low, high = found[updates[op.name].update if op.code == "state" else index]
        dead &= (np.broadcast_to(low, dead.shape) == 0) & (np.broadcast_to(high, dead.shape) == 0)
        if op.code == "state":
            dead &= updates[op.name].initial == 0
    return dead


def _with_zero_states(layer: IntegerRecurrent) -> list[Interval]:
    """Interval of every operator, where states that are 0 for ever are taken as 0.

    By induction: of all states that begin at 0, those are dropped, until no more are, whose update may differ from 0 while the others
    are 0. With the input gate closed a cell state stays 0.
    """
    zero = {state.name: state.initial == 0 for state in layer.states}
    while True:
        found: list[Interval] = []
        for op in layer.ops:
            low, high = op_interval(op, layer, [found[a] for a in op.args])[0]
            if op.code == "state":
                low, high = np.where(zero[op.name], 0, low), np.where(zero[op.name], 0, high)
            found.append((low, high))
        still = {state.name: zero[state.name] & (found[state.update][0] == 0) & (found[state.update][1] == 0) for state in layer.states}
        if all((still[name] == zero[name]).all() for name in zero):
            return found
        zero = still


def visible_states(layer: IntegerRecurrent) -> tuple[str, ...] | None:
    """States that must be 0 at every step for a unit to be dead; None where they do not tell."""
    seen = visible(layer)
    if seen is None:
        return None
    by_update = {state.update: state.name for state in layer.states}
    found: set[str] = set()
    waiting = list(seen)
    while waiting:
        index = waiting.pop()
        op = layer.ops[index]
        if op.code == "state":
            found.add(op.name)
        elif index in by_update:
            found.add(by_update[index])
        elif op.code == "shift":
            waiting.append(op.args[0])
        else:
            return None
    return tuple(sorted(found))


def without_units(network: IntegerNetwork, dead: Sequence[Mask | None]) -> IntegerNetwork:
    """The network without the units that `dead` marks, one mask for each layer (None for a layer without units); proved anew.

    A layer keeps one unit at least.
    """
    layers: list[Any] = []
    kept: Mask | None = None  # of what the layer reads
    for layer, gone in zip(network.layers, dead, strict=True):
        if isinstance(layer, IntegerRecurrent) and gone is not None:
            stay = ~gone
            stay[0] |= not stay.any()
            layers.append(_shrunk(layer, kept, stay))
            kept = stay
        elif isinstance(layer, IntegerDense) and kept is not None:
            layers.append(replace(layer, W=np.ascontiguousarray(layer.W[:, kept])))
            kept = None
        else:
            layers.append(layer)
            kept = kept if isinstance(layer, IntegerReadOut) else None
    found = replace(network, layers=tuple(layers))
    prove_network(found)
    return found


def _shrunk(layer: IntegerRecurrent, read: Mask | None, stay: Mask) -> IntegerRecurrent:
    rows, place = {}, np.cumsum(stay) - 1
    for name, row in layer.rows.items():
        W = None if row.W is None else row.W[stay] if read is None else row.W[np.ix_(stay, read)]
        R = tuple(np.ascontiguousarray(R[np.ix_(stay, stay)]) for R in row.R)
        rows[name] = replace(row, W=None if W is None else np.ascontiguousarray(W), R=R, bias=row.bias[stay], scale=row.scale[stay])
    return replace(
        layer,
        rows=rows,
        vectors={name: vector[stay] for name, vector in layer.vectors.items()},
        states=tuple(replace(state, initial=state.initial[stay]) for state in layer.states),
        input_scale=layer.input_scale if read is None else layer.input_scale[read],
        order=tuple(int(place[unit]) for unit in layer.order if stay[unit]),
    )
