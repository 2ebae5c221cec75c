"""The C of rows by columns: what is gathered of the vectors, accumulators of a block of units, what persists of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_gen.columns import BLOCK, Group, Number, Plan, blocks, padded_units, reads, recurrent_weights, signs_suffice
from firmware_gen.expressions import SUM, Expression, LayerNames
from firmware_gen.few_columns import BLOCK as FEW_BLOCK
from firmware_gen.few_text import add_few
from firmware_gen.simplify import Dataflow
from firmware_gen.tables import Part
from firmware_gen.wide_text import add_wide

HALF_WORDS = ("cortex-m4", "cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55")  # that multiply two at a time
LIST_END = 3  # entries behind a list: its end, what fills up a pair, and what is read with the end
NARROW_OFFSET, NARROW_VALUE = 2**8 - 1, 127  # what an entry of two bytes holds
QUAD = 4  # weights of a row behind a gate that are read as one word


@dataclass(frozen=True)
class Persistent:
    """What a strategy keeps in the struct between two steps.

    shape, lengths: as numbers and as C text; meaning: for its comment; start: C expression of its element [k] or [t][k] after a reset;
    declared: type in C, where a target may have a smaller one than `type`.
    """

    type: str
    name: str
    shape: tuple[int, ...]
    lengths: tuple[str, ...]
    meaning: str
    start: str = "0"
    declared: str = ""


@dataclass
class Locals:
    """Local arrays. lines: their declarations; entries, indexes, values, sums, signs: how many elements they have of each kind; narrow:
    whether entries of lists fit two bytes."""

    lines: list[str] = field(default_factory=list)
    entries: int = 0
    indexes: int = 0
    values: int = 0
    sums: int = 0
    signs: int = 0
    narrow: bool = True

    def bytes(self, target: str | None, narrow: bool, index_bytes: int) -> int:
        """What they take on the stack of `target`, at most (of all targets when None), if entries are `narrow` in the whole header, and
        indexes take index_bytes each."""
        entry = 2 if narrow and target not in (None, "cortex-m0plus", "atmega328p") else 4
        value = 4 if target in (None, "cortex-m0plus") else 2
        sums = self.sums + (0 if target in HALF_WORDS else self.signs)
        return entry * self.entries + index_bytes * self.indexes + value * self.values + 4 * sums


@dataclass(frozen=True)
class ColumnText:
    """The parts of a layer's function that rows by columns need.

    locals: local arrays; before, first, last: pass -> lines in front of its loop over the blocks, at the start of each block, and at
    the end of each unit; value: row -> the accumulator of unit u; block: units of a block; persistent: fields of the struct;
    kinds: parts of the header's arithmetic that they call.
    """

    locals: Locals
    before: Mapping[int, tuple[str, ...]]
    first: Mapping[int, tuple[str, ...]]
    last: Mapping[int, tuple[str, ...]]
    value: Mapping[int, Expression]
    block: int
    persistent: tuple[Persistent, ...]
    kinds: frozenset[str]


def column_text(
    plan: Plan, flow: Dataflow, strategy: str, names: LayerNames, number: str, vector: Callable[[int], str]
) -> ColumnText:  # fmt: skip
    """The C of the groups of a layer. number: of the layer, for fields of the struct; vector: operator -> the C array of its values."""
    writer = Writer(plan.groups, flow, strategy, names, number, vector)
    for k, group in enumerate(plan.groups):
        writer.add(group, "" if len(plan.groups) == 1 else str(k + 1))
    before = {p: tuple(lines) for p, lines in writer.before.items()}
    first = {p: tuple(lines) for p, lines in writer.first.items()}
    last = {p: tuple(lines) for p, lines in writer.last.items()}
    return ColumnText(
        writer.locals, before, first, last, writer.value, writer.block, tuple(writer.persistent), frozenset(writer.kinds)
    )  # fmt: skip


class Writer:
    """Collects the parts of `ColumnText`, group by group."""

    def __init__(
        self, groups: tuple[Group, ...], flow: Dataflow, strategy: str, names: LayerNames, number: str, vector: Callable[[int], str]
    ):  # fmt: skip
        self.groups = groups
        self.flow, self.strategy, self.names, self.number, self.vector = flow, strategy, names, number, vector
        self.p, self.P = names.tables.prefix, f"{names.tables.prefix.upper()}_{names.infix.upper()}"
        self.units, self.inputs = flow.layer.units, flow.layer.inputs
        self.locals = Locals()
        self.before: dict[int, list[str]] = {}
        self.first: dict[int, list[str]] = {}
        self.last: dict[int, list[str]] = {}
        self.value: dict[int, Expression] = {}
        self.persistent: list[Persistent] = []
        self.kinds: set[str] = set()
        self.pass_ = 0  # of the group that is added
        # What each unit's loop runs over at a time, and the parts of it that rows in bytes are summed by.
        self.block = max((FEW_BLOCK if group.bits < 8 else BLOCK for group in groups), default=BLOCK)
        self.parts = self.block // BLOCK
        self.places: dict[int, tuple[str, int]] = {}  # row -> its group, and which of the group's sums it is
        self.gathered: dict[tuple[int, int], str] = {}  # pass and shift of x of 16 bits -> the group whose values it stands in
        self.lists: dict[tuple[int, tuple[int, ...]], str] = {}  # pass and vectors of which nothing but states are listed -> its group

    def add(self, group: Group, which: str) -> None:
        """The C of one group. which: its number, empty for the only one."""
        self.pass_ = group.pass_
        lines = self.before.setdefault(self.pass_, [])
        if group.bits < 8:
            add_few(self, group, which)
            return
        if group.wide:
            add_wide(self, group, which)
            return
        listed, paired = group.listed(self.inputs, self.units), group.paired(self.inputs, self.units)
        self.locals.lines.append(f"int32_t total{which} = 0;")
        self.locals.sums += 1
        key = group.pass_, group.sources
        of = self.lists.setdefault(key, which) if listed and not group.lists_x else which  # the group whose list it reads
        if listed and of == which:
            self._list_all(group, which, listed, lines)
        elif listed:
            lines.append(f"total{which} = listed{of};")
        if paired:
            self._gather(group, which, paired, lines)
        lines.append(f"const int32_t excess{which} = {self.p.upper()}_EXCESS(total{which});")
        self._sums(group, which, of, listed, paired)
        for index in group.lazy:
            self.row_behind_gate(index, group, which, of)

    # ---- what is gathered of the vectors ------------------------------------------------------------------------------------

    def _gather(self, group: Group, which: str, paired: int, lines: list[str]) -> None:
        """All elements, one behind the other."""
        self.kinds |= set() if group.x_in_words else {"gather"}
        values, length = f"values{which}", _up(paired, QUAD)
        self.locals.lines.append(f"{self.p}_value {values}[{length}] {self.p.upper()}_ALIGNED;")
        self.locals.values += length
        place = 0
        if not group.lists_sources:
            for source in group.sources:
                lines.append(f"{self.p}_gather(&{values}[{place}], {self.vector(source)}, {self.P}UNITS, 0, &total{which});")
                place += self.units
        if group.reads_x and not group.lists_x:
            where = f"{values}, x" if group.x_in_words else f"&{values}[{place}], x"
            declared = f"const {self.p}_ends ends{which} = {self.p}_gather_x" if group.x_in_words else f"{self.p}_gather"
            lines.append(f"{declared}({where}, {self.P}INPUTS, {group.shift}, &total{which});")
        lines.extend(f"{values}[{k}] = 0;" for k in range(paired, length))

    def _list_all(self, group: Group, which: str, listed: int, lines: list[str]) -> None:
        """The elements that count, one entry each."""
        self.kinds.add("lists")
        columns, end = f"columns{which}", f"end{which}"
        self.list_of(columns, f"{listed} + {LIST_END}", listed + LIST_END)
        self.locals.lines.append(f"{self.p}_column *{end} = {columns};")
        raised = group.shift if group.reads_x and group.lists_x else 0
        self.locals.narrow &= BLOCK * (listed - 1) <= NARROW_OFFSET and 127 << raised <= NARROW_VALUE and self.strategy != "delta"
        lists_lazy = any(other.lists_lazy for other in self.groups if self._shares_list(other, group))
        for k, source in enumerate(group.sources if group.lists_sources else ()):
            vector = self.vector(source)
            nonzero = self.list_of_nonzero(which, vector) if lists_lazy else "0"
            self.list_vector(which, vector, f"{self.P}UNITS, {BLOCK * k * self.units}, 0", f"total{which}", nonzero)
        if lists_lazy and self.strategy != "delta":
            lines.append(f"const {self.p}_column *const states_end{which} = {end};")
        if group.reads_x and group.lists_x:
            self.list_vector(which, "x", f"{self.P}INPUTS, {BLOCK * (listed - self.inputs)}, {group.shift}", f"total{which}", "0")
        lines.append(f"{self.p}_end_list({end});")
        if not group.lists_x and sum(self._shares_list(other, group) for other in self.groups) > 1:
            lines.append(f"const int32_t listed{which} = total{which};")

    def _shares_list(self, other: Group, group: Group) -> bool:
        return (other.pass_, other.sources) == (group.pass_, group.sources) and other.bits == group.bits == 8

    def list_of_nonzero(self, which: str, vector: str) -> str:
        """Declares the list of the elements of a vector that are not zero, beside that of those that changed; the C of its end, 0 for no
        such list. Their values are found in what the sums have seen, which is the vector as it was at the start of the step."""
        if self.strategy != "delta":
            return "0"
        name = self._nonzero(which, vector)
        self.locals.lines += [f"{self.p}_index {name}[{self.units}];", f"{self.p}_index *{name}_end = {name};"]
        self.locals.indexes += self.units
        return f"&{name}_end"

    def list_vector(self, which: str, vector: str, where: str, total: str, nonzero: str, *, kept: bool = True, at: int = 0) -> None:
        """Lists one vector. where: how many elements, the offset of the first column, and a shift; total: adds them up; nonzero: the end
        of the list of what is not zero; kept: whether what changed is listed, where the strategy does so; at: the first element."""
        lines, end, plain = self.before[self.pass_], f"end{which}", vector.removeprefix("state->")
        first = f"&{vector}[{at}]" if at else vector
        if self.strategy != "delta" or not kept:
            lines.append(f"{end} = {self.p}_list({end}, {first}, {where}, &{total});")
            return
        self.kinds.add("changes")
        name, length = self._seen(which, plain), self.inputs if vector == "x" else self.units
        macro = f"{self.P}{'INPUTS' if vector == 'x' else 'UNITS'}"
        if at == 0:
            self.persistent.append(Persistent("int8_t", name, (length,), (macro,), f"{plain} as the sums have it"))
        seen = f"&state->{name}[{at}]" if at else f"state->{name}"
        lines.append(f"{end} = {self.p}_list_changes({end}, {first}, {seen}, {where}, &{total}, {nonzero}, {at});")

    def keep(self, kind: str, name: str, shape: tuple[int, int], meaning: str) -> None:
        """A field [blocks][...] of the struct that starts at 0."""
        self.persistent.append(Persistent(kind, name, shape, (f"{self.P}BLOCKS", str(shape[1])), meaning))

    def _seen(self, which: str, plain: str) -> str:
        """The field that holds a vector as the sums have it."""
        return f"seen{which}_{plain}{self.number}"

    def _nonzero(self, which: str, vector: str) -> str:
        """The list of the elements of a vector that are not zero."""
        return f"nonzero{which}_{vector.removeprefix('state->')}"

    def list_of(self, name: str, length: str, entries: int) -> None:
        self.locals.lines.append(f"{self.p}_column {name}[{length}] {self.p.upper()}_ALIGNED;")
        self.locals.entries += entries

    # ---- sums ---------------------------------------------------------------------------------------------------------------

    def _sums(self, group: Group, which: str, of: str, listed: int, paired: int) -> None:
        """The sums of all rows of a group, of one block of units at a time. of: the group whose list it reads."""
        rows = [self.flow.layer.rows[self.flow.ops[index].name] for index in group.rows]
        weights = [_side_by_side(*blocks(self.flow, index, group)) for index in group.rows]
        by_block = self.in_parts(np.stack(weights, axis=1))  # [blocks, rows, bytes of 8 units]
        bias = self.in_parts(np.stack([padded_units(row.bias).reshape(-1, BLOCK) for row in rows], axis=1)).astype(np.int32)
        signs, calls = self.parts == 1 and signs_suffice(self.flow, group), len(rows) * self.parts
        count, pairs, many = len(by_block), _up(paired, 2) // 2, _rows(row.name for row in rows)
        parts = (Part("COLUMN", BLOCK, listed), Part("LANES" if group.x_in_words else "PAIR", 2 * BLOCK, pairs))
        tables, infix = self.names.tables, self.names.infix
        table = tables.add_parts(
            f"{infix}columns{which}_W", by_block.reshape(count * calls, -1),
            f"[blocks of {BLOCK} units][rows][columns of {BLOCK}] weights by columns of row{many}", parts,
        )  # fmt: skip
        start = tables.add_parts(
            f"{infix}columns{which}_b", bias.reshape(count, -1), f"[blocks of {BLOCK} units][rows][{BLOCK}] bias of row{many}",
            (Part("START", 2, bias[0].size // 2),), "int32_t",
        )  # fmt: skip
        sums, block = f"sums{which}", f"first >> {self.block.bit_length() - 1}"
        kernel, at, kind = "add_columns", f"{start}[{block}]", "added"
        if self.strategy == "delta" and listed:
            kept = f"{sums}_{self.number}" if self.number else sums
            meaning = f"row{many} without what is added always; as the target keeps them"
            shape, lengths = (count, bias[0].size), (f"{self.P}BLOCKS", str(bias[0].size))
            self.persistent.append(Persistent("int32_t", kept, shape, lengths, meaning, f"{start}[t][k]", f"{self.p}_kept"))
            kernel, at, kind = "add_changes", f"state->{kept}[{block}]", "kept"
        lists = f"columns{of}" if listed else f"{self.p}_nothing"
        kind = f"{kind}_signs" if signs else kind
        with_x = f"_x{group.shift}" if group.x_in_words else ""
        self.kinds |= {f"{kind}{with_x}"} if listed else {f"{kind}{with_x}", "nothing"}
        values = f"values{which}, {f'ends{which}' if with_x else f'&values{which}[{2 * pairs}]'}" if paired else "0, 0"
        weights_at = f"{table}[({block}) * {calls}]" if calls > 1 else f"{table}[{block}]"
        added = f"{at}, {weights_at}, {lists}, {values}, {BLOCK * listed}, {calls}"
        first, P = self.first.setdefault(group.pass_, []), self.p.upper()
        if signs:
            self.locals.lines.append(f"{P}_SIGNS({sums}, {len(rows)});")
            self.locals.signs += BLOCK * len(rows)
            first.append(f"{P}_{'ADD' if kernel == 'add_columns' else 'KEEP'}_SIGNS{with_x.upper()}({sums}, {added});")
            self.last.setdefault(group.pass_, []).append(f"{P}_NEXT_SIGN({sums});")
        else:
            self.locals.lines.append(f"int32_t {sums}[{len(rows)}][{self.block}];")
            self.locals.sums += self.block * len(rows)
            first.append(f"{self.p}_{kernel}{with_x}({sums}[0], {added});")
        for k, index in enumerate(group.rows):
            sign = f"{P}_SIGN({sums}, {len(rows) - 1 - k}, {k}, u - first)"
            self.value[index] = Expression(f"{sign if signs else f'{sums}[{k}][u - first]'} - excess{which}", SUM)
            self.places[index] = which, k

    def in_parts(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """[blocks of 8 units, rows, ...] as [blocks, rows of 8 units, ...], the parts of a row one behind the other."""
        n, rows, rest = -(-len(values) // self.parts), values.shape[1], values.shape[2:]
        values = np.pad(values, ((0, n * self.parts - len(values)), *((0, 0) for _ in values.shape[1:])))
        return values.reshape(n, self.parts, rows, *rest).swapaxes(1, 2).reshape(n, rows * self.parts, *rest)

    def row_behind_gate(self, index: int, group: Group, which: str, of: str) -> None:
        """A row of one unit at a time, out of what was gathered. of: the group whose list it reads."""
        row, terms = self.flow.layer.rows[self.flow.ops[index].name], []
        if row.bias.any():
            terms.append(f"{self.names.add((f'{row.name}_b',), row.bias, f'[units] bias of row {row.name}')}[u]")
        joined = recurrent_weights(self.flow, index, group.sources).astype(np.int8)
        shape = "[units][units]" if len(group.sources) == 1 else f"[units][{len(group.sources)} * units]"
        sources = ", ".join(self.vector(source).removeprefix("state->") for source in group.sources)
        with_x = row.W is not None and reads(row.W)
        gathered = group.bits == 8 and with_x and group.reads_x and not group.lists_x and row.input_shift == group.shift
        if gathered or (group.sources and not group.lists_sources):
            parts, what, states = [], [], bool(group.sources) and not group.lists_sources
            if states:
                parts, what = [joined], [sources]
            if gathered and row.W is not None:
                parts.append(row.W)
                what.append("x")
            values = np.concatenate(parts, axis=1)
            values = np.pad(values, ((0, 0), (0, -values.shape[1] % QUAD)))
            name = f"{row.name}_{'R' if states else 'W'}"
            comment = f"[units][{values.shape[1]}] weights of {', '.join(what)} in row {row.name}"
            table = self.names.tables.add_parts(self.names.infix + name, values, comment, (Part("QUAD", QUAD, values.shape[1] // QUAD),))
            factor = f" * {self.p.upper()}_X_FACTOR({2**group.shift})" if group.x_in_words and group.shift else ""
            terms.append(f"{self.p}_dot_values({table}[u], values{which}, {values.shape[1]}){factor}")
            self.kinds.add("dot_values")
        if row.W is not None and with_x and not gathered:
            W, dot = self._weights(f"{row.name}_W", row.W, f"[units][inputs] weights of x in row {row.name}", "dot", group)
            raised = f" * {2**row.input_shift}" if row.input_shift else ""
            terms.append(f"{self.p}_{dot}({W}[u], x, {self.P}INPUTS){raised}")
        if group.lists_lazy and self.strategy != "delta":
            R, dot = self._weights(f"{row.name}_R", joined, f"{shape} weights of {sources} in row {row.name}", "dot_listed", group)
            terms.append(f"{self.p}_{dot}({R}[u], columns{of}, states_end{of})")
            self.kinds.add(dot)
        elif group.lists_sources:
            for k, source in enumerate(group.sources):
                part, plain = joined[:, k * self.units : (k + 1) * self.units], self.vector(source).removeprefix("state->")
                comment = f"[units][units] weights of {plain} in row {row.name}"
                kind = "dot_at" if group.lists_lazy else "dot"
                R, dot = self._weights(f"{row.name}_R{k + 1 if k else ''}", part, comment, kind, group)
                # What the sums have seen is the vector itself, and stays as it is while new values replace the old ones.
                which_elements = f"{self._nonzero(of, plain)}, {self._nonzero(of, plain)}_end" if group.lists_lazy else f"{self.P}UNITS"
                terms.append(f"{self.p}_{dot}({R}[u], state->{self._seen(of, plain)}, {which_elements})")
                self.kinds |= {dot} if group.lists_lazy else set()
        self.value[index] = Expression(" + ".join(terms), SUM)

    def _weights(self, name: str, values: npt.NDArray[np.int8], comment: str, dot: str, group: Group) -> tuple[str, str]:
        """The table of a matrix behind a gate and the function for its rows: weights share bytes where those of the group share words."""
        return self.names.tables.add_weights((self.names.infix + name,), values, comment, dot, pack_them=group.bits < 8)


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _side_by_side(listed: npt.NDArray[np.int8], paired: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """[blocks, all bytes of a block] of the two parts of it."""
    return np.concatenate([listed.reshape(len(listed), -1), paired.reshape(len(paired), -1)], axis=1)


def _rows(names: Iterable[str]) -> str:
    listed = list(names)
    return f"s {', '.join(listed)}" if len(listed) > 1 else f" {listed[0]}"
