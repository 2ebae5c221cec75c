"""The C of rows by columns: lists of the elements that count, accumulators of a block of units, what persists of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from firmware_gen.columns import BLOCK, Group, Plan, blocks, padded_units, reads, recurrent_weights
from firmware_gen.expressions import SUM, Expression, LayerNames
from firmware_gen.simplify import Dataflow

ENTRY_BYTES = 4
LIST_END = 3  # entries behind a list: its end, what fills up a pair, and what is read with the end


@dataclass(frozen=True)
class Persistent:
    """What a strategy keeps in the struct between two steps.

    shape, lengths: as numbers and as C text; meaning: for its comment; start: C expression of its element [k] or [t][k] after a reset.
    """

    type: str
    name: str
    shape: tuple[int, ...]
    lengths: tuple[str, ...]
    meaning: str
    start: str = "0"


@dataclass(frozen=True)
class ColumnText:
    """The parts of a layer's function that rows by columns need.

    locals: declarations; bytes: what these take on the stack; before, first: pass -> lines in front of its loop over the blocks, and at
    the start of each block; value: row -> the accumulator of unit u; persistent: fields of the struct.
    """

    locals: tuple[str, ...]
    bytes: int
    before: Mapping[int, tuple[str, ...]]
    first: Mapping[int, tuple[str, ...]]
    value: Mapping[int, Expression]
    persistent: tuple[Persistent, ...]


def column_text(
    plan: Plan, flow: Dataflow, strategy: str, names: LayerNames, number: str, vector: Callable[[int], str]
) -> ColumnText:  # fmt: skip
    """The C of the groups of a layer. number: of the layer, for fields of the struct; vector: operator -> the C array of its values."""
    writer = _Writer(flow, strategy, names, number, vector)
    for k, group in enumerate(plan.groups):
        writer.add(group, "" if len(plan.groups) == 1 else str(k + 1))
    before = {p: tuple(lines) for p, lines in writer.before.items()}
    first = {p: tuple(lines) for p, lines in writer.first.items()}
    return ColumnText(tuple(writer.locals), writer.bytes, before, first, writer.value, tuple(writer.persistent))


class _Writer:
    def __init__(self, flow: Dataflow, strategy: str, names: LayerNames, number: str, vector: Callable[[int], str]):
        self.flow, self.strategy, self.names, self.number, self.vector = flow, strategy, names, number, vector
        self.delta = strategy == "delta"
        self.p, self.P = names.tables.prefix, f"{names.tables.prefix.upper()}_{names.infix.upper()}"
        self.units, self.inputs = flow.layer.units, flow.layer.inputs
        self.locals: list[str] = []
        self.bytes = 0
        self.before: dict[int, list[str]] = {}
        self.first: dict[int, list[str]] = {}
        self.value: dict[int, Expression] = {}
        self.persistent: list[Persistent] = []

    def add(self, group: Group, which: str) -> None:
        """The C of one group. which: its number, empty for the only one."""
        if self.strategy == "dense":
            self._gather(group, which)
        else:
            self._list_all(group, which)

    def _gather(self, group: Group, which: str) -> None:
        """All vectors, one behind the other in 16 bits."""
        values, lines = f"values{which}", self.before.setdefault(group.pass_, [])
        length = self._length(group)
        columns = group.columns(self.inputs, self.units)
        for k, source in enumerate(group.sources):
            lines.append(f"{self.p}_gather(&{values}[{self._place(k)}], {self.vector(source)}, {self.P}UNITS, 0);")
        if group.reads_x:
            lines.append(f"{self.p}_gather(&{values}[{self._place(len(group.sources))}], x, {self.P}INPUTS, {group.shift});")
        pairs = f"({length} + 1) / 2" if columns % 2 else f"({length}) / 2"
        if columns % 2:
            lines.append(f"{values}[{length}] = 0;")
        lines.append(f"const int32_t excess{which} = {self.p}_excess({values}, {length});")
        self._local(f"int16_t {values}[{length}{' + 1' if columns % 2 else ''}] {self.p.upper()}_ALIGNED;", 2 * (columns + columns % 2))
        self._sums(group, which, f"add_all({{}}, {values}, excess{which}, {pairs.replace(' / 2', ' >> 1')}, {{}})")
        for index in group.listed:
            self._row_behind_gate(index, group, f"dot_values({{}}, {values}, {self._states(group)})")

    def _list_all(self, group: Group, which: str) -> None:
        listed, end = f"columns{which}", f"end{which}"
        columns, length = group.columns(self.inputs, self.units), self._length(group)
        lines = self.before.setdefault(group.pass_, [])
        nonzero, nonzero_end = listed, f"states_end{which}"
        if group.listed and self.delta:
            nonzero, nonzero_end = f"nonzero{which}", f"nonzero_end{which}"
            self._local(f"{self.p}_column {nonzero}[{self._states(group)}];", len(group.sources) * self.units * ENTRY_BYTES)
            self._local(f"{self.p}_column *{nonzero_end} = {nonzero};", 0)
        for k in range(len(group.sources)):
            self._list(lines, group, which, k, f"&{nonzero_end}" if group.listed else "0")
        if group.listed and not self.delta:
            lines.append(f"const {self.p}_column *const {nonzero_end} = {end};")
        if group.reads_x:
            self._list_x(lines, group, which)
        lines.append(f"{self.p}_end_list({end});")
        lines.append(f"const int32_t excess{which} = {self.p}_excess_of_list({listed});")
        self._local(f"{self.p}_column {listed}[{length} + {LIST_END}];", (columns + LIST_END) * ENTRY_BYTES)
        self._local(f"{self.p}_column *{end} = {listed};", 0)
        self._sums(group, which, f"add_columns({{}}, {listed}, excess{which}, {length}, {{}})")
        for index in group.listed:
            self._row_behind_gate(index, group, f"dot_listed({{}}, {nonzero}, {nonzero_end})")

    def _local(self, declaration: str, size: int) -> None:
        self.locals.append(declaration)
        self.bytes += size

    def _plain(self, source: int) -> str:
        return self.vector(source).removeprefix("state->")

    def _length(self, group: Group) -> str:
        parts = [self._states(group)] if group.sources else []
        return " + ".join([*parts, *([f"{self.P}INPUTS"] if group.reads_x else [])])

    def _states(self, group: Group) -> str:
        return self._place(len(group.sources))

    def _place(self, k: int) -> str:
        return "0" if k == 0 else f"{self.P}UNITS" if k == 1 else f"{k} * {self.P}UNITS"

    def _offset(self, k: int) -> str:
        return "0" if k == 0 else f"{BLOCK * k} * {self.P}UNITS"

    def _list(self, lines: list[str], group: Group, which: str, k: int, nonzero: str) -> None:
        """Lists one source."""
        end, source = f"end{which}", group.sources[k]
        vector, where = self.vector(source), f"{self.P}UNITS, {self._offset(k)}, 0"
        if not self.delta:
            lines.append(f"{end} = {self.p}_list({end}, {vector}, {where});")
            return
        name = f"seen{which}_{self._plain(source)}{self.number}"
        self.persistent.append(Persistent("int8_t", name, (self.units,), (f"{self.P}UNITS",), f"{self._plain(source)} as the sums have it"))
        lines.append(f"{end} = {self.p}_list_changes({end}, {vector}, state->{name}, {where}, {nonzero});")

    def _list_x(self, lines: list[str], group: Group, which: str) -> None:
        end, where = f"end{which}", f"{self.P}INPUTS, {self._offset(len(group.sources))}, {group.shift}"
        if not self.delta:
            lines.append(f"{end} = {self.p}_list({end}, x, {where});")
            return
        name = f"seen{which}_x{self.number}"
        self.persistent.append(Persistent("int8_t", name, (self.inputs,), (f"{self.P}INPUTS",), "x as the sums have it"))
        lines.append(f"{end} = {self.p}_list_changes({end}, x, state->{name}, {where}, 0);")

    def _sums(self, group: Group, which: str, call: str) -> None:
        """The sums of all rows of a group: of all units at once where they are kept, else of one block of units at a time.

        call: of the kernel, with places for (sums, start, weights) and the number of blocks.
        """
        rows = [self.flow.layer.rows[self.flow.ops[index].name] for index in group.rows]
        weights = np.stack([blocks(self.flow, index, group) for index in group.rows])  # [rows, blocks, columns, 8]
        if self.strategy == "dense" and weights.shape[2] % 2:
            weights = np.pad(weights, ((0, 0), (0, 0), (0, 1), (0, 0)))  # columns go in pairs
        width = 2 * BLOCK if self.strategy == "dense" else BLOCK
        bias = np.stack([padded_units(row.bias).reshape(-1, BLOCK) for row in rows])  # [rows, blocks, 8]
        many = f"s {', '.join(row.name for row in rows)}" if len(rows) > 1 else f" {rows[0].name}"
        infix, sums = self.names.infix, f"sums{which}"
        if self.delta:
            field = f"{sums}_{self.number}" if self.number else sums
            comment = f"[rows][blocks of {BLOCK} units][columns][{BLOCK}] weights by columns of row{many}"
            table = self.names.tables.add_columns(f"{infix}columns{which}_W", weights.reshape(len(rows), -1, width), comment)
            start = self.names.add((f"columns{which}_b",), bias.reshape(len(rows), -1), f"[rows][units] bias of row{many}", "int32_t")
            shape, of = (len(rows), bias.shape[1] * BLOCK), (str(len(rows)), f"{self.P}PADDED")
            meaning = f"row{many} with what was seen last"
            self.persistent.append(Persistent("int32_t", field, shape, of, meaning, f"{start}[t][k]"))
            kept = f"state->{field}[0]"
            self.before[group.pass_].append(f"{self.p}_{call.format(f'{kept}, {kept}, {table}[0]', bias.size // BLOCK)};")
            self.value |= {index: Expression(f"state->{field}[{k}][u]") for k, index in enumerate(group.rows)}
            return
        comment = f"[blocks of {BLOCK} units][rows][columns][{BLOCK}] weights by columns of row{many}"
        weights_by_block = weights.transpose(1, 0, 2, 3).reshape(bias.shape[1], -1, width)
        table = self.names.tables.add_columns(f"{infix}columns{which}_W", weights_by_block, comment)
        by_block = bias.transpose(1, 0, 2).reshape(bias.shape[1], -1)
        start = self.names.add((f"columns{which}_b",), by_block, f"[blocks of {BLOCK} units][rows][{BLOCK}] bias of row{many}", "int32_t")
        self._local(f"int32_t {sums}[{len(rows)}][{BLOCK}];", 4 * BLOCK * len(rows))
        where = "first >> 3"
        places = f"{sums}[0], {start}[{where}], {table}[{where}]"
        self.first.setdefault(group.pass_, []).append(f"{self.p}_{call.format(places, len(rows))};")
        self.value |= {index: Expression(f"{sums}[{k}][u - first]") for k, index in enumerate(group.rows)}

    def _row_behind_gate(self, index: int, group: Group, dot: str) -> None:
        """A row of one unit at a time. dot: of its weights, with a place for them, and what was gathered."""
        row, terms = self.flow.layer.rows[self.flow.ops[index].name], []
        if row.bias.any():
            terms.append(f"{self.names.add((f'{row.name}_b',), row.bias, f'[units] bias of row {row.name}')}[u]")
        if row.W is not None and reads(row.W):
            W = self.names.add((f"{row.name}_W",), row.W, f"[units][inputs] weights of x in row {row.name}")
            raised = f" * {2**row.input_shift}" if row.input_shift else ""
            terms.append(f"{self.p}_dot({W}[u], x, {self.P}INPUTS){raised}")
        joined = recurrent_weights(self.flow, index, group.sources).astype(np.int8)
        shape = "[units][units]" if len(group.sources) == 1 else f"[units][{len(group.sources)} * units]"
        sources = ", ".join(map(self._plain, group.sources))
        R = self.names.add((f"{row.name}_R",), joined, f"{shape} weights of {sources} in row {row.name}")
        terms.append(f"{self.p}_{dot.format(f'{R}[u]')}")
        self.value[index] = Expression(" + ".join(terms), SUM)
