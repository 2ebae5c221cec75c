from __future__ import annotations

import importlib.util

import pytest

from firmware_gen.emulation import cross, packages
from firmware_gen.emulation.targets import TARGETS, Target

# One core of each instruction set: Thumb-1, Thumb-2 with the multiplications of signal processors, RISC-V.
CORES = ("cortex-m0plus", "cortex-m4", "rv32imc")


def missing(target: Target) -> str | None:
    """Why nothing can be emulated for `target` here, None if it can."""
    for package in (packages.EMULATOR, packages.DISASSEMBLER, packages.ELF_READER):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed: python -m pip install 'edge-lstm[mcu]'"
    if not cross.compilers(target):
        return f"no compiler for {target.name}: python -m pip install 'edge-lstm[mcu]'"
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with `core` run on each of CORES, those with `any_target` on every target; skipped where that is not possible."""
    for name, targets in (("core", [t for t in TARGETS if t.name in CORES]), ("any_target", list(TARGETS))):
        if name in metafunc.fixturenames:
            reasons = [missing(target) for target in targets]
            marks = [[pytest.mark.skip(reason=reason)] if reason else [] for reason in reasons]
            parameters = [pytest.param(target, marks=mark) for target, mark in zip(targets, marks, strict=True)]
            metafunc.parametrize(name, parameters, ids=[target.name for target in targets])


@pytest.fixture
def all_cores() -> list[Target]:
    """CORES, all of them."""
    targets = [target for target in TARGETS if target.name in CORES]
    if reason := next(filter(None, map(missing, targets)), None):
        pytest.skip(reason)
    return targets
