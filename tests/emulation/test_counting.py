"""Instructions are counted exactly, cycles as the tables of the cores say: against loops of known length and an independent count."""

from __future__ import annotations

import importlib
import re
from collections import Counter

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import cross
from firmware_gen.emulation.counting import Counting
from firmware_gen.emulation.image import Image, link
from firmware_gen.emulation.machine import FLASH, RAM, RETURN, STACK_TOP, Machine
from firmware_gen.emulation.running import entries
from firmware_gen.emulation.targets import BY_NAME, Target
from firmware_gen.emulation.timing import Cycles, exactly
from firmware_gen.model import build

LOOPS = """
#define NAKED(name) __attribute__((naked, used, section(".text.entry." #name))) void name(void)
NAKED(loop) { __asm volatile(%(loop)s); }
NAKED(nothing) { __asm volatile(%(nothing)s); }
NAKED(stack) { __asm volatile(%(stack)s); }
NAKED(fault) { __asm volatile(%(fault)s); }
"""
BODIES = {
    "arm": {
        "loop": r'".syntax unified\n movs r0, #200\n 1: subs r0, #1\n bne 1b\n bx lr\n"',
        "nothing": r'".syntax unified\n bx lr\n"',
        # 3 words pushed, 2 words loaded one right behind the other, 1 stored, 1 loaded behind the store.
        "stack": r'".syntax unified\n push {r4, r5, lr}\n ldr r0, [sp]\n ldr r1, [sp, #4]\n str r0, [sp]\n ldr r1, [sp]\n"'
        r'"pop {r4, r5, pc}\n"',
        "fault": r'".syntax unified\n movs r0, #0xF\n lsls r0, r0, #24\n ldr r0, [r0]\n bx lr\n"',
    },
    "riscv": {
        "loop": r'"li a0, 200\n 1: addi a0, a0, -1\n bnez a0, 1b\n ret\n"',
        "nothing": r'"ret\n"',
        "stack": r'"addi sp, sp, -16\n sw ra, 12(sp)\n lw a0, 12(sp)\n lw a1, 12(sp)\n mul a0, a0, a1\n addi sp, sp, 16\n ret\n"',
        "fault": r'"li a0, 0x0F000000\n lw a0, 0(a0)\n ret\n"',
    },
}
# The loop subtracts and branches 200 times, 199 times back: 1 + 200 * 2 + 1 instructions. By the tables, on a Cortex-M0+ a branch takes
# 2 cycles if taken, 1 if not; on M3 and M4 1 + P with P = 1 to 3; on Ibex 2 or 3, and a jump 2.
LOOP = {
    "cortex-m0plus": exactly(1 + 200 + 199 * 2 + 1 + 2),
    "cortex-m3": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "cortex-m4": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "cortex-m4f": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "cortex-m7": Cycles((1 + 200 + 199 * 2 + 1 + 2) / 2, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "cortex-m33": Cycles((1 + 200 + 199 * 2 + 1 + 2) * 0.8, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "rv32imc": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 2),
}
STACK = {
    # push 1 + 3, loads and store 2 each, pop to the program counter 3 + 3
    "cortex-m0plus": exactly(4 + 2 + 2 + 2 + 2 + 6),
    # push 1 + 3, load 2, load behind a load 1, store 1, load behind a store 1, pop 1 + 3 + P
    "cortex-m3": Cycles(4 + 2 + 1 + 1 + 1 + 5, 4 + 2 + 1 + 1 + 1 + 6, 4 + 2 + 1 + 1 + 1 + 7),
    "cortex-m4": Cycles(4 + 2 + 1 + 1 + 1 + 5, 4 + 2 + 1 + 1 + 1 + 6, 4 + 2 + 1 + 1 + 1 + 7),
    # two additions, a store and two loads of 2, multiplication 1 or 3, jump 2
    "rv32imc": Cycles(2 + 6 + 1 + 2, 2 + 6 + 3 + 2, 2 + 6 + 3 + 2),
}


def loops(target: Target) -> Image:
    return link(cross.compiler(target), {"loops.c": LOOPS % BODIES[target.architecture]}, "-O2")


def near(cycles: Cycles) -> tuple[object, ...]:
    return pytest.approx(cycles.low), pytest.approx(cycles.nominal), pytest.approx(cycles.high)


def test_a_loop_of_known_length_and_the_stack_are_counted_to_the_instruction_and_the_cycle(any_target):
    machine = Machine(any_target, loops(any_target))
    counting = Counting(machine)

    call = machine.call("loop")
    count = counting.count(call.blocks)
    assert count.instructions == 402
    assert count.kinds == {"alu": 201, "conditional": 200, "jump": 1}
    assert (count.cycles.low, count.cycles.nominal, count.cycles.high) == near(LOOP[any_target.name])
    assert call.stack == 0

    assert counting.count(machine.call("nothing").blocks).instructions == 1

    call = machine.call("stack")
    count = counting.count(call.blocks)
    assert count.instructions == (6 if any_target.architecture == "arm" else 7)
    assert call.stack == (12 if any_target.architecture == "arm" else 4)
    if any_target.name in STACK:
        assert (count.cycles.low, count.cycles.nominal, count.cycles.high) == near(STACK[any_target.name])

    with pytest.raises(EdgeLstmError, match=f"{any_target.name}: fault faults at address"):
        machine.call("fault")


def executed_one_by_one(target: Target, image: Image, functions: list[str], x: bytes) -> list[Counter[int]]:
    """Address -> how often, for each call, by a hook on every single instruction of a core that is set up here."""
    import unicorn

    arm = target.architecture == "arm"
    names = importlib.import_module("unicorn.arm_const" if arm else "unicorn.riscv_const")
    if arm:
        core = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        stack_pointer, link_register = names.UC_ARM_REG_SP, names.UC_ARM_REG_LR
    else:
        core = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        stack_pointer, link_register = names.UC_RISCV_REG_SP, names.UC_RISCV_REG_RA
    core.ctl_set_cpu_model(getattr(names, target.cpu))
    for start, size in (FLASH, RAM):
        core.mem_map(start, size)
    for address, content in image.segments:
        core.mem_write(address, content)
    core.mem_write(image.symbols["entry_x"].address, x)
    seen: Counter[int] = Counter()
    core.hook_add(unicorn.UC_HOOK_CODE, lambda uc, address, size, data: seen.update([address]))
    counts = []
    for function in functions:
        core.reg_write(stack_pointer, STACK_TOP)
        core.reg_write(link_register, RETURN | arm)
        seen.clear()
        core.emu_start(image.symbols[function].address | arm, RETURN)
        counts.append(Counter({address: number for address, number in seen.items() if address != RETURN}))
    return counts


def listing(target: Target, image: Image) -> dict[int, tuple[int, bool]]:
    """Address -> (size, whether it is skipped unless a condition holds) of every instruction of the entries."""
    import capstone

    if target.architecture == "arm":
        engine = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    else:
        engine = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)
    engine.skipdata = True  # literals lie between the functions
    start, code = next((start, content) for start, content in image.segments if start >= 0x10000)
    found, block = {}, 0
    for instruction in engine.disasm(code[: image.sections[".text"]], start):
        found[instruction.address] = instruction.size, block > 0
        # The letters of "itte" say how many instructions behind it are under a condition.
        block = len(instruction.mnemonic) - 1 if re.fullmatch("it[te]{0,3}", instruction.mnemonic) else max(block - 1, 0)
    return found


