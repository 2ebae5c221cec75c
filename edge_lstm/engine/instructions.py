"""The kernels: for which machine instructions each is generated. All of them give the same bits.

Everything else in a kernel is target-independent; LLVM splits its vectors of sixteen lanes to the width of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BYTE_OFFSET = 128  # of sources that are kept as unsigned bytes


@dataclass(frozen=True)
class Instructions:
    """What one kernel uses of a machine; names of LLVM intrinsics, "" where LLVM chooses for itself.

    needs: features of the processor, as LLVM names them; bits: of a register that the intrinsics work on;
    quads: dot products of four bytes; biased: whether their sources are unsigned (value + 128), as VNNI wants them, or signed;
    pairs: dot products of two 16-bit values, for kernels without `quads`;
    high, rounded: high half of a product of 16 bits, and the rounding multiplication (a b + 2^14) >> 15. The high half is
    that of the doubled product where `doubled`;
    permutes: tables of 64 entries are looked up in registers (AVX-512).
    """

    needs: frozenset[str]
    words: str
    bits: int = 512
    quads: str = ""
    biased: bool = True
    pairs: str = ""
    high: str = ""
    rounded: str = ""
    doubled: bool = False
    permutes: bool = False

    @property
    def source_bytes(self) -> int:
        """Bytes of one value that rows read."""
        return 1 if self.quads else 2

    @property
    def tile_sources(self) -> int:
        """Sources that one dot product takes."""
        return 4 // self.source_bytes

    @property
    def offset(self) -> int:
        """What is added to a value that rows read."""
        return BYTE_OFFSET if self.quads and self.biased else 0


_NONE = Instructions(frozenset(), "int16 dot products as LLVM finds them for this processor")
_AVX512 = replace(
    _NONE, needs=frozenset({"avx512f", "avx512bw", "avx512vl"}), words="int16 dot products of AVX-512, 32 products an instruction",
    pairs="llvm.x86.avx512.pmaddw.d.512", high="llvm.x86.avx512.pmulh.w.512", rounded="llvm.x86.avx512.pmul.hr.sw.512", permutes=True,
)  # fmt: skip
_AVX2 = replace(
    _NONE, needs=frozenset({"avx2"}), words="int16 dot products of AVX2, 16 products an instruction", bits=256,
    pairs="llvm.x86.avx2.pmadd.wd", high="llvm.x86.avx2.pmulh.w", rounded="llvm.x86.avx2.pmul.hr.sw",
)  # fmt: skip

# The fastest first.
KERNELS: dict[str, Instructions] = {
    "vnni": replace(
        _AVX512, needs=_AVX512.needs | {"avx512vnni"}, words="int8 dot products of AVX-512 VNNI, 64 products an instruction",
        quads="llvm.x86.avx512.vpdpbusd.512",
    ),
    "avx512": _AVX512,
    "avxvnni": replace(
        _AVX2, needs=_AVX2.needs | {"avxvnni"}, words="int8 dot products of AVX-VNNI, 32 products an instruction",
        quads="llvm.x86.avx512.vpdpbusd.256",
    ),
    "avx2": _AVX2,
    "neon": Instructions(
        frozenset({"neon", "dotprod"}), "int8 dot products of NEON, 16 products an instruction", 128,
        quads="llvm.aarch64.neon.sdot.v4i32.v16i8", biased=False,
        high="llvm.aarch64.neon.sqdmulh.v8i16", rounded="llvm.aarch64.neon.sqrdmulh.v8i16", doubled=True,
    ),
    "portable": _NONE,
}  # fmt: skip
