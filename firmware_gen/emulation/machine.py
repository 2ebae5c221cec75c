"""A core with a program in its memory, whatever emulates it: functions are called one by one, and what each call executes is counted.

Nothing boots: a call sets the stack pointer and the return address, and ends when the function returns there. So what is counted is
the function alone, from its first to its last instruction, and a call costs what a call from firmware costs behind the branch to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import packages
from firmware_gen.emulation.counting import Blocks, Count
from firmware_gen.emulation.image import Image
from firmware_gen.emulation.targets import Target

STACK = 16 * 1024  # bytes below the stack pointer of a call that are painted
PAINT = b"\xa5"


@dataclass(frozen=True)
class Call:
    """What one call did. result: what it returned, as int32; stack: deepest stack it used, in bytes; blocks: what it executed, where the
    emulator tells blocks."""

    result: int
    count: Count
    stack: int
    blocks: Blocks


class Machine(Protocol):
    """A core with a program."""

    def write(self, symbol: str, content: bytes) -> None:
        """Puts `content` at the start of a variable."""

    def read(self, symbol: str) -> bytes:
        """The bytes of a variable."""

    def call(self, function: str) -> Call:
        """Calls a function without arguments and lets it run until it returns.

        Raises EdgeLstmError when the core faults, or when the function leaves less than a byte of its stack unused.
        """

    def close(self) -> None:
        """Ends the emulator."""


def start(target: Target, image: Image) -> Machine:
    """A core of kind `target` with `image` in its memory. Raises EdgeLstmError, saying what to install, where its emulator is missing."""
    if target.emulator == "unicorn":
        from firmware_gen.emulation.unicorn_machine import UnicornMachine

        return UnicornMachine(target, image)
    if target.emulator == "qemu":
        from firmware_gen.emulation.qemu_machine import QemuMachine

        return QemuMachine(target, image)
    from firmware_gen.emulation.simavr_machine import SimavrMachine

    return SimavrMachine(target, image)


def missing(target: Target) -> str | None:
    """What has to be installed to emulate `target`, in a line; None if nothing."""
    if target.emulator == "unicorn":
        return packages.missing()
    if target.emulator == "qemu":
        from firmware_gen.emulation import qemu_machine

        return qemu_machine.missing() or packages.missing()
    from firmware_gen.emulation import simavr_machine

    return simavr_machine.missing() or packages.missing()


def used(stack: bytes, where: str) -> int:
    """How many bytes at the end of a painted stack were written. where: function and target, for the error."""
    deep = len(stack.lstrip(PAINT))
    if deep == len(stack):
        raise EdgeLstmError(f"{where} uses more than {len(stack)} bytes of stack")
    return deep


def signed(result: int) -> int:
    """A 32-bit register as int32."""
    return result - (1 << 32) if result >= 1 << 31 else result
