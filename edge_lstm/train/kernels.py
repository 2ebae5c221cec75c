"""Turning functions and generated source into Numba kernels that are compiled once per machine.

A generated kernel is written to the cache folder of `engine.kernel_cache` under the hash of its text, so that Numba can keep the machine
code beside it. Where no folder can be written, it is compiled in memory: slower to start, the same results. Compilation is announced
through the logger "edge_lstm.train" (level INFO).
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from edge_lstm import files
from edge_lstm.engine import unused_kernels
from edge_lstm.engine.kernel_cache import folder
from edge_lstm.errors import EdgeLstmError
from edge_lstm.train import elementary, products
from edge_lstm.train.products import OPTIONS

logger = logging.getLogger("edge_lstm.train")
_kernels: dict[tuple[str, str], Callable[..., Any]] = {}
_lock = threading.Lock()


def compiled(source: str, function: str) -> Callable[..., Any]:
    """The kernel called `function` of the generated module text `source`; one object per text, compiled at the first call."""
    with _lock:  # two trainings that start together shall compile once
        if (source, function) not in _kernels:
            _kernels[source, function] = _kernel(source, function)
        return _kernels[source, function]


def _kernel(source: str, function: str) -> Callable[..., Any]:
    # What the kernel calls is compiled into it, so its text is part of the key.
    parts = (source, inspect.getsource(elementary), inspect.getsource(products), numba.__version__)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    path = folder() / "train" / f"{function}_{key}.py"
    try:
        if not path.exists():
            logger.info("compiling training kernels (once): %s", function)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, source)
            unused_kernels.remove_unused(folder())
        for kept in (path.parent / "__pycache__").glob(f"{path.stem}.*.nbi"):
            unused_kernels.used(kept)  # not the source, whose time tells Numba whether its code is that of this source
        plain = getattr(_imported(path), function)
        return numba.njit(cache=True, **OPTIONS)(plain)
    except (OSError, EdgeLstmError, RuntimeError) as error:  # the folder, or Numba's own beside it, cannot be written
        logger.info("compiling training kernels in memory, since the cache cannot be used (%s): %s", error, function)
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
