"""From the blocks that a call executed to instructions and cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from firmware_gen.emulation.decoding import Decoder
from firmware_gen.emulation.timing import NOTHING, CycleModel, Cycles, Instruction

# (end of the block before, start of this block, its size) -> how often. The end of the block before tells a branch that was taken.
Blocks = Counter[tuple[int, int, int]]


@dataclass(frozen=True)
class Count:
    """What one call executed. kinds: kind of instruction -> how many."""

    instructions: int
    cycles: Cycles
    kinds: Counter[str]

    def __add__(self, other: Count) -> Count:
        return Count(self.instructions + other.instructions, self.cycles + other.cycles, self.kinds + other.kinds)


class Counting:
    """Counts what calls of one program executed; each block of code is decoded once. code: (address, size) -> machine code."""

    def __init__(self, decode: Decoder, timing: CycleModel, code: Callable[[int, int], bytes]):
        self._decode, self._timing, self._code = decode, timing, code
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
            decoded = [instruction for instruction, _ in self._decode(self._code(address, size), address)]
            cycles = NOTHING
            for before, instruction in zip([None, *decoded], decoded, strict=False):
                cycles += self._timing.of(instruction, before)
            found = Count(len(decoded), cycles, Counter(instruction.kind for instruction in decoded))
            self._known[address, size] = found
            self._last[address + size] = decoded[-1]
        return found