def test_blocks_hold_the_instructions_that_are_seen_one_by_one(core):
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", 4, 9, "threshold", read_out="last", steps=6)
    image = link(cross.compiler(core), entries(build(network, "model")), "-O2")
    x = rng.integers(-40, 41, 4, np.int8).tobytes()
    functions = ["entry_reset", *["entry_step"] * 5, "entry_decide", "entry_push"]
    machine = Machine(core, image)
    machine.write("entry_x", x)
    counting, known, totals = Counting(machine), listing(core, image), []
    for function, seen in zip(functions, executed_one_by_one(core, image, functions, x), strict=True):
        blocks = machine.call(function).blocks
        expected: Counter[int] = Counter()
        for (_, address, size), times in blocks.items():
            end = address + size
            while address < end:
                expected[address] += times
                address += known[address][0]
        totals.append(counting.count(blocks).instructions)
        assert totals[-1] == expected.total()
        # The hook does not see an instruction that its condition skips; the core fetches it all the same, and it counts.
        skippable = {address for address in expected if known[address][1]}
        assert {a: n for a, n in expected.items() if a not in skippable} == {a: n for a, n in seen.items() if a not in skippable}
        assert all(seen[address] <= expected[address] for address in skippable)
        assert len(skippable) < len(expected) / 2
    assert len(set(totals)) >= 4  # more than one number was compared


def test_a_model_of_a_core_with_overlapping_loads_sees_the_instruction_before():
    timing = BY_NAME["cortex-m4"].timing
    assert timing.behind_memory == exactly(1)
    assert BY_NAME["cortex-m0plus"].timing.behind_memory is None
