"""Flash and RAM of a header, measured: compiled with -Os for this machine, the sections of the object added up."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.elf import sections
from firmware_gen.header import TEMPLATES, render_header
from firmware_gen.model import build
from firmware_gen.toolchain import Compiler
from firmware_gen.toolchain import compiler as first_compiler

STATE_SECTION = ".edge_lstm_state"
FLAGS = ("-std=c99", "-Os", "-c", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-stack-protector", "-ffreestanding")


@dataclass(frozen=True)
class Footprint:
    """Bytes of one model. text: code; rodata: constants; data: initialized and zeroed variables of the header (there are none);
    state_bytes: the struct that the caller owns, per sequence; how: in words, how it was measured."""

    text: int
    rodata: int
    data: int
    state_bytes: int
    how: str

    @property
    def flash(self) -> int:
        """Code and constants, in bytes."""
        return self.text + self.rodata + self.data


def footprint(network: IntegerNetwork, compiler: Compiler | None = None) -> Footprint:
    """Compiles the header with the functions that a firmware calls (reset, push, ready, class) and measures it.

    compiler: the first one found when None. Raises EdgeLstmError if there is none, or if it writes no ELF objects.
    """
    chosen, model = compiler or first_compiler(), build(network, "model")
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        (folder / "model.h").write_text(render_header(model), encoding="utf-8")
        source, target = folder / "footprint.c", folder / "footprint.o"
        source.write_text(TEMPLATES.get_template("footprint.c.j2").render(p=model.prefix, section=STATE_SECTION), encoding="utf-8")
        # Other systems have other object formats; zig compiles for Linux anywhere.
        elsewhere = ("-target", "x86_64-linux-musl") if chosen.name == "zig cc" and sys.platform != "linux" else ()
        chosen.run([source], target, *FLAGS, *elsewhere)
        found = sections(target.read_bytes())

    def total(*starts: str) -> int:
        return sum(section.size for section in found if section.name.startswith(starts))

    how = f"measured: sections of a host object, -Os, {chosen.version}"
    return Footprint(total(".text"), total(".rodata"), total(".data", ".bss"), total(STATE_SECTION), how)
