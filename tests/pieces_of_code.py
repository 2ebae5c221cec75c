"""Pieces of kernels by themselves: what `engine.code` writes, compiled for this machine and run on memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from edge_lstm.engine import target
from edge_lstm.engine.code import Code
from edge_lstm.engine.sweeps import as_intrinsic


def run_on(memory: npt.NDArray[np.generic], emit: Callable[[Code, Any], None]) -> None:
    """Runs what `emit(code, address)` writes once for each memory[k]; memory: C-contiguous, changed in place."""
    size = memory[0].nbytes

    def every(code: Code, at: Any, count: Any) -> None:
        def body(k: Any, _: list[Any]) -> list[Any]:
            emit(code, code.plus(at, code.times(k, size)))
            return []

        code.loop(count, [], body)

    made = as_intrinsic(2, every, target.choose())
    kernel: Callable[[int, int], int] = njit("intp(intp, intp)")(lambda at, count: made(at, count))
    assert memory.flags.c_contiguous
    kernel(memory.ctypes.data, len(memory))
