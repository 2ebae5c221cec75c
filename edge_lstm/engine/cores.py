"""Kinds of processor cores: how tiles are shaped, and from when on leaving out zeros pays. All of it is speed, none of it changes a bit.

What was measured on one kind of core is wrong on another. A dot product of 512 bits takes Zen 4 a cycle, and a spilled register the time
of one and a half; it has other units for what else there is to do. Intel's cores for servers make two dot products a cycle, each of which
takes five: that asks for ten accumulators at work. All else takes the place of dot products, but loads and stores do not. Zen 5 makes two
as well, and is taken for such a core; the rest was not measured there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """words: what kind it is;
    halves: the accumulators of two tiles at work, those of one becoming units while the others add up, share the registers: each has half
    as many rows, or sequences. Otherwise they have all, those of units wait in memory, and units that make no parts follow their own tile;
    block: sequences that step together: their records and one group's weights fit the first-level cache;
    whole_accumulators: that a tile of bytes has at work where its units follow it, and no dot products stand among them;
    unrolled: so many tiles are multiplied for each turn of the loop over them;
    slow_products: a multiplication of 32 bits takes the place of two dot products: one of 16 bits is better made by a dot product, others
    by floats;
    byte_tables: a table of words in registers is better looked up byte by byte than word by word;
    listed_at_once: tiles of a list that are multiplied at once, each with accumulators of its own;
    listed_tiles: from so many tiles on, one sequence lists those that are not zero;
    step_columns, batch_columns: (so many single columns take as long as a tile, and a list of them as so many more) for one sequence, and
    in a batch;
    most_busy, few: leaving out zeros pays in a batch up to most_busy - few / tiles^2 of the tiles that are not zero, columns taken for as
    many tiles as take that long.
    """

    words: str
    halves: bool
    block: int
    whole_accumulators: int
    unrolled: int
    slow_products: bool
    byte_tables: bool
    listed_at_once: int
    listed_tiles: int
    step_columns: tuple[float, int]
    batch_columns: tuple[float, int]
    most_busy: float
    few: float


CORES = {
    # Measured on Zen 4. 16 tiles are 64 units of bytes, or 32 of int16: a trained network of 64 units then takes a quarter less with bytes,
    # and 0.57 times as long with int16; with half as many tiles of bytes it takes as long as before, and one of random weights a quarter
    # longer. A tile of a list is bound by the loads of its weights, so that two at once gain nothing, and four columns by the twelve vector
    # instructions that interleave and multiply them. A batch takes as long as when all is multiplied for 0.8 of 64 tiles, 0.77 of 32, 0.65
    # of 16 and 0.2 of 8.
    "one_dot": Core(
        "one dot product a cycle", halves=True, block=32, whole_accumulators=16, unrolled=1, slow_products=False, byte_tables=False,
        listed_at_once=1, listed_tiles=16, step_columns=(2.7, 3), batch_columns=(2.7, 3), most_busy=0.8, few=38.0,
    ),
    # Measured on Emerald Rapids. Without multiplications of 32 bits a batch of (6, 32) takes 5 % less with threshold gates, and 15 % with
    # soft ones. Six sequences to a tile, and a loop over four tiles, are 5 % more, mostly while another program shares the core; units
    # that stand in parts among dot products lose a fifth by six. One tile of a list at a time would wait for the dot products of the one
    # before: two at once take 0.7 times as long. For one sequence the weights come from the second-level cache, for tiles as for columns.
    # A batch takes as long as when all is multiplied for 0.56 of 64 tiles, 0.52 of 32, 0.38 of 16 and none of 8.
    "two_dots": Core(
        "two dot products a cycle", halves=False, block=36, whole_accumulators=24, unrolled=4, slow_products=True, byte_tables=True,
        listed_at_once=2, listed_tiles=16, step_columns=(2.7, 3), batch_columns=(1.7, 0), most_busy=0.58, few=48.0,
    ),
}  # fmt: skip
# As LLVM names them: Zen 4, and Intel's cores for clients, whose second unit makes no dot products of 512 bits.
_ONE_DOT = frozenset({"znver4", "cannonlake", "icelake-client", "tigerlake", "rocketlake"})


def core_called(processor: str) -> str:
    """The key in CORES of a processor as LLVM names it; one that is not known here is taken for one that makes two."""
    return "one_dot" if processor in _ONE_DOT else "two_dots"
