"""The kernel for NEON, on any machine: cross-compiled by LLVM, linked by zig, and run by an emulator of the 64-bit ARM."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
import unicorn
from elftools.elf.elffile import ELFFile
from llvmlite import ir
from random_networks import random_integer
from unicorn import arm64_const as arm64

from edge_lstm.engine import reference
from edge_lstm.engine.code import Code
from edge_lstm.engine.layout import LANES, LINE, Structure, Target
from edge_lstm.engine.packing import Stack, pack, structure_of
from edge_lstm.engine.sweeps import step_of_all_layers
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut

NEON = Target("neon", accumulators=4)
TRIPLE = "aarch64-unknown-linux-gnu"
CODE, STACK, DATA, DATA_BYTES = 0x10000, 0x1000000, 0x2000000, 1 << 22
RETURN = STACK + 0x8000  # where the function returns to: mapped, never run


def object_of(structure: Structure) -> tuple[bytes, str]:
    """(object file, assembly) of advance(model, records, count, stride, parity, inputs, input stride) for a Cortex-A76."""
    module = ir.Module("neon")
    module.triple = TRIPLE
    wide = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(wide, [wide] * 7), "advance")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(step_of_all_layers(Code(builder, NEON), structure, NEON, True, False, list(function.args)))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu="cortex-a76", opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_object(parsed), machine.emit_assembly(parsed)


class Arm:
    """A 64-bit ARM that has one function in its memory."""

    def __init__(self, code: bytes, folder: Path):
        (folder / "advance.o").write_bytes(code)
        link = [sys.executable, "-m", "ziglang", "ld.lld", f"--image-base={CODE:#x}", "-e", "advance", "advance.o", "-o", "advance.elf"]
        subprocess.run(link, cwd=folder, check=True, capture_output=True)
        elf = ELFFile(io.BytesIO((folder / "advance.elf").read_bytes()))
        self.entry = elf.header.e_entry
        self.machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.machine.ctl_set_cpu_model(arm64.UC_CPU_ARM64_MAX)
        self.machine.mem_map(0, STACK)
        self.machine.mem_map(STACK, 0x10000)
        self.machine.mem_map(DATA, DATA_BYTES)
        for segment in elf.iter_segments("PT_LOAD"):
            self.machine.mem_write(segment.header.p_vaddr, segment.data())

    def call(self, *arguments: int) -> int:
        for k, value in enumerate(arguments):
            self.machine.reg_write(arm64.UC_ARM64_REG_X0 + k, value)
        self.machine.reg_write(arm64.UC_ARM64_REG_SP, STACK + 0x8000)
        self.machine.reg_write(arm64.UC_ARM64_REG_LR, RETURN)
        self.machine.emu_start(self.entry, RETURN)
        return int(self.machine.reg_read(arm64.UC_ARM64_REG_X0))


def stack_of(network: IntegerNetwork) -> Stack:
    dense = tuple(layer for layer in network.layers if isinstance(layer, IntegerDense))
    read_out = next(layer for layer in network.layers if isinstance(layer, IntegerReadOut))
    return Stack(network.normalize, network.recurrent, read_out, dense)


@pytest.mark.parametrize(("gates", "units"), [("sigmoid", 37), ("threshold", 20)])
def test_the_neon_kernel_gives_the_bits_of_the_reference(gates: str, units: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(units)
    network = random_integer(rng, "lstm", 5, units, gates)
    stack = stack_of(network)
    structure = structure_of(stack, NEON)
    packed = pack(stack, structure, NEON)
    code, assembly = object_of(structure)
    assert "sdot" in assembly
    assert structure.layers[0].narrow
    assert any(instruction in assembly for instruction in ("sqrdmulh", "sqdmulh"))  # products in 16 bits
    arm = Arm(code, tmp_path)

    batch, steps, size = 3, 9, len(packed.initial)
    x = rng.integers(-127, 128, (batch, steps, 5)).astype(np.int8)
    x[:, ::3] = rng.choice(np.array([-127, 127], np.int8), x[:, ::3].shape)
    wanted = reference.run_normalized(network, x, states=True).states[0]
    records = DATA + len(packed.model) // LINE * LINE + LINE
    inputs = records + batch * size
    arm.machine.mem_write(DATA, packed.model.tobytes())
    arm.machine.mem_write(records, packed.initial.tobytes() * batch)
    units_at = int(packed.model[structure.slot("0.units") :][:8].view(np.int64)[0])
    names = structure.layers[0].unit_names
    for t in range(steps):
        for s in range(batch):
            arm.machine.mem_write(inputs + s * LINE, x[s, t].tobytes())
        output = arm.call(DATA, records, batch, size, t % 2, inputs, LINE)
        for s in range(batch):
            h = np.frombuffer(arm.machine.mem_read(output + s * size, units), np.int8)
            np.testing.assert_array_equal(h, wanted["h"][s, t])
            groups = -(-units // LANES)
            kept = np.frombuffer(arm.machine.mem_read(records + s * size + units_at, groups * LINE * len(names)), np.int32)
            c = kept.reshape(groups, len(names), LANES)[:, names.index("state c")].reshape(-1)[:units]
            np.testing.assert_array_equal(c, wanted["c"][s, t])
