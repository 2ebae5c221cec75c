"""The packages of the extra `mcu`: imported when they are needed, missed by name."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from edge_lstm.errors import EdgeLstmError

EMULATOR, DISASSEMBLER, ELF_READER = "unicorn", "capstone", "elftools"


def load(module: str) -> ModuleType:
    """The module of one of these packages. Raises EdgeLstmError, saying how to get it, if it is not installed."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise EdgeLstmError(f"emulation needs the package {module}: run `python -m pip install 'edge-lstm[mcu]'`")
    return importlib.import_module(module)
