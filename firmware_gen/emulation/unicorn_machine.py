"""The emulator unicorn: a core in this process, for every target but those with vector or 8-bit instructions."""

from __future__ import annotations

from collections import Counter

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import packages
from firmware_gen.emulation.counting import Blocks, Counting
from firmware_gen.emulation.decoding import decoder
from firmware_gen.emulation.image import THUMB, Image
from firmware_gen.emulation.machine import PAINT, STACK, Call, signed, used
from firmware_gen.emulation.targets import Target

MEGABYTE = 1 << 20
FLASH, RAM = (0, 8 * MEGABYTE), (0x20000000, MEGABYTE)  # (start, size), as memory.ld lays them out
STACK_TOP = RAM[0] + RAM[1]
RETURN = FLASH[1] - 0x1000  # flash that no program reaches


class UnicornMachine:
    """A core of kind `target` with `image` in its flash and RAM."""

    def __init__(self, target: Target, image: Image):
        unicorn = packages.load(packages.EMULATOR)
        self.target, self.image = target, image
        self._error = unicorn.UcError
        if target.architecture == "arm":
            names = packages.load("unicorn.arm_const")
            self._core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
            self._stack_pointer, self._link, self._result = names.UC_ARM_REG_SP, names.UC_ARM_REG_LR, names.UC_ARM_REG_R0
            self._counter = names.UC_ARM_REG_PC
        else:
            names = packages.load("unicorn.riscv_const")
            self._core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
            self._stack_pointer, self._link, self._result = names.UC_RISCV_REG_SP, names.UC_RISCV_REG_RA, names.UC_RISCV_REG_A0
            self._counter = names.UC_RISCV_REG_PC
        self._core.ctl_set_cpu_model(getattr(names, target.cpu))
        for start, size in (FLASH, RAM):
            self._core.mem_map(start, size)
        for address, content in image.segments:
            self._core.mem_write(address, content)
        self._blocks: Blocks = Counter()
        self._end = 0
        self._core.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
        self._counting = Counting(decoder(target), target.timing, self.code)

    def _block(self, core: object, address: int, size: int, data: object) -> None:
        if address != RETURN:
            self._blocks[self._end, address, size] += 1
            self._end = address + size

    def write(self, symbol: str, content: bytes) -> None:
        """Puts `content` at the start of a variable."""
        self._core.mem_write(self.image.symbols[symbol].address, content)

    def read(self, symbol: str) -> bytes:
        """The bytes of a variable."""
        found = self.image.symbols[symbol]
        return bytes(self._core.mem_read(found.address, found.size))

    def code(self, address: int, size: int) -> bytes:
        """Machine code as it lies in memory."""
        return bytes(self._core.mem_read(address, size))

    def call(self, function: str) -> Call:
        """Calls a function and records what it executes."""
        entry = self.image.symbols[function].address
        thumb = THUMB if self.target.architecture == "arm" else 0
        self._core.mem_write(STACK_TOP - STACK, PAINT * STACK)
        self._core.reg_write(self._stack_pointer, STACK_TOP)
        self._core.reg_write(self._link, RETURN | thumb)
        self._blocks, self._end = Counter(), entry
        try:
            self._core.emu_start(entry | thumb, RETURN)
        except self._error as error:
            at = self._core.reg_read(self._counter)
            raise EdgeLstmError(f"{self.target.name}: {function} faults at address {at:#x}: {error}") from error
        stack = used(bytes(self._core.mem_read(STACK_TOP - STACK, STACK)), f"{self.target.name}: {function}")
        return Call(signed(self._core.reg_read(self._result)), self._counting.count(self._blocks), stack, self._blocks)

    def close(self) -> None:
        """Nothing to end: the core lives in this process."""
