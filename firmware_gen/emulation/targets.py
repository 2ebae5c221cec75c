"""The microcontrollers that a header can be profiled for, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_lstm.errors import UsageError
from firmware_gen.emulation import timing
from firmware_gen.emulation.timing import CycleModel


@dataclass(frozen=True)
class Target:
    """One kind of core.

    architecture: "arm" (Thumb), "riscv" or "avr"; gcc, zig: flags that make the compiler write for it (zig empty: it cannot);
    cpu: what the emulator calls it: a name in `unicorn.arm_const` or `unicorn.riscv_const`, a board of QEMU, a core of simavr;
    timing: its cycle model; emulator: "unicorn", "qemu" or "simavr".
    """

    name: str
    architecture: str
    gcc: tuple[str, ...]
    zig: tuple[str, ...]
    cpu: str
    timing: CycleModel
    emulator: str = "unicorn"


def _cortex(name: str, zig_cpu: str, cpu: str, model: CycleModel, fpu: str = "") -> Target:
    """A Cortex-M; fpu: the single-precision unit for gcc, none if empty."""
    core = "-mcpu=" + name.removesuffix("f")
    gcc = ("-mthumb", core, f"-mfpu={fpu}", "-mfloat-abi=hard") if fpu else ("-mthumb", core, "-mfloat-abi=soft")
    system = "thumb-freestanding-eabihf" if fpu else "thumb-freestanding-eabi"
    return Target(name, "arm", gcc, ("-target", system, f"-mcpu={zig_cpu}"), cpu, model)


TARGETS = (
    _cortex("cortex-m0plus", "cortex_m0plus", "UC_CPU_ARM_CORTEX_M0", timing.CORTEX_M0PLUS),  # both are ARMv6-M
    _cortex("cortex-m3", "cortex_m3", "UC_CPU_ARM_CORTEX_M3", timing.CORTEX_M3),
    _cortex("cortex-m4", "cortex_m4", "UC_CPU_ARM_CORTEX_M4", timing.CORTEX_M4),
    _cortex("cortex-m4f", "cortex_m4+vfp4d16sp", "UC_CPU_ARM_CORTEX_M4", timing.CORTEX_M4, "fpv4-sp-d16"),
    _cortex("cortex-m7", "cortex_m7+fp_armv8d16sp", "UC_CPU_ARM_CORTEX_M7", timing.CORTEX_M7, "fpv5-sp-d16"),
    _cortex("cortex-m33", "cortex_m33+fp_armv8d16sp", "UC_CPU_ARM_CORTEX_M33", timing.CORTEX_M33, "fpv5-sp-d16"),
    Target(
        "cortex-m55", "arm", ("-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
        ("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m55+mve_fp+fp_armv8d16sp"), "mps3-an547", timing.CORTEX_M55, "qemu",
    ),
    Target(
        "rv32imc", "riscv", ("-march=rv32imc", "-mabi=ilp32"), ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c"),
        "UC_CPU_RISCV32_ANY", timing.IBEX,
    ),
    Target("atmega328p", "avr", ("-mmcu=atmega328p",), (), "atmega328p", timing.AVR, "simavr"),
)  # fmt: skip
BY_NAME: Mapping[str, Target] = {target.name: target for target in TARGETS}


def target(name: str) -> Target:
    """The target of that name. Raises UsageError, listing all of them, if there is none."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise UsageError(f"there is no target {name!r}; choose one of {', '.join(BY_NAME)}") from None
