"""Rows of a layer on vectors (MVE): which rows a kernel sums together, how their weights lie for it, and the calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerRow
from firmware_gen.activity import LayerActivity
from firmware_gen.columns import reads
from firmware_gen.expressions import LayerNames
from firmware_gen.schedule import Schedule
from firmware_gen.simplify import Dataflow

LANES, GROUPS = 16, (6, 5, 4, 3, 2, 1)  # weights of a vector; rows that share one load of a vector
BLOCK = 16  # units
FULL = 4  # units in a vector of sums
HELD = 3  # vectors of z that stay in registers
# Instructions of one row, counted in the kernels: of each vector and besides, for all units in groups, and for one unit alone; of the call
# for those alone, shared by the units of a block.
TOGETHER, ALONE, CALL = (2.2, 2.0), (3.0, 9.0), 2.0


@dataclass(frozen=True)
class RowKernel:
    """A kernel for rows. name: of its function, without prefix; group: rows that it sums together; narrow: vectors of 8 elements of 16
    bits (x, shifted already); before, shift: vectors that are summed first and shifted left then; behind: vectors after them."""

    name: str
    group: int
    narrow: int
    before: int
    shift: int
    behind: int

    @property
    def bytes(self) -> int:
        """Weights of one row."""
        return 8 * self.narrow + LANES * (self.before + self.behind)


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
        states = (flow.ops[a].name for index in self.rows for a in flow.args[index] if isinstance(a, int))
        self.sources = list(dict.fromkeys(states))
        self.shifts = sorted({self._shift(index) for index in self.rows})
        self.reads_x = any(reads(self.row(index).W) for index in self.rows)
        self.narrow = self.reads_x and self.inputs <= 8
        self.size = min(BLOCK, -(-self.units // FULL) * FULL)
        self.tables: list[str] = []
        self.order: dict[int, int] = {}

    def row(self, index: int) -> IntegerRow:
        return self.flow.layer.rows[self.flow.ops[index].name]

    def x_vectors(self) -> int:
        return -(-self.inputs // LANES) if self.reads_x and not self.narrow else 0

    def state_vectors(self) -> int:
        return len(self.sources) * -(-self.units // LANES)

    def _shift(self, index: int) -> int:
        return self.row(index).input_shift if reads(self.row(index).W) else 0

    def z(self, index: int) -> str:
        """What a row reads: x in 16 bits is shifted already, so that there is one for each shift."""
        return f"z[{self.shifts.index(self._shift(index))}]" if self.narrow else "z[0]"

    def _kernel(self, index: int, group: int) -> RowKernel:
        shift = 0 if self.narrow else self._shift(index)
        before, behind = (self.x_vectors(), self.state_vectors()) if shift else (0, self.x_vectors() + self.state_vectors())
        infix = self.names.infix
        return RowKernel(f"{infix}rows{group}_{shift}", group, int(self.narrow), before, shift, behind)

    def worth_alone(self, index: int) -> bool:
        """Whether a row is cheaper for the units whose gate is open than for all of them."""
        if not self.plan.lazy[index]:
            return False
        (gate, _) = self.flow.args[self.plan.lazy[index][-1]]
        if not isinstance(gate, int) or self.flow.ops[gate].code != "positive":
            return False
        (row,) = self.flow.args[gate]
        if not isinstance(row, int) or self.flow.ops[row].code != "row" or self.plan.lazy[row] or not self.sign_alone(row):
            return False
        opened = min(self.activity.open.get(self.flow.layer.ops[s].args[0], 1.0) for s in self.plan.lazy[index])
        vectors = self.narrow + self.x_vectors() + self.state_vectors()
        each = ALONE[0] - (vectors <= HELD)
        return opened * (each * vectors + ALONE[1]) + CALL < TOGETHER[0] * vectors + TOGETHER[1]

    def sign_alone(self, index: int) -> bool:
        """Whether nothing but threshold gates reads a row: its sum has 1 less then, so that the sign says whether the gate is closed."""
        return all(self.flow.ops[user].code == "positive" for user in self.flow.users(index))

    def _bias(self, index: int) -> npt.NDArray[np.int32]:
        return self.row(index).bias.astype(np.int32) - self.sign_alone(index)

    def _weights(self, index: int) -> npt.NDArray[np.int8]:
        """[units, bytes]: a row as its kernel reads it: x, then the states, each padded to whole vectors."""
        row, parts = self.row(index), []
        if self.reads_x:
            W = row.W if row.W is not None else np.zeros((self.units, self.inputs), np.int8)
            parts.append(np.pad(W, ((0, 0), (0, -self.inputs % (8 if self.narrow else LANES)))))
        read = {self.flow.ops[a].name: R for a, R in zip(self.flow.args[index], row.R, strict=True) if isinstance(a, int)}
        for source in self.sources:
            R = read.get(source, np.zeros((self.units, self.units), np.int8))
            parts.append(np.pad(R, ((0, 0), (0, -self.units % LANES))))
        return np.concatenate(parts, axis=1).astype(np.int8)

    def table(self, name: str, values: npt.NDArray[np.integer], comment: str, kind: str = "int8_t") -> str:
        found = self.names.tables.add_own((f"{self.names.infix}{name}",), values, comment, kind)
        self.tables.append(found)
        return found

    def gather(self) -> list[str]:
        """What rows read, one behind the other; what fills up a vector meets weights of 0, but has to be a number."""
        lines, whole = [], LANES * -(-self.units // LANES)
        for number, shift in enumerate(self.shifts if self.narrow else [0]):
            if self.narrow:
                loaded = f"vldrbq_z_s16(x, vctp16q({self.P}INPUTS))" if self.inputs < 8 else "vldrbq_s16(x)"
                lines.append(f"vstrhq_s16((int16_t *)(void *)z[{number}], {f'vshlq_n_s16({loaded}, {shift})' if shift else loaded});")
            elif self.reads_x:
                lines.append(f"{self.p}_vectors_copy(z[{number}], x, {self.P}INPUTS);")
            for k, source in enumerate(self.sources):
                at = 16 * self.narrow + LANES * self.x_vectors() + k * whole
                lines.append(f"{self.p}_vectors_copy(&z[{number}][{at}], state->{self.fields[source][1]}, {self.P}UNITS);")
        return lines

    def together(self, indices: list[int]) -> list[tuple[RowKernel, str]]:
        """Rows of which all units are summed, those with the same shift by one call."""
        found: list[tuple[RowKernel, str]] = []
        by_shift: dict[int, list[int]] = {}
        for index in indices:
            by_shift.setdefault(self._shift(index), []).append(index)
        for number, (_, members) in enumerate(sorted(by_shift.items())):
            count = len(members) * self.size
            kernel = self._kernel(members[0], next(g for g in GROUPS if count % g == 0))
            padded = -(-self.units // self.size) * self.size
            weights = np.zeros((len(members), padded, kernel.bytes), np.int8)
            bias = np.full((len(members), padded), -1, np.int32)  # units that do not exist are closed
            for k, index in enumerate(members):
                weights[k, : self.units], bias[k, : self.units] = self._weights(index), self._bias(index)
            rows = ", ".join(self.flow.ops[index].name for index in members)
            suffix = "" if number == 0 else str(number + 1)
            blocks = padded // self.size
            by_block = weights.reshape(len(members), blocks, self.size, -1).transpose(1, 0, 2, 3).reshape(blocks, count, -1)
            W = self.table(f"vectors{suffix}_W", _interleaved(by_block, kernel), f"[blocks of {self.size} units][rows] of {rows}")
            starts = bias.reshape(len(members), blocks, self.size).transpose(1, 0, 2).reshape(blocks, -1)
            b = self.table(f"vectors{suffix}_b", starts, f"[blocks of {self.size} units][rows] bias of {rows}", "int32_t")
            place = self._place(members)
            call = f"{self.p}_{kernel.name}({place}, {b}[block], {W}[block], {self.z(members[0])}, {count // kernel.group});"
            found.append((kernel, call))
        return found

    def _place(self, members: list[int]) -> str:
        """Rows of one call have their sums one behind the other: the order of all sums is that of the calls."""
        first = len(self.order)
        self.order |= {index: first + k for k, index in enumerate(members)}
        return f"sums[{first}]"

    def alone(self, index: int) -> tuple[RowKernel, list[str]]:
        """A row for the units whose gate is open."""
        (gate, _) = self.flow.args[self.plan.lazy[index][-1]]
        assert isinstance(gate, int)
        (decides,) = self.flow.args[gate]
        assert isinstance(decides, int)
        kernel, name = self._kernel(index, 1), self.flow.ops[index].name
        W = self.table(f"vectors_{name}_W", self._weights(index), f"[units] weights of row {name}")
        bias = self.table(f"vectors_{name}_b", self._bias(index), f"[units] bias of row {name}", "int32_t")
        own, gate_sums = self._place([index]), f"(const int8_t *)(const void *)sums[{self.order[decides]}]"
        first, at = f"{self.size} * block", "vidupq_n_u8(3, 4)"  # the byte with the sign, of each sum
        if self.size == LANES:
            opened = f"vcmpgeq_n_s8(vldrbq_gather_offset_s8({gate_sums}, {at}), 0)"
        else:
            live = f"vctp8q({self.size})"
            opened = f"vcmpgeq_m_n_s8(vldrbq_gather_offset_z_s8({gate_sums}, {at}, {live}), 0, {live})"
        return kernel, [f"{self.p}_{kernel.name}({own}, &{bias}[{first}], {W}[{first}], {self.z(index)}, {opened});"]


def _interleaved(weights: npt.NDArray[np.int8], kernel: RowKernel) -> npt.NDArray[np.int8]:
    """[blocks, rows, bytes] in the order in which a kernel reads them: of each group of rows, vector by vector. Returns [blocks, all]."""
    blocks, rows, _ = weights.shape
    grouped = weights.reshape(blocks, rows // kernel.group, kernel.group, -1)
    cut = 8 * kernel.narrow
    narrow = grouped[..., :cut].reshape(blocks, rows // kernel.group, -1)
    wide = grouped[..., cut:].reshape(*grouped.shape[:3], -1, LANES).swapaxes(2, 3).reshape(blocks, rows // kernel.group, -1)
    return np.concatenate([narrow, wide], axis=2).reshape(blocks, -1)
