"""Programs for a target: compiled and linked from templates, then read back from the ELF file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from edge_lstm.errors import EdgeLstmError
from firmware_gen.emulation import packages
from firmware_gen.toolchain import Compiler

FOLDER = Path(__file__).with_name("templates")
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, autoescape=False,
)  # fmt: skip
THUMB = 1  # bit 0 of the address of a function says that it is Thumb code


@dataclass(frozen=True)
class Symbol:
    """A function or variable. address: without the Thumb bit; size: in bytes; section: where it lies."""

    address: int
    size: int
    section: str


@dataclass(frozen=True)
class Image:
    """A linked program. segments: (address, content) to be loaded; sections: name -> bytes of those that take memory; symbols by name;
    file: the ELF file itself."""

    segments: tuple[tuple[int, bytes], ...]
    sections: Mapping[str, int]
    symbols: Mapping[str, Symbol]
    file: bytes

    def section_bytes(self, *starts: str) -> int:
        """Bytes of all sections whose name starts so."""
        return sum(size for name, size in self.sections.items() if name.startswith(starts))


def link(compiler: Compiler, sources: Mapping[str, str], *flags: str) -> Image:
    """Compiles and links `sources`, name -> text; those that end in .c are compiled, the others lie beside them.

    Raises EdgeLstmError with the first error of the compiler.
    """
    with tempfile.TemporaryDirectory(prefix="edge-lstm-") as name:
        folder = Path(name)
        for file, text in sources.items():
            (folder / file).write_text(text, encoding="utf-8")
        compiled = [folder / file for file in sources if file.endswith(".c")]
        program = folder / "program.elf"
        compiler.run([*compiled, *compiler.support], program, *flags)
        return read(program)


def read(path: Path) -> Image:
    """The program in a 32-bit little-endian ELF file. Raises EdgeLstmError if it is none."""
    elffile, exceptions = packages.load("elftools.elf.elffile"), packages.load("elftools.common.exceptions")
    with path.open("rb") as file:
        try:
            elf = elffile.ELFFile(file)
        except exceptions.ELFError as error:
            raise EdgeLstmError(f"{path.name} is no ELF file: {error}") from error
        loaded = [(segment["p_paddr"], segment.data()) for segment in elf.iter_segments("PT_LOAD") if segment["p_filesz"]]
        kept = [section for section in elf.iter_sections() if section["sh_flags"] & 2 and section["sh_size"]]  # SHF_ALLOC
        table = elf.get_section_by_name(".symtab")
        symbols = {}
        for symbol in table.iter_symbols() if table is not None else ():
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT") and isinstance(symbol["st_shndx"], int):
                thumb = symbol["st_info"]["type"] == "STT_FUNC" and elf["e_machine"] == "EM_ARM"
                address = symbol["st_value"] & ~THUMB if thumb else symbol["st_value"]
                symbols[symbol.name] = Symbol(address, symbol["st_size"], elf.get_section(symbol["st_shndx"]).name)
        sections: dict[str, int] = {}
        for section in kept:
            sections[section.name] = sections.get(section.name, 0) + section["sh_size"]
        return Image(tuple(loaded), sections, symbols, path.read_bytes())
