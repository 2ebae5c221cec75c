"""Compilers for the targets: the GNU one of the architecture where it is installed, else the clang of the `ziglang` package."""

from __future__ import annotations

import shutil

from edge_lstm.errors import EdgeLstmError, UsageError
from firmware_gen import toolchain
from firmware_gen.emulation.image import FOLDER
from firmware_gen.emulation.targets import Target
from firmware_gen.toolchain import Compiler

GCC = {
    "arm": ("arm-none-eabi-gcc",),
    "avr": ("avr-gcc",),
    "riscv": ("riscv32-unknown-elf-gcc", "riscv64-unknown-elf-gcc", "riscv-none-elf-gcc", "riscv64-elf-gcc"),
}
NAMES = ("gcc", "clang", "best")
# The header is compiled as firmware is: nothing but what is used, no frame pointer, no tables for exceptions.
FLAGS = (
    "-std=c99", "-ffreestanding", "-fomit-frame-pointer", "-fno-stack-protector", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
    "-ffunction-sections", "-fdata-sections",
)  # fmt: skip
# Where nothing boots: functions are called one by one, at addresses that the script gives them.
BARE = ("-Wl,--gc-sections", f"-Wl,-T,{FOLDER / 'memory.ld'}")


def compilers(target: Target) -> tuple[Compiler, ...]:
    """Every compiler of this machine that writes for `target`, the preferred one first."""
    found = []
    # What a compiler may call even in freestanding code; and what the vector unit needs before its first instruction.
    support = (FOLDER / "memory.c", *((FOLDER / "start_vectors.c",) if target.emulator == "qemu" else ()))
    path = next(filter(None, map(shutil.which, GCC[target.architecture])), None)
    if path is not None and target.architecture == "avr":
        found.append(Compiler(f"gcc for {target.name}", (path, *target.gcc, *FLAGS, "-std=gnu99", "-Werror=addr-space-convert")))
    elif path is not None:
        # libgcc holds what the core has no instruction for, such as the jump tables of Thumb-1; of the C library nothing is used.
        found.append(Compiler(f"gcc for {target.name}", (path, *target.gcc, *FLAGS, *BARE, "-nostartfiles", "-nolibc"), support=support))
    zig = toolchain.ziglang()
    if zig is not None and target.zig:
        # Without -g, zig leaves out the names of functions and variables when it compiles for size.
        found.append(Compiler(f"zig cc for {target.name}", (*zig.command, *target.zig, *FLAGS, *BARE, "-nostdlib", "-g"), support=support))
    return tuple(found)


def chosen(target: Target, name: str | None) -> tuple[Compiler, ...]:
    """The compilers that `name` asks for: the first of `compilers(target)` when None, "gcc", "clang", or all there are for "best".

    Raises EdgeLstmError if there is none, UsageError for another name.
    """
    if name is None:
        return (compiler(target),)
    if name not in NAMES:
        raise UsageError(f"there is no compiler {name!r}; choose one of {', '.join(NAMES)}")
    found = tuple(one for one in compilers(target) if name in ("best", "clang" if one.name.startswith("zig") else "gcc"))
    if not found:
        raise EdgeLstmError(f"no {name if name != 'best' else 'compiler'} for {target.name} here")
    return found


def compiler(target: Target) -> Compiler:
    """The first of `compilers(target)`. Raises EdgeLstmError, saying how to get one, if there is none."""
    found = compilers(target)
    if not found:
        name = GCC[target.architecture][0]
        if not target.zig:
            raise EdgeLstmError(f"no compiler for {target.name}: apt install gcc-avr avr-libc simavr libsimavr-dev")
        raise EdgeLstmError(f"no compiler for {target.name}: install {name}, or run `python -m pip install 'edge-lstm[mcu]'`")
    return found[0]
