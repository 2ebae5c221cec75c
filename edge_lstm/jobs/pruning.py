"""`convert --prune`: dead units out of the integer network, and what that saved and changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerBidirectional, IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.pruning import constant_gates, proved_dead, visible_states, without_units
from edge_lstm.jobs.networks import parameters

Array = npt.NDArray[Any]
_AT_ONCE = 64  # windows


def prune(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[IntegerNetwork, tuple[str, ...]]:
    """(the network without its dead units, remarks). raw: counts [windows, samples, channels] on which units are seen to be dead.

    A network with a layer that reads both directions, or in reverse, is left as it is.
    """
    if any(isinstance(layer, IntegerBidirectional) or getattr(layer, "reverse", False) for layer in network.layers):
        return network, ("pruning: a network that reads in reverse is left as it is",)
    measured = _never_seen(network, raw)
    masks: list[Any] = []
    remarks: list[str] = []
    recurrent = 0
    for layer in network.layers:
        if not isinstance(layer, IntegerRecurrent):
            masks.append(None)
            continue
        proved, seen = proved_dead(layer), measured[recurrent]
        recurrent += 1
        masks.append(proved | seen)
        gates = [g for g in constant_gates(layer) if g.always_open or g.always_closed]
        fixed = ", ".join(f"{g.name} always open in {g.always_open} and closed in {g.always_closed} units" for g in gates)
        remarks.append(
            f"pruning, layer {recurrent}: {int((proved | seen).sum())} of {layer.units} units are dead, {int(proved.sum())} proved, "
            f"the others on all {len(raw):,} windows" + (f"; proved constant gates: {fixed}" if fixed else "")
        )
    made = without_units(network, masks)
    before, after = engine.run(network, raw).scores, engine.run(made, raw).scores
    changed = int((before != after).any(tuple(range(1, before.ndim))).sum())
    remarks.append(
        f"pruning: {parameters(network):,} weights and biases before, {parameters(made):,} after; "
        f"scores changed in {changed} of {len(raw):,} windows"
    )
    return made, tuple(remarks)


def _never_seen(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> list[Array]:
    """For each recurrent layer [units]: whether all that others see of the unit was 0 at every step of these windows."""
    found: list[Array] = []
    for layer in network.recurrent:
        states = visible_states(layer)
        known = states is not None and all((layer.state(name).initial == 0).all() for name in states)
        found.append(np.full(layer.units, known))
    for first in range(0, len(raw), _AT_ONCE):
        run = reference.run(network, raw[first : first + _AT_ONCE], states=True)
        for dead, layer, states_seen in zip(found, network.recurrent, run.states, strict=True):
            for name in visible_states(layer) or ():
                dead &= (states_seen[name] == 0).all((0, 1))
    return found
