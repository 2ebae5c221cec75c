"""What a header takes on a target: flash and RAM of a firmware that calls each of its functions once, read from the linked program."""

from __future__ import annotations

import re
from dataclasses import dataclass

from firmware_gen.emulation.image import TEMPLATES, Image
from firmware_gen.header import render_header
from firmware_gen.model import Model

STATE = "firmware_state"
LEARNED = re.compile(r"_(W|R\d*|b|columns)(_\d+)?$")  # how the generator names weights and biases; a number ends a name that was taken


@dataclass(frozen=True)
class Flash:
    """Bytes of flash. code: with its literals; weights: W, R and biases of all layers; tables: all other constants."""

    code: int
    weights: int
    tables: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.code + self.weights + self.tables


@dataclass(frozen=True)
class Ram:
    """Bytes of RAM. state: the struct of one sequence; static: variables of the header; stack: the deepest a call of it went."""

    state: int
    static: int
    stack: int


def firmware(model: Model) -> dict[str, str]:
    """Sources of the program that is measured."""
    text = TEMPLATES.get_template("firmware.c.j2").render(p=model.prefix, network=model.network)
    return {f"{model.prefix}.h": render_header(model), "firmware.c": text}


def memory(model: Model, image: Image, stack: int) -> tuple[Flash, Ram]:
    """Flash and RAM of the program of `firmware`; stack: bytes, as the emulator saw it.

    Constants that the compiler built into instructions are code; those that it left out as never read are nothing. On an AVR, tables
    stand beside the code in flash, and what is not read from there takes RAM as well as the flash that it is copied from.
    """
    tables, weights = {table.name for table in model.tables.tables}, _weights(model)
    beside_code = sum(symbol.size for name, symbol in image.symbols.items() if name in tables and symbol.section.startswith(".text"))
    kept = sum(symbol.size for name, symbol in image.symbols.items() if name in weights and symbol.section.startswith((".rodata", ".text")))
    state = image.symbols[STATE].size
    constants = image.section_bytes(".rodata", ".data") + beside_code
    flash = Flash(image.section_bytes(".text") - beside_code, kept, constants - kept)
    return flash, Ram(state, image.section_bytes(".data", ".bss") - state, stack)


def _weights(model: Model) -> set[str]:
    """Names of the tables that hold weights and biases, row by row or by columns."""
    return {table.name for table in model.tables.tables if LEARNED.search(table.name)}
