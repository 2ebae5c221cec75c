"""Which operators of a layer fit lanes of 16 bits, two sequences to a vector: half the work of 32 bits, and the same bits.

The proof gives the interval of every value, so it is known at conversion what fits. The forms are identities of integers:

    round15    multiply with s = 15:   (a b + 2^14) >> 15 is what one rounding multiplication gives
    high       multiply with s >= 17:  (a b + 2^(s-1)) >> s = (((a b) >> 16) + 2^(s-17)) >> (s - 16), where the sum fits 16 bits:
               it is below 2^14 + 2^14, since a b = 2^30 is excluded. An addition and a shift leave the multipliers to dot products
    nearest    interpolate with t = 0: knot + ((step r + 2^(s-1)) >> s), a rounding multiplication of step by r 2^(15-s)
    floor      interpolate with t > 0: (knot + 2^(t-1) + ((step r) >> s)) >> t, from the high half of 2 step by r 2^(15-s)
    saturate   add, subtract: what leaves 16 bits is read by a clip to a range within them alone
    upper      rescale with s <= 16:   multiplier and rounding term times 2^(16-s), so that the result is the high half of a lane
    round      shift by s > 0:         a rounding multiplication by 2^(15-s)
    plain      clip, complement, offset
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_lstm.engine.curves import table_reach, within_range
from edge_lstm.engine.plan import LayerPlan
from edge_lstm.fixed_point.bounds import intervals
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp

LOWEST, HIGHEST = -(1 << 15), (1 << 15) - 1
Forms = dict[int, str]


def narrow_forms(layer: IntegerRecurrent, plan: LayerPlan) -> Forms:
    """Operator of `plan.ops` -> its form; operators that are not named stay at 32 bits."""
    return Narrowing(layer, plan).forms()


class Narrowing:
    """What fits 16 bits, operator by operator: ranges hold the interval of each, which shrinks where it saturates."""

    def __init__(self, layer: IntegerRecurrent, plan: LayerPlan):
        self.layer, self.plan = layer, plan
        self.within = within_range(layer, plan)
        self.ranges = [(int(low.min()), int(high.max())) for (low, high), _ in intervals(layer)]
        for index in self.within:  # these read a rescale that never leaves their range
            op = plan.ops[index]
            source = op.args[0]
            if op.code == "interpolate" and plan.ops[source].code == "rescale":
                self.ranges[source] = -table_reach(layer, op), table_reach(layer, op) - 1

    def forms(self) -> Forms:
        """Curves, products of narrow values, and what only narrow values lead to; then the rescales that only they read."""
        found: Forms = {}
        for index, op in enumerate(self.plan.ops[: len(self.layer.ops)]):
            form = self._form(index, op, found)
            if form:
                found[index] = form
                self.saturates(index)
        self._drop_tables_of_two_forms(found)
        for index, op in enumerate(self.plan.ops[: len(self.layer.ops)]):
            if op.code == "rescale" and op.numbers[0] <= 16 and self._fits(index) and self._users(index) <= found.keys():
                found[index] = "upper"
        return found

    def saturates(self, index: int) -> None:
        """The value is made in 16 bits."""
        low, high = self.ranges[index]
        self.ranges[index] = max(low, LOWEST), min(high, HIGHEST)

    def _form(self, index: int, op: IntOp, found: Forms) -> str:
        if op.code in ("row", "state", "vector", "positive", "select", "rescale", "raise") or not all(map(self._fits, op.args)):
            return ""
        if op.code == "interpolate":
            return self._curve(op)
        native = [a in found for a in op.args]
        if op.code == "multiply":
            return self._product(index, op) if any(native) else ""
        if not all(native):
            return ""
        if op.code in ("add", "subtract"):
            return "saturate" if self._fits(index) or self._only_clipped(index) else ""
        if op.code == "clip":
            return "plain" if self._inside(op.numbers) else ""
        if not self._fits(index):
            return ""
        if op.code == "shift":
            return "round" if 0 < op.numbers[0] <= 14 else ""
        return "plain" if LOWEST <= op.numbers[0] <= HIGHEST else ""

    def _product(self, index: int, op: IntOp) -> str:
        shift = op.numbers[0]
        least = all(self.ranges[a][0] == LOWEST for a in op.args)
        if least or not self._fits(index):
            return ""
        return "round15" if shift == 15 else "high" if 17 <= shift <= 31 else ""

    def _curve(self, op: IntOp) -> str:
        knots, (segment, out) = self.layer.tables[op.name].astype(np.int64), op.numbers
        steepest = int(np.abs(np.diff(knots)).max())
        if not 1 <= segment <= 15 or steepest > HIGHEST or table_reach(self.layer, op) > 1 << 15:
            return ""
        if out == 0:
            return "nearest"
        return "floor" if 2 * steepest <= HIGHEST and out <= 15 and int(np.abs(knots).max()) + (1 << out - 1) <= HIGHEST else ""

    def _drop_tables_of_two_forms(self, found: Forms) -> None:
        """A table is packed for one form: where its curves differ in form or in the rounding term, all of them stay at 32 bits."""
        readers: dict[str, list[int]] = {}
        for index, op in enumerate(self.plan.ops):
            if op.code == "interpolate":
                readers.setdefault(op.name, []).append(index)
        dropped = {
            index
            for indices in readers.values()
            if len({(found.get(index), self.plan.ops[index].numbers[1]) for index in indices}) > 1
            for index in indices
        }
        while dropped:  # and with them what has become wide
            for index in dropped:
                found.pop(index, None)
            dropped = {index for index in found if self.plan.ops[index].code != "interpolate" and not self._stays(index, found)}

    def _stays(self, index: int, found: Forms) -> bool:
        native = [a in found for a in self.plan.ops[index].args]
        return any(native) if self.plan.ops[index].code == "multiply" else all(native)

    def _fits(self, index: int) -> bool:
        return self._inside(self.ranges[index])

    @staticmethod
    def _inside(interval: Sequence[int]) -> bool:
        return interval[0] >= LOWEST and interval[1] <= HIGHEST

    def _users(self, index: int) -> set[int]:
        users = {user for user, op in enumerate(self.plan.ops) if index in op.args}
        kept = {self.layer.output, *self.plan.updates.values(), *self.plan.spilled}
        kept |= {a for segment in self.plan.segments for a in (segment.source, segment.at_end) if a is not None}
        return users if users and index not in kept else {-1}

    def _only_clipped(self, index: int) -> bool:
        users = self._users(index)
        return all(user >= 0 and self.plan.ops[user].code == "clip" and self._inside(self.plan.ops[user].numbers) for user in users)

