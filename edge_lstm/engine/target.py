"""Which kernel this machine runs, and why. All kernels give the same bits."""

from __future__ import annotations

import os
from functools import cache

import llvmlite.binding as llvm
from numba.core import config

from edge_lstm.engine.layout import Target
from edge_lstm.errors import EdgeLstmError

NAMES = ("vnni", "portable")


@cache
def _features() -> frozenset[str]:
    """Names of the processor's features that kernels are compiled for; `NUMBA_CPU_FEATURES` and `NUMBA_CPU_NAME` are respected."""
    named, features = getattr(config, "CPU_NAME", None), getattr(config, "CPU_FEATURES", None)
    if features is not None:
        return frozenset(feature[1:] for feature in features.split(",") if feature.startswith("+"))
    if named not in (None, "host", llvm.get_host_cpu_name()):
        return frozenset()
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def choose(name: str | None = None) -> Target:
    """The kernel called `name`, or the fastest that this machine runs; `EDGE_LSTM_KERNEL` names one for the whole process.

    Raises EdgeLstmError for an unknown name, and for a kernel that this machine cannot run.
    """
    wanted = name or os.environ.get("EDGE_LSTM_KERNEL") or None
    features = _features()
    has_vnni = {"avx512f", "avx512bw", "avx512vl", "avx512vnni"} <= features
    if wanted not in (None, *NAMES):
        raise EdgeLstmError(f"unknown kernel {wanted!r}: choose one of {', '.join(NAMES)}")
    if wanted == "vnni" and not has_vnni:
        raise EdgeLstmError("the kernel 'vnni' needs a processor with AVX-512 VNNI; use 'portable'")
    wide = "avx512f" in features
    return Target(wanted or ("vnni" if has_vnni else "portable"), accumulators=16 if wide else 4, permutes=wide)


def why(target: Target) -> str:
    """One line that says what `target` uses."""
    if target.name == "vnni":
        return "vnni: int8 dot products of AVX-512 VNNI, four sources per lane and instruction"
    width = "AVX-512" if target.permutes else "AVX2, SSE2 or NEON"
    return f"portable: int16 dot products as LLVM finds them here ({width}), two sources per lane and instruction"
