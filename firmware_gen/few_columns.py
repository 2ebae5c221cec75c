"""Columns whose weights take 4, 2 or 1 bits: several in a word, two sums in an accumulator.

A word holds fields w + bias of several units. Masked to two of them, 16 bits apart, and multiplied by the element of the column, it adds to
two sums at once: an accumulator is then sum[even] + 2^16 * sum[odd], modulo 2^32, once the bias times the sum of the elements is
subtracted. Both are known from it exactly if each lies within 16 bits in the end; whatever happens in between cancels out. That is proved
for each row from its own weights: 127 times the sum of their magnitudes. Columns that are too many for it go in several `Segment`s.

Binary weights can read x, whose elements are hardly ever 0, in another way: the sums of a few elements with all their signs are tabled once
a step, and a row adds one entry of each table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from firmware_gen.columns import Group, padded_units, recurrent_weights
from firmware_gen.simplify import Dataflow

BLOCK = 16  # units of a column that stand together: 2 words of 4 bits, 1 of 2 bits, half a one of 1 bit
LARGEST_LANE = 2**15 - 1
WORD = {4: "uint32_t", 2: "uint32_t", 1: "uint16_t"}  # bits -> what a column of a block is read by


@dataclass(frozen=True)
class Segment:
    """Columns first to last - 1 of a group, whose sums stand alone. source: the operator they are elements of, None for x; from_: the first
    element; largest: what no sum exceeds, for any input; elements: that share a table of their sums with all signs, 0 where they are
    listed; joined: whether it is part of the sums of the segment before, its elements shifted as all rows do it."""

    first: int
    last: int
    source: int | None
    from_: int
    largest: int
    elements: int = 0
    joined: bool = False

    @property
    def tables(self) -> int:
        """Number of tables of the sums of `elements` elements."""
        return -(-(self.last - self.first) // self.elements)


def segments(flow: Dataflow, group: Group) -> tuple[Segment, ...]:
    """The columns of a group in as few segments as the proof allows; x in segments of its own, unless all rows shift it alike."""
    weights = np.concatenate([np.abs(group_weights(flow, index, group)) for index in group.rows])
    units, inputs, found, place = flow.layer.units, flow.layer.inputs, [], 0
    vectors: list[tuple[int | None, int]] = [(source, units) for source in group.sources]
    for source, length in vectors + [(None, inputs)] * group.reads_x:
        first = 0
        while first < length:
            reach = 127 * weights[:, place + first : place + length].cumsum(1).max(0)
            many = int(np.searchsorted(reach, LARGEST_LANE, side="right"))
            ends, elements = (place + first, place + first + many), group.tables if source is None else 0
            found.append(Segment(*ends, source, first, int(reach[many - 1]), elements))
            first += many
        place += length
    joined = _joined(flow, group, weights, found)
    return tuple(found if joined is None else [*found[:-1], joined])


def _joined(flow: Dataflow, group: Group, weights: npt.NDArray[np.int64], found: list[Segment]) -> Segment | None:
    """The segment of x as part of the one before it, None where that cannot be. weights: [rows and units, columns] magnitudes."""
    shifts = {flow.layer.rows[flow.ops[index].name].input_shift for index in group.rows}
    if len(found) < 2 or found[-1].source is not None or found[-1].elements or found[-2].source is None or not group.joins:
        return None
    (before, x), (shift, *others) = found[-2:], shifts
    if others or (group.bits == 4 and shift):  # an AVR multiplies 4 bits by 9
        return None
    reach = weights[:, before.first : before.last].sum(1) + (weights[:, x.first : x.last].sum(1) << shift)
    largest = 127 * int(reach.max())
    return replace(x, largest=largest, joined=True) if largest <= LARGEST_LANE else None


def group_weights(flow: Dataflow, index: int, group: Group) -> npt.NDArray[np.int64]:
    """[units, columns] of a row: the sources, x behind them."""
    row, weights = flow.layer.rows[flow.ops[index].name], recurrent_weights(flow, index, group.sources)
    if not group.reads_x:
        return weights
    W = row.W if row.W is not None else np.zeros((flow.layer.units, flow.layer.inputs))
    return np.concatenate([weights, W.astype(np.int64)], axis=1)


def words(flow: Dataflow, index: int, group: Group) -> npt.NDArray[np.int64]:
    """A row as [blocks of 16 units, listed columns, words of a column].

    Of 4 bits w + 8 is stored, of 2 bits w + 1, of 1 bit whether w is 1; even units in the lower half of the word, odd ones in the upper
    half. Units that do not exist may have any weight: no other unit stands above them in an accumulator.
    """
    listed = group_weights(flow, index, group)[:, : max((part.last for part in segments(flow, group) if not part.elements), default=0)]
    weights = padded_units(listed, BLOCK)
    fields = {4: weights + 8, 2: weights + 1, 1: (weights + 1) >> 1}[group.bits]
    columns = fields.reshape(-1, BLOCK, fields.shape[1]).transpose(0, 2, 1)
    in_a_word = min(32 // group.bits, BLOCK)
    halves = columns.reshape(*columns.shape[:2], -1, in_a_word // 2, 2).swapaxes(3, 4)
    parts = halves.reshape(*columns.shape[:2], -1, in_a_word)
    return (parts << (group.bits * np.arange(in_a_word))).sum(-1)


def indexes(flow: Dataflow, index: int, group: Group, part: Segment) -> npt.NDArray[np.int64]:
    """[units up to whole blocks of 16, tables] of a row: the entry of each table that its weights ask for, the first element in the lowest
    bit."""
    weights = padded_units(group_weights(flow, index, group)[:, part.first : part.last], BLOCK)
    bits = np.pad((weights + 1) >> 1, ((0, 0), (0, -weights.shape[1] % part.elements)))
    return (bits.reshape(len(bits), -1, part.elements) << np.arange(part.elements)).sum(-1)
