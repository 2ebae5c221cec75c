from __future__ import annotations

import pytest

from firmware_gen.emulation import cross, machine
from firmware_gen.emulation.targets import TARGETS, Target

# One core of each instruction set: Thumb-1, Thumb-2 with the multiplications of signal processors, the same with vectors, RISC-V, AVR.
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imc", "atmega328p")


def missing(target: Target) -> str | None:
    """Why nothing can be emulated for `target` here, None if it can."""
    if not cross.compilers(target):
        return f"no compiler for {target.name}"
    return machine.missing(target)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with `core` run on each of CORES, those with `hooked_core` on those of them that run in unicorn, those with `any_target` on
    every target; skipped where that is not possible."""
    cores = [target for target in TARGETS if target.name in CORES]
    hooked = [target for target in cores if target.emulator == "unicorn"]
    for name, targets in (("core", cores), ("hooked_core", hooked), ("any_target", list(TARGETS))):
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
