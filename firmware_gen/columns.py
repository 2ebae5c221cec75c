"""Rows by columns: the weights of a row stand column by column, in blocks of 8 units whose accumulators fit the registers together.

An accumulator is a sum over columns of weights, each times one element of what the row reads. Which columns are added is the strategy:

    rows    none: each unit has its own dot product. The least memory, and the slowest
    dense   all columns
    event   the columns whose element is not zero: behind closed gates most are
    delta   the accumulator is kept from step to step; the columns whose element changed since are added, times the change. Integers do
            not drift: the sum is exact for ever, whatever vector it is of

*event* and *delta* have a form in which weights of 4, 2 or 1 bits share words (`few_columns`).

Columns that are added always go in pairs, without a list; sensor inputs x, which are hardly ever zero or unchanged, go so under every
strategy unless their activity says otherwise. Rows that read the same vectors are a `Group`, for which these are gathered once. Rows that
are needed only behind an open gate stay row by row. All strategies add the same terms, in another order, so that all bits are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerRow
from firmware_gen.packed import LARGEST
from firmware_gen.schedule import Schedule
from firmware_gen.simplify import Dataflow, Value
from firmware_gen.wide_columns import Joint, joints
from firmware_gen.wide_columns import unfit as unfit_wide

STRATEGIES = ("rows", "dense", "event", "delta")
# Endings of "event" and "delta": whether weights of few bits share words, with or without tables of x; without one it is chosen.
PACKED, TABLES, BYTES = "-packed", "-tables", "-bytes"
BLOCK = 8  # units whose accumulators are held in registers together
LARGEST_OFFSET, LARGEST_VALUE = 2**16 - 1, 2**15 - 1  # what an entry of the list holds
# Where there are 16-bit multiplications two weights share half a word; their sums are told apart while neither reaches 2^23.
LARGEST_SUM = 2**23 - 1
MOST_IN_WORDS = 62  # inputs: a bit of a word for each pair of columns, and one above
SIGNS = 3  # rows whose signs fit one word, without the bit that has a sign itself
Number = TypeVar("Number", bound=np.generic)
# Of a group: pass, sources, whether it reads x, shift, whether weights share words, whether its sums join those of another group.
Key = tuple[int, tuple[int, ...], bool, int, bool, bool]


@dataclass(frozen=True)
class Group:
    """Rows of one pass that read the same vectors.

    rows: operators that are summed column by column; lazy: operators behind a gate, which read what was gathered one unit at a time;
    sources: operators that hold the vectors, in this order; reads_x, shift: whether x stands behind them, and its factor 2^shift;
    lists_sources, lists_x: whether their columns are listed where they count, or added always, in pairs; lists_lazy: whether the rows
    behind a gate read a list of what is not zero; bits: of a weight; less than 8: all columns are listed (see `few_columns`), but
    for those of x where tables is not 0: the elements of x that share one; joins: whether x is listed as the sources are, elements or
    changes; x_in_words: whether columns of x, all of which are added, may stand two weights in a word; wide: whether it reads x of 16
    bits, and nothing else; joints: for each of its rows the sum of another group that it joins, none for sums of their own.
    """

    pass_: int
    rows: tuple[int, ...]
    lazy: tuple[int, ...]
    sources: tuple[int, ...]
    reads_x: bool
    shift: int
    lists_sources: bool
    lists_x: bool
    lists_lazy: bool
    bits: int = 8
    tables: int = 0
    joins: bool = False
    x_in_words: bool = False
    wide: bool = False
    joints: tuple[Joint, ...] = ()

    def listed(self, inputs: int, units: int) -> int:
        """Number of columns that are listed."""
        return self.lists_sources * len(self.sources) * units + (self.reads_x and self.lists_x) * inputs

    def paired(self, inputs: int, units: int) -> int:
        """Number of columns that are added always."""
        return (not self.lists_sources) * len(self.sources) * units + (self.reads_x and not self.lists_x) * inputs


def signs_suffice(flow: Dataflow, group: Group) -> bool:
    """Whether nothing but threshold gates reads the sums of a group, and their signs fit one word."""
    return len(group.rows) <= SIGNS and all(flow.ops[user].code == "positive" for index in group.rows for user in flow.users(index))


@dataclass(frozen=True)
class Plan:
    """groups: rows by columns, each behind those whose sums it joins; dense: row -> why it is summed element by element all the same."""

    groups: tuple[Group, ...]
    dense: dict[str, str]


def plan_columns(
    flow: Dataflow, schedule: Schedule, strategy: str, lists_x: bool = False, lists_lazy: bool = True, few: bool = False, tables: int = 0,
) -> Plan:  # fmt: skip
    """The groups of a layer under a strategy. lists_x: whether the strategy is meant for the input as well as for states; lists_lazy:
    whether rows behind a gate read the states that are not zero, or all (the sums are the same); few: whether weights of few bits share
    words, where all weights of a row are; tables: elements of x whose sums are tabled together for binary weights, 0: none."""
    rows = [index for index, op in flow.ops.items() if op.code == "row"]
    if strategy == "rows":
        return Plan((), {})
    dense: dict[str, str] = {}
    members: dict[Key, list[int]] = {}
    always: dict[int, bool] = {}  # rows that are needed in every unit -> whether their weights share words
    for index in rows:
        row = flow.layer.rows[flow.ops[index].name]
        reason = _unfit(flow, index, row, strategy)
        if reason:
            dense[row.name] = reason
        elif not schedule.lazy[index]:
            always[index] = few and row_bits(flow, index) < 8 and not _wide(flow, row)
    joined = _joined(flow, schedule, always)
    side_by_side = sorted(always, key=lambda k: (joined[k].shift, joined[k].add) if k in joined else (2**8, k))
    for index in side_by_side:
        row = flow.layer.rows[flow.ops[index].name]
        reads_x, shares, joins_another = reads(row.W), always[index], _wide(flow, row) and index in joined
        shift = row.input_shift if reads_x and not shares else 0
        members.setdefault((schedule.pass_of[index], _sources(flow, index), reads_x, shift, shares, joins_another), []).append(index)
    groups: list[Group] = []
    lazy: dict[Key, list[int]] = {key: [] for key in members}
    claimed: set[int] = set()
    for index in rows:
        sources, row = _sources(flow, index), flow.layer.rows[flow.ops[index].name]
        same = [key for key in members if (sources or _wide(flow, row)) and key[:2] == (schedule.pass_of[index], sources)]
        if schedule.lazy[index] and same and row.name not in dense:
            claimed.add(index)
            lazy[min(same, key=lambda key: key[3] != row.input_shift)].append(index)  # best one that gathers x as the row reads it
    lists = strategy != "dense"
    for key, indices in sorted(members.items(), key=lambda member: flow.layer.wide and member[0][2]):
        (p, sources, reads_x, shift, shares, joins_another), behind = key, tuple(lazy[key])
        wide = reads_x and flow.layer.wide
        how = lists and bool(sources), lists and lists_x and reads_x and not wide, lists and lists_lazy and bool(behind and sources)
        bits = max(row_bits(flow, index) for index in indices) if shares else 8
        tabled = tables if bits == 1 and reads_x else 0
        joins, in_words = strategy == "event" or how[1], lists and not shares and not how[1] and not wide and _fits_words(flow, indices)
        to = tuple(joined[index] for index in indices) if joins_another else ()
        groups.append(Group(p, tuple(indices), behind, sources, reads_x, shift, *how, bits, tabled, joins, in_words, wide, to))
    for index in rows:
        if schedule.lazy[index] and index not in claimed and flow.ops[index].name not in dense:
            dense[flow.ops[index].name] = "it is needed only where its gate is open, and no other row reads the same vectors"
    return Plan(tuple(groups), dense)


def _wide(flow: Dataflow, row: IntegerRow) -> bool:
    """Whether a row reads x of 16 bits."""
    return flow.layer.wide and reads(row.W)


def _joined(flow: Dataflow, schedule: Schedule, always: dict[int, bool]) -> dict[int, Joint]:
    """Of the rows that are needed in every unit, those of x of 16 bits and of states that are added -> where."""
    wide = [index for index in always if _wide(flow, flow.layer.rows[flow.ops[index].name])]
    states = {index: _sources(flow, index) for index, shares in always.items() if index not in wide and not shares}
    together = {index: (schedule.pass_of[index], schedule.lazy[index]) for index in flow.ops}
    found = joints(flow, wide, states, together)
    return {index: joint for joint in found for index in (joint.of_input, joint.of_states)}


def _fits_words(flow: Dataflow, rows: list[int]) -> bool:
    """Whether all rows have weights of x for which chunks of 16 bits are proved, and pairs of columns that fit the bits of a word."""
    matrices = [flow.layer.rows[flow.ops[index].name].W for index in rows]
    reach = [int(np.abs(W.astype(np.int64)).max(initial=0)) for W in matrices if W is not None]
    return 0 < max(reach, default=0) <= 127 and flow.layer.inputs <= MOST_IN_WORDS


def row_bits(flow: Dataflow, index: int) -> int:
    """Bits that all weights of a row fit in: 4, 2 (-1, 0, 1) or 1 (-1, 1), else 8."""
    row, sources = flow.layer.rows[flow.ops[index].name], _sources(flow, index)
    weights = recurrent_weights(flow, index, sources).ravel()
    if reads(row.W) and row.W is not None:
        weights = np.concatenate([weights, row.W.astype(np.int64).ravel()])
    reach = int(np.abs(weights).max(initial=0))
    if reach == 1 and weights.all():
        return 1
    return next((bits for bits in (2, 4) if reach <= LARGEST[bits]), 8)


def reads(weights: npt.NDArray[np.int8] | None) -> bool:
    """Whether a matrix does anything."""
    return weights is not None and bool(weights.any())


def _sources(flow: Dataflow, index: int) -> tuple[int, ...]:
    """The vectors that a row reads with weights that are not all zero, each once."""
    row = flow.layer.rows[flow.ops[index].name]
    return tuple(dict.fromkeys(_vector(flow, a) for a, R in zip(flow.args[index], row.R, strict=True) if R.any()))


def _vector(flow: Dataflow, argument: Value) -> int:
    """The operator that stands for what an argument reads: of a state that is read more than once, the first."""
    assert isinstance(argument, int), "a source of a row is always kept as a vector"
    if flow.ops[argument].code != "state":
        return argument
    return next(k for k, op in flow.ops.items() if op.code == "state" and op.name == flow.ops[argument].name)


def recurrent_weights(flow: Dataflow, index: int, sources: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """[units, len(sources) * units]: the weights of `sources`, side by side; those of a source that is read twice are added up."""
    row, units = flow.layer.rows[flow.ops[index].name], flow.layer.units
    joined = np.zeros((units, len(sources) * units), np.int64)
    for argument, R in zip(flow.args[index], row.R, strict=True):
        if R.any():
            at = sources.index(_vector(flow, argument)) * units
            joined[:, at : at + units] += R
    return joined


def _unfit(flow: Dataflow, index: int, row: IntegerRow, strategy: str) -> str:
    """Why a row cannot be summed by columns; empty if it can."""
    sources, units, inputs = _sources(flow, index), flow.layer.units, flow.layer.inputs
    changes = 2 if strategy == "delta" else 1  # a change is at most twice as large as a value
    weights = recurrent_weights(flow, index, sources)
    reach = 127 * np.abs(weights).sum(1) + np.abs(row.bias.astype(np.int64))
    if row.W is not None:
        reach = reach + ((127 * np.abs(row.W.astype(np.int64)).sum(1)) << row.input_shift)
    if not sources and not reads(row.W):
        return "it reads nothing"
    if _wide(flow, row):
        return unfit_wide(flow, index, sources)
    if np.abs(weights).max(initial=0) > 127:
        return "it reads a vector twice, with weights that together leave 8 bits"
    if (len(sources) * units + inputs) * BLOCK > LARGEST_OFFSET:
        return f"it has more than {LARGEST_OFFSET // BLOCK} columns"
    if (changes * 127) << row.input_shift > LARGEST_VALUE:
        return "its inputs leave 16 bits once they are shifted"
    if int(reach.max(initial=0)) > LARGEST_SUM:
        return "its sums may need more than 24 bits"
    return ""


def blocks(flow: Dataflow, index: int, group: Group) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """The weights of a row as (listed columns [blocks of units, columns, 8], pairs of the others [blocks of units, pairs, 16]).

    Columns stand in the order of the sources, x behind them; units that do not exist and what fills up a last pair weigh 0.
    """
    row, inputs, units = flow.layer.rows[flow.ops[index].name], flow.layer.inputs, flow.layer.units
    weights = recurrent_weights(flow, index, group.sources)
    if group.reads_x and row.W is not None:
        weights = np.concatenate([weights, row.W.astype(np.int64)], axis=1)
    padded = padded_units(weights)
    columns = padded.reshape(-1, BLOCK, weights.shape[1]).transpose(0, 2, 1).astype(np.int8)
    listed, paired = np.split(columns, [group.listed(inputs, units)], axis=1)
    paired = np.pad(paired, ((0, 0), (0, paired.shape[1] % 2), (0, 0)))
    return np.ascontiguousarray(listed), paired.reshape(len(paired), -1, 2 * BLOCK)


def padded_units(values: npt.NDArray[Number], block: int = BLOCK) -> npt.NDArray[Number]:
    """`values` [units, ...] with zeros for units up to a whole block."""
    missing = -len(values) % block
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])
