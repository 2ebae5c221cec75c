"""The page about adding a cell, around a real one: its file, its equations in the test, and the calls that a cell is made of."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

from edge_lstm.cells import cell, ugrnn

ROOT = Path(__file__).resolve().parents[1]
EQUATIONS = ROOT / "tests" / "cells" / "test_family.py"
CALLS = (
    ("row(name, *sources)", "W x + R source + ... + b: dot products with x and with whole vectors over all units"),
    ("state(name)", "the unit's own state of the step before"),
    ("parameter(name)", "a learned number a unit (a peephole, a second bias)"),
    ("activate(role, a, default, gate=False)", "the activation that the layer binds to the role"),
    ("add(a, b)", "a + b"),
    ("subtract(a, b)", "a - b"),
    ("multiply(a, b)", "a b"),
    ("complement(a)", "1 - a"),
)


def adding_page(render: Callable[..., str]) -> dict[str, str]:
    """The page, with the code as it is in the files."""
    path = Path(inspect.getfile(ugrnn))
    text = EQUATIONS.read_text(encoding="utf-8")
    function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == "ugrnn")
    equation = ast.get_source_segment(text, function)
    return {
        "adding-a-cell.md": render(
            "adding-a-cell.md.j2",
            cell=cell("ugrnn"),
            path=f"edge_lstm/cells/{path.name}",
            source=path.read_text(encoding="utf-8"),
            equation=equation,
            calls=CALLS,
        )
    }
