"""The packages of the extra `mcu`: imported when they are needed, missed by name."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from edge_lstm.errors import EdgeLstmError

EMULATOR, DISASSEMBLER, ELF_READER = "unicorn", "capstone", "elftools"


def missing() -> str | None:
    """The first of these packages that is not installed, and how to get it; None if all are."""
    for package in (EMULATOR, DISASSEMBLER, ELF_READER):
        if importlib.util.find_spec(package) is None:
            return f"emulation needs the package {package}: run `python -m pip install 'edge-lstm[mcu]'`"
    return None


def load(module: str) -> ModuleType:
    """The module of one of these packages. Raises EdgeLstmError, saying how to get it, if it is not installed."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise EdgeLstmError(f"emulation needs the package {module}: run `python -m pip install 'edge-lstm[mcu]'`")
    return importlib.import_module(module)
