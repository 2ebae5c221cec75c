"""The C of columns whose weights share words (see `few_columns`): lists in segments, 16-bit sums of a block, what persists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from firmware_gen.columns import Group, reads
from firmware_gen.expressions import SUM, Expression
from firmware_gen.few_columns import BLOCK, WORD, Segment, indexes, segments, words
from firmware_gen.packed import IN_A_BYTE

if TYPE_CHECKING:
    from firmware_gen.column_text import Writer

BIAS = {4: 8, 2: 1, 1: 1}  # bits -> times the sum of the elements that an accumulator has too much


def add_few(writer: Writer, group: Group, which: str) -> None:
    """The C of one group. which: its number, empty for the only one."""
    parts = segments(writer.flow, group)
    listed = [part for part in parts if not part.elements]
    if listed:
        _list_all(writer, group, which, listed)
    for number, part in enumerate(parts):
        if part.elements:
            _table(writer, f"tables{which}_{number + 1}", part)
    _sums(writer, group, which, parts)
    for index in group.lazy:
        writer.row_behind_gate(index, group, which, which)


def _list_all(writer: Writer, group: Group, which: str, parts: list[Segment]) -> None:
    """What is listed, segment by segment, each with the sum of its elements."""
    writer.kinds |= {"lists", "parts"}
    columns, entry, lines = parts[-1].last + len(parts), f"{writer.p}_column", writer.before[group.pass_]
    writer.list_of(f"columns{which}", str(columns), columns)
    writer.locals.lines.append(f"{entry} *end{which} = columns{which};")
    writer.locals.lines.append(f"int32_t totals{which}[{len(parts)}] = {{0}};")
    writer.locals.sums += len(parts)
    writer.locals.narrow = False
    states = [part for part in parts if part.source is not None]
    sources = dict.fromkeys(part.source for part in states) if group.lists_lazy else {}
    nonzero = {source: writer.list_of_nonzero(which, writer.vector(source)) for source in sources if source is not None}
    number = -1
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        number += not part.joined
        if number > 0 and not part.joined:
            lines.append(f"const {entry} *const part{which}_{number} = end{which};")
        _list(writer, group, which, number, part, "0" if part.source is None else nonzero.get(part.source, "0"))
        if group.lists_lazy and states and part is states[-1] and writer.strategy != "delta":
            lines.append(f"const {entry} *const states_end{which} = end{which};")
        if after is None or not after.joined:
            lines.append(f"end{which} = {writer.p}_end_part(end{which});")


def _table(writer: Writer, name: str, part: Segment) -> None:
    """The tables of a segment of x."""
    size, all_of_x = part.tables << part.elements, part.last - part.first == writer.inputs
    writer.locals.lines.append(f"int16_t {name}[{size}];")
    writer.locals.sums += size // 2
    x, length = (f"&x[{part.from_}]" if part.from_ else "x"), (f"{writer.P}INPUTS" if all_of_x else str(part.last - part.first))
    writer.before[writer.pass_].append(f"{writer.p}_tables{part.elements}({name}, {x}, {length});")
    writer.kinds.add(f"tables{part.elements}")


def _list(writer: Writer, group: Group, which: str, number: int, part: Segment, nonzero: str) -> None:
    """Lists the elements of a segment; under *delta* what changed of them, x only where that is worth it."""
    vector, at = ("x" if part.source is None else writer.vector(part.source)), part.from_
    units = writer.inputs if part.source is None else writer.units
    length = str(part.last - part.first) if part.last - part.first < units else f"{writer.P}{'INPUTS' if vector == 'x' else 'UNITS'}"
    shift = writer.flow.layer.rows[writer.flow.ops[group.rows[0]].name].input_shift if part.joined else 0
    where = f"{length}, {8 * part.first}, {shift}"
    writer.list_vector(which, vector, where, f"totals{which}[{number}]", nonzero, kept=_is_kept(writer, group, part), at=at)


def _is_kept(writer: Writer, group: Group, part: Segment) -> bool:
    return writer.strategy == "delta" and (group.lists_x if part.source is None else True)


def _sums(writer: Writer, group: Group, which: str, parts: tuple[Segment, ...]) -> None:
    flow, tables, rows = writer.flow, writer.names.tables, [writer.flow.layer.rows[writer.flow.ops[k].name] for k in group.rows]
    names = ", ".join(row.name for row in rows)
    many = f"row{'s' if len(rows) > 1 else ''} {names}"
    weights = np.stack([words(flow, index, group) for index in group.rows], axis=1)  # [blocks, rows, columns, words]
    stride, table, first = weights.shape[2] * weights.shape[3], "", writer.first.setdefault(group.pass_, [])
    if stride:
        shape = f"[blocks of {BLOCK} units][rows][columns]{f'[{weights.shape[3]}]' if weights.shape[3] > 1 else ''}"
        table = tables.add_words(
            f"{writer.names.infix}columns{which}_W", weights.reshape(len(weights), -1),
            f"{shape} weights by columns of {many}; {group.bits} bits, {IN_A_BYTE[group.bits]} in a byte", WORD[group.bits], group.bits,
        )  # fmt: skip
    lines, biased = writer.before[group.pass_], dict.fromkeys(group.rows, 0)
    terms: dict[int, list[str]] = {index: [] for index in group.rows}
    for number, part in enumerate(part for part in parts if not part.joined):
        sums = f"sums{which}_{number + 1}"
        writer.locals.lines.append(f"uint16_t {sums}[{len(rows)}][{BLOCK}] {writer.p.upper()}_ALIGNED;")
        writer.locals.sums += BLOCK // 2 * len(rows)
        for k, index in enumerate(group.rows):
            shift = rows[k].input_shift if part.source is None else 0
            if part.source is not None or reads(rows[k].W):
                terms[index].append(f"(int32_t){sums}[{k}][u - first]{f' * {2**shift}' if shift else ''}")
                biased[index] += 2**15 << shift
        if part.elements:
            added = np.stack([indexes(flow, index, group, part).reshape(len(weights), -1) for index in group.rows], axis=1)
            entries = tables.add_words(
                f"{writer.names.infix}columns{which}_W_{number + 1}", added.reshape(len(added), -1),
                f"[blocks of {BLOCK} units][rows][{BLOCK}][tables] entry of each table for x in {many}", "uint8_t", 1,
            )  # fmt: skip
            kind = f"subsets{part.tables}_{part.elements}"
            writer.kinds.add(kind)
            place = f"{entries}[first >> 4], tables{which}_{number + 1}, {BLOCK * len(rows)}"
            first.append(f"{writer.p}_add_{kind}({sums}[0], {place});")
            continue
        start = f"part{which}_{number}" if number else f"columns{which}"
        excess = f"excess{which}_{number + 1}"
        raised = f"{BIAS[group.bits]}U * " if BIAS[group.bits] > 1 else ""
        lines.append(f"const uint32_t {excess} = 0x10001U * ({raised}(uint32_t)totals{which}[{number}] - 0x8000U);")
        call, kept = "add", ""
        if _is_kept(writer, group, part):
            field = f"kept{which}_{number + 1}{f'_{writer.number}' if writer.number else ''}"
            writer.keep("uint32_t", field, (len(weights), len(rows) * BLOCK // 2), f"sums of {many}, two in each")
            call, kept = "keep", f", state->{field}[first >> 4]"
        writer.kinds.add(f"{call}_few{group.bits}")
        first.append(f"{writer.p}_{call}_few{group.bits}({sums}[0], {table}[first >> 4], {start}, {excess}, {stride}, {len(rows)}{kept});")
    for k, index in enumerate(group.rows):
        if rows[k].bias.any():
            bias = writer.names.add((f"{rows[k].name}_b",), rows[k].bias, f"[units] bias of row {rows[k].name}")
            terms[index].insert(0, f"{bias}[u]")
        writer.value[index] = Expression(f"{' + '.join(terms[index])} - {biased[index]}", SUM)
