"""Generated kernels without compiling them: the same text, run by Python. Right for small arrays and many cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from edge_lstm.train import integer_passes, passes


@cache
def interpreted(source: str, function: str) -> Callable[..., Any]:
    """In place of `kernels.compiled`."""
    module: dict[str, Any] = {}
    exec(compile(source.replace("@numba.njit(**OPTIONS)\n", ""), f"<{function}>", "exec"), module)
    return module[function]


@pytest.fixture
def without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that the test makes are interpreted."""
    monkeypatch.setattr(passes, "compiled", interpreted)
    monkeypatch.setattr(integer_passes, "compiled", interpreted)
