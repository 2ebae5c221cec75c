"""Where everything lies in memory: the model (constants) and the records (the state of one sequence each).

A model is one buffer: header of int64 slots, int32 numbers, then weights, constants and tables of each layer. A record is the state of
one sequence, all layers one after the other; a batch is an array of records. Offsets that depend on the dataflow alone stand in the
generated source; those that depend on sizes stand in the header, so that one compiled kernel serves all models of a structure.

    group      sixteen units, one vector of int32
    tile       64 bytes of weights: sixteen units times the 4 (int8) or 2 (int16) sources that one dot instruction takes
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_lstm.engine.cores import CORES, Core
from edge_lstm.engine.instructions import BYTE_OFFSET, KERNELS, Instructions
from edge_lstm.engine.plan import LayerPlan

LINE = 64  # bytes of a cache line, and of sixteen int32
LANES = 16
PERMUTED_SEGMENTS = 64  # curves of so many segments fit four AVX-512 registers
# Kernels of int16 ask at each tile where no list can be made, and pay in mispredicted branches: from so many units on that is less.
ASKED_UNITS = 128

# "channels": of the counts; "width": int8 values of x, two for each channel where x has 16 bits; "initial": a record after a reset;
# "inputs": place of x in a record; "sum", "gain" (-1: none): of a mean;
# "values": two buffers of the layers behind;
# "normalize": int32 offset, limit, multiplier of each channel, then shift and rounding term; "dense": table of DENSE_SLOTS.
NETWORK_SLOTS = (
    "channels", "width", "record", "window", "decimation", "normalize", "initial", "inputs", "sum", "values", "values_bytes", "outputs",
    "dense_layers", "dense", "units", "groups", "gain",
)  # fmt: skip
LAYER_SLOTS = ("groups", "input_tiles", "input_bytes", "unit_tiles", "segment_bytes", "half_bytes", "segments", "units", "constants")
DENSE_SLOTS = (
    "inputs", "groups", "weights", "bias", "limit", "multiplier", "shift", "half", "low", "high",
    "knots", "reach", "segment_shift", "curve_shift", "curve_half",
)  # fmt: skip
# Where a list holds how many tiles it has, how many tiles of columns, and the first of its tiles; bytes of one.
LISTED_COUNT, LISTED_FOURS, LISTED_FIRST, ENTRY = LINE, LINE + 4, 2 * LINE, 8


def list_bytes(tiles: int) -> int:
    """Room for a list of so many tiles, and for the rest of the sixteen that are stored at once."""
    return padded(LISTED_FIRST + ENTRY * (tiles + LANES), LINE)


def column_bytes(tiles: int) -> int:
    """Room for a list of the columns of so many tiles of bytes: of each its source, and which it is, and for the rest of 64."""
    return padded(3 * (4 * tiles + LINE), LINE)


def address_bytes(target: Target) -> int:
    """Room for the addresses of the streams that step together; what comes behind them begins on a cache line."""
    return padded(8 * target.core.block, LINE)


# A record begins with what streaming needs, in bytes from its start: int64 steps, samples of the unfinished block, address of the model,
# then the int32 sums of the unfinished block.
STREAM_STEPS, STREAM_SAMPLES, STREAM_MODEL, STREAM_SUMS = 0, 8, 16, 24


@dataclass(frozen=True)
class Target:
    """What a kernel is generated for.

    name: of the kernel, a key of `instructions.KERNELS`;
    accumulators: vectors of sixteen int32 that the machine keeps in registers beside weights and sources;
    packs_bytes: whether one instruction moves chosen bytes of a register together, and one looks up bytes: VBMI2 and VBMI of AVX-512;
    kind: of core, a key of `cores.CORES`.
    """

    name: str
    accumulators: int
    packs_bytes: bool = False
    kind: str = "one_dot"

    @property
    def core(self) -> Core:
        return CORES[self.kind]

    @property
    def instructions(self) -> Instructions:
        return KERNELS[self.name]

    @property
    def source_bytes(self) -> int:
        """Bytes of one value that rows read: bytes, or int16."""
        return self.instructions.source_bytes

    @property
    def tile_sources(self) -> int:
        return self.instructions.tile_sources

    @property
    def is_avx512(self) -> bool:
        """Whether sixteen lanes are one register of AVX-512, in the portable kernel too."""
        return self.accumulators >= LANES

    @property
    def looks_up_bytes(self) -> bool:
        """Whether tables of words in registers lie there as low bytes and high bytes."""
        return self.core.byte_tables and self.packs_bytes

    @property
    def packs_words(self) -> bool:
        """Whether the low bytes of words are brought together by one look-up, where sources are bytes."""
        return self.looks_up_bytes and self.source_bytes == 1

    @property
    def stores_saturate(self) -> bool:
        """Whether a clip of an output is left to its store, where sources are unsigned bytes."""
        return self.core.slow_products and self.is_avx512 and self.instructions.offset == BYTE_OFFSET

    @property
    def rescales_in_float(self) -> bool:
        """Whether rescales go through floats, where that is as exact: AVX-512 rounds each instruction as it says."""
        return self.core.slow_products and self.instructions.permutes

    @property
    def packs_lanes(self) -> bool:
        """Whether batches step two sequences at a time in words that one instruction packs, see `engine.words`."""
        return self.stores_saturate

    @property
    def narrows(self) -> bool:
        """Whether 16-bit lanes pay: where products of them are one instruction."""
        return bool(self.instructions.rounded)

    def sequences(self, rows: int) -> int:
        """How many sequences share one load of the weights of `rows` rows."""
        return max(1, min(8, self.accumulators // max(rows, 1)))


PLAIN = Target("portable", accumulators=4)  # what runs anywhere


@dataclass(frozen=True)
class Curve:
    """Structure of a table. segments: number of them; paired: knots and their differences fit 16 bits, so one dot product interpolates."""

    segments: int
    paired: bool


@dataclass(frozen=True)
class Saturated:
    """An output that its store clips, see `saturated_output`: the operators that rescale and clip it, and the one whose value it is."""

    rescale: int
    clip: int
    output: int


# Constants of a rescale in floating point. In 16 bits the second of two sequences has others, for a result in the upper half of a lane.
FLOAT_PARTS = ("multiplier", "addend", "cut")


@dataclass(frozen=True)
class LayerStructure:
    """All of a recurrent layer that its kernel depends on.

    plan: the schedule; curves: the structure of each table; within: interpolations and clips whose argument never leaves their range;
    bare: rows whose accumulator is left without its bias, since all that read it take the bias into their own constants;
    narrow: operators in lanes of 16 bits -> their form, see `engine.narrow`; their numbers are part of the structure.
    short: rescales of 16 bits by 16, made by a dot product of pairs;
    saturated: the output whose clip is left to its store;
    floats: rescales in floating point, see `engine.floating`; started: bare rows whose accumulators begin with most of their bias;
    listed: the segment whose tiles of zeros can be left out by a list of the others, see `Products`; raised: zero is not kept as zero;
    columns: where it is less work, sources that are not zero are listed one by one, and any four of them make a tile; see `lists`;
    words: operators in 16 bits where a batch steps two sequences at a time -> their form, see `engine.words`; empty where it does not.
    """

    plan: LayerPlan
    curves: dict[str, Curve]
    within: tuple[int, ...]
    bare: tuple[int, ...]
    narrow: dict[int, str]
    short: tuple[int, ...] = ()
    saturated: Saturated | None = None
    floats: tuple[int, ...] = ()
    started: tuple[int, ...] = ()
    listed: int | None = None
    raised: bool = False
    columns: bool = False
    words: dict[int, str] = field(default_factory=dict)

    @property
    def listed_rows(self) -> tuple[int, ...]:
        """Positions in `Phase.rows` of the rows that read the listed segment, in the order of their weights."""
        if self.listed is None:
            return ()
        return tuple(row for phase in self.plan.phases for one in phase.passes if one.segment == self.listed for row, _ in one.rows)

    @property
    def rows(self) -> tuple[int, ...]:
        """Row operators, phase by phase."""
        return tuple(index for phase in self.plan.phases for index in phase.rows)

    @property
    def constant_names(self) -> tuple[str, ...]:
        """Vectors of one group's constants, in order: 64 bytes each."""
        biases = tuple(f"{'threshold' if index in self.bare else 'bias'} {self.plan.ops[index].name}" for index in self.rows)
        starts = tuple(f"start {self.plan.ops[index].name}" for index in self.started)
        rescales = tuple(f"{name}.{part}" for name in self.plan.rescales for part in self._parts(name))
        return biases + starts + tuple(f"vector {name}" for name in self.plan.vectors) + rescales + self.pair_names

    @property
    def word_states(self) -> set[str]:
        """States that batches keep as words."""
        return {self.plan.ops[index].name for index, form in self.words.items() if form == "state"}

    @property
    def pair_names(self) -> tuple[str, ...]:
        """Constants in words, twice in each vector: thresholds of signs, multipliers of scaled rescales."""
        signs = (f"words threshold {self.plan.ops[self.plan.ops[k].args[0]].name}" for k, form in self.words.items() if form == "sign")
        scales = (f"words {self.plan.ops[k].name}.multiplier" for k, form in self.words.items() if form == "scaled")
        return tuple(dict.fromkeys(signs)) + tuple(dict.fromkeys(scales))

    def _parts(self, rescale: str) -> tuple[str, ...]:
        """The constants of a rescale, by name."""
        for index in self.floats:
            if self.plan.ops[index].name == rescale:
                return FLOAT_PARTS + tuple(f"odd {part}" for part in FLOAT_PARTS) if index in self.narrow else FLOAT_PARTS
        return "low", "high", "multiplier", "half"

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Vectors that a record keeps for each group: stored states, then values that cross phases."""
        return tuple(f"state {name}" for name in self.plan.stored) + tuple(f"spill {index}" for index in self.plan.spilled)

    @property
    def number_names(self) -> tuple[str, ...]:
        """Numbers common to all units: input shifts of rows, then the numbers of each operator with the rounding term of each shift."""
        shifts = tuple(f"input_shift {self.plan.ops[index].name}" for index in self.rows)
        wide = [(index, op.code) for index, op in enumerate(self.plan.ops) if index not in self.narrow]
        return shifts + tuple(f"{index} {what}" for index, code in wide for what in NUMBERS.get(code, ()))

    def table_form(self, name: str) -> str | None:
        """The form of the curves that read a table, None for 32 bits."""
        return next((self.narrow.get(k) for k, op in enumerate(self.plan.ops) if op.code == "interpolate" and op.name == name), None)


# Numbers of each operator that the kernel reads from the model. Those of complements and of operators in 16 bits are part of the structure.
NUMBERS: dict[str, tuple[str, ...]] = {
    "offset": ("offset",),
    "clip": ("low", "high"),
    "rescale": ("shift",),
    "multiply": ("shift", "half"),
    "shift": ("shift", "half"),
    "raise": ("shift",),
    "interpolate": ("low", "high", "segment_shift", "segment_mask", "segment_one", "shift", "half"),
}

@dataclass(frozen=True)
class Structure:
    """All of a network that its kernel depends on."""

    layers: tuple[LayerStructure, ...]
    read_out: str

    @property
    def slot_names(self) -> tuple[str, ...]:
        names = [*NETWORK_SLOTS]
        for k, layer in enumerate(self.layers):
            names += [f"{k}.{name}" for name in LAYER_SLOTS]
            names += [f"{k}.{part}{p}" for p in range(len(layer.plan.phases)) for part in ("weights", "group_weights")]
            names += [f"{k}.raised_weights", f"{k}.raised_constants"] if layer.raised else []
            names += [f"{k}.column_weights"] if layer.columns else []
            names += [f"{k}.table {name}" for name in layer.plan.tables]
        return tuple(names)

    @property
    def number_names(self) -> tuple[str, ...]:
        return tuple(f"{k}.{name}" for k, layer in enumerate(self.layers) for name in layer.number_names)

    def slot(self, name: str) -> int:
        """Byte offset of a slot of the header."""
        return 8 * self.slot_names.index(name)

    def number(self, name: str) -> int:
        """Byte offset of a number."""
        return 8 * len(self.slot_names) + 4 * self.number_names.index(name)

    @property
    def steps_in_pairs(self) -> bool:
        """Whether batches step an even number of sequences."""
        return any(layer.words for layer in self.layers)

    @property
    def head_bytes(self) -> int:
        """Size of header and numbers."""
        return padded(8 * len(self.slot_names) + 4 * len(self.number_names), LINE)


def blended(plan: LayerPlan, index: int) -> tuple[int, int, int]:
    """(sign, b, a) of an operator a + select(sign, b - a), see `engine.words`."""
    gate = next(plan.ops[a] for a in plan.ops[index].args if plan.ops[a].code == "select")
    b, a = plan.ops[gate.args[1]].args
    return gate.args[0], b, a


def padded(count: int, multiple: int = LANES) -> int:
    """`count` rounded up to a multiple."""
    return -(-count // multiple) * multiple
