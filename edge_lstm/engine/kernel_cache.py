"""Compiled kernels: generated source written once to a cache folder, compiled by Numba on first use, loaded from disk ever after.

The folder is `$EDGE_LSTM_CACHE`, else the user's cache folder. A file is named after the hash of its text, of the modules it is built
from, and of the versions of Python, NumPy, Numba and llvmlite; Numba itself keeps compiled code apart by processor. A cache that cannot
be read or written costs time, never a result: the kernels are then compiled in memory, and a warning says so once.

Compilation is announced through the logger "edge_lstm.engine" (level INFO) before it starts.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import logging
import os
import pickle
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np

from edge_lstm import files
from edge_lstm.engine.entry_points import SIGNATURES
from edge_lstm.errors import EdgeLstmError

logger = logging.getLogger("edge_lstm.engine")
_BROKEN_CACHE = (OSError, EOFError, pickle.UnpicklingError, EdgeLstmError)


def folder() -> Path:
    """The cache folder; not necessarily there."""
    if chosen := os.environ.get("EDGE_LSTM_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "edge-lstm" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edge-lstm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lstm"


@cache
def _foundation() -> bytes:
    """What compiled kernels depend on besides their own text."""
    here = Path(__file__).parent
    versions = (platform.python_version(), np.__version__, numba.__version__, llvmlite.__version__)
    modules = ("code.py", "tiles.py", "narrow_tiles.py", "sweeps.py", "memory.py", "layout.py", "instructions.py")
    return repr(versions).encode() + b"".join((here / name).read_bytes() for name in modules)


class Kernels:
    """The entry points of one generated source; each is compiled, or loaded, when it is first asked for.

    signatures: entry point -> Numba signature.
    """

    def __init__(self, source: str, signatures: Mapping[str, str] = SIGNATURES):
        self.signatures = signatures
        self.name = "kernels_" + hashlib.sha256(_foundation() + source.encode()).hexdigest()[:24]
        self.source = source
        self._compiled: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._module, self._on_disk = self._load()

    def __getitem__(self, entry: str) -> Any:
        """The compiled entry point, one of `signatures`."""
        if entry not in self._compiled:
            with self._lock, _no_garbage_collection():
                if entry not in self._compiled:
                    self._compiled[entry] = self._compile(entry)
        return self._compiled[entry]

    def _compile(self, entry: str) -> Any:
        if self._on_disk:
            try:
                return self._jit(entry, in_cache=True)
            except _BROKEN_CACHE as error:
                _warn_about_cache(error)
                self._module, self._on_disk = _in_memory(self.name, self.source), False
        return self._jit(entry, in_cache=False)

    def _jit(self, entry: str, in_cache: bool) -> Any:
        function: Callable[..., Any] = getattr(self._module, entry)
        dispatcher = numba.njit(cache=in_cache, nogil=True, error_model="numpy")(function)
        if not in_cache or not _is_compiled(dispatcher, function):
            logger.info("compiling kernels (once): %s", entry)
        dispatcher.compile(self.signatures[entry])
        dispatcher.disable_compile()  # arguments of another type are a TypeError, not a reason to compile anew
        return dispatcher

    def _load(self) -> tuple[ModuleType, bool]:
        path = folder() / f"{self.name}.py"
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_text(path, self.source)
            spec = importlib.util.spec_from_file_location(self.name, path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{path} cannot be imported")
            if path.read_text(encoding="utf-8") != self.source:
                raise OSError(f"{path} has been changed; delete it")
            module = importlib.util.module_from_spec(spec)
            sys.modules[self.name] = module  # Numba finds the functions of cached code by the name of their module
            spec.loader.exec_module(module)
            return module, True
        except (*_BROKEN_CACHE, RuntimeError) as error:
            _warn_about_cache(error)
            return _in_memory(self.name, self.source), False


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Numba makes hundreds of thousands of objects that stay: looking through them again and again takes a seventh of its time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _in_memory(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


def _is_compiled(dispatcher: Any, function: Callable[..., Any]) -> bool:
    """Whether the disk holds compiled code of the function. It may be of another processor: then only the announcement is missing."""
    place = Path(dispatcher._cache.cache_path)
    return any(place.glob(f"{function.__module__}.{function.__name__}-*.nbc"))


@cache
def _warn_once() -> None:
    logger.warning("the kernel cache %s cannot be used, so every process compiles anew; set EDGE_LSTM_CACHE to a writable folder", folder())


def _warn_about_cache(error: BaseException) -> None:
    logger.debug("kernel cache: %s", error)
    _warn_once()


_loaded: dict[str, Kernels] = {}
_loading = threading.Lock()


def kernels(source: str, signatures: Mapping[str, str] = SIGNATURES) -> Kernels:
    """The kernels of a generated source; the same object for the same text."""
    with _loading:
        if source not in _loaded:
            _loaded[source] = Kernels(source, signatures)
        return _loaded[source]
