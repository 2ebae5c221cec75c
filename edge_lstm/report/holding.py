"""Which units hold something, and for how long: read off the course of a layer over one recording.

A unit *holds* over a step when its memory is not 0 and does not move. With threshold gates "does not move" means that not a bit changes.
A soft gate never closes, so there a memory is said to hold while it moves by less than a hundredth of the largest value that it reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.gate_activity import GateCourse

Mask = npt.NDArray[np.bool_]
TOLERANCE = 0.01  # of the largest value that a unit reaches, per step, where a gate is soft


@dataclass(frozen=True, eq=False)
class LayerHolding:
    """One recurrent layer over the steps of one recording, pieces between resets joined.

    memory: name of the state that is followed (c, or the output where the cell has no other); value: [steps, units] its real value after
    each step; gates: name -> opening [steps, units]; hard: the threshold gates; moved: [steps, units] whether the memory moved in that
    step; starts: the first step after each reset; exact: whether "moved" counts single bits (else more than `TOLERANCE`).
    """

    memory: str
    value: npt.NDArray[np.float64]
    gates: dict[str, npt.NDArray[np.float64]]
    hard: tuple[str, ...]
    moved: Mask
    starts: tuple[int, ...]
    exact: bool

    @property
    def holds(self) -> Mask:
        """[steps, units] whether the unit holds over the step."""
        return ~self.moved & (self.value != 0)

    @property
    def longest(self) -> npt.NDArray[np.int64]:
        """[units] steps of the longest stretch over which each unit holds; none goes beyond a reset."""
        longest = run = np.zeros(self.value.shape[1], np.int64)
        starts = set(self.starts)
        for step, held in enumerate(self.holds):
            run = np.where(held, (0 if step in starts else run) + 1, 0)
            longest = np.maximum(longest, run)
        return longest

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Units from the one that holds longest to the one that never does; among equals the one that moves less often comes first."""
        dead = (self.value == 0).all(0)
        return np.lexsort((np.arange(len(dead)), self.moved.sum(0), -self.longest, dead))

    @property
    def still(self) -> npt.NDArray[np.bool_]:
        """[steps] whether the memory of no unit moved."""
        return np.asarray(~self.moved.any(1))


def holding(pieces: list[GateCourse], output: str = "h") -> LayerHolding:
    """The course of one layer over a recording, from the courses of its pieces (each a batch of one, begun from a reset)."""
    states = pieces[0].states
    memory = next((name for name in states if name != output), next(iter(states)))
    raw = [np.asarray(piece.states[memory][0]) for piece in pieces]
    exact = set(pieces[0].hard) == set(pieces[0].gates) and bool(pieces[0].gates)
    after = np.concatenate([piece[1:] for piece in raw])
    limit = 0.0 if exact else TOLERANCE * np.abs(after).max(0)
    moved = np.concatenate([np.abs(np.diff(piece.astype(np.float64), axis=0)) > limit for piece in raw])
    gates = {gate: np.concatenate([piece.gates[gate][0] for piece in pieces]) for gate in pieces[0].gates}
    lengths = [len(piece) - 1 for piece in raw]
    starts = tuple(int(start) for start in np.cumsum([0, *lengths[:-1]]))
    return LayerHolding(memory, after * pieces[0].scales[memory], gates, pieces[0].hard, moved, starts, exact)
