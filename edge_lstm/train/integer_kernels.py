"""Numba source of a layer's integer forward pass that also fills the float tape, from one walk over the integer dataflow.

    forward_integers(x, weights, biases, vectors, numbers, start, scales, state_scales, outputs, tape, states)

x: [time, inputs, batch] integers in the product type: float32 (sums of products are exact below 2^24) or int32;
weights: one vector of the product type, for each group of rows (see `plan`) all W << input_shift, then all R of each source;
biases: [rows, units] of the product type, group by group; vectors: int32 [vectors, units];
numbers: int32, those of all operators, one after the other;
start: int32 [states, units]; scales: float32 [kept values, units] real value of one unit of each operator that the backward pass reads;
state_scales: float32 [states]. outputs: [time, units * batch] in the product type; tape, states: float32, see `plan`.

The element-wise operators are those of `fixed_point.operators`, in int32. Tables are part of the text: LLVM must know that no store changes
them, or it would not vectorize the loops that look them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from edge_lstm.fixed_point.lowering import LoweredLayer
from edge_lstm.train.plan import Plan
from edge_lstm.train.source import Source


@dataclass(frozen=True)
class IntegerPlan:
    """The structure of a lowered layer: all that its kernel depends on, apart from sizes, weights and constants.

    ops: with the count of their constants in place of them; groups: row operators that read the same vectors, and whether they read x;
    vectors: names in the order of the kernel's argument; tables: name and entries; updates: operator of each state;
    kept: (place on the tape, operator, whether its scale differs between units) of what the backward pass reads.
    """

    ops: tuple[IntOp, ...]
    groups: tuple[tuple[tuple[int, ...], bool], ...]
    vectors: tuple[str, ...]
    tables: tuple[tuple[str, tuple[int, ...]], ...]
    state_names: tuple[str, ...]
    updates: tuple[int, ...]
    output: int
    phases: tuple[int, ...]
    kept: tuple[tuple[int, int, bool], ...]

    @property
    def row_order(self) -> tuple[int, ...]:
        """Row operators, group by group."""
        return tuple(k for group, _ in self.groups for k in group)

    def numbers_of(self, op: int) -> list[str]:
        """Names in the kernel of the constants of an operator."""
        first = sum(o.numbers[0] for o in self.ops[:op])
        return [f"numbers[{first + k}]" for k in range(self.ops[op].numbers[0])]


def integer_plan(lowered: LoweredLayer, floats: Plan) -> IntegerPlan:
    """The plan of a lowered layer. Raises EdgeLstmError when the lowering has no integer value for what the backward pass reads."""
    layer = lowered.layer
    kept = []
    for op in sorted(floats.saved):
        if op not in lowered.values:
            node = floats.cell.ops[op]
            raise EdgeLstmError(f"{floats.cell.name}: the integer network has no value for {node.code} {node.name}, which training needs")
        kept.append((floats.slots[op], lowered.values[op].op, np.ndim(lowered.values[op].scale) > 0))
    return IntegerPlan(
        tuple(IntOp(op.code, op.args, op.name, (len(op.numbers),)) for op in layer.ops),
        _groups(layer),
        tuple(layer.vectors), tuple((name, tuple(table.tolist())) for name, table in layer.tables.items()),
        tuple(s.name for s in layer.states), tuple(s.update for s in layer.states), layer.output, layer.phases(), tuple(kept),
    )  # fmt: skip


def _groups(layer: IntegerRecurrent) -> tuple[tuple[tuple[int, ...], bool], ...]:
    found: dict[tuple[int, bool, tuple[int, ...]], list[int]] = {}
    for k, (op, phase) in enumerate(zip(layer.ops, layer.phases(), strict=True)):
        if op.code == "row":
            found.setdefault((phase, layer.rows[op.name].W is not None, op.args), []).append(k)
    return tuple((tuple(members), reads_input) for (_, reads_input, _), members in found.items())


def constants(layer: IntegerRecurrent) -> list[int]:
    """The `numbers` argument of the kernel."""
    return [number for op in layer.ops for number in op.numbers]


@cache
def integer_source(plan: IntegerPlan) -> str:
    """Text of `forward_integers`."""
    return _Writer(plan).text()


_VALUES = {
    "positive": "(i32(1) if {0} > i32(0) else i32(0))",
    "select": "({1} if {0} != i32(0) else i32(0))",
    "add": "i32({0} + {1})",
    "subtract": "i32({0} - {1})",
    "complement": "i32({n0} - {0})",
    "offset": "i32({0} + {n0})",
    "clip": "min(max({0}, {n0}), {n1})",
    "multiply": "round_shift(i32({0} * {1}), {n0})",
    "shift": "round_shift({0}, {n0})",
    "raise": "shift_left({0}, {n0})",
    "rescale": "round_shift(i32(min(max({0}, i32(-{limit})), {limit}) * {multiplier}), {n0})",
}


class _Writer:
    def __init__(self, plan: IntegerPlan) -> None:
        self.plan = plan
        self.out = Source("float32")
        read_by_rows = {a for op in plan.ops if op.code == "row" for a in op.args}
        self.state_sources = {plan.ops[a].name for a in read_by_rows if plan.ops[a].code == "state"}
        self.made_sources = sorted(a for a in read_by_rows if plan.ops[a].code != "state")
        later = {a for k, op in enumerate(plan.ops) if op.code != "row" for a in op.args if plan.phases[a] < plan.phases[k]}
        self.crossing = sorted(k for k in later if plan.ops[k].code not in ("state", "vector"))

    def text(self) -> str:
        out, plan = self.out, self.plan
        for k, (_, entries) in enumerate(plan.tables):
            out.constant(f"TABLE_{k} = np.array({list(entries)}, np.int32)")
        arguments = "x, weights, biases, vectors, numbers, start, scales, state_scales, outputs, tape, states"
        with out.block(f"def forward_integers({arguments}):"):
            self._write_constants()
            with out.block("for t in range(steps):"):
                out("old, new = t & 1, 1 - (t & 1)")
                for phase in range(max(plan.phases) + 1):
                    for k, (group, _) in enumerate(plan.groups):
                        if plan.phases[group[0]] == phase:
                            self._write_rows(k)
                    self._write_loop(phase)
                self._write_states()
        return out.text

    def _write_constants(self) -> None:
        out, plan = self.out, self.plan
        out("steps, inputs, batch = x.shape")
        out("units = start.shape[1]")
        out("size = units * batch")
        out("o = 0")
        for k, (group, reads_input) in enumerate(plan.groups):
            height = f"{len(group)} * units"
            if reads_input:
                out(f"W_{k} = weights[o : o + {height} * inputs].reshape({height}, inputs)")
                out(f"o += {height} * inputs")
            for source in range(len(plan.ops[group[0]].args)):
                out(f"R_{k}_{source} = weights[o : o + {height} * units].reshape({height}, units)")
                out(f"o += {height} * units")
        out(f"rows = np.empty({len(plan.row_order)} * size, x.dtype)")
        for name in ("biases", "vectors", "scales"):
            out(f"all_{name} = spread({name}.ravel(), batch)")
        out(f"now = np.empty((2, {len(plan.state_names)}, size), np.int32)")
        out(f"read = np.empty((2, {len(plan.state_names)}, size), x.dtype)")
        for k in range(len(plan.state_names)):
            out(f"now[0, {k}] = spread(start[{k}], batch)")
            out(f"read[0, {k}] = now[0, {k}]")
            out(f"states[{k}, 0] = now[0, {k}] * state_scales[{k}]")
        for k in self.made_sources:
            out(f"made_{k} = np.empty(size, x.dtype)")
        for k in self.crossing:
            out(f"kept_{k} = np.empty(size, np.int32)")

    def _write_rows(self, k: int) -> None:
        """The products of group k, onto its biases, and the real values of those rows that the backward pass reads."""
        group, reads_input = self.plan.groups[k]
        first = self.plan.row_order.index(group[0])
        self.out(f"part = rows[{first} * size : {first + len(group)} * size]")
        self.out(f"part[:] = all_biases[{first} * size : {first + len(group)} * size]")
        self.out(f"sums = part.reshape({len(group)} * units, batch)")
        if reads_input:
            self.out(f"accumulate(sums, W_{k}, x[t])")
        for source, argument in enumerate(self.plan.ops[group[0]].args):
            node = self.plan.ops[argument]
            place = f"read[old, {self.plan.state_names.index(node.name)}]" if node.code == "state" else f"made_{argument}"
            self.out(f"accumulate(sums, R_{k}_{source}, {place}.reshape(units, batch))")
        for m, (slot, op, _) in enumerate(self.plan.kept):
            if op in group:
                row = self.plan.row_order.index(op)
                arrays = {"to": f"tape[t, {slot}]", "row": self._part("rows", row), "scale": self._part("all_scales", m)}
                self.out.loop(arrays, ["to[j] = f(row[j]) * scale[j]"])

    @staticmethod
    def _part(name: str, m: int) -> str:
        """Vector m of several that lie one behind the other."""
        return f"{name}[{m} * size : {m + 1} * size]"

    def _write_states(self) -> None:
        """New states as rows read them in the next step, and as real values."""
        for k, name in enumerate(self.plan.state_names):
            arrays, lines = {"real": f"states[{k}, t + 1]", "new": f"now[new, {k}]"}, ["real[j] = f(new[j]) * unit"]
            if name in self.state_sources:
                arrays["read"] = f"read[new, {k}]"
                lines.append("read[j] = new[j]")
            if self.plan.updates[k] == self.plan.output:
                arrays["out"] = "outputs[t]"
                lines.append("out[j] = new[j]")
            self.out.loop({**arrays, "unit": f"state_scales[{k}]"}, lines)

    def _write_loop(self, phase: int) -> None:
        """The element-wise operators of one phase, and what they leave behind."""
        plan = self.plan
        arrays: dict[str, str] = {}
        scalars: dict[str, str] = {}
        lines: list[str] = []

        def array(name: str, place: str) -> str:
            arrays[name] = place
            return f"{name}[j]"

        def part(name: str, m: int) -> str:
            """Vector m of those that were spread over the batch."""
            return array(f"{name}_{m}", self._part(f"all_{name}", m))

        known: dict[int, str] = {}

        def read(op: int) -> str:
            if op not in known:
                node = plan.ops[op]
                if node.code == "state":
                    text = array(f"old_{node.name}", f"now[old, {plan.state_names.index(node.name)}]")
                elif node.code == "vector":
                    text = part("vectors", plan.vectors.index(node.name))
                else:
                    text = array(f"kept_{op}", f"kept_{op}")
                lines.append(f"v{op} = {text}")
                known[op] = f"v{op}"
            return known[op]

        def number(text: str) -> str:
            name = text.replace("[", "_").rstrip("]")
            scalars[name] = text
            return name

        for k, op in enumerate(plan.ops):
            if plan.phases[k] != phase:
                continue
            if op.code == "row":
                m = plan.row_order.index(k)
                lines.append(f"v{k} = i32({array(f'row_{k}', self._part('rows', m))})")
                known[k] = f"v{k}"
            elif op.code not in ("state", "vector"):
                a = [read(argument) for argument in op.args]
                n = [number(text) for text in plan.numbers_of(k)]
                if op.code == "interpolate":
                    lines.extend(self._interpolate(k, a[0], n))
                else:
                    parts = {f"n{m}": name for m, name in enumerate(n)}
                    if op.code == "rescale":
                        for name in ("limit", "multiplier"):
                            parts[name] = part("vectors", plan.vectors.index(f"{op.name}.{name}"))
                    lines.append(f"v{k} = {_VALUES[op.code].format(*a, **parts)}")
                known[k] = f"v{k}"
            self._leave(k, read, array, scalars, lines)
        self.out.loop({**arrays, **scalars}, lines)

    def _interpolate(self, k: int, v: str, n: list[str]) -> list[str]:
        """`operators.interpolate`, line by line; an unsigned index needs no test for a negative one."""
        index = [name for name, _ in self.plan.tables].index(self.plan.ops[k].name)
        segments, table = len(self.plan.tables[index][1]) - 1, f"TABLE_{index}"
        return [
            f"reach = shift_right(shift_left(i32({segments}), {n[0]}), i32(1))",
            f"u = i32(min(max({v}, i32(-reach)), i32(reach - i32(1))) + reach)",
            f"k = shift_right(u, {n[0]})",
            f"r = i32(u - shift_left(k, {n[0]}))",
            f"low, high = {table}[np.uint32(k)], {table}[np.uint32(k) + np.uint32(1)]",
            f"v{k} = round_shift(i32(shift_left(low, {n[0]}) + i32(i32(high - low) * r)), i32({n[0]} + {n[1]}))",
        ]

    def _leave(
        self, k: int, read: Callable[[int], str], array: Callable[[str, str], str], scalars: dict[str, str], lines: list[str]
    ) -> None:
        """What others want of operator k: later phases, rows, the next step, the next layer, and the float tape."""
        plan = self.plan
        if k in self.crossing:
            lines.append(f"{array(f'kept_{k}', f'kept_{k}')} = {read(k)}")
        if k in self.made_sources:
            lines.append(f"{array(f'made_{k}', f'made_{k}')} = {read(k)}")
        for state, update in enumerate(plan.updates):
            if update == k:
                lines.append(f"{array(f'new_{state}', f'now[new, {state}]')} = {read(k)}")
        if k == plan.output and k not in plan.updates:
            lines.append(f"{array('out', 'outputs[t]')} = {read(k)}")
        for m, (slot, op, per_unit) in enumerate(plan.kept):
            if op == k and plan.ops[op].code != "row":
                if per_unit:
                    scale = array(f"scales_{m}", self._part("all_scales", m))
                else:
                    scale, scalars[f"scale_{m}"] = f"scale_{m}", f"scales[{m}, 0]"
                lines.append(f"{array(f'tape_{slot}', f'tape[t, {slot}]')} = f({read(k)}) * {scale}")
