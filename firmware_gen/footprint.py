"""Flash and RAM of a header, measured: compiled with -Os for this machine, the sections of the object added up."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.activity import LayerActivity
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


def footprint(
    network: IntegerNetwork, compiler: Compiler | None = None, *, strategy: str | None = None, target: str | None = None,
    activity: Sequence[LayerActivity] | None = None,
) -> Footprint:  # fmt: skip
    """Compiles the header with the functions that a firmware calls (reset, push, ready, class) and measures it.

    compiler: the first one found when None; strategy, target, activity: as for `header`.
    Raises EdgeLstmError if there is no compiler, or if it writes no ELF objects.
    """
    chosen = compiler or first_compiler()
    model = build(network, "model", strategy, target=target, activity=activity)
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        (folder / "model.h").write_text(render_header(model), encoding="utf-8")
        source, compiled = folder / "footprint.c", folder / "footprint.o"
        text = TEMPLATES.get_template("footprint.c.j2").render(p=model.prefix, section=STATE_SECTION, network=model.network)
        source.write_text(text, encoding="utf-8")
        # Other systems have other object formats; zig compiles for Linux anywhere.
        elsewhere = ("-target", "x86_64-linux-musl") if chosen.name == "zig cc" and sys.platform != "linux" else ()
        chosen.run([source], compiled, *FLAGS, *elsewhere)
        found = sections(compiled.read_bytes())

    def total(*starts: str) -> int:
        return sum(section.size for section in found if section.name.startswith(starts))

    how = f"measured: sections of a host object, -Os, {chosen.version}"
    return Footprint(total(".text"), total(".rodata"), total(".data", ".bss"), total(STATE_SECTION), how)
