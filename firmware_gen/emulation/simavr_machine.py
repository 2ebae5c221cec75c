"""simavr: an AVR whose every cycle is counted, not modelled, behind a small program that is compiled for this machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

from edge_lstm.errors import EdgeLstmError
from firmware_gen import toolchain
from firmware_gen.emulation.counting import Count
from firmware_gen.emulation.image import FOLDER, Image
from firmware_gen.emulation.machine import Call, signed
from firmware_gen.emulation.targets import Target
from firmware_gen.emulation.timing import exactly

INSTALL = "apt install gcc-avr avr-libc simavr libsimavr-dev"
DATA = 0x800000  # where the linker places data memory
FIRST_OF_RAM = 0x100
RETURN_ADDRESS = 2  # bytes that the call itself puts on the stack, which are counted


def missing() -> str | None:
    """What has to be installed, None if nothing."""
    native = toolchain.native()
    header = native is not None and native.can_include("simavr/sim_avr.h")
    return None if header and shutil.which("simavr") else f"no simavr (or no gcc to build against it): {INSTALL}"


class SimavrMachine:
    """A core of kind `target` with `image` in its flash, run from its reset to main."""

    def __init__(self, target: Target, image: Image):
        if reason := missing():
            raise EdgeLstmError(reason)
        self.target, self.image = target, image
        self._core = subprocess.Popen([_bridge(), target.cpu], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for address, content in image.segments:
            self._say(b"F", address, content)
        self._run(b"B", "main", 0)

    def write(self, symbol: str, content: bytes) -> None:
        """Puts `content` at the start of a variable."""
        self._say(b"W", self.image.symbols[symbol].address - DATA, content)

    def read(self, symbol: str) -> bytes:
        """The bytes of a variable."""
        found = self.image.symbols[symbol]
        self._say(b"R", found.address - DATA, length=found.size)
        return self._hear(found.size)

    def call(self, function: str) -> Call:
        """Calls a function; cycles are those of the emulator, which follow the data sheet."""
        variables = FIRST_OF_RAM + self.image.section_bytes(".data", ".bss", ".noinit")
        cycles, instructions, lowest, before, result = self._run(b"C", function, variables)
        count = Count(instructions, exactly(cycles), Counter({"any": instructions}))
        return Call(signed(result), count, before - lowest + RETURN_ADDRESS, Counter())

    def _run(self, operation: bytes, function: str, limit: int) -> tuple[int, ...]:
        """limit: lowest stack pointer."""
        self._say(operation, self.image.symbols[function].address, length=limit)
        reason, *measured = struct.unpack("<6I", self._hear(24))
        if measured[2] < limit:
            raise EdgeLstmError(f"{self.target.name}: {function} uses more than {measured[3] - limit} bytes of stack, all that is left")
        if reason:
            raise EdgeLstmError(f"{self.target.name}: {function} faults at address {reason:#x}")
        return tuple(measured)

    def _say(self, operation: bytes, address: int, content: bytes = b"", length: int | None = None) -> None:
        assert self._core.stdin is not None
        size = len(content) if length is None else length
        try:
            self._core.stdin.write(struct.pack("<3I", operation[0], address, size) + content)
            self._core.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _hear(self, size: int) -> bytes:
        assert self._core.stdout is not None
        content = self._core.stdout.read(size)
        if len(content) != size:
            raise self._ended()
        return content

    def _ended(self) -> EdgeLstmError:
        self._core.kill()
        _, errors = self._core.communicate()
        words = errors.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        return EdgeLstmError(f"{self.target.name}: simavr ended: {words[-1]}")

    def close(self) -> None:
        """Ends the emulator."""
        self._core.kill()
        self._core.communicate()


@cache
def _bridge() -> Path:
    """The program around simavr, compiled for this machine once a process."""
    program, compiler = Path(toolchain.scratch()) / "simavr-bridge", toolchain.native()
    assert compiler is not None
    compiler.run([FOLDER / "simavr_bridge.c"], program, "-O2", libraries=("-lsimavr",))
    return program
