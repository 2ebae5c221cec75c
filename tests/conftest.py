"""Compiled kernels of the tests are kept in pytest's own cache folder, not in the user's; garbage is looked for less often."""

from __future__ import annotations

import gc
import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "EDGE_LSTM_CACHE" not in os.environ:
        os.environ["EDGE_LSTM_CACHE"] = str(config.cache.mkdir("kernels"))
    # Numba, ONNX and PyTorch make many objects that stay; looking through them for garbage took a ninth of the processor time.
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    gc.freeze()
