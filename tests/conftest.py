"""Compiled kernels of the tests are kept in pytest's own cache folder, not in the user's."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if "EDGE_LSTM_CACHE" not in os.environ:
        os.environ["EDGE_LSTM_CACHE"] = str(config.cache.mkdir("kernels"))
