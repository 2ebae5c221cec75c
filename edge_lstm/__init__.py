"""edge-lstm: recurrent networks with threshold gates, in integers only, from a float model to a microcontroller.

The public names are loaded when they are first used, so that importing the package costs nothing and never starts Numba:

    load            read a float or integer network from an ONNX file; it is callable on `[batch, time, inputs]`
    LSTMClassifier  train a sequence classifier: `fit`, `predict`, `score`
    quantize        float network and calibration data to an integer network
    export_c        integer network to a C header
    compare         accuracy and latency of several networks on the same data
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_lstm.api import LSTMClassifier, LSTMRegressor, compare, export_c, load, quantize

__version__ = "0.1.0"
__all__ = ["LSTMClassifier", "LSTMRegressor", "__version__", "compare", "export_c", "load", "quantize"]

_HOME = dict.fromkeys(("LSTMClassifier", "LSTMRegressor", "compare", "export_c", "load", "quantize"), "edge_lstm.api")


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it, once (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
