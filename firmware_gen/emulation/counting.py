"""From the blocks that a call executed to instructions and cycles."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from firmware_gen.emulation.decoding import decoder
from firmware_gen.emulation.machine import Blocks, Machine
from firmware_gen.emulation.timing import NOTHING, Cycles, Instruction


@dataclass(frozen=True)
class Count:
    """What one call executed. kinds: kind of instruction -> how many."""

    instructions: int
    cycles: Cycles
    kinds: Counter[str]

    def __add__(self, other: Count) -> Count:
        return Count(self.instructions + other.instructions, self.cycles + other.cycles, self.kinds + other.kinds)


class Counting:
    """Counts what calls of one machine executed; each block of code is decoded once."""

    def __init__(self, machine: Machine):
        self._machine, self._decode, self._timing = machine, decoder(machine.target), machine.target.timing
        self._known: dict[tuple[int, int], Count] = {}
        self._last: dict[int, Instruction] = {}  # end of a block -> the instruction that ends there

    def count(self, blocks: Blocks) -> Count:
        """Instructions are exact; cycles are those of the target's model."""
        instructions, cycles, kinds = 0, NOTHING, Counter[str]()
        for (_, address, size), times in blocks.items():
            block = self._block(address, size)
            instructions += block.instructions * times
            cycles += block.cycles * times
            for kind, number in block.kinds.items():
                kinds[kind] += number * times
        for (before, address, _), times in blocks.items():
            last = self._last.get(before)
            if last is not None and last.kind == "conditional" and before != address:
                cycles += self._timing.refill * times
        return Count(instructions, cycles.scaled(self._timing.overall), kinds)

    def _block(self, address: int, size: int) -> Count:
        found = self._known.get((address, size))
        if found is None:
            decoded = [instruction for instruction, _ in self._decode(self._machine.code(address, size), address)]
            cycles = NOTHING
            for before, instruction in zip([None, *decoded], decoded, strict=False):
                cycles += self._timing.of(instruction, before)
            found = Count(len(decoded), cycles, Counter(instruction.kind for instruction in decoded))
            self._known[address, size] = found
            self._last[address + size] = decoded[-1]
        return found
