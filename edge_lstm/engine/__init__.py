"""The integer network at work: a plain NumPy reference, and generated Numba kernels with the same bits, for sequences and streams.

Importing this package loads neither NumPy nor Numba; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_lstm.engine.physical import counts, outputs
    from edge_lstm.engine.streaming import Stream
    from edge_lstm.engine.streams import Streams
    from edge_lstm.engine.whole import run, run_normalized

__all__ = ["Stream", "Streams", "counts", "outputs", "run", "run_normalized"]

_HOME = {
    "Stream": "streaming",
    "Streams": "streams",
    "counts": "physical",
    "outputs": "physical",
    "run": "whole",
    "run_normalized": "whole",
}


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it, once (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
