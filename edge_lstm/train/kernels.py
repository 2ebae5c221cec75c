"""Turning functions and generated source into Numba kernels that are compiled once per machine.

A generated kernel is written to a cache folder under the hash of its text, so that Numba can keep the machine code beside it. Where no
folder can be written, it is compiled in memory: slower to start, the same results.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.train import elementary, products
from edge_lstm.train.products import OPTIONS


def cache_folder() -> Path:
    """Where generated kernels are kept: $EDGE_LSTM_CACHE, or the user's cache folder of the platform."""
    chosen = os.environ.get("EDGE_LSTM_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "edge-lstm"


@cache
def compiled(source: str, function: str) -> Callable[..., Any]:
    """The kernel called `function` of the generated module text `source` (compiled for its argument types at the first call)."""
    # What the kernel calls is compiled into it, so its text is part of the key.
    parts = (source, inspect.getsource(elementary), inspect.getsource(products), numba.__version__)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    path = cache_folder() / "train" / f"{function}_{key}.py"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, source)
        plain = getattr(_imported(path), function)
        return numba.njit(cache=True, **OPTIONS)(plain)
    except (OSError, EdgeLstmError, RuntimeError):  # the folder, or Numba's own beside it, cannot be written
        module: dict[str, Any] = {}
        exec(compile(source, f"<{function}>", "exec"), module)
        return numba.njit(**OPTIONS)(module[function])


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edge_lstm_generated_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # machine code from Numba's cache looks its module up by name
    spec.loader.exec_module(module)
    return module
