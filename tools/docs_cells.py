"""The pages about the cells: one each, and the table of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from docs_integers import HARD, SOFT, Integers, exact_holds, example
from docs_notes import NOTES, PAPERS
from docs_picture import picture

from edge_lstm.cells import Cell, Role, cell, family
from edge_lstm.fixed_point.formats import Format

Render = Callable[..., str]
EXAMPLE_INPUTS, EXAMPLE_UNITS = 6, 32
BUSY = ("multiply", "rescale", "interpolate", "select")


@dataclass(frozen=True)
class Size:
    """Weights of a cell. All are numbers a unit; input_rows: rows that read x; parameters: learned numbers beside the rows."""

    rows: int
    input_rows: int
    sources: int
    biases: int
    parameters: int

    def weights(self, inputs: int, units: int) -> int:
        """Weights of the rows, which is also the number of multiply-accumulates of a step."""
        return units * (self.input_rows * inputs + self.sources * units)

    @property
    def formula(self) -> str:
        parts = [f"{n if n > 1 else ''}{'I' if which == 0 else 'U'}" for which, n in enumerate((self.input_rows, self.sources)) if n]
        return f"U ({' + '.join(parts)})"


def size_of(cell: Cell) -> Size:
    """The size of a cell, from its rows."""
    rows = cell.rows
    return Size(
        len(rows),
        sum(row.input for row in rows),
        sum(len(row.sources) for row in rows),
        sum(row.bias for row in rows),
        len(cell.parameters),
    )


def cell_pages(render: Render) -> dict[str, str]:
    """Path below docs -> text: pages, pictures, and the table of the family. Raises KeyError, naming it, for a cell without notes."""
    members = [cell(name) for name in family()]
    missing = [member.name for member in members if member.name not in NOTES]
    missing += [paper for member in members for paper in member.paper.split("; ") if paper not in PAPERS]
    if missing:
        raise KeyError(f"tools/docs_notes.py says nothing about {', '.join(missing)}")
    pages = {f"cells/{member.name}.svg": picture(member) for member in members}
    pages |= {f"cells/{member.name}.md": _page(render, member) for member in members}
    weights = [size_of(member).weights(EXAMPLE_INPUTS, EXAMPLE_UNITS) for member in members]
    rows = [(member, size_of(member), weight, max(member.phases()) + 1) for member, weight in zip(members, weights, strict=True)]
    pages["cells/index.md"] = render("cells.md.j2", rows=rows, inputs=EXAMPLE_INPUTS, units=EXAMPLE_UNITS)
    return pages


def _page(render: Render, member: Cell) -> str:
    soft, hard = example(member, SOFT), example(member, HARD)
    size = size_of(member)
    return render(
        "cell.md.j2",
        cell=member,
        notes=NOTES[member.name],
        papers=[PAPERS[paper] for paper in member.paper.split("; ")],
        roles=[(role, _what_it_is(role), _may_be(role)) for role in member.roles],
        states=[(state, _format(soft.formats[state]), _format(hard.formats[state])) for state in member.states],
        holds=exact_holds(member),
        size=size,
        inputs=EXAMPLE_INPUTS,
        units=EXAMPLE_UNITS,
        weights=size.weights(EXAMPLE_INPUTS, EXAMPLE_UNITS),
        passes=max(member.phases()) + 1,
        work=[(code, hard.work[code], soft.work[code]) for code in BUSY if hard.work[code] + soft.work[code]],
        integers=_listings(member, hard, soft),
    )


def _listings(member: Cell, hard: Integers, soft: Integers) -> list[tuple[str, tuple[str, ...]]]:
    if not member.gates:
        return [("", soft.listing)]
    return [("Threshold gates", hard.listing), ("Soft gates (sigmoid)", soft.listing)]


def _what_it_is(role: Role) -> str:
    return "gate" if role.gate else "squashing"


def _may_be(role: Role) -> str:
    return "threshold, sigmoid, hard sigmoid, three levels" if role.gate else "any but a threshold"


def _format(found: Format) -> str:
    unit = f"2^{round_log2(found.scale)}" if round_log2(found.scale) is not None else f"{_bound(found)} / {found.limit}"
    values = "0 or 1" if found.limit == 1 else f"int{found.bits} in [-{found.limit}, {found.limit}]"
    return values if found.limit == 1 else f"{values}, one unit = {unit}"


def round_log2(value: float) -> int | None:
    """The exponent of an exact power of two, else None."""
    exponent = len(bin(round(1 / value))) - 3
    return -exponent if value == 2.0**-exponent else None


def _bound(found: Format) -> str:
    return f"{found.limit * found.scale:g}"
