"""Compiled kernels: generated source that Numba compiles on first use, kept as object code and loaded from the disk ever after.

The folder is `$EDGE_LSTM_CACHE`, else the user's cache folder. A file is named after the hash of the generated text, of the modules it is
built from, and of the versions of Python, NumPy, Numba and llvmlite; and after the processor. A cache that cannot be read or written costs
time, never a result: the kernels are then compiled for one process, and a warning says so once. What nobody has used for a month is removed
(`unused_kernels`).

Where object code cannot be loaded (`machine_code.available`), Numba keeps its own files in the folder, and calls the kernels.

Compilation is announced through the logger "edge_lstm.engine" (level INFO) before it starts.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numpy as np

from edge_lstm import files
from edge_lstm.engine import machine_code, unused_kernels
from edge_lstm.engine.entry_points import SIGNATURES
from edge_lstm.errors import EdgeLstmError

logger = logging.getLogger("edge_lstm.engine")
_BROKEN_CACHE = (OSError, EOFError, pickle.UnpicklingError, EdgeLstmError)
# What inner parts of Numba raise that another version has changed.
_OTHER_NUMBA = (AttributeError, ImportError, TypeError, ValueError, KeyError, RuntimeError, AssertionError)


def folder() -> Path:
    """The cache folder; not necessarily there."""
    if chosen := os.environ.get("EDGE_LSTM_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "edge-lstm" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edge-lstm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lstm"


# Modules whose code makes kernels: another text of one of them makes other kernels, under other names.
FOUNDATION = (
    "control_code", "code", "lists", "products", "tiles", "narrow_tiles", "packed_words", "sweeps", "looks", "memory", "layout", "cores",
    "instructions", "common_parts", "object_code", "python_calls", "machine_code",
)  # fmt: skip


@cache
def _foundation() -> bytes:
    """What compiled kernels depend on besides their own text."""
    here = Path(__file__).parent
    versions = (sys.version, np.__version__, _numba_version(), llvmlite.__version__)
    return repr(versions).encode() + b"".join((here / f"{name}.py").read_bytes() for name in FOUNDATION)


def _numba_version() -> str:
    """Numba's version, as its own file says it: importing Numba, or asking the package's metadata, takes longer than loading kernels."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        raise EdgeLstmError("the package numba is not installed, which compiles the kernels; use pip install numba")
    return (Path(spec.origin).parent / "_version.py").read_text(encoding="utf-8")


class Kernels:
    """The entry points of one generated source; each is compiled, or loaded, when it is first asked for.

    signatures: entry point -> Numba signature.
    """

    def __init__(self, source: str, signatures: Mapping[str, str] = SIGNATURES):
        self.signatures = signatures
        self.name = "kernels_" + hashlib.sha256(_foundation() + source.encode()).hexdigest()[:24]
        self.source = source
        self._calls: dict[str, Callable[..., Any]] = {}
        self._loaded: dict[str, machine_code.Loaded] = {}
        self._lock = threading.Lock()
        self._numba: _NumbaKernels | None = None

    def __getitem__(self, entry: str) -> Callable[..., Any]:
        """The compiled entry point, one of `signatures`. It raises TypeError for arguments of another type."""
        if entry not in self._calls:
            with self._lock, _no_garbage_collection():
                if entry not in self._calls:
                    loaded = self._object_code(entry) if machine_code.available() else None
                    if loaded is not None:
                        self._loaded[entry] = loaded
                    self._calls[entry] = loaded.call if loaded is not None else self._called_by_numba(entry)
        return self._calls[entry]

    def loaded(self, entry: str) -> machine_code.Loaded | None:
        """The object code of an entry point; None where Numba calls it."""
        self[entry]
        return self._loaded.get(entry)

    def _object_code(self, entry: str) -> machine_code.Loaded | None:
        path = folder() / f"{self.name}.{entry}.{machine_code.processor()}.o"
        try:
            code = machine_code.unsealed(path.read_bytes())
            unused_kernels.used(path)
        except FileNotFoundError:
            code = b""
        except (OSError, EOFError) as error:
            _warn_about_cache(error)
            code = b""
        if not code:
            logger.info("compiling kernels (once): %s", entry)
            try:
                code = self._compiled(entry)
            except _OTHER_NUMBA as error:  # its own way to call kernels is always there
                logger.debug("no object code of %s: %r", entry, error)
                return None
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(path, machine_code.sealed(code))
                unused_kernels.remove_unused(folder())
            except (OSError, EdgeLstmError) as error:
                _warn_about_cache(error)
        return machine_code.Loaded(entry, code)

    def _compiled(self, entry: str) -> bytes:
        from edge_lstm.engine.object_code import object_code

        return object_code(getattr(_in_memory(self.name, self.source), entry), self.signatures[entry])

    def _called_by_numba(self, entry: str) -> Callable[..., Any]:
        if self._numba is None:
            self._numba = _NumbaKernels(self.name, self.source)
        return self._numba.compiled(entry, self.signatures[entry])


class _NumbaKernels:
    """The same entry points, called by Numba and kept in its own files beside the source."""

    def __init__(self, name: str, source: str):
        self.name, self.source = name, source
        self._module, self._on_disk = self._load()

    def compiled(self, entry: str, signature: str) -> Callable[..., Any]:
        if self._on_disk:
            try:
                return self._jit(entry, signature, in_cache=True)
            except _BROKEN_CACHE as error:
                _warn_about_cache(error)
                self._module, self._on_disk = _in_memory(self.name, self.source), False
        return self._jit(entry, signature, in_cache=False)

    def _jit(self, entry: str, signature: str, in_cache: bool) -> Callable[..., Any]:
        import numba

        function: Callable[..., Any] = getattr(self._module, entry)
        dispatcher: Any = numba.njit(cache=in_cache, nogil=True, error_model="numpy")(function)
        kept = _compiled_files(dispatcher, function) if in_cache else []
        if not kept:
            logger.info("compiling kernels (once): %s", entry)
        dispatcher.compile(signature)
        if kept:
            unused_kernels.used(kept[0])
        elif in_cache:
            unused_kernels.remove_unused(folder())
        dispatcher.disable_compile()  # arguments of another type are a TypeError, not a reason to compile anew
        called: Callable[..., Any] = dispatcher
        return called

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


def _compiled_files(dispatcher: Any, function: Callable[..., Any]) -> list[Path]:
    """Compiled code of the function on the disk. It may be of another processor: then only the announcement is missing."""
    place = Path(dispatcher._cache.cache_path)
    return list(place.glob(f"{function.__module__}.{function.__name__}-*.nbc"))


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
