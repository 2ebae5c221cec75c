"""How much work the gates leave, as training goes, and the weight of open gates in the loss that leaves as much as was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.train.passes import LayerMemory, Passes
from edge_lstm.train.recipe import Recipe

Array = npt.NDArray[Any]
RAMP = 0.3  # part of training over which the weight of open gates rises, or the target falls from 1
_MOST, _BAND = 1.0, 0.02  # largest weight under a target, and the excess of work at which it is reached
_EVERY, _MEMORY = 8, 0.7  # iterations from one measurement to the next, and what is kept of the mean of earlier ones


class Sparsity:
    """The weight of open gates. left: running mean of the share of products left, measured only where there is a target.

    Without a target it is `recipe.sparsity`, reached after the first RAMP of training. With one it is in proportion to the excess of the
    work over the target, so it ends at what the network needs to stay at the target, and at 0 where that needs no weight at all.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.left = recipe, 1.0

    def weight(self, iteration: int, passes: Passes, mask: Array) -> float:
        """Of an iteration whose forward pass is done. mask: [time, batch], 1 in valid steps."""
        rise = min(1.0, iteration / self.recipe.iterations / RAMP)
        if self.recipe.work_target is None:
            return self.recipe.sparsity * rise
        if iteration % _EVERY == 0:
            self.left = _MEMORY * self.left + (1 - _MEMORY) * products_left(passes, mask)
        target = 1 - (1 - self.recipe.work_target) * rise
        return min(_MOST, max(0.0, (self.left - target) / _BAND))


def products_left(passes: Passes, mask: Array) -> float:
    """The share of the products of the last forward pass that `engine.gate_activity` counts as left over, all layers together.

    Where a gate's argument is more than a row (a peephole), the gate counts as open; so does a soft one.
    """
    left = total = 0.0
    for memory, x in zip(passes.memory, passes.inputs, strict=True):
        columns, needed = (x != 0).sum(1), _needed(memory)
        steps, batch = columns.shape
        for index, op in enumerate(memory.plan.cell.ops):
            if op.code == "row":
                own = columns if memory.plan.cell.row(op.name).input else np.zeros_like(columns)
                width = x.shape[1] if memory.plan.cell.row(op.name).input else 0
                for source in op.args:
                    own, width = own + _nonzero(memory, source, (steps, batch)), width + memory.layer.units
                left += float((own * needed[index] * mask).sum())
                total += float(memory.layer.units * width * mask.sum())
    return left / total


def _nonzero(memory: LayerMemory, source: int, shape: tuple[int, int]) -> Array:
    """[time, batch] elements of a vector read by rows that are not 0; of a vector made within the step, all."""
    op = memory.plan.cell.ops[source]
    if op.code != "state":
        return np.full(shape, memory.layer.units)
    before = memory.states[memory.layer.cell.states.index(op.name), :-1]
    return np.asarray((before.reshape(shape[0], memory.layer.units, shape[1]) != 0).sum(1))


def _needed(memory: LayerMemory) -> dict[int, Any]:
    """For each operator in how many units, [time, batch], its value reaches a state or a row by a way without a closed gate."""
    plan, units = memory.plan, memory.layer.units
    steps, batch = len(memory.tape), memory.tape.shape[2] // units
    found: dict[int, Any] = {k: k in plan.updated_by or k in plan.row_sources for k in range(len(plan.cell.ops))}
    for index in reversed(range(len(plan.cell.ops))):
        op = plan.cell.ops[index]
        if op.code in ("row", "state", "parameter"):
            continue
        gates = {a: _is_open(memory, a) for a in op.args} if op.code == "multiply" else {}
        for a in op.args:
            way = found[index]
            for gate, opening in gates.items():
                way = way if gate == a else way & opening
            found[a] = found[a] | way
    return {k: np.broadcast_to(v, memory.tape[:, 0].shape).reshape(steps, units, batch).sum(1) for k, v in found.items()}


def _is_open(memory: LayerMemory, op: int) -> Any:
    """[time, units * batch] whether a factor is a hard gate that is open, or one minus a closed one; True for any other."""
    plan = memory.plan
    if plan.cell.ops[op].code == "complement":
        gate = _is_open(memory, plan.cell.ops[op].args[0])
        return gate if gate is True else ~gate
    row = plan.cell.ops[op].args[0] if plan.is_threshold(op) else -1
    if row not in plan.slots or plan.cell.ops[row].code != "row":
        return True
    return memory.tape[:, plan.slots[row]] > 0
