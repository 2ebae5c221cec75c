"""Machine code as the instructions of the cycle models, by the capstone disassembler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import packages
from firmware_gen.emulation.targets import Target
from firmware_gen.emulation.timing import Instruction

Decoder = Callable[[bytes, int], list[tuple[Instruction, int]]]

# Thumb, by mnemonic without its width suffix; whatever is not named here is "alu".
_ARM_KINDS = {
    "load": "ldr ldrb ldrh ldrsb ldrsh ldrex ldrexb ldrexh vldr",
    "store": "str strb strh strex strexb strexh vstr",
    "pair": "ldrd strd",
    "multiple": "ldm ldmia ldmdb stm stmia stmdb push pop vldmia vldmdb vstmia vstmdb vpush vpop",
    "multiply_add": "mla mls",
    "multiply": "mul muls smlad smladx smlsd smlsdx smuad smuadx smusd smusdx smlabb smlabt smlatb smlatt smulbb smulbt smultb smultt "
                "smlawb smlawt smulwb smulwt smmul smmulr smmla smmlar smmls smmlsr",
    "multiply_long": "smull umull",
    "multiply_add_long": "smlal umlal umaal smlald smlaldx smlsld smlsldx smlalbb smlalbt smlaltb smlaltt",
    "divide": "sdiv udiv",
    "call": "bl blx",
    "jump": "b bx tbb tbh",
    "conditional": "cbz cbnz",
}  # fmt: skip
_RISCV_KINDS = {
    "load": "lb lh lw lbu lhu lwsp",
    "store": "sb sh sw swsp",
    "multiply": "mul",
    "multiply_long": "mulh mulhu mulhsu",
    "divide": "div divu rem remu",
    "call": "jal jalr call",
    "jump": "j jr ret",
    "conditional": "beq bne blt bge bltu bgeu beqz bnez blez bgez bltz bgtz bgt ble bgtu bleu",
}


def decoder(target: Target) -> Decoder:
    """A function from (code, address) to its instructions, each with its size in bytes.

    It raises EdgeLstmError for code that the disassembler does not know.
    """
    capstone = packages.load(packages.DISASSEMBLER)
    if target.architecture == "arm":
        engine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8)

        def kind(instruction: Any) -> Instruction:
            return arm_instruction(instruction.mnemonic, instruction.op_str)

    else:
        engine, kind = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC), _riscv
    engine.detail = True

    def decode(code: bytes, address: int) -> list[tuple[Instruction, int]]:
        found = [(kind(instruction), instruction.size) for instruction in engine.disasm(code, address)]
        known = sum(size for _, size in found)
        if known != len(code):
            raise EdgeLstmError(f"{target.name}: unknown instruction {code[known : known + 4].hex()} at {address + known:#x}")
        return found

    return decode


_ARM = {mnemonic: kind for kind, names in _ARM_KINDS.items() for mnemonic in names.split()}
_RISCV = {mnemonic: kind for kind, names in _RISCV_KINDS.items() for mnemonic in names.split()}


def arm_instruction(mnemonic: str, text: str) -> Instruction:
    """An instruction of Thumb. mnemonic: with or without a width suffix; text: its operands."""
    mnemonic = mnemonic.partition(".")[0]
    kind = _ARM.get(mnemonic)
    conditions = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
    conditional = kind is None and mnemonic.endswith(conditions) and mnemonic[:-2] in _ARM
    kind = _ARM[mnemonic[:-2]] if conditional else kind or "alu"
    if conditional and kind == "jump":
        kind = "conditional"
    listed = [operand for operand in text.partition("{")[2].rstrip("} ").split(",") if operand]
    registers = sum(_length(part) for part in listed) if kind == "multiple" else 1
    returns = kind in ("load", "multiple") and not mnemonic.startswith(("st", "push", "vpush")) and "pc" in _written(kind, text)
    return Instruction(kind, registers, returns)


def _written(kind: str, operands: str) -> str:
    """The text of the registers that a load writes."""
    return operands.partition("{")[2] if kind == "multiple" else operands.partition(",")[0]


def _length(part: str) -> int:
    """Registers in one item of a register list, which may be a range: r4 or s16-s19."""
    first, _, last = part.strip().partition("-")
    digits = [int(name.strip("drs ")) for name in (first, last)] if last else [0, 0]
    return digits[1] - digits[0] + 1


def _riscv(instruction: Any) -> Instruction:
    return Instruction(_RISCV.get(instruction.mnemonic.removeprefix("c."), "alu"))
