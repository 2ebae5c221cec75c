"""QEMU with a counting plugin: cores with vector instructions (MVE), which unicorn does not know."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

from edge_lstm.errors import EdgeLstmError
from firmware_gen import toolchain
from firmware_gen.emulation.counting import Counting
from firmware_gen.emulation.debugger import Debugger, EmulatorEndedError
from firmware_gen.emulation.image import FOLDER, THUMB, Image
from firmware_gen.emulation.listing import objdump_decoder
from firmware_gen.emulation.machine import PAINT, Call, signed, used
from firmware_gen.emulation.targets import Target

QEMU = "qemu-system-arm"
INSTALL = "apt install qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi"
STACK_TOP = 0x20080000  # end of the data memory of the board
STACK = 4096  # bytes below it that are watched
RETURN = 0x7F000  # program memory that no program reaches, in a page of its own
RESULT, STACK_POINTER, LINK, COUNTER, STATUS = 0, 13, 14, 15, 25  # numbers of registers
THUMB_STATE = 1 << 24
HEADER, ENTRY = 2, 4  # words of the table of the plugin: in front of the entries, and of each


def missing() -> str | None:
    """What has to be installed, None if nothing."""
    return None if shutil.which(QEMU) and toolchain.native() else f"no {QEMU} (or no gcc to build its plugin): {INSTALL}"


class QemuMachine:
    """A core of kind `target` with `image` in its memory, on the board `target.cpu`."""

    def __init__(self, target: Target, image: Image):
        if reason := missing():
            raise EdgeLstmError(reason)
        self.target, self.image = target, image
        self._folder = tempfile.TemporaryDirectory(prefix="edge-lstm-")
        table = Path(self._folder.name) / "counts"
        table.touch()
        plugin = f"{_plugin()},counts={table}"
        board = ("-machine", target.cpu, "-display", "none", "-monitor", "none", "-serial", "none")
        self._core = Debugger([QEMU, *board, "-S", "-gdb", "stdio", "-plugin", plugin])
        self._table = np.asarray(np.memmap(table, np.uint64, "r+"))
        for address, content in image.segments:
            self._core.write(address, content)
        self._core.stop_at(RETURN)
        self._counting = Counting(objdump_decoder(target, image), target.timing, self._core.read)
        self._core.write(STACK_TOP - STACK, PAINT * STACK)
        self.call("entry_start")

    def write(self, symbol: str, content: bytes) -> None:
        """Puts `content` at the start of a variable."""
        self._core.write(self.image.symbols[symbol].address, content)

    def read(self, symbol: str) -> bytes:
        """The bytes of a variable."""
        found = self.image.symbols[symbol]
        return self._core.read(found.address, found.size)

    def call(self, function: str) -> Call:
        """Calls a function and takes the blocks it executed from the plugin's table."""
        entry, core = self.image.symbols[function].address, self._core
        registers = {STACK_POINTER: STACK_TOP, LINK: RETURN | THUMB, STATUS: THUMB_STATE, COUNTER: entry}
        for register, value in registers.items():
            core.set_register(register, value)
        self._entries()[:, ENTRY - 1] = 0
        self._table[1] = entry
        try:
            core.go()
        except EmulatorEndedError as error:
            counter = re.search(r"R15=([0-9a-f]+)", error.output)  # QEMU gives up at a fault without a handler, and prints registers
            raise EdgeLstmError(f"{self.target.name}: {function} faults at address 0x{counter[1] if counter else '?'}: {error}") from error
        blocks = Counter({(before, address, size): times for before, address, size, times in self._entries().tolist() if times})
        content = core.read(STACK_TOP - STACK, STACK)
        stack = used(content, f"{self.target.name}: {function}")
        core.write(STACK_TOP - stack, PAINT * stack)  # for the next call
        return Call(signed(core.register(RESULT)), self._counting.count(blocks), stack, blocks)

    def _entries(self) -> np.ndarray:
        return self._table[HEADER : HEADER + ENTRY * int(self._table[0])].reshape(-1, ENTRY)

    def close(self) -> None:
        """Ends QEMU and removes its files."""
        self._core.close()
        self._folder.cleanup()


@cache
def _plugin() -> Path:
    """The plugin, compiled for this machine once a process."""
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.", version)
    interface = 1 if found is None or int(found[1]) < 9 else 2
    compiler, library = toolchain.native(), Path(toolchain.scratch()) / "counting.so"
    assert compiler is not None
    compiler.run([FOLDER / "qemu_plugin.c"], library, f"-DPLUGIN_VERSION={interface}", "-O2", "-shared", "-fPIC")
    return library
