"""Which kernel this machine runs, and why. All kernels give the same bits."""

from __future__ import annotations

import os
from functools import cache

import llvmlite.binding as llvm

from edge_lstm.engine.cores import CORES, core_called
from edge_lstm.engine.instructions import KERNELS
from edge_lstm.engine.layout import Target
from edge_lstm.errors import EdgeLstmError

NAMES = tuple(KERNELS)


@cache
def _features() -> frozenset[str]:
    """Names of the processor's features that kernels are compiled for; `NUMBA_CPU_FEATURES` and `NUMBA_CPU_NAME` are respected."""
    named, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is not None:
        return frozenset(feature[1:] for feature in features.split(",") if feature.startswith("+"))
    if named not in (None, "host", llvm.get_host_cpu_name()):
        return frozenset()
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def _missing(name: str) -> frozenset[str]:
    """Features that a kernel needs and this processor lacks. The 256-bit form of VNNI belongs to AVX-512 as well."""
    features = set(_features())
    if {"avx512vnni", "avx512vl"} <= features:
        features.add("avxvnni")
    return KERNELS[name].needs - features


@cache
def fastest() -> str:
    """The name of the fastest kernel that this machine runs."""
    return next(kernel for kernel in KERNELS if not _missing(kernel))


def choose(name: str | None = None) -> Target:
    """The kernel called `name`, or the fastest that this machine runs; `EDGE_LSTM_KERNEL` names one for the whole process.

    It is made for the kind of core that the processor has; `EDGE_LSTM_CORE` names another, a key of CORES.

    Raises EdgeLstmError for an unknown name, and for a kernel that this machine cannot run.
    """
    return _target(name or os.environ.get("EDGE_LSTM_KERNEL") or fastest(), os.environ.get("EDGE_LSTM_CORE") or _kind_of_core())


@cache
def _kind_of_core() -> str:
    named = os.environ.get("NUMBA_CPU_NAME")
    return core_called(llvm.get_host_cpu_name() if named in (None, "host") else named)


@cache
def _target(wanted: str, kind: str) -> Target:
    if wanted not in KERNELS:
        raise EdgeLstmError(f"unknown kernel {wanted!r}: choose one of {', '.join(KERNELS)}")
    if missing := _missing(wanted):
        raise EdgeLstmError(f"the kernel {wanted!r} needs a processor with {' and '.join(sorted(missing))}; use 'portable'")
    if kind not in CORES:
        raise EdgeLstmError(f"unknown kind of core EDGE_LSTM_CORE={kind}: choose one of {', '.join(CORES)}")
    wide = "avx512f" in _features() and KERNELS[wanted].bits == 512  # 32 registers of sixteen lanes, otherwise 16 of eight or 32 of four
    if not wide:
        return Target(wanted, accumulators=4)
    return Target(wanted, accumulators=16, packs_bytes={"avx512vbmi", "avx512vbmi2"} <= _features(), kind=kind)


def why(target: Target) -> str:
    """One line that says what `target` uses, and why no faster kernel was taken."""
    faster = {name: _missing(name) for name in list(KERNELS)[: list(KERNELS).index(target.name)]}
    text = f"{target.name}: {target.instructions.words}" + (f", tuned for {target.core.words}" if target.is_avx512 else "")
    if not faster:
        return f"{text}; the fastest of {len(KERNELS)} kernels"
    if any(not missing for missing in faster.values()):
        return f"{text}; named by the caller, the fastest here is {fastest()}"
    return f"{text}; the faster ones need " + ", ".join(f"{' and '.join(sorted(missing))} ({name})" for name, missing in faster.items())
