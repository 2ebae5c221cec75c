"""One recurrent layer for cores with vectors (MVE, Armv8.1-M): rows 16 weights at a time, everything behind them 4 units at a time.

It stands beside the portable C of the same layer, behind `#if`, with weights laid out for it. Rows of a block of units are summed by a
kernel in assembler, several of them against each vector of what they read; a row that few open gates need is summed for these units
alone. Then the dataflow runs over vectors of 4 units, one intrinsic or two for each operator: the table `OPERATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_lstm.fixed_point.integer_network import IntOp
from firmware_gen.activity import LayerActivity, assumed
from firmware_gen.columns import reads
from firmware_gen.expressions import LayerNames
from firmware_gen.saturation import clamp_is_lost
from firmware_gen.schedule import Schedule
from firmware_gen.simplify import Constant, Dataflow, Value
from firmware_gen.tables import BYTES, signed_type
from firmware_gen.vector_rows import FULL, LANES, RowKernel, RowWriter

LIST_LONGEST = 256 + 16  # bytes that making a list takes
SUFFIX = {"int8_t": "b", "int16_t": "h", "int32_t": "w"}


@dataclass(frozen=True)
class VectorPass:
    """One pass over the units. before: lines in front of it; block: lines at the start of each block of units, none for a pass without
    rows; lanes: of 4 units."""

    before: tuple[str, ...]
    block: tuple[str, ...]
    lanes: tuple[str, ...]


@dataclass(frozen=True)
class VectorText:
    """kernels: in assembler; locals: declarations; gather: lines at the start; bytes: of the local arrays; size: units of a block;
    tables: names of the tables that only this way reads."""

    kernels: tuple[RowKernel, ...]
    locals: tuple[str, ...]
    gather: tuple[str, ...]
    passes: tuple[VectorPass, ...]
    bytes: int
    size: int
    tables: tuple[str, ...]


def obstacle(flow: Dataflow) -> str:
    """Why a layer has no form on vectors; "" where it has one."""
    rows = [index for index, op in flow.ops.items() if op.code == "row"]
    if flow.layer.wide and max(flow.layer.rows[flow.ops[index].name].input_shift for index in rows) > 1:
        return "its input of 16 bits leaves them once it is shifted"
    if not any(flow.args[index] or reads(flow.layer.rows[flow.ops[index].name].W) for index in rows):
        return "no row reads anything"
    return ""


def vector_text(
    flow: Dataflow, plan: Schedule, names: LayerNames, fields: dict[str, tuple[str, str]], running_sum: str | None,
    view: list[int] | None, output: str, activity: LayerActivity | None,
) -> VectorText:  # fmt: skip
    """The C of a layer on vectors. view: operators between a stored state and the output, None where it has a field of its own: output."""
    return _Writer(flow, plan, names, fields, running_sum, view, output, activity or assumed(flow.layer)).text()


class _Writer(RowWriter):
    def __init__(
        self, flow: Dataflow, plan: Schedule, names: LayerNames, fields: dict[str, tuple[str, str]], running_sum: str | None,
        view: list[int] | None, output: str, activity: LayerActivity,
    ):  # fmt: skip
        super().__init__(flow, plan, names, fields, activity)
        self.running_sum, self.view, self.output = running_sum, view, output
        self.lines: list[str] = []
        self.curves: dict[bytes, str] = {}
        self.kept: dict[int, str] = {}  # value that later passes read -> its type
        self.partial = self.units % FULL != 0

    def text(self) -> VectorText:
        gather = self.gather()
        kernels: dict[str, RowKernel] = {}
        passes = [self._pass(p, kernels) for p in range(self.plan.passes)]
        rows = max(sum(self.plan.pass_of[index] == p for index in self.rows) for p in range(self.plan.passes))
        padded = -(-self.units // self.size) * self.size + LANES  # whole vectors are loaded
        locals_ = [f"int8_t {z.name}[{len(z.shifts)}][{self.bytes_of(z)}] __attribute__((aligned(8)));" for z in self.z]
        locals_ += [f"{kind} kept{index}[{padded}];" for index, kind in self.kept.items()]
        locals_ += [f"int8_t {name}[{2 * (last - first) * self._whole}];" for (_, first, last), (name, _) in self.lists.items()]
        locals_ += [f"int32_t sums[{rows}][{self.size}];"]
        size = sum(len(z.shifts) * self.bytes_of(z) for z in self.z) + 4 * rows * self.size
        size += padded * sum(BYTES[kind] for kind in self.kept.values())
        size += sum(2 * (last - first) * self._whole + LIST_LONGEST for _, first, last in self.lists)
        return VectorText(
            tuple(kernels.values()), tuple(locals_), tuple(gather), tuple(one for one in passes if one.lanes), size, self.size,
            tuple(self.tables),
        )  # fmt: skip

    def _pass(self, p: int, kernels: dict[str, RowKernel]) -> VectorPass:
        rows = [index for index in self.rows if self.plan.pass_of[index] == p]
        alone = [index for index in rows if self.worth_alone(index)]
        lines: list[str] = []
        known = len(self.lists)
        for kernel, line in self.together([index for index in rows if index not in alone]):
            kernels[kernel.name] = kernel
            lines.append(line)
        for joint in self.joints.values():
            lines += self.join(joint) if self.plan.pass_of[joint.add] == p else []
        for index in alone:
            kernel, more = self.alone(index)
            kernels[kernel.name] = kernel
            lines += more
        before = [
            f"const uint32_t {name.replace('listed', 'lists')} = {self.p}_vectors_list({name}, {at}, {(last - first) * self._whole});"
            for (_, first, last), (name, at) in list(self.lists.items())[known:]
        ]
        return VectorPass(tuple(before), tuple(lines), tuple(self._lanes(p)))

    # ---- 4 units at a time --------------------------------------------------------------------------------------------------

    def _lanes(self, p: int) -> list[str]:
        self.lines = []
        value: dict[int, str] = {}
        needed = self._needed(p)
        last = p == self.plan.passes - 1
        for index, op in self.flow.ops.items():
            if index not in needed:
                continue
            here = self.plan.pass_of[index] == p
            name = f"v{index}"
            kind = "mve_pred16_t" if self._is_predicate(index) and not self._is_mask(index) else "int32x4_t"
            text = self._value(index, value) if here or op.code in ("state", "vector") else self._again(index)
            self.lines.append(f"const {kind} {name} = {text}; /* {op.code} {op.name} */".replace("  */", " */"))
            value[index] = name
            if here and index in self.plan.arrays and not self.rounded(index):
                self._keep(index, value)
        if last:
            self._store_states(value)
        if self.partial and self.lines:
            # Compilers that see where the count comes from take it for that of a loop over all units, beyond the end of a block.
            count = f'uint32_t rest = {self.P}UNITS - u; __asm__ volatile("" : "+r"(rest));'
            self.lines[:0] = [count, "const mve_pred16_t live = vctp32q(rest);"]
        return self.lines

    def _needed(self, p: int) -> set[int]:
        """The values that pass p has variables for: they are kept, outlive the step, or operators of it read them. Rows read theirs from z,
        and some operators are part of those that use them."""
        found: set[int] = set()
        read: set[Value] = set()
        for index in reversed(self.flow.ops):
            here = self.plan.pass_of[index] == p
            kept = here and index in self.plan.arrays and not self.rounded(index)
            lasting = p == self.plan.passes - 1 and index in self.flow.roots()
            if kept or lasting or index in read:
                found.add(index)
                if here and not self.is_sum(index):
                    merged = self._merged(index)
                    read |= set(self.flow.args[index]) - set(merged)
                    read |= {a for part in merged for a in self.flow.args[part]}
        return found

    def _keep(self, index: int, value: dict[int, str]) -> None:
        """Stores a value for rows, and for later passes."""
        places = self.places(index)
        for place in places:
            self._store("int8_t", place, self._number(index, value))
        later = any(
            self.plan.pass_of[user] > self.plan.pass_of[index] for user in self.flow.users(index) if self.flow.ops[user].code != "row"
        )
        later |= index in self.flow.roots() and self.plan.pass_of[index] < self.plan.passes - 1
        if later and self.flow.ops[index].code not in ("state", "vector") and not (places and not self._is_predicate(index)):
            self.kept[index] = "int8_t" if self._is_predicate(index) else signed_type(*self.flow.range[index])
            closed = f"vpselq_s32(vdupq_n_s32(0), vdupq_n_s32(-1), {value[index]})"  # a gate, as a mask whatever it is in this pass
            text = closed if self._is_predicate(index) and not self._is_mask(index) else value[index]
            self._store(self.kept[index], f"kept{index}[u]", text)

    def _again(self, index: int) -> str:
        """A value of an earlier pass."""
        if index not in self.kept:
            return self._load("int8_t", self.places(index)[0])
        loaded = self._load(self.kept[index], f"kept{index}")
        predicate = self._is_predicate(index) and not self._is_mask(index)
        return f"vcmpgeq_n_s32({loaded}, 0)" if predicate else loaded

    def _store_states(self, value: dict[int, str]) -> None:
        for state, update in self.flow.updates.items():
            kind, field = self.fields[state]
            self._store(kind, f"state->{field}[u]", self._number(update, value))
        if self.flow.output is not None:
            self._store("int8_t", f"state->{self.output}[u]", self._number(self.flow.output, value))
        if self.running_sum is not None:
            output = self._viewed(value)
            sum_ = self._load(self.running_sum, "state->sum")
            self._store(self.running_sum, "state->sum[u]", f"vaddq_s32({sum_}, {output})")

    def _viewed(self, value: dict[int, str]) -> str:
        if self.view is None:
            assert self.flow.output is not None
            return self._number(self.flow.output, value)
        source = self.flow.layer.output if not self.view else self.flow.layer.ops[self.view[0]].args[0]
        state = next(s.name for s in self.flow.layer.states if s.update == source)
        text = self._number(self.flow.updates[state], value)
        for index in self.view:
            op = self.flow.layer.ops[index]
            text = OPERATORS[op.code](op.numbers, [text])
        return text

    def _store(self, kind: str, place: str, value: str) -> None:
        end = "_p" if self.partial else ""
        live = ", live" if self.partial else ""
        if self.partial:
            # gcc takes a predicated store for one of all lanes and would drop an earlier one to what lies behind: the barrier keeps it.
            self.lines.append('__asm__ volatile("" ::: "memory");')
        self.lines.append(f"vstr{SUFFIX[kind]}q{end}_s32(&{place}, {value}{live});")

    def _load(self, kind: str, array: str) -> str:
        end, live = ("_z", ", live") if self.partial else ("", "")
        place = array if array.endswith("u]") else f"{array}[u]"
        return f"vldr{SUFFIX[kind]}q{end}_s32(&{place}{live})"

    def _value(self, index: int, value: dict[int, str]) -> str:
        op, args = self.flow.ops[index], self.flow.args[index]
        if self.is_sum(index):
            return f"vldrwq_s32(&sums[{self.place_of(index)}][u - {self.size} * block])"
        if op.code == "state":
            kind, field = self.fields[op.name]
            return self._load(kind, f"state->{field}")
        if op.code == "vector":
            return self._per_unit(op.name, op.name, f"parameter {op.name}")
        if self._is_mask(index):
            return f"vshrq_n_s32({self._number(args[0], value)}, 31)"
        if op.code == "positive" and isinstance(args[0], int) and self.is_sum(args[0]) and self.sign_alone(args[0]):
            return f"vcmpgeq_n_s32({self._number(args[0], value)}, 0)"
        if op.code == "select" and isinstance(args[0], int) and self._is_mask(args[0]):
            return f"vbicq_s32({self._number(args[1], value)}, {value[args[0]]})"
        merged = self._merged(index)
        if op.code == "select" and merged:
            # Where the gate is closed a load gives zeros.
            kind, field = self.fields[self.flow.ops[merged[0]].name]
            return f"vldr{SUFFIX[kind]}q_z_s32(&state->{field}[u], {value[args[0]]})"  # type: ignore[index]
        if op.code == "add" and merged:
            gate, chosen = self.flow.args[merged[0]]
            other = self._number(args[1] if args[0] == merged[0] else args[0], value)
            return f"vaddq_m_s32({other}, {other}, {self._number(chosen, value)}, {value[gate]})"  # type: ignore[index]
        if op.code == "select":
            gate, chosen = args
            condition = value[gate] if isinstance(gate, int) and self._is_predicate(gate) else None
            condition = condition or f"vcmpneq_n_s32({self._number(gate, value)}, 0)"
            return f"vpselq_s32({self._number(chosen, value)}, vdupq_n_s32(0), {condition})"
        if self._is_predicate(index) and op.code == "complement":
            return f"vpnot({value[args[0]]})"  # type: ignore[index]
        if op.code == "rescale":
            row = self.names.row_of(op)
            if self._clamps_nothing(index):
                high = self._high(op, row)
                return f"vqrdmulhq_s32({self._number(args[0], value)}, {high})"
            limit = self._per_unit(op.name + ".limit", f"{row}_limit", f"rescaling of {row}: clamp before the multiplication")
            multiplier = self._per_unit(op.name + ".multiplier", f"{row}_multiplier", f"rescaling of {row}: factor * 2^{op.numbers[0]}")
            clipped = f"vmaxq_s32(vminq_s32({self._number(args[0], value)}, {limit}), vnegq_s32({limit}))"
            return _shifted(f"vmulq_s32({clipped}, {multiplier})", op.numbers[0])
        if op.code == "interpolate":
            if text := self._curve(index, op, value):
                return text
            knots, kind = self.flow.layer.tables[op.name], op.name.strip("_").partition("_")[2] or op.name
            comment = f"curve {op.name}: {len(knots) - 1} segments of width 2^{op.numbers[0]}"
            table = self.names.add((kind, op.name), knots, comment, at_least="int16_t")
            segment, out = op.numbers
            return f"{self.p}_vectors_curve({self._number(args[0], value)}, {table}, {len(knots) - 1}, {segment}, {out})"
        return OPERATORS[op.code](op.numbers, [self._number(a, value) for a in args])

    def _is_predicate(self, index: int) -> bool:
        """Whether a value is 0 or 1: a threshold gate, or 1 minus one."""
        op, (first, *_) = self.flow.ops[index], (*self.flow.args[index], None)
        if op.code == "complement" and op.numbers == (1,) and isinstance(first, int):
            return self._is_predicate(first)
        return op.code == "positive"

    def _is_mask(self, index: int) -> bool:
        """Whether a threshold gate is kept as all ones where it is closed: the signs of a row, behind which nothing but selects stand.
        Compilers move predicates to and from the register of flags; a shift and an instruction that clears bits need none."""
        op, (row, *_) = self.flow.ops[index], (*self.flow.args[index], None)
        if op.code != "positive" or not isinstance(row, int) or not self.is_sum(row) or not self.sign_alone(row):
            return False
        users = self.flow.users(index)
        return index not in self.flow.roots() and all(
            self.flow.ops[user].code == "select" and self.flow.args[user][0] == index != self.flow.args[user][1] for user in users
        )

    def _merged(self, index: int) -> tuple[int, ...]:
        """The argument that is computed as part of the operator: a state behind a gate, or what a gate lets be added."""
        op, args = self.flow.ops[index], self.flow.args[index]
        if op.code == "select" and isinstance(args[0], int) and isinstance(args[1], int):
            state = args[1]
            merging = self._is_predicate(args[0]) and not self._is_mask(args[0])
            if merging and self.flow.ops[state].code == "state" and self._read_by(state) == [index]:
                return (state,)
        if op.code == "add":
            for a in reversed(args):
                if isinstance(a, int) and self._is_select_of(a, index):
                    gate = self.flow.args[a][0]
                    if isinstance(gate, int) and self._is_predicate(gate) and not self._is_mask(gate) and args.count(a) == 1:
                        return (a,)
        return ()

    def _is_select_of(self, index: int, user: int) -> bool:
        """Whether a select can be part of the operator that adds it."""
        alone = self._read_by(index) == [user] and index not in self.plan.arrays
        return self.flow.ops[index].code == "select" and alone and not self._merged(index)

    def _read_by(self, index: int) -> list[int]:
        """Operators besides rows that read a value; its own index stands for what outlives the step."""
        found = [user for user in self.flow.users(index) if self.flow.ops[user].code != "row"]
        return found + [index] * (index in self.flow.roots())

    def _clamps_nothing(self, index: int) -> bool:
        """Whether the clamp of a rescaling can be left out: what it would change lies beyond the ends of the curve that follows."""
        op, args = self.flow.ops[index], self.flow.args[index]
        if not isinstance(args[0], int):
            return False
        limit, multiplier = (self.flow.layer.vectors[op.name + end].astype(np.int64) for end in (".limit", ".multiplier"))
        if (multiplier << (31 - op.numbers[0])).max() >= 2**31 or multiplier.min() < 0 or op.numbers[0] > 31:
            return False
        low, high = self.flow.range[args[0]]
        if -limit.min() <= low and high <= limit.min():
            return True
        return clamp_is_lost(self.flow, index)

    def _high(self, op: IntOp, row: str) -> str:
        """Factors of a multiplication that keeps the upper half: (2 v m 2^(31 - s) + 2^31) >> 32 is v m 2^-s, rounded half up."""
        values = self.flow.layer.vectors[op.name + ".multiplier"].astype(np.int64) << (31 - op.numbers[0])
        if (values == values[0]).all():
            return f"vdupq_n_s32({int(values[0])})"
        comment = f"[units] rescaling of {row}: factor * 2^31"
        return self._load("int32_t", self.table(f"vectors_{row}_factor", values, comment, "int32_t"))

    def _curve(self, index: int, op: IntOp, value: dict[int, str]) -> str | None:
        """A curve with 2^n segments: a saturating shift clamps, and a knot stands beside the rise behind it; None for another curve."""
        knots, (width, shift) = self.flow.layer.tables[op.name].astype(np.int64), op.numbers
        segments, rises = len(knots) - 1, np.diff(knots)
        spare = 32 - (segments.bit_length() - 1) - width
        fits = np.abs(knots).max() < 2**15 and np.abs(rises).max() < 2**15
        if segments & (segments - 1) or width < 1 or spare < 1 or not fits or width + shift < 1:
            return None
        packed = ((rises << 16) | (knots[:-1] & 0xFFFF)).astype(np.int64)
        packed = np.where(packed >= 2**31, packed - 2**32, packed)
        key = (op.name, packed.tobytes())
        if key[1] not in self.curves:
            comment = f"curve {op.name}: {segments} segments, a knot and 2^16 times the rise behind it"
            self.curves[key[1]] = self.table(f"vectors_{op.name.strip('_')}", packed, comment, "int32_t")
        table, (argument,), v = self.curves[key[1]], self.flow.args[index], f"v{index}"
        at = f"vreinterpretq_u32_s32(vshrq_n_s32({v}_high, {spare + width}))"
        part = f"vshlq_n_u32(vreinterpretq_u32_s32({v}_high), {32 - spare - width})" if spare + width < 32 else ""
        rest = f"vreinterpretq_s32_u32(vshrq_n_u32({part}, {32 - width}))"
        self.lines += [
            f"const int32x4_t {v}_high = vqshlq_n_s32({self._number(argument, value)}, {spare});",
            f"const int16x8_t {v}_knot = vreinterpretq_s16_s32(vldrwq_gather_shifted_offset_s32(&{table}[{segments // 2}], {at}));",
        ]
        rise = f"vmulq_s32(vmovltq_s16({v}_knot), {rest})"
        return f"vrshrq_n_s32(vaddq_s32(vshlq_n_s32(vmovlbq_s16({v}_knot), {width}), {rise}), {width + shift})"

    def _per_unit(self, name: str, readable: str, comment: str) -> str:
        values = self.flow.layer.vectors[name]
        if (values == values[0]).all():
            return f"vdupq_n_s32({int(values[0])})"
        table = self.names.add((readable, name), values, f"[units] {comment}")
        return self._load(signed_type(int(values.min(initial=0)), int(values.max(initial=0))), table)

    def _number(self, argument: Value, value: dict[int, str]) -> str:
        if isinstance(argument, Constant):
            return f"vdupq_n_s32({argument.value})"
        if self._is_predicate(argument):
            return f"vpselq_s32(vdupq_n_s32(1), vdupq_n_s32(0), {value[argument]})"
        return value[argument]


def _shifted(value: str, shift: int) -> str:
    return f"vrshrq_n_s32({value}, {shift})" if shift else value


# Operators whose arguments are vectors and whose constants are numbers.
OPERATORS: dict[str, Callable[[tuple[int, ...], list[str]], str]] = {
    "positive": lambda n, a: f"vcmpgtq_n_s32({a[0]}, 0)",
    "add": lambda n, a: f"vaddq_s32({a[0]}, {a[1]})",
    "subtract": lambda n, a: f"vsubq_s32({a[0]}, {a[1]})",
    "complement": lambda n, a: f"vsubq_s32(vdupq_n_s32({n[0]}), {a[0]})",
    "offset": lambda n, a: f"vaddq_n_s32({a[0]}, {n[0]})",
    "clip": lambda n, a: f"vmaxq_s32(vminq_s32({a[0]}, vdupq_n_s32({n[1]})), vdupq_n_s32({n[0]}))",
    "multiply": lambda n, a: _shifted(f"vmulq_s32({a[0]}, {a[1]})", n[0]),
    "shift": lambda n, a: _shifted(a[0], n[0]),
    "raise": lambda n, a: f"vshlq_n_s32({a[0]}, {n[0]})",
}
