"""The C of rows over an input of 16 bits by columns (see `wide_columns`): whole elements, and sums that the row of the states joins."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from firmware_gen.columns import BLOCK, Group, blocks, padded_units
from firmware_gen.expressions import SUM, Expression
from firmware_gen.tables import Part

if TYPE_CHECKING:
    from firmware_gen.column_text import Writer

QUAD = 4  # elements of x that a row behind a gate reads together


def add_wide(writer: Writer, group: Group, which: str) -> None:
    """The C of one group, behind that of the groups whose sums it joins. which: its number, empty for the only one."""
    of = writer.gathered.setdefault((group.pass_, group.shift), which)
    if of == which:
        _gather(writer, group, which)
    _sums(writer, group, which, of)
    for index in group.lazy:
        writer.row_behind_gate(index, group, of, of)


def _gather(writer: Writer, group: Group, which: str) -> None:
    """All elements, whole."""
    writer.kinds.add("gather_wide")
    p, values, length = writer.p, f"values{which}", -(-writer.inputs // QUAD) * QUAD
    writer.locals.lines += [f"int32_t total{which} = 0;", f"{p}_value {values}[{length}] {p.upper()}_ALIGNED;"]
    writer.locals.sums += 1
    writer.locals.values += length
    lines = writer.before[group.pass_]
    lines.append(f"{p}_gather_wide({values}, x, {writer.P}INPUTS, {group.shift}, &total{which});")
    lines.extend(f"{values}[{k}] = 0;" for k in range(writer.inputs, length))
    lines.append(f"const int32_t excess{which} = {p.upper()}_EXCESS(total{which});")


def _sums(writer: Writer, group: Group, which: str, of: str) -> None:
    """The sums of all rows, one kernel for those that stand one behind the other in what they join."""
    flow, names, p = writer.flow, writer.names, writer.p
    rows = [flow.layer.rows[flow.ops[index].name] for index in group.rows]
    by_block = writer.in_parts(np.stack([blocks(flow, index, group)[1].reshape(-1, _bytes(writer)) for index in group.rows], axis=1))
    bias = writer.in_parts(np.stack([padded_units(row.bias).reshape(-1, BLOCK) for row in rows], axis=1)).astype(np.int32)
    count, parts, pairs = len(by_block), writer.parts, _bytes(writer) // (2 * BLOCK)
    called = f"row{'s' if len(rows) > 1 else ''} {', '.join(row.name for row in rows)}"
    table = names.tables.add_parts(
        f"{names.infix}columns{which}_W", by_block.reshape(count * len(rows) * parts, -1),
        f"[blocks of {BLOCK} units][rows][pairs of columns of {BLOCK}] weights of x by columns of {called}",
        (Part("WIDE", 2 * BLOCK, pairs),),
    )  # fmt: skip
    start = names.add(
        (f"columns{which}_b",), bias.reshape(count, -1), f"[blocks of {BLOCK} units][rows][{BLOCK}] bias of {called}", at_least="int32_t"
    )
    block = f"first >> {writer.block.bit_length() - 1}"
    first = writer.first.setdefault(group.pass_, [])
    if not group.joints:
        writer.locals.lines.append(f"int32_t sums{which}[{len(rows)}][{writer.block}];")
        writer.locals.sums += writer.block * len(rows)
    for places in _runs(writer, group):
        at, calls = places[0], len(places) * parts
        kernel, sums = "add_wide", f"sums{which}[{at}]"
        if group.joints:
            joint = group.joints[at]
            joined, position = writer.places[joint.of_states]
            kernel, sums = f"add_wide_{joint.shift}", f"sums{joined}[{position}]"
        writer.kinds.add(kernel)
        stride = f"({block}) * {len(rows) * parts}" if len(rows) * parts > 1 else block
        weights_at = f"{table}[{stride}{f' + {at * parts}' if at else ''}]"
        bias_at = f"&{start}[{block}][{BLOCK * at * parts}]" if at else f"{start}[{block}]"
        first.append(f"{p}_{kernel}({sums}, {bias_at}, {weights_at}, values{of}, &values{of}[{2 * pairs}], {calls});")
    for k, index in enumerate(group.rows):
        if not group.joints:
            writer.value[index] = Expression(f"sums{which}[{k}][u - first] - excess{of}", SUM)
            continue
        joined, position = writer.places[group.joints[k].of_states]
        excess = _excess_of_both(writer, group, of, joined, group.joints[k].shift)
        writer.value[group.joints[k].add] = Expression(f"sums{joined}[{position}][u - first] - {excess}", SUM)


def _bytes(writer: Writer) -> int:
    """Of the weights of 8 units for all columns, in pairs."""
    return 2 * BLOCK * (-(-writer.inputs // 2))


def _runs(writer: Writer, group: Group) -> list[list[int]]:
    """Places of rows, those together that one kernel sums: all of them, or those whose joints follow one another alike."""
    if not group.joints:
        return [list(range(len(group.rows)))]

    def alike(k: int) -> tuple[str, int, int]:
        joint = group.joints[k]
        joined, position = writer.places[joint.of_states]
        return joined, joint.shift, position - k

    return [list(places) for _, places in groupby(range(len(group.rows)), alike)]


def _excess_of_both(writer: Writer, group: Group, of: str, joined: str, shift: int) -> str:
    """The C name of what a joined sum has too much."""
    name = f"excess{joined}_and_{of}_{shift}"
    line = f"const int32_t {name} = excess{of} + excess{joined}{f' * {2**shift}' if shift else ''};"
    if line not in writer.before[group.pass_]:
        writer.before[group.pass_].append(line)
    return name
