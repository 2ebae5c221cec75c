"""The C of rows by columns: lists of the elements that count, accumulators of a block of units, what persists of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from firmware_gen.columns import BLOCK, Group, Plan, blocks, padded_units, reads, recurrent_weights
from firmware_gen.expressions import SUM, Expression, LayerNames
from firmware_gen.names import identifier
from firmware_gen.simplify import Dataflow

ENTRY_BYTES = 4


@dataclass(frozen=True)
class Persistent:
    """What a strategy keeps in the struct between two steps. padded: of all units up to a whole block, else of `length` elements.

    start: C expression of element k after a reset; meaning: for its comment.
    """

    type: str
    name: str
    length: int
    of: str
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
        self.flow, self.delta, self.names, self.number, self.vector = flow, strategy == "delta", names, number, vector
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
        listed, end = f"columns{which}", f"end{which}"
        lines = self.before.setdefault(group.pass_, [])
        seen = [self._list(lines, group, which, k) for k in range(len(group.sources))]
        if group.listed and not self.delta:
            lines.append(f"const {self.p}_column *const states_end{which} = {end};")
        if group.reads_x:
            self._list_x(lines, group, which)
        lines.append(f"{self.p}_end_list({end});")
        lines.append(f"const int32_t excess{which} = {self.p}_excess({listed});")
        columns = group.columns(self.inputs, self.units)
        self._local(f"{self.p}_column {listed}[{self._length(group)} + 1];", (columns + 1) * ENTRY_BYTES)
        self._local(f"{self.p}_column *{end} = {listed};", 0)
        nonzero, nonzero_end = listed, f"states_end{which}"
        if group.listed and self.delta:
            nonzero, nonzero_end = f"nonzero{which}", f"nonzero_end{which}"
            self._local(f"{self.p}_column {nonzero}[{len(group.sources)} * {self.P}UNITS];", len(group.sources) * self.units * ENTRY_BYTES)
            self._local(f"{self.p}_column *{nonzero_end} = {nonzero};", 0)
            for k, field in enumerate(seen):
                lines.append(f"{nonzero_end} = {self.p}_list({nonzero_end}, {field}, {self.P}UNITS, {self._offset(k)}, 0);")
        for index in group.rows:
            self._row(index, group, which)
        for index in group.listed:
            self._listed_row(index, group, nonzero, nonzero_end)

    def _local(self, declaration: str, size: int) -> None:
        self.locals.append(declaration)
        self.bytes += size

    def _plain(self, source: int) -> str:
        return self.vector(source).removeprefix("state->")

    def _length(self, group: Group) -> str:
        parts = [f"{len(group.sources)} * {self.P}UNITS" if len(group.sources) > 1 else f"{self.P}UNITS"] if group.sources else []
        return " + ".join([*parts, *([f"{self.P}INPUTS"] if group.reads_x else [])])

    def _offset(self, k: int) -> str:
        return "0" if k == 0 else f"{BLOCK if k == 1 else BLOCK * k} * {self.P}UNITS"

    def _list(self, lines: list[str], group: Group, which: str, k: int) -> str:
        """Lists one source. Returns the C array that holds it until the end of the step."""
        end, source = f"end{which}", group.sources[k]
        vector = self.vector(source)
        if not self.delta:
            lines.append(f"{end} = {self.p}_list({end}, {vector}, {self.P}UNITS, {self._offset(k)}, 0);")
            return vector
        name = f"seen{which}_{self._plain(source)}{self.number}"
        meaning = f"{self._plain(source)} as the kept sums have it"
        self.persistent.append(Persistent("int8_t", name, self.units, f"{self.P}UNITS", meaning))
        lines.append(f"{end} = {self.p}_list_changes({end}, {vector}, state->{name}, {self.P}UNITS, {self._offset(k)}, 0);")
        return f"state->{name}"

    def _list_x(self, lines: list[str], group: Group, which: str) -> None:
        end, offset = f"end{which}", self._offset(len(group.sources))
        tail = f"{self.P}INPUTS, {offset}, {group.shift});"
        if not self.delta:
            lines.append(f"{end} = {self.p}_list({end}, x, {tail}")
            return
        name = f"seen{which}_x{self.number}"
        self.persistent.append(Persistent("int8_t", name, self.inputs, f"{self.P}INPUTS", "x as the kept sums have it"))
        lines.append(f"{end} = {self.p}_list_changes({end}, x, state->{name}, {tail}")

    def _row(self, index: int, group: Group, which: str) -> None:
        row = self.flow.layer.rows[self.flow.ops[index].name]
        order = "of all vectors that it reads" if len(group.sources) + group.reads_x > 1 else "of the vector that it reads"
        comment = f"[blocks of {BLOCK} units][columns][{BLOCK}] weights {order} in row {row.name}"
        weights = self.names.tables.add_columns(f"{self.names.infix}{row.name}_columns", blocks(self.flow, index, group), comment)
        bias = self.names.add((f"{row.name}_b",), padded_units(row.bias), f"[units] bias of row {row.name}", at_least="int32_t")
        block = f"{weights}[first / {BLOCK}]".replace(f" / {BLOCK}", " >> 3")
        if self.delta:
            name = f"sum_{identifier(row.name)}{self.number}"
            length = -(-self.units // BLOCK) * BLOCK
            self.persistent.append(
                Persistent("int32_t", name, length, f"{self.P}PADDED", f"row {row.name} as of the last step", f"{bias}[k]")
            )
            self.value[index] = Expression(f"state->{name}[u]")
            target, start = f"&state->{name}[first]", f"&state->{name}[first]"
        else:
            name = f"sum_{identifier(row.name)}"
            self._local(f"int32_t {name}[{BLOCK}];", 4 * BLOCK)
            self.value[index] = Expression(f"{name}[u - first]")
            target, start = name, f"&{bias}[first]"
        call = f"{self.p}_add_columns({target}, {start}, {block}, columns{which}, excess{which});"
        self.first.setdefault(group.pass_, []).append(call)

    def _listed_row(self, index: int, group: Group, nonzero: str, end: str) -> None:
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
        terms.append(f"{self.p}_dot_listed({R}[u], {nonzero}, {end})")
        self.value[index] = Expression(" + ".join(terms), SUM)
