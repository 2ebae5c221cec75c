"""Sizes of the sections of an ELF object file, 32 or 64 bits, of either byte order (System V ABI, chapter 4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edge_lstm.errors import EdgeLstmError

OCCUPIES_MEMORY = 0x2  # SHF_ALLOC


@dataclass(frozen=True)
class Section:
    """One section that takes memory on the target. size: in bytes."""

    name: str
    size: int


def sections(content: bytes) -> list[Section]:
    """The sections of an object file that take memory. Raises EdgeLstmError if `content` is no ELF file."""
    if content[:4] != b"\x7fELF":
        raise EdgeLstmError("the compiler wrote no ELF object, so its sections cannot be measured; try `python -m pip install ziglang`")
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"
    address = "Q" if wide else "I"
    # e_shoff; then e_shentsize, e_shnum and e_shstrndx, the last three fields of the header.
    (table,) = struct.unpack_from(order + address, content, 0x28 if wide else 0x20)
    size, count, names_index = struct.unpack_from(order + "3H", content, 0x3A if wide else 0x2E)
    # sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size
    headers = [struct.unpack_from(f"{order}2I4{address}", content, table + k * size) for k in range(count)]
    names = headers[names_index][4]
    return [
        Section(content[names + header[0] : content.index(b"\0", names + header[0])].decode(), header[5])
        for header in headers
        if header[2] & OCCUPIES_MEMORY
    ]
