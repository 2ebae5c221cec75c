"""Cycle models: instruction timings as data, after the published tables of the cores, for memory without wait states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# What the models tell apart. "multiple": loads or stores of a register list; "pair": of two registers; "loop": the end of a hardware loop;
# "vector": arithmetic on vectors, "vector_memory", "gather": their loads and stores, from one place or from one place an element.
KINDS = (
    "alu", "multiply", "multiply_add", "multiply_long", "multiply_add_long", "divide", "load", "store", "pair", "multiple", "jump", "call",
    "conditional", "loop", "vector", "vector_memory", "gather",
)  # fmt: skip


@dataclass(frozen=True)
class Cycles:
    """A number of cycles as a model knows it: at least `low`, at most `high`, and `nominal` where one figure is wanted."""

    low: float
    nominal: float
    high: float

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(self.low + other.low, self.nominal + other.nominal, self.high + other.high)

    def __mul__(self, factor: float) -> Cycles:
        return Cycles(self.low * factor, self.nominal * factor, self.high * factor)

    def scaled(self, factor: Cycles) -> Cycles:
        """Bound by bound times `factor`."""
        return Cycles(self.low * factor.low, self.nominal * factor.nominal, self.high * factor.high)


def exactly(cycles: float) -> Cycles:
    """A figure that the table of the core gives without a range."""
    return Cycles(cycles, cycles, cycles)


NOTHING = exactly(0)


@dataclass(frozen=True)
class Instruction:
    """One machine instruction as a cycle model sees it.

    kind: one of KINDS; registers: length of the list of a "multiple", else 1; returns: a load that writes the program counter.
    """

    kind: str
    registers: int = 1
    returns: bool = False


@dataclass(frozen=True)
class CycleModel:
    """Timings of one core.

    cycles: kind -> cycles of one instruction ("multiple": on top of one a register); behind_memory: of a single load right behind
    another single load or store, where the core overlaps them; refill: extra cycles of a taken conditional branch; returning: extra cycles
    of a load to the program counter; overall: factor on the sum, for what the table cannot express; source: where the timings are from;
    uncertain: in words, what the range from low to high covers.
    """

    cycles: Mapping[str, Cycles]
    refill: Cycles
    returning: Cycles
    source: str
    uncertain: str
    behind_memory: Cycles | None = None
    overall: Cycles = Cycles(1, 1, 1)

    def of(self, instruction: Instruction, before: Instruction | None) -> Cycles:
        """Cycles of an instruction, a conditional branch not taken; before: the one executed before it, where that is known."""
        cycles = self.cycles[instruction.kind]
        overlaps = instruction.kind == "load" and before is not None and before.kind in ("load", "store")
        if overlaps and self.behind_memory is not None:
            cycles = self.behind_memory
        if instruction.kind == "multiple":
            cycles = cycles + exactly(instruction.registers)
        return cycles + self.returning if instruction.returns else cycles


def _table(cycles: Mapping[str, Cycles], otherwise: float = 1) -> dict[str, Cycles]:
    return {kind: cycles.get(kind, exactly(otherwise)) for kind in KINDS}


_DIVIDE = Cycles(2, 6, 12)
_REFILL = Cycles(1, 2, 3)  # P of the ARM tables: "1 to 3, depending on the alignment and width of the target instruction"
_JUMP = exactly(1) + _REFILL

CORTEX_M0PLUS = CycleModel(
    _table({
        "load": exactly(2), "store": exactly(2), "multiple": exactly(1), "jump": exactly(2), "call": exactly(3),
    }),
    refill=exactly(1), returning=exactly(2), source="Arm DDI 0484, table of instruction timings",
    uncertain="none in the table; parts with the 32-cycle multiplier take 31 cycles more per multiplication",
)  # fmt: skip
CORTEX_M3 = CycleModel(
    _table({
        "multiply_add": exactly(2), "multiply_long": Cycles(3, 4, 5), "multiply_add_long": Cycles(4, 5, 7), "divide": _DIVIDE,
        "load": exactly(2), "pair": exactly(3), "multiple": exactly(1), "jump": _JUMP, "call": _JUMP,
    }),
    refill=_REFILL, returning=_REFILL, behind_memory=exactly(1), source="Arm DDI 0337, table of instruction timings",
    uncertain="1 to 3 cycles (2 nominal) to refill the pipeline behind a branch; operands of long multiplications and divisions",
)  # fmt: skip
CORTEX_M4 = CycleModel(
    _table({
        "divide": _DIVIDE, "load": exactly(2), "pair": exactly(3), "multiple": exactly(1), "jump": _JUMP, "call": _JUMP,
    }),
    refill=_REFILL, returning=_REFILL, behind_memory=exactly(1), source="Arm 100166, table of instruction timings",
    uncertain="1 to 3 cycles (2 nominal) to refill the pipeline behind a branch; operands of divisions",
)  # fmt: skip
CORTEX_M7 = CycleModel(
    CORTEX_M4.cycles, CORTEX_M4.refill, CORTEX_M4.returning, "the table of the Cortex-M4, since Arm publishes none for the Cortex-M7",
    "the core issues up to two instructions a cycle, which is not modelled: a lower bound of half the model of the Cortex-M4 is assumed",
    CORTEX_M4.behind_memory, overall=Cycles(0.5, 1, 1),
)  # fmt: skip
CORTEX_M33 = CycleModel(
    CORTEX_M4.cycles, CORTEX_M4.refill, CORTEX_M4.returning, "the table of the Cortex-M4, since Arm publishes none for the Cortex-M33",
    "the core issues some pairs of short instructions together, which is not modelled: a lower bound of 0.8 of the model of the Cortex-M4 "
    "is assumed", CORTEX_M4.behind_memory, overall=Cycles(0.8, 1, 1),
)  # fmt: skip
IBEX = CycleModel(
    _table({
        "multiply": Cycles(1, 3, 3), "multiply_long": Cycles(2, 4, 4), "divide": Cycles(1, 37, 37), "load": exactly(2), "store": exactly(2),
        "jump": exactly(2), "call": exactly(2),
    }),
    refill=Cycles(1, 2, 2), returning=NOTHING, source="lowRISC Ibex documentation, pipeline details",
    uncertain="the configuration of the core: single-cycle multiplier and branch target unit (low), three-cycle multiplier and none (high)",
)  # fmt: skip
CORTEX_M55 = CycleModel(
    _table({
        "divide": _DIVIDE, "load": Cycles(1, 1, 2), "pair": Cycles(1, 2, 2), "multiple": exactly(1), "jump": _JUMP, "call": _JUMP,
        "loop": Cycles(0, 0, 1), "vector": Cycles(1, 1.5, 2), "vector_memory": Cycles(1, 1.5, 2), "gather": Cycles(4, 8, 16),
    }),
    refill=_REFILL, returning=_REFILL, source="an assumption after the description of the pipeline of the Cortex-M55",
    uncertain="a vector instruction takes two cycles, one of which may overlap with the next if that is of the other kind (memory, "
    "arithmetic); how often it does, scalar pairs issued together and the cost of gathers are not modelled",
)  # fmt: skip
AVR = CycleModel(
    _table({}), refill=NOTHING, returning=NOTHING, source="simavr, instruction by instruction after the data sheet",
    uncertain="nothing: cycles are counted, and the core has neither cache nor wait states",
)  # fmt: skip
