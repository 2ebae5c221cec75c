"""What a layer's forward pass must keep for the backward pass, derived from its cell's dataflow.

Vectors over the hidden units lie as [units, batch], flattened. Three arrays hold a whole sequence:

    states   [states, time + 1, units * batch]   each state before the first step and after every step
    tape     [time, slots, units * batch]        values within the steps: rows, activations, vectors that later phases read
    d_rows   [time, rows, units * batch]         adjoints of the rows, from which the gradients of all weights follow

Rows that read the same vectors form a group: their weights lie one below the other, so that one matrix product computes them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from edge_lstm.cells import Activation, Cell
from edge_lstm.network import Recurrent

# Activations whose derivative cannot be told from their value.
_NEEDS_ARGUMENT = ("threshold", "three_level")


@dataclass(frozen=True)
class Plan:
    """The structure of a layer: all that its generated kernels depend on, apart from sizes and weights.

    activations: (role, Activation) pairs; clip: bound of the preactivations, None for none;
    thresholds: how the forward pass computes threshold gates of preactivation z:
        "hard" [z > 0], "noisy" [z + noise > 0], "soft" sigmoid(k (z + noise)) with the true derivative.
    truncated: whether the gradient is cut where rows read the layer's own states or values, so that errors flow back in time along the
        states' own path only: an LSTM's c (the truncated gradient of Hochreiter & Schmidhuber 1997).
    """

    cell: Cell
    activations: tuple[tuple[str, Activation], ...]
    clip: float | None = None
    thresholds: str = "hard"
    truncated: bool = False

    @cached_property
    def phases(self) -> tuple[int, ...]:
        return self.cell.phases()

    @cached_property
    def updated_by(self) -> Mapping[int, tuple[int, ...]]:
        """Operator -> indices of the states that it renews."""
        found: dict[int, tuple[int, ...]] = {}
        for state, (_, op) in enumerate(self.cell.updates):
            found[op] = (*found.get(op, ()), state)
        return found

    @cached_property
    def row_sources(self) -> frozenset[int]:
        """Operators whose values over all units are read by rows."""
        return frozenset(a for op in self.cell.ops if op.code == "row" for a in op.args)

    @cached_property
    def crossing(self) -> frozenset[int]:
        """Operators that a later phase reads, or a row reads as a vector; states and parameters are there anyway."""
        later = {a for k, op in enumerate(self.cell.ops) for a in op.args if self.phases[a] < self.phases[k]}
        return frozenset(k for k in later | self.row_sources if self.cell.ops[k].code not in ("state", "parameter"))

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Row operators that read the same vectors in the same phase, by order of their first member."""
        found: dict[tuple[object, ...], list[int]] = {}
        for k, op in enumerate(self.cell.ops):
            if op.code == "row":
                spec = self.cell.row(op.name)
                found.setdefault((self.phases[k], spec.input, spec.bias, op.args), []).append(k)
        return tuple(tuple(members) for members in found.values())

    @cached_property
    def row_order(self) -> tuple[int, ...]:
        """Row operators group by group: their order on the tape, in d_rows and in the trained numbers."""
        return tuple(k for group in self.groups for k in group)

    @cached_property
    def slots(self) -> Mapping[int, int]:
        """Operator -> its place on the tape. An activation takes over the place of its row when the row's own value is done with."""
        slots = {k: slot for slot, k in enumerate(self.row_order)}
        count = len(slots)
        for k, op in enumerate(self.cell.ops):
            if op.code == "row" or k in self.updated_by:
                continue  # a row has its place, an update is kept as a state
            elif self.is_threshold(k) and self.thresholds == "hard" and k not in self.row_sources:
                continue  # the sign of its argument says it
            elif op.code == "activate":
                if self._may_replace(op.args[0], k):
                    slots[k] = slots[op.args[0]]
                else:
                    slots[k], count = count, count + 1
            elif k in self.crossing:
                slots[k], count = count, count + 1
        return slots

    @cached_property
    def saved(self) -> frozenset[int]:
        """Operators whose place on the tape the backward pass may read."""
        last_in_place = {slot: k for k, slot in sorted(self.slots.items())}  # an activation comes after the row that it replaces
        return frozenset(last_in_place.values())

    @property
    def slot_count(self) -> int:
        return 1 + max(self.slots.values(), default=-1)

    def activation(self, op: int) -> Activation:
        return dict(self.activations)[self.cell.ops[op].name]

    def is_threshold(self, op: int) -> bool:
        return self.cell.ops[op].code == "activate" and self.activation(op).is_threshold

    def is_soft(self, op: int) -> bool:
        """Whether `op` is a threshold that the forward pass softens."""
        return self.thresholds == "soft" and self.is_threshold(op)

    @cached_property
    def noisy(self) -> tuple[int, ...]:
        """Threshold operators, in the order of the kernel's noise; none when they are hard."""
        return tuple(k for k in range(len(self.cell.ops)) if self.thresholds != "hard" and self.is_threshold(k))

    def is_clipped(self, op: int) -> bool:
        """Whether the argument of activation `op` is clipped."""
        return self.clip is not None and self.reads_row(self.cell.ops[op].args[0])

    def needs_argument(self, op: int) -> bool:
        """Whether the derivative of activation `op` is computed from its argument (else from its value)."""
        if self.is_soft(op):
            return self.is_clipped(op)
        return self.is_clipped(op) or self.activation(op).kind in _NEEDS_ARGUMENT

    def reads_row(self, op: int) -> bool:
        """Whether `op` is a preactivation: a row, or a sum or product that a row enters."""
        node = self.cell.ops[op]
        return node.code == "row" or (node.code in ("add", "multiply") and any(self.reads_row(a) for a in node.args))

    def _may_replace(self, row: int, activation: int) -> bool:
        if self.cell.ops[row].code != "row" or self.needs_argument(activation) or row in self.crossing:
            return False
        return sum(op.args.count(row) for op in self.cell.ops) == 1


def plan(layer: Recurrent, thresholds: str = "hard", truncated: bool = False) -> Plan:
    """The plan of a float layer."""
    return Plan(layer.cell, tuple(sorted(layer.activations.items())), layer.clip, thresholds, truncated)
