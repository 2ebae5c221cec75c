"""Machine code with vector instructions as the instructions of a cycle model, by the disassembler of the GNU binutils."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation.decoding import Decoder, arm_instruction
from firmware_gen.emulation.image import Image
from firmware_gen.emulation.targets import Target
from firmware_gen.emulation.timing import Instruction

OBJDUMP = "arm-none-eabi-objdump"
LINE = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)[ \t]*(.*)$", re.MULTILINE)
MEMORY = re.compile(r"v(ld|st)[rm]?[24]?[0-9]?[bhwd]?\b|vldr|vstr|vld[24]|vst[24]")
# Scalar instructions of the floating-point unit and moves between it and the core begin with a v, too, but name no vector register q.
VECTOR = re.compile(r"\bq[0-7]\b")


def objdump_decoder(target: Target, image: Image) -> Decoder:
    """A function from (code, address) of `image` to its instructions with their sizes, as `decoding.decoder`.

    Raises EdgeLstmError if there is no disassembler.
    """
    if shutil.which(OBJDUMP) is None:
        raise EdgeLstmError(f"{target.name} needs {OBJDUMP}: apt install binutils-arm-none-eabi")
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as folder:
        file = Path(folder) / "program.elf"
        file.write_bytes(image.file)
        text = subprocess.run([OBJDUMP, "-d", "-m", "armv8.1-m.main", str(file)], capture_output=True, text=True, check=True).stdout
    listed = {
        int(match[1], 16): (_instruction(match[3], match[4].partition("@")[0].partition(";")[0]), len(match[2].replace(" ", "")) // 2)
        for match in LINE.finditer(text)
    }

    def decode(code: bytes, address: int) -> list[tuple[Instruction, int]]:
        found, at = [], address
        while at < address + len(code):
            if at not in listed:
                raise EdgeLstmError(f"{target.name}: unknown instruction at {at:#x}")
            # QEMU puts the first half of an instruction that crosses a page at the end of a block, and the whole of it into the next.
            if at + listed[at][1] <= address + len(code):
                found.append(listed[at])
            at += listed[at][1]
        return found

    return decode


def _instruction(mnemonic: str, operands: str) -> Instruction:
    name = mnemonic.partition(".")[0]
    if VECTOR.search(operands) or name.startswith(("vpst", "vpt", "vctp", "vpnot")):
        if not MEMORY.match(name):
            return Instruction("vector")
        offsets = operands.count("q") > 1 and "[" in operands and "q" in operands.partition("[")[2]
        return Instruction("gather" if offsets else "vector_memory")
    if name in ("le", "letp"):
        return Instruction("loop")
    if name in ("dls", "wls", "dlstp", "wlstp"):
        return Instruction("alu")
    return arm_instruction(mnemonic, operands)
