"""Batches in lanes of 16 bits, from states to the bytes that rows read: for cores on which every instruction takes a dot product's place.

Sequences step two by two. Their states stand in one vector of 32 words, in the record of the first, and only accumulators and what is
computed in floats is ever wider. Beside the forms of `engine.narrow` there are

    sign     positive: the accumulators of two sequences, packed. That saturates, which leaves their place on either side of a threshold
    gated    select: a comparison of a sign's words decides
    scaled   rescale: (a m + 2^(s-1)) >> s is one rounding multiplication by m 2^(15-s), where that is an integer of 16 bits; the limits of
             a are either never met, or left to a clip of the result, which only grows with a
    stored   clip to -127 ... 127: left to where the bytes of four sequences are packed, which saturates
    blend    add, of a + select(sign, b - a): b or a, whichever the sign says; the difference and what selects it are only part of it
    same     clip of what lies within its range
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.curves import bare_rows
from edge_lstm.engine.floating import start_shift
from edge_lstm.engine.layout import Saturated, blended
from edge_lstm.engine.narrow import HIGHEST, LOWEST, Forms, Narrowing
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.operators import half

MOST_ROWS = 8  # of a phase: two sequences have so many accumulators
BYTE = (-127, 127)


def _may_be_words(layer: IntegerRecurrent, plan: LayerPlan) -> tuple[str, ...]:
    """States that batches may keep as words, if what renews them comes as words."""
    if layer.wide or any(not 0 < len(phase.rows) <= MOST_ROWS for phase in plan.phases):
        return ()
    zero = {state.name for state in layer.states if not state.initial.any()}  # what a record of two sequences begins with
    return tuple(name for name in plan.stored if name in zero)


def word_forms(layer: IntegerRecurrent, plan: LayerPlan, narrow: Forms, saturated: Saturated | None) -> Forms:
    """Operator of `plan.ops` -> its form where a batch steps in words; none unless it keeps states so.

    narrow: forms of a single sequence, which has the same tables and constants; saturated: an output that lanes keep in a form of its own,
    from its rescale on: that is words as a whole or not at all.
    """
    may = _may_be_words(layer, plan)
    kept = {index for index, op in enumerate(plan.ops) if op.code == "state" and op.name in may}
    if not kept:
        return {}
    signs, blocked = _signs(layer, plan), set[int]()
    while True:
        found = _InWords(layer, plan, narrow, signs - blocked, kept - blocked, blocked).forms()
        fails = {k for k in kept - blocked if plan.updates[plan.ops[k].name] not in found or _is_read_in_lanes(plan, k, found)}
        fails |= {k for k, form in found.items() if form == "sign" and not _only_gates(plan, k, found)}
        whole = set() if saturated is None else {saturated.rescale, saturated.clip, saturated.output}
        if not whole <= found.keys():
            fails |= whole & found.keys()
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


def _is_read_in_lanes(plan: LayerPlan, index: int, found: Forms) -> bool:
    """Whether words would be taken apart again."""
    return any(index in op.args and op.code != "row" and reader not in found for reader, op in enumerate(plan.ops))


def _within(inner: Sequence[int], outer: Sequence[int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _only_gates(plan: LayerPlan, index: int, found: Forms) -> bool:
    """Whether a sign is nothing but the switch of selects in words."""
    readers = [(reader, op) for reader, op in enumerate(plan.ops) if index in op.args]
    gates = all(op.code == "select" and found.get(reader) in ("gated", "part") and index != op.args[1] for reader, op in readers)
    return gates and index not in plan.spilled


class _InWords(Narrowing):
    def __init__(
        self, layer: IntegerRecurrent, plan: LayerPlan, narrow: Forms, signs: set[int], states: set[int], blocked: set[int]
    ):  # fmt: skip
        super().__init__(layer, plan)
        self.narrow, self.signs, self.states, self.blocked = narrow, signs, states, blocked
        ends = {segment.at_end: segment.source for segment in plan.segments if segment.source >= 0}
        for index in range(len(layer.ops), len(plan.ops)):  # what a source will be in the next step is within the same range
            self.ranges.append(self.ranges[ends[index]] if index in ends else (-(1 << 31), (1 << 31) - 1))

    def forms(self) -> Forms:
        found: Forms = {}
        for index, op in enumerate(self.plan.ops):
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
            if found.get(op.args[1]) == "part":
                return "part"
            return "gated" if found.get(op.args[0]) == "sign" and self._fits(op.args[1]) else ""
        if op.code == "rescale":
            return "scaled" if op.args[0] in found and self._fits(op.args[0]) and self._is_scaled(index, op) else ""
        if op.code == "clip" and op.args[0] in found and self._fits(op.args[0]):
            if op.numbers == BYTE and self._is_stored(index):
                return "stored"
            if _within(self.ranges[op.args[0]], op.numbers):
                return "same"
        if op.code == "subtract" and self._blends(index, op, found):
            return "part"
        if op.code == "add" and any(found.get(a) == "part" for a in op.args):
            _, *both = blended(self.plan, index)
            self.ranges[index] = min(self.ranges[k][0] for k in both), max(self.ranges[k][1] for k in both)
            return "blend"
        if op.code in ("add", "subtract") and all(map(self._fits, op.args)) and any(a in found for a in op.args):
            return "saturate" if self._fits(index) or self._only_clipped(index) else ""
        return super()._form(index, op, found)

    def _blends(self, index: int, op: IntOp, found: Forms) -> bool:
        """Whether a difference b - a is only selected, and then only added to a, where both are words or fit them."""
        (reader, *more) = self._users(index)
        gate = self.plan.ops[reader] if reader >= 0 else op
        if more or gate.code != "select" or gate.args[0] not in self.signs or gate.args[1] != index:
            return False
        (user, *others) = self._users(reader)
        if others or user < 0 or self.plan.ops[user].code != "add" or {*self.plan.ops[user].args} != {reader, op.args[1]}:
            return False
        return not {reader, user, index} & self.blocked and all(map(self._fits, op.args)) and any(a in found for a in op.args)

    def _is_scaled(self, index: int, op: IntOp) -> bool:
        """Whether one rounding multiplication gives the rescale of a word, or what a clip makes the same of it."""
        scaled = scaled_multipliers(self.layer, op)
        if scaled is None:
            return False
        limit, multiplier = (self.layer.vectors[f"{op.name}.{part}"].astype(np.int64) for part in ("limit", "multiplier"))
        if max(map(abs, self.ranges[op.args[0]])) <= int(limit.min()):
            return True
        least, most = (end * multiplier + half(op.numbers[0]) >> op.numbers[0] for end in (-limit, limit))
        users = [self.plan.ops[user] for user in self._users(index) if user >= 0]
        if not users or not all(user.code == "clip" and _within(user.numbers, (int(least.max()), int(most.min()))) for user in users):
            return False
        self.ranges[index] = LOWEST, HIGHEST  # before the clip
        return True

    def _is_stored(self, index: int) -> bool:
        """Whether nothing reads a clip but the bytes that rows read, directly or through a gate."""
        readers = [reader for reader, op in enumerate(self.plan.ops) if index in op.args]
        if not readers:
            return self._is_last(index)
        gates = self.plan.ops[readers[0]].code == "select" and self.plan.ops[readers[0]].args[0] in self.signs
        return len(readers) == 1 and gates and readers[0] not in self.blocked and self._is_last(readers[0]) and not self._is_kept(index)

    def _is_last(self, index: int) -> bool:
        """Whether a value is stored as bytes at the end of a step, and nowhere else read."""
        at_end = any(segment.at_end == index for segment in self.plan.segments)
        return at_end and not self._is_kept(index) and not any(index in op.args for op in self.plan.ops)

    def _is_kept(self, index: int) -> bool:
        """Whether a value is stored as it is."""
        computed = {place for phase in self.plan.phases for place, _ in phase.computed}
        return index in {*self.plan.spilled, *computed, *(self.plan.updates[name] for name in self.plan.stored)}
