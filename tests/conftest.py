"""Compiled kernels of the tests are kept in pytest's own cache folder, not in the user's; garbage is looked for less often; libraries that
would take all cores for small arrays take one."""

from __future__ import annotations

import gc
import os

import pytest

# Before NumPy and PyTorch are loaded, which read it once; the processes that tests start inherit it. Their threads wait for each other by
# spinning: beside another worker, the example of docs/pytorch.md took nine times the processor time. Own threads are not meant.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    if "EDGE_LSTM_CACHE" not in os.environ:
        os.environ["EDGE_LSTM_CACHE"] = str(config.cache.mkdir("kernels"))
    # Numba, ONNX and PyTorch make many objects that stay; looking through them for garbage took a ninth of the processor time.
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish() -> None:
    gc.freeze()
