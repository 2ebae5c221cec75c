"""Instructions are counted exactly, cycles as the tables of the cores say: against loops of known length and an independent count."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import cross
from firmware_gen.emulation.image import Image, link
from firmware_gen.emulation.machine import Machine, missing
from firmware_gen.emulation.machine import start as start_machine
from firmware_gen.emulation.qemu_machine import RETURN as RETURN_OF_QEMU
from firmware_gen.emulation.qemu_machine import STACK_TOP as STACK_TOP_OF_QEMU
from firmware_gen.emulation.qemu_machine import QemuMachine
from firmware_gen.emulation.running import entries
from firmware_gen.emulation.targets import BY_NAME, Target
from firmware_gen.emulation.timing import Cycles, exactly
from firmware_gen.emulation.unicorn_machine import FLASH, RAM, RETURN, STACK_TOP
from firmware_gen.model import build

LOOPS = """
#if defined(__AVR__)
int main(void) { for (;;) { } }
#endif
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
    "avr": {
        "loop": r'"ldi r24, 200\n 1: dec r24\n brne 1b\n ret\n"',
        "nothing": r'"ret\n"',
        "stack": r'"push r28\n push r29\n rcall 1f\n pop r29\n pop r28\n ret\n 1: ret\n"',
        "fault": r'"ldi r30, 0\n ldi r31, 0x30\n ijmp\n"',  # to flash without a program
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
    "cortex-m55": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "atmega328p": exactly(1 + 200 + 199 * 2 + 1 + 4),  # of the data sheet: a branch 2 if taken, else 1; a return 4
    "cortex-m33": Cycles((1 + 200 + 199 * 2 + 1 + 2) * 0.8, 1 + 200 + 199 * 3 + 1 + 3, 1 + 200 + 199 * 4 + 1 + 4),
    "rv32imc": Cycles(1 + 200 + 199 * 2 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 2, 1 + 200 + 199 * 3 + 1 + 2),
}
STACK = {
    # push 1 + 3, loads and store 2 each, pop to the program counter 3 + 3
    "cortex-m0plus": exactly(4 + 2 + 2 + 2 + 2 + 6),
    # push 1 + 3, load 2, load behind a load 1, store 1, load behind a store 1, pop 1 + 3 + P
    "cortex-m3": Cycles(4 + 2 + 1 + 1 + 1 + 5, 4 + 2 + 1 + 1 + 1 + 6, 4 + 2 + 1 + 1 + 1 + 7),
    "cortex-m4": Cycles(4 + 2 + 1 + 1 + 1 + 5, 4 + 2 + 1 + 1 + 1 + 6, 4 + 2 + 1 + 1 + 1 + 7),
    # two words pushed by 2 a byte, a relative call 3, its return 4, two bytes popped by 2, the return 4
    "atmega328p": exactly(4 + 3 + 4 + 4 + 4),
    # two additions, a store and two loads of 2, multiplication 1 or 3, jump 2
    "rv32imc": Cycles(2 + 6 + 1 + 2, 2 + 6 + 3 + 2, 2 + 6 + 3 + 2),
}


def loops(target: Target) -> Image:
    return link(cross.compiler(target), {"loops.c": LOOPS % BODIES[target.architecture]}, "-O2")


def near(cycles: Cycles) -> tuple[object, ...]:
    return pytest.approx(cycles.low), pytest.approx(cycles.nominal), pytest.approx(cycles.high)


@pytest.fixture
def machine(any_target) -> Iterator[Machine]:
    found = start_machine(any_target, loops(any_target))
    yield found
    found.close()


def test_a_loop_of_known_length_and_the_stack_are_counted_to_the_instruction_and_the_cycle(any_target, machine):
    call = machine.call("loop")
    count = call.count
    assert count.instructions == 402
    if any_target.architecture != "avr":
        assert count.kinds == {"alu": 201, "conditional": 200, "jump": 1}
    assert (count.cycles.low, count.cycles.nominal, count.cycles.high) == near(LOOP[any_target.name])
    returns = 2 if any_target.architecture == "avr" else 0  # bytes of the return address, which other cores hold in a register
    assert call.stack == returns

    assert machine.call("nothing").count.instructions == 1

    call = machine.call("stack")
    count = call.count
    assert count.instructions == {"arm": 6, "riscv": 7, "avr": 7}[any_target.architecture]
    assert call.stack == {"arm": 12, "riscv": 4, "avr": returns + 2 + 2}[any_target.architecture]
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


def test_blocks_hold_the_instructions_that_are_seen_one_by_one(hooked_core):
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", 4, 9, "threshold", read_out="last", steps=6)
    image = link(cross.compiler(hooked_core), entries(build(network, "model")), "-O2")
    x = rng.integers(-40, 41, 4, np.int8).tobytes()
    functions = ["entry_reset", *["entry_step"] * 5, "entry_decide", "entry_push"]
    machine = start_machine(hooked_core, image)
    machine.write("entry_x", x)
    known, totals = listing(hooked_core, image), []
    for function, seen in zip(functions, executed_one_by_one(hooked_core, image, functions, x), strict=True):
        call = machine.call(function)
        blocks = call.blocks
        expected: Counter[int] = Counter()
        for (_, address, size), times in blocks.items():
            end = address + size
            while address < end:
                expected[address] += times
                address += known[address][0]
        totals.append(call.count.instructions)
        assert totals[-1] == expected.total()
        # The hook does not see an instruction that its condition skips; the core fetches it all the same, and it counts.
        skippable = {address for address in expected if known[address][1]}
        assert {a: n for a, n in expected.items() if a not in skippable} == {a: n for a, n in seen.items() if a not in skippable}
        assert all(seen[address] <= expected[address] for address in skippable)
        assert len(skippable) < len(expected) / 2
    assert len(set(totals)) >= 4  # more than one number was compared


@pytest.fixture
def cortex_m55() -> Target:
    target = BY_NAME["cortex-m55"]
    if not cross.compilers(target) or missing(target):
        pytest.skip(missing(target) or "no compiler")
    return target


@pytest.mark.parametrize("strategy", ["dense", "event"])
def test_the_plugin_of_qemu_counts_what_single_steps_count(cortex_m55, strategy):
    rng = np.random.default_rng(1)
    network = random_integer(rng, "lstm", 3, 5, "threshold", read_out="last", steps=6)
    machine = QemuMachine(cortex_m55, link(cross.compiler(cortex_m55), entries(build(network, "model", strategy)), "-O2"))
    machine.write("entry_x", rng.integers(-40, 41, 3, np.int8).tobytes())
    for function in ("entry_reset", "entry_step", "entry_step", "entry_decide"):
        start_of_call = machine.image.symbols[function].address
        before = machine.read("entry_state")
        counted = machine.call(function).count.instructions
        machine.write("entry_state", before)
        core, steps = machine._core, 0
        for register, value in {13: STACK_TOP_OF_QEMU, 14: RETURN_OF_QEMU | 1, 25: 1 << 24, 15: start_of_call}.items():
            core.set_register(register, value)
        while core.register(15) != RETURN_OF_QEMU:
            core.ask("s")
            steps += 1
        assert counted == steps > 3
    machine.close()


def test_a_model_of_a_core_with_overlapping_loads_sees_the_instruction_before():
    timing = BY_NAME["cortex-m4"].timing
    assert timing.behind_memory == exactly(1)
    assert BY_NAME["cortex-m0plus"].timing.behind_memory is None
