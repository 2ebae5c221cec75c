"""What a header takes on a target: flash and RAM of a firmware that calls each of its functions once, read from the linked program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_gen.emulation.image import TEMPLATES, Image
from firmware_gen.header import render_header
from firmware_gen.model import Model

STATE = "firmware_state"


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
    return {f"{model.prefix}.h": render_header(model), "firmware.c": TEMPLATES.get_template("firmware.c.j2").render(p=model.prefix)}


def memory(model: Model, image: Image, stack: int) -> tuple[Flash, Ram]:
    """Flash and RAM of the program of `firmware`; stack: bytes, as the emulator saw it.

    Constants that the compiler built into instructions are code; those that it left out as never read are nothing.
    """
    weights = _weights(model)
    kept = sum(symbol.size for name, symbol in image.symbols.items() if name in weights and symbol.section.startswith(".rodata"))
    state = image.symbols[STATE].size
    flash = Flash(image.section_bytes(".text"), kept, image.section_bytes(".rodata") - kept)
    return flash, Ram(state, image.section_bytes(".data", ".bss") - state, stack)


def _weights(model: Model) -> set[str]:
    """Names of the tables that hold the learned numbers of a layer, in whatever order the header stores them."""
    learned = [np.sort(array, axis=None) for layer in model.network.layers for array in _learned(layer)]
    return {
        table.name for table in model.tables.tables if any(np.array_equal(np.sort(table.values, axis=None), array) for array in learned)
    }


def _learned(layer: object) -> list[npt.NDArray[np.integer]]:
    """Weights and biases of a layer of any kind."""
    rows = getattr(layer, "rows", {}).values()
    arrays = [getattr(layer, "W", None), getattr(layer, "bias", None)]
    arrays += [array for row in rows for array in (row.W, *row.R, row.bias)]
    return [array for array in arrays if array is not None]
