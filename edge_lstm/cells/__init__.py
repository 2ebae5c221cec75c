"""The cell family, each member written once as the dataflow of one hidden unit. Everything else is derived from it.

Every module of this folder that defines `CELLS` (name -> function that builds the cell) adds to the family.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from edge_lstm.cells.activations import FEED_FORWARD_ONLY, KINDS, Activation, activation
from edge_lstm.cells.dataflow import Cell, CellBuilder, Op, Role, Row

__all__ = ["FEED_FORWARD_ONLY", "KINDS", "Activation", "Cell", "CellBuilder", "Op", "Role", "Row", "activation", "cell", "family"]


@cache
def family() -> dict[str, Callable[[], Cell]]:
    """Name -> builder of every cell, in alphabetical order of module and then as the module lists them."""
    members: dict[str, Callable[[], Cell]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        members.update(getattr(importlib.import_module(f"{__name__}.{module}"), "CELLS", {}))
    return members


@cache
def cell(name: str) -> Cell:
    """The cell called `name`. Raises ValueError, listing the family, when there is none."""
    members = family()
    if name not in members:
        raise ValueError(f"unknown cell {name!r}: choose one of {', '.join(members)}")
    return members[name]()
