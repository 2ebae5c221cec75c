"""Batches in lanes of 16 bits, from states to the bytes that rows read: for cores on which every instruction takes a dot product's place.

Sequences step two by two. Their states stand in one vector of 32 words, in the record of the first, and only accumulators and what is
computed in floats is ever wider. Beside the forms of `engine.narrow` there are

    sign     positive: the accumulators of two sequences, packed. That saturates, which leaves their place on either side of a threshold
    gated    select: a comparison of a sign's words decides
    scaled   rescale: (a m + 2^(s-1)) >> s is one rounding multiplication by m 2^(15-s), where that is an integer of 16 bits; the limits of
             a are either never met, or left to a clip of the result, which only grows with a
    stored   clip to -127 ... 127: left to where the bytes of four sequences are packed, which saturates
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.curves import bare_rows
from edge_lstm.engine.floating import start_shift
from edge_lstm.engine.narrow import HIGHEST, Forms, Narrowing
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.operators import half

MOST_ROWS = 8  # of a phase: two sequences have so many accumulators
BYTE = (-127, 127)


def word_states(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[str, ...]:
    """States that batches may keep as words, if what renews them comes as words."""
    if layer.wide or any(not 0 < len(phase.rows) <= MOST_ROWS for phase in plan.phases):
        return ()
    zero = {state.name for state in layer.states if not state.initial.any()}  # what a record of two sequences begins with
    return tuple(name for name in plan.stored if name in zero)


def word_forms(layer: IntegerRecurrent, plan: LayerPlan, narrow: Forms, given_up: tuple[int, ...]) -> Forms:
    """Operator of `plan.ops` -> its form where a batch steps in words; none unless it keeps states so.

    narrow: forms of a single sequence, which has the same tables and constants; given_up: an output and its clip, of which the store of
    lanes takes care (`engine.saturated`): they are words only if their rescale is.
    """
    may = word_states(layer, plan)
    kept = {index for index, op in enumerate(plan.ops) if op.code == "state" and op.name in may}
    if not kept:
        return {}
    signs, blocked = _signs(layer, plan), set[int]()
    while True:
        found = _InWords(layer, plan, narrow, signs - blocked, kept - blocked, blocked).forms()
        fails = {k for k in kept - blocked if plan.updates[plan.ops[k].name] not in found}
        fails |= {k for k, form in found.items() if form == "sign" and not _only_gates(plan, k, found)}
        if given_up and found.get(plan.ops[given_up[1]].args[0]) != "scaled":
            fails |= found.keys() & set(given_up)
        if not fails:
            return found if any(form == "state" for form in found.values()) else {}
        blocked |= fails


def _signs(layer: IntegerRecurrent, plan: LayerPlan) -> set[int]:
    """Thresholds whose rows can begin with their bias, and what is left of it, which is what they are compared with, fits 16 bits."""
    rows = {row for row in bare_rows(layer, plan) if start_shift(layer, plan, row) < 15}
    return {index for index, op in enumerate(plan.ops) if op.code == "positive" and op.args[0] in rows}


def scaled_multipliers(layer: IntegerRecurrent, op: IntOp) -> npt.NDArray[np.int64] | None:
    """m 2^(15-s) of a rescale, where that is an integer of 16 bits in every unit."""
    multiplier, shift = layer.vectors[f"{op.name}.multiplier"].astype(np.int64), op.numbers[0]
    scaled = multiplier << max(15 - shift, 0) >> max(shift - 15, 0)
    exact = scaled << max(shift - 15, 0) == multiplier << max(15 - shift, 0)
    return scaled if bool(exact.all()) and int(scaled.max(initial=0)) <= HIGHEST else None


def _only_gates(plan: LayerPlan, index: int, found: Forms) -> bool:
    readers = [reader for reader, op in enumerate(plan.ops) if index in op.args]
    return all(found.get(reader) == "gated" and index not in plan.ops[reader].args[1:] for reader in readers) and index not in plan.spilled


class _InWords(Narrowing):
    def __init__(
        self, layer: IntegerRecurrent, plan: LayerPlan, narrow: Forms, signs: set[int], states: set[int], blocked: set[int]
    ):  # fmt: skip
        super().__init__(layer, plan)
        self.narrow, self.signs, self.states, self.blocked = narrow, signs, states, blocked

    def forms(self) -> Forms:
        found: Forms = {}
        for index, op in enumerate(self.plan.ops[: len(self.layer.ops)]):
            form = "" if index in self.blocked else self._form(index, op, found)
            if form:
                found[index] = form
                self.saturates(index)
        return {index: form for index, form in self.narrow.items() if form == "upper" and index not in self.blocked} | found

    def _form(self, index: int, op: IntOp, found: Forms) -> str:
        if op.code == "interpolate":
            return self.narrow.get(index, "")
        if op.code == "state":
            return "state" if index in self.states and self._fits(index) else ""
        if op.code == "positive":
            return "sign" if index in self.signs else ""
        if op.code == "select":
            return "gated" if found.get(op.args[0]) == "sign" and self._fits(op.args[1]) else ""
        if op.code == "rescale":
            return "scaled" if op.args[0] in found and self._fits(op.args[0]) and self._is_scaled(index, op) else ""
        if op.code == "clip" and op.numbers == BYTE and op.args[0] in found and self._fits(op.args[0]) and self._is_stored(index):
            return "stored"
        return super()._form(index, op, found)

    def _is_scaled(self, index: int, op: IntOp) -> bool:
        """Whether one rounding multiplication gives the rescale of a word, or what a clip makes the same of it."""
        scaled = scaled_multipliers(self.layer, op)
        if scaled is None:
            return False
        limit, multiplier = (self.layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
        if max(map(abs, self.ranges[op.args[0]])) <= int(limit.min()):
            return True
        least, most = (end * multiplier + half(op.numbers[0]) >> op.numbers[0] for end in (-limit, limit))
        clips = [self.plan.ops[user] for user in self._users(index) if user >= 0 and self.plan.ops[user].code == "clip"]
        ends = [(int(least.max()), int(most.min()))]
        reached = all(low <= clip.numbers[0] and clip.numbers[1] <= high for clip in clips for low, high in ends)
        return bool(clips) and len(clips) == len(self._users(index)) and reached

    def _is_stored(self, index: int) -> bool:
        """Whether nothing reads a clip but the bytes that rows read, directly or through a gate."""
        ends = [segment.at_end for segment in self.plan.segments if segment.at_end is not None]
        if any(index in op.args for op in self.plan.ops):
            (reader, *more) = [k for k, op in enumerate(self.plan.ops) if index in op.args]
            gated = self.plan.ops[reader].code == "select" and self.plan.ops[reader].args[0] in self.signs and reader not in self.blocked
            return not more and gated and self._is_last(reader, ends) and not self._is_last(index, ends)
        return self._is_last(index, ends)

    def _is_last(self, index: int, ends: list[int]) -> bool:
        """Whether a value is stored as bytes at the end of a step, and nowhere else read."""
        elsewhere = {*self.plan.spilled, *(self.plan.updates[name] for name in self.plan.stored)}
        elsewhere |= {computed for phase in self.plan.phases for computed, _ in phase.computed}
        return index in ends and index not in elsewhere and not any(index in op.args for op in self.plan.ops)
