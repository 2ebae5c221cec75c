"""Rows of a layer on vectors (MVE): which rows a kernel sums together, how their weights lie for it, and the calls."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerRow
from firmware_gen.activity import LayerActivity
from firmware_gen.columns import reads
from firmware_gen.expressions import LayerNames
from firmware_gen.schedule import Schedule, stored_as_read
from firmware_gen.simplify import Dataflow, Value
from firmware_gen.wide_columns import Joint, joints

LANES, GROUPS = 16, (6, 5, 4, 3, 2, 1)  # weights of a vector; rows that share one load of a vector
BLOCK = 32  # units, at most
FULL = 4  # units in a vector of sums
HELD = 3  # vectors of z that stay in registers
# Instructions of one row, counted in the kernels: of each vector and besides, for all units in groups, and for one unit alone; of the call
# for those alone, shared by the units of a block.
TOGETHER, ALONE, CALL = (2.2, 2.0), (3.0, 9.0), 2.0
# Of a list of 16 elements that are not 0, for a row: instructions while lists stay in registers and beyond, and how many vectors loaded one
# behind the other its gather is taken to cost in time (4 to 16 cycles, see emulation/timing.py).
LISTS_HELD, LISTED, GATHERED, LISTED_ROWS = 2, (2.0, 4.25), 3.5, 4


@dataclass(frozen=True)
class RowKernel:
    """A kernel for rows. name: of its function, without prefix; group: rows that it sums together; narrow: vectors of 8 elements of 16
    bits (x that has no more elements, or has 16 bits; shifted already); before, shift: vectors that are summed first and shifted left
    then; behind: vectors after them; listed: bytes behind these of which lists say which to read."""

    name: str
    group: int
    narrow: int
    before: int
    shift: int
    behind: int
    listed: int = 0

    @property
    def bytes(self) -> int:
        """Weights of one row."""
        return 8 * self.narrow + LANES * (self.before + self.behind) + self.listed

    @property
    def tail(self) -> str:
        """What tells its name from those of others."""
        return f"{self.shift}_{self.narrow + self.before}_{self.behind}{f'_{self.listed}' if self.listed else ''}"


@dataclass(frozen=True)
class Read:
    """A local array that rows read: x, if any of them does, then vectors over the units, each padded to whole vectors of the core.

    sources: (operator, how many times the same row has read it before); shifts: of x, for each of which x in 16 bits has a copy.
    """

    name: str
    x: bool
    sources: tuple[tuple[int, int], ...]
    shifts: tuple[int, ...]


class RowWriter:
    """Writes what a layer needs to have its rows summed by kernels. order: row -> which of the arrays of sums is its; tables: by name."""

    def __init__(
        self, flow: Dataflow, plan: Schedule, names: LayerNames, fields: dict[str, tuple[str, str]], activity: LayerActivity
    ):  # fmt: skip
        self.flow, self.plan, self.names, self.fields = flow, plan, names, fields
        self.activity = activity
        self.p = names.tables.prefix
        self.P = f"{self.p.upper()}_{names.infix.upper()}"
        self.units, self.inputs = flow.layer.units, flow.layer.inputs
        self.rows = [index for index, op in flow.ops.items() if op.code == "row"]
        self.small = self.inputs <= 8 or flow.layer.wide  # x is read in 16 bits, shifted already
        self.x_vectors = -(-self.inputs // (8 if self.small else LANES))
        blocks = -(-self.units // BLOCK)
        self.size = -(-self.units // (blocks * FULL)) * FULL
        self.joints = self._joints()
        self.tables: list[str] = []
        self.order: dict[int, int] = {}
        self.calls = 0  # for all units
        self.lists: dict[tuple[str, int, int], tuple[str, str]] = {}  # stretch of sources -> its lists, and where they begin
        self.z: list[Read] = []
        self.z_of: dict[int, Read] = {}
        for members in self._sharing():
            sources = tuple(dict.fromkeys(source for index in members for source in self._sources(index)))
            shifts = sorted({self.row(index).input_shift for index in members if self.reads_x(index)})
            read = Read(f"z{len(self.z) + 1 if self.z else ''}", bool(shifts), sources, tuple(shifts) if shifts and self.small else (0,))
            self.z.append(read)
            self.z_of |= dict.fromkeys(members, read)

    def _joints(self) -> dict[int, Joint]:
        """Sums of a row of x of 16 bits and one of states, which are made where both are known: a gate is the sign of one number."""
        always = [index for index in self.rows if not self.plan.lazy[index]]
        wide = [index for index in always if self.flow.layer.wide and self.reads_x(index) and not self.flow.args[index]]
        states = {index: tuple(a for a, _ in self._sources(index)) for index in always if index not in wide and self.flow.args[index]}
        together = {index: (self.plan.pass_of[index], self.plan.lazy[index]) for index in self.flow.ops}
        return {joint.add: joint for joint in joints(self.flow, wide, states, together)}

    def is_sum(self, value: Value) -> bool:
        """Whether a value is read from the sums: a row, or two rows that are joined."""
        return isinstance(value, int) and (self.flow.ops[value].code == "row" or value in self.joints)

    def place_of(self, index: int) -> int:
        """Which of the arrays of sums a row is in, or two that are joined."""
        return self.order[self.joints[index].of_input if index in self.joints else index]

    def row(self, index: int) -> IntegerRow:
        return self.flow.layer.rows[self.flow.ops[index].name]

    def reads_x(self, index: int) -> bool:
        return reads(self.row(index).W)

    def _sources(self, index: int) -> list[tuple[int, int]]:
        args = self.flow.args[index]
        return [(a, args[:k].count(a)) for k, a in enumerate(args) if isinstance(a, int)]

    def _sharing(self) -> list[list[int]]:
        """Rows that read one array: those whose sources are all there at the same time; a row without sources joins others that read x."""
        ready: dict[int, list[int]] = {}
        for index in self.rows:
            passes = [self.plan.pass_of[a] + 1 for a, _ in self._sources(index) if not stored_as_read(self.flow, a)]
            if self._sources(index):
                ready.setdefault(max(passes, default=0), []).append(index)
        with_x = [time for time, members in ready.items() if any(map(self.reads_x, members))]
        alone = [index for index in self.rows if not self._sources(index)]
        if alone:
            ready.setdefault(min(with_x or ready, default=0), []).extend(alone)
        return [ready[time] for time in sorted(ready)]

    def x_bytes(self, read: Read) -> int:
        return LANES * self.x_vectors if read.x else 0

    def bytes_of(self, read: Read) -> int:
        """Of one copy of an array that rows read."""
        return self.x_bytes(read) + len(read.sources) * self._whole

    @property
    def _whole(self) -> int:
        """Bytes of a source, padded to whole vectors."""
        return LANES * -(-self.units // LANES)

    def places(self, source: int) -> list[str]:
        """Where rows read unit u of a source: C lvalues."""
        return [
            f"{read.name}[{copy}][{self.x_bytes(read) + self._whole * k} + u]"
            for read in self.z for k, (a, _) in enumerate(read.sources) if a == source for copy in range(len(read.shifts))
        ]  # fmt: skip

    def _span(self, index: int) -> tuple[bool, int, int]:
        """(whether x is part of it, first and last source but one): the stretch of its array that a row reads."""
        read = self.z_of[index]
        at = [read.sources.index(source) for source in self._sources(index)]
        if not at and not self.reads_x(index):
            return read.x, 0, len(read.sources)
        return self.reads_x(index), 0 if self.reads_x(index) else min(at), max(at, default=-1) + 1

    def at(self, index: int) -> str:
        """Where the stretch begins. x in 16 bits is shifted already, so that there is one for each shift."""
        read, (x, first, _) = self.z_of[index], self._span(index)
        copy = read.shifts.index(self.row(index).input_shift) if self.small and self.reads_x(index) else 0
        skipped = 0 if x else self.x_bytes(read) + self._whole * first
        return f"&{read.name}[{copy}][{skipped}]" if skipped else f"{read.name}[{copy}]"

    def _kernel(self, index: int, group: int) -> RowKernel:
        x, first, last = self._span(index)
        narrow, wide = (self.x_vectors if x and small else 0 for small in (self.small, not self.small))
        shift = self.row(index).input_shift if wide and self.reads_x(index) else 0
        behind = (last - first) * self._whole // LANES
        listed = LANES * behind if group == LISTED_ROWS and self.worth_lists(index) else 0
        behind = 0 if listed else behind
        before, behind = (wide, behind) if shift else (0, wide + behind)
        kernel = RowKernel("", group, narrow, before, shift, behind, listed)
        return replace(kernel, name=f"{self.names.infix}{'listed' if listed else f'rows{group}'}_{kernel.tail}")

    def worth_lists(self, index: int) -> bool:
        """Whether so much of what a row reads is 0 that it is cheaper, in instructions and in time, to gather the weights of the rest."""
        x, first, last = self._span(index)
        vectors = (last - first) * self._whole // LANES
        if not 1 < vectors <= 256 // LANES or (x and self.x_vectors > HELD):
            return False
        sources = [self.activity.vectors.get(a) for a, _ in self.z_of[index].sources[first:last]]
        lists = 0.5 + sum(self.units * (source.nonzero if source else 1.0) for source in sources) / LANES
        return lists * LISTED[lists > LISTS_HELD + 0.5] + 1 < TOGETHER[0] * vectors and GATHERED * lists < vectors

    def list_of(self, index: int) -> tuple[str, str]:
        """(the lists of what a row reads of the units, their number): C names."""
        _, first, last = self._span(index)
        read = self.z_of[index]
        key, number = (read.name, first, last), str(len(self.lists) + 1) if self.lists else ""
        at = f"&{read.name}[0][{self.x_bytes(read) + self._whole * first}]"
        name, _ = self.lists.setdefault(key, (f"listed{number}", at))
        return name, name.replace("listed", "lists")

    def worth_alone(self, index: int) -> bool:
        """Whether a row is cheaper for the units whose gate is open than for all of them."""
        if not self.plan.lazy[index]:
            return False
        (gate, _) = self.flow.args[self.plan.lazy[index][-1]]
        if not isinstance(gate, int) or self.flow.ops[gate].code != "positive":
            return False
        (row,) = self.flow.args[gate]
        if self._decided(gate, index):
            pass
        elif not isinstance(row, int) or not self.is_sum(row) or self.plan.lazy[row] or not self.sign_alone(row):
            return False
        opened = min(self.activity.open.get(self.flow.layer.ops[s].args[0], 1.0) for s in self.plan.lazy[index])
        kernel = self._kernel(index, 1)
        vectors = kernel.narrow + kernel.before + kernel.behind
        each = ALONE[0] - (vectors <= HELD)
        return opened * (each * vectors + ALONE[1]) + CALL < TOGETHER[0] * vectors + TOGETHER[1]

    def _decided(self, gate: int, index: int) -> bool:
        """Whether a gate is kept from an earlier pass than that of a row behind it."""
        return self.plan.pass_of[gate] < self.plan.pass_of[index]

    def sign_alone(self, index: int) -> bool:
        """Whether nothing but threshold gates reads a row: its sum has 1 less then, so that the sign says whether the gate is closed."""
        users = self.flow.users(index)
        return bool(users) and index not in self.flow.roots() and all(self.flow.ops[user].code == "positive" for user in users)

    def _bias(self, index: int) -> npt.NDArray[np.int32]:
        joined = next((add for add, joint in self.joints.items() if joint.of_input == index), index)
        return self.row(index).bias.astype(np.int32) - self.sign_alone(joined)

    def _weights(self, index: int) -> npt.NDArray[np.int8]:
        """[units, bytes]: a row as its kernel reads it: x, then the states, each padded to whole vectors."""
        row, (x, first, last) = self.row(index), self._span(index)
        parts = []
        if x:
            W = row.W if row.W is not None else np.zeros((self.units, self.inputs), np.int8)
            parts.append(np.pad(W, ((0, 0), (0, -self.inputs % (8 if self.small else LANES)))))
        read = dict(zip(self._sources(index), row.R, strict=True))
        for source in self.z_of[index].sources[first:last]:
            R = read.get(source, np.zeros((self.units, self.units), np.int8))
            parts.append(np.pad(R, ((0, 0), (0, -self.units % LANES))))
        return np.concatenate(parts, axis=1).astype(np.int8)

    def table(self, name: str, values: npt.NDArray[np.integer], comment: str, kind: str = "int8_t") -> str:
        found = self.names.tables.add_own((f"{self.names.infix}{name}",), values, comment, kind)
        self.tables.append(found)
        return found

    def rounded(self, index: int) -> bool:
        """Whether a value is a state of 16 bits, rounded to 8: 8 units at a time."""
        op = self.flow.ops[index]
        (state, *_) = (*self.flow.args[index], None)
        return op.code == "shift" and isinstance(state, int) and self.flow.ops[state].code == "state" and self._bits(state) == 16

    def _bits(self, state: int) -> int:
        return self.flow.layer.state(self.flow.ops[state].name).bits

    def gather(self) -> list[str]:
        """What rows read of x and of stored states, one behind the other; what fills up a vector meets weights of 0."""
        lines = []
        for read in self.z:
            for copy, shift in enumerate(read.shifts):
                if read.x and self.flow.layer.wide:
                    lines.append(f"{self.p}_vectors_whole({read.name}[{copy}], x, {self.P}INPUTS, {shift});")
                elif read.x and self.small:
                    loaded = f"vldrbq_z_s16(x, vctp16q({self.P}INPUTS))" if self.inputs < 8 else "vldrbq_s16(x)"
                    value = f"vshlq_n_s16({loaded}, {shift})" if shift else loaded
                    lines.append(f"vstrhq_s16((int16_t *)(void *){read.name}[{copy}], {value});")
                elif read.x:
                    lines.append(f"{self.p}_vectors_copy({read.name}[{copy}], x, {self.P}INPUTS);")
                for k, (source, _) in enumerate(read.sources):
                    start = self.x_bytes(read) + self._whole * k
                    at = f"&{read.name}[{copy}][{start}]"
                    if stored_as_read(self.flow, source):
                        field = self.fields[self.flow.ops[source].name][1]
                        if self.units % LANES or self.units > 4 * LANES:
                            lines.append(f"{self.p}_vectors_copy({at}, state->{field}, {self.P}UNITS);")
                            continue
                        for u in range(0, self.units, LANES):
                            to = f"&{read.name}[{copy}][{start + u}]"
                            lines.append(f"vstrbq_s8({to}, vldrbq_s8(&state->{field}[{u}]));")
                    elif self.rounded(source):
                        (state,) = self.flow.args[source]
                        field = self.fields[self.flow.ops[state].name][1]  # type: ignore[index]
                        lines.append(f"{self.p}_vectors_round({at}, state->{field}, {self.P}UNITS, {self.flow.ops[source].numbers[0]});")
        return lines

    def together(self, indices: list[int]) -> list[tuple[RowKernel, str]]:
        """Rows of which all units are summed, those that read the same with the same shift by one call."""
        found: list[tuple[RowKernel, str]] = []
        alike: dict[tuple[int, str, tuple[bool, int, int]], list[int]] = {}
        for index in indices:
            shift = self.row(index).input_shift if self.reads_x(index) else 0
            alike.setdefault((shift, self.at(index), self._span(index)), []).append(index)
        for _, members in sorted(alike.items()):
            count = len(members) * self.size
            kernel = self._kernel(members[0], LISTED_ROWS)
            if not kernel.listed:
                kernel = self._kernel(members[0], next(g for g in GROUPS if count % g == 0))
            padded = -(-self.units // self.size) * self.size
            weights = np.zeros((len(members), padded, kernel.bytes), np.int8)
            bias = np.full((len(members), padded), -1, np.int32)  # units that do not exist are closed
            for k, index in enumerate(members):
                weights[k, : self.units], bias[k, : self.units] = self._weights(index), self._bias(index)
            rows = ", ".join(self.flow.ops[index].name for index in members)
            self.calls += 1
            suffix = "" if self.calls == 1 else str(self.calls)
            blocks = padded // self.size
            by_block = weights.reshape(len(members), blocks, self.size, -1).transpose(1, 0, 2, 3).reshape(blocks, count, -1)
            W = self.table(f"vectors{suffix}_W", _interleaved(by_block, kernel), f"[blocks of {self.size} units][rows] of {rows}")
            starts = bias.reshape(len(members), blocks, self.size).transpose(1, 0, 2).reshape(blocks, -1)
            b = self.table(f"vectors{suffix}_b", starts, f"[blocks of {self.size} units][rows] bias of {rows}", "int32_t")
            place = self._place(members)
            groups = str(count // kernel.group)
            if kernel.listed:
                listed, lists = self.list_of(members[0])
                groups = f"{groups} | {lists} << 16, {listed}"
            call = f"{self.p}_{kernel.name}({place}, {b}[block], {W}[block], {self.at(members[0])}, {groups});"
            found.append((kernel, call))
        return found

    def join(self, joint: Joint) -> list[str]:
        """Adds the sums of a row of the states to those of a row of x."""
        to, states = (f"sums[{self.order[index]}]" for index in (joint.of_input, joint.of_states))
        raised = f"vshlq_n_s32(vldrwq_s32(&{states}[k]), {joint.shift})" if joint.shift else f"vldrwq_s32(&{states}[k])"
        line = f"vstrwq_s32(&{to}[k], vaddq_s32(vldrwq_s32(&{to}[k]), {raised}));"
        return [f"{self.p.upper()}_KEEP_LOOP", f"for (uint32_t k = 0; k < {self.size}; k += {FULL}) {{ {line} }}"]

    def _place(self, members: list[int]) -> str:
        """Rows of one call have their sums one behind the other: the order of all sums of a pass is that of the calls."""
        first = sum(self.plan.pass_of[index] == self.plan.pass_of[members[0]] for index in self.order)
        self.order |= {index: first + k for k, index in enumerate(members)}
        return f"sums[{first}]"

    def alone(self, index: int) -> tuple[RowKernel, list[str]]:
        """A row for the units whose gate is open."""
        (gate, _) = self.flow.args[self.plan.lazy[index][-1]]
        assert isinstance(gate, int)
        kernel, name = self._kernel(index, 1), self.flow.ops[index].name
        W = self.table(f"vectors_{name}_W", self._weights(index), f"[units] weights of row {name}")
        bias = self.table(f"vectors_{name}_b", self._bias(index), f"[units] bias of row {name}", "int32_t")
        self._place([index])
        lines = []
        for at in range(0, self.size, LANES):
            first, width = f"{self.size} * block" + (f" + {at}" if at else ""), min(LANES, self.size - at)
            if self._decided(gate, index):
                rest = self.units % self.size or width < LANES
                count = f"(uint32_t){self.p}_clip({self.P}UNITS - (int32_t)({first}), 0, {width})"
                signs, live = f"vldrbq_s8(&kept{gate}[{first}])", f"vctp8q({count})" if rest else ""
            else:
                (decides,) = self.flow.args[gate]
                assert isinstance(decides, int)
                sums = f"(const int8_t *)(const void *){self._sums(decides, at)}, vidupq_n_u8(3, 4)"  # the byte with the sign, of each sum
                live = f"vctp8q({width})" if width < LANES else ""
                signs = f"vldrbq_gather_offset_z_s8({sums}, {live})" if live else f"vldrbq_gather_offset_s8({sums})"
            opened = f"vcmpgeq_m_n_s8({signs}, 0, {live})" if live else f"vcmpgeq_n_s8({signs}, 0)"
            call = f"{self._sums(index, at)}, &{bias}[{first}], {W}[{first}], {self.at(index)}, {opened}"
            lines.append(f"{self.p}_{kernel.name}({call});")
        return kernel, lines

    def _sums(self, index: int, at: int) -> str:
        """The sums of a row from unit `at` of its block on."""
        return f"&sums[{self.place_of(index)}][{at}]" if at else f"sums[{self.place_of(index)}]"


def _interleaved(weights: npt.NDArray[np.int8], kernel: RowKernel) -> npt.NDArray[np.int8]:
    """[blocks, rows, bytes] in the order in which a kernel reads them: of each group of rows, vector by vector; what lists
    tell of, row by row. Returns [blocks, all]."""
    blocks, rows, length = weights.shape
    listed = weights[..., length - kernel.listed :].reshape(blocks, rows // kernel.group, -1)
    grouped = weights[..., : length - kernel.listed].reshape(blocks, rows // kernel.group, kernel.group, -1)
    cut = 8 * kernel.narrow
    narrow = grouped[..., :cut].reshape(*grouped.shape[:3], -1, 8).swapaxes(2, 3).reshape(blocks, rows // kernel.group, -1)
    wide = grouped[..., cut:].reshape(*grouped.shape[:3], -1, LANES).swapaxes(2, 3).reshape(blocks, rows // kernel.group, -1)
    return np.concatenate([narrow, wide, listed], axis=2).reshape(blocks, -1)
