"""`convert --prune`: constant gates and dead units out of the integer network, and what that saved and changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import engine
from edge_lstm.engine import gate_activity, reference
from edge_lstm.engine.gates import gate_operators
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.folding import Constant, folded, proved_constant, thresholds
from edge_lstm.fixed_point.integer_network import IntegerBidirectional, IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.pruning import proved_dead, visible_states, without_units
from edge_lstm.jobs.memory import memory
from edge_lstm.jobs.networks import parameters
from edge_lstm.report.content import Memory

Array = npt.NDArray[Any]
PRUNING = "pruning"  # metadata: JSON of what the network took before, for reports
_AT_ONCE = 64  # windows


def prune(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[IntegerNetwork, tuple[str, ...]]:
    """(the network without its constant gates and dead units, remarks). raw: counts [windows, samples, channels] on which they are seen.

    What is proved holds for any input; what is only measured holds for these windows. A network with a layer that reads both directions,
    or in reverse, is left as it is.
    """
    if any(isinstance(layer, IntegerBidirectional) or getattr(layer, "reverse", False) for layer in network.layers):
        return network, ("pruning: a network that reads in reverse is left as it is",)
    made, remarks = _without_constant_gates(network, raw)
    made, more = _without_dead_units(made, raw)
    before, after = engine.run(network, raw).scores, engine.run(made, raw).scores
    changed = int((before != after).any(tuple(range(1, before.ndim))).sum())
    took, takes = memory(network), memory(made)
    sizes = "; ".join(f"{what} {size:,} bytes before, {dict(takes.parts).get(what, 0):,} after" for what, size in took.parts)
    remarks += (
        *more,
        f"pruning: {parameters(network):,} weights and biases before, {parameters(made):,} after; "
        f"weights that are not zero: {_not_zero(network):,} before, {_not_zero(made):,} after; "
        f"scores changed in {changed} of {len(raw):,} windows",
        f"pruning: {sizes}",
    )
    kept = {"parts": took.parts, "how": took.how, "remarks": remarks}
    return replace(made, metadata={**made.metadata, PRUNING: json.dumps(kept, ensure_ascii=False)}), remarks


@dataclass(frozen=True)
class Pruned:
    """What a file says of its pruning. before: what the network took then; remarks: what was taken out."""

    before: Memory
    remarks: tuple[str, ...]


def pruned(name: str, metadata: Mapping[str, str]) -> Pruned | None:
    """What the file called `name` says of its pruning; None where it was not pruned. Raises EdgeLstmError for an edited entry."""
    if PRUNING not in metadata:
        return None
    try:
        found = json.loads(metadata[PRUNING])
        parts = [(str(what), int(size)) for what, size in found["parts"]]
        return Pruned(Memory(f"{name}, before pruning", parts, str(found["how"])), tuple(map(str, found["remarks"])))
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeLstmError(f"{name}: its metadata {PRUNING} is damaged or was edited") from error


def _not_zero(network: IntegerNetwork) -> int:
    rows = [row for layer in network.recurrent for row in layer.rows.values()]
    dense = [layer.W for layer in network.layers if hasattr(layer, "W")]
    matrices = [*dense, *(W for row in rows for W in (row.W, *row.R) if W is not None)]
    return sum(int(np.count_nonzero(W)) for W in matrices)


def _without_constant_gates(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[IntegerNetwork, tuple[str, ...]]:
    seen = iter(_seen_constant(network, raw))
    layers: list[Any] = []
    remarks: list[str] = []
    for layer in network.layers:
        if not isinstance(layer, IntegerRecurrent):
            layers.append(layer)
            continue
        proved, measured = proved_constant(layer), next(seen)
        both = {name: one.joined(measured[name]) if name in measured else one for name, one in proved.items()}
        made = folded(layer, both)
        layers.append(made)
        number = sum(isinstance(one, IntegerRecurrent) for one in layers)
        said = [
            f"{name} always open in {int(one.opened.sum())} and closed in {int(one.closed.sum())} units ({proved[name].count} proved)"
            + (", so its row is gone" if name not in made.rows else "")
            for name, one in both.items()
            if one.count
        ]
        if said:
            remarks.append(
                f"pruning, layer {number}, constant gates folded away: {'; '.join(said)}; those that are not proved were seen to "
                f"be constant on all {len(raw):,} windows, and may differ on others"
            )
    made_network = replace(network, layers=tuple(layers))
    prove_network(made_network)
    return made_network, tuple(remarks)


def _seen_constant(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> list[dict[str, Constant]]:
    """For each recurrent layer row -> in which units its sign was the same at every step of these windows."""
    found: list[dict[str, Constant]] = []
    for layer in network.recurrent:
        signs, operators = thresholds(layer), gate_operators(layer)
        rows = {gate: layer.ops[layer.ops[index].args[0]].name for gate, (index, _) in operators.items() if index in signs.values()}
        every = np.ones(layer.units, np.bool_)
        found.append({gate: Constant(row, every, every) for gate, row in rows.items()})
    for first in range(0, len(raw), _AT_ONCE):
        for constants, course in zip(found, gate_activity.course(network, raw[first : first + _AT_ONCE]), strict=True):
            for gate, one in constants.items():
                opening = course.gates[gate]
                opened, closed = (opening > 0).all((0, 1)), (opening == 0).all((0, 1))
                constants[gate] = Constant(one.row, one.opened & opened, one.closed & closed)
    return [{one.row: one for one in constants.values()} for constants in found]


def _without_dead_units(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[IntegerNetwork, tuple[str, ...]]:
    measured = _never_seen(network, raw)
    masks: list[Any] = []
    remarks: list[str] = []
    for layer in network.layers:
        if not isinstance(layer, IntegerRecurrent):
            masks.append(None)
            continue
        proved, seen = proved_dead(layer), measured[len(remarks)]
        masks.append(proved | seen)
        remarks.append(
            f"pruning, layer {len(remarks) + 1}: {int((proved | seen).sum())} of {layer.units} units are dead, {int(proved.sum())} by "
            f"proof, the others on all {len(raw):,} windows"
        )
    return without_units(network, masks), tuple(remarks)


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
