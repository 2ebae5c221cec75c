"""Numba source of a layer's float forward pass and of its backward pass, from one walk over the cell's dataflow.

    forward(x, weights, initial, tape, states, noise, sharpness)
    backward(x, weights, tape, states, d_output, penalty, mask, slope, d_rows, gradient, d_x)

x, d_x: [time, inputs, batch]; weights, gradient: one vector in the order of `parameters.layout`; initial: [states, units];
tape, states, d_rows: see `plan`; d_output: [time, units * batch]; penalty: [gates] added to the adjoint of each gate where mask
([time or 1, units * batch]) says so; slope: of the surrogate of threshold gates, or k of soft ones;
noise: [time or 1, threshold gates, units * batch] and sharpness: k of noisy and soft thresholds (see `Plan.thresholds`);
d_x may have no steps when it is not wanted.

The loops over j run over all units and sequences at once, and LLVM vectorizes them.
"""

from __future__ import annotations

from functools import cache

from edge_lstm.train.derivatives import derivative, number, soft_threshold, soft_threshold_derivative, value
from edge_lstm.train.plan import Plan
from edge_lstm.train.source import Source


@cache
def forward_source(plan: Plan, dtype: str) -> str:
    """Text of `forward` for weights of `dtype` (float32 or float64)."""
    out = Source(dtype)
    with out.block("def forward(x, weights, initial, tape, states, noise, sharpness):"):
        out("steps, inputs, batch = x.shape")
        out("units = initial.shape[1]")
        out("size = units * batch")
        write_weights(plan, out)
        for k, name in enumerate(plan.cell.states):
            out(f"states[{k}, 0, :] = spread(initial[{k}], batch)  # {name}")
        for k in range(len(plan.groups)):
            out(f"bias_{k} = spread(b_{k}, batch)")
        with out.block("for t in range(steps):"):
            if plan.noisy:
                out("noise_t = noise[min(t, noise.shape[0] - 1)]")
            for phase in range(max(plan.phases) + 1):
                for group in _groups(plan, phase):
                    _write_rows(plan, out, group)
                _write_forward_loop(plan, out, phase)
    return out.text


@cache
def backward_source(plan: Plan, dtype: str) -> str:
    """Text of `backward`, the exact gradient of `forward` (surrogates for thresholds)."""
    out = Source(dtype)
    with out.block("def backward(x, weights, tape, states, d_output, penalty, mask, slope, d_rows, gradient, d_x):"):
        out("steps, inputs, batch = x.shape")
        out("size = states.shape[2]")
        out("units = size // batch")
        write_weights(plan, out)
        for k, group in enumerate(plan.groups):
            for source in range(len(plan.cell.ops[group[0]].args)):
                out(f"RT_{k}_{source} = np.ascontiguousarray(R_{k}_{source}.T)")
            if _reads_input(plan, group):
                out(f"WT_{k} = np.ascontiguousarray(W_{k}.T)")
        out(f"d_states = np.zeros(({len(plan.cell.states)}, size), x.dtype)")
        out("d_before = np.zeros_like(d_states)")
        for k in sorted(plan.crossing):
            out(f"d_cross_{k} = np.zeros(size, x.dtype)")
        for name in plan.cell.parameters:
            out(f"d_{name} = np.zeros(size, x.dtype)")
        with out.block("for t in range(steps - 1, -1, -1):"):
            out("d_before[:] = 0")
            for k in sorted(plan.crossing):
                out(f"d_cross_{k}[:] = 0")
            out("mask_t = mask[min(t, mask.shape[0] - 1)]")
            for phase in range(max(plan.phases), -1, -1):
                _write_backward_loop(plan, out, phase)
                for k in _groups(plan, phase):
                    _write_row_adjoints(plan, out, k)
            out("d_states, d_before = d_before, d_states")
        _write_weight_gradients(plan, out)
    return out.text


def write_weights(plan: Plan, out: Source) -> None:
    """Names the parts of `weights`: W_k, R_k_s, b_k of group k, and each parameter spread over the batch."""
    out("o = 0")
    for k, group in enumerate(plan.groups):
        if _reads_input(plan, group):
            _write_part(out, f"W_{k}", f"{len(group)} * units", "inputs")
        for source in range(len(plan.cell.ops[group[0]].args)):
            _write_part(out, f"R_{k}_{source}", f"{len(group)} * units", "units")
        _write_part(out, f"b_{k}", f"{len(group)} * units")
    for name in plan.cell.parameters:
        _write_part(out, f"plain_{name}", "units")
        out(f"{name} = spread(plain_{name}, batch)")


def _write_part(out: Source, name: str, rows: str, columns: str = "") -> None:
    size = f"{rows} * {columns}" if columns else rows
    out(f"{name} = weights[o : o + {size}]" + (f".reshape({rows}, {columns})" if columns else ""))
    out(f"o += {size}")


def _groups(plan: Plan, phase: int) -> list[int]:
    return [k for k, group in enumerate(plan.groups) if plan.phases[group[0]] == phase]


def _reads_input(plan: Plan, group: tuple[int, ...]) -> bool:
    return plan.cell.row(plan.cell.ops[group[0]].name).input


def _has_bias(plan: Plan, group: tuple[int, ...]) -> bool:
    return plan.cell.row(plan.cell.ops[group[0]].name).bias


def _write_rows(plan: Plan, out: Source, k: int) -> None:
    """The products of group k, onto its biases."""
    group = plan.groups[k]
    first = plan.slots[group[0]]
    out(f"a = tape[t, {first} : {first + len(group)}].reshape({len(group)} * size)")
    out(f"a[:] = bias_{k}")
    out(f"rows = a.reshape({len(group)} * units, batch)")
    if _reads_input(plan, group):
        out(f"accumulate(rows, W_{k}, x[t])")
    for source, op in enumerate(plan.cell.ops[group[0]].args):
        out(f"accumulate(rows, R_{k}_{source}, {_place(plan, op)}.reshape(units, batch))")


def _place(plan: Plan, op: int, step: str = "t") -> str:
    """Where the value of `op` at step t is kept: a vector over units * batch."""
    if plan.cell.ops[op].code == "state":
        return f"states[{plan.cell.states.index(plan.cell.ops[op].name)}, {step}]"
    if op in plan.updated_by:
        return f"states[{plan.updated_by[op][0]}, {step} + 1]"
    return f"tape[{step}, {plan.slots[op]}]"


class _Loop:
    """The body of one loop over all units and sequences, and the arrays that it reads and writes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arrays: dict[str, str] = {}
        self.scalars: dict[str, str] = {}
        self.lines: list[str] = []
        self.values: dict[int, str] = {}

    def array(self, name: str, place: str) -> str:
        """Element j of the array at `place`, called `name` outside the loop unless it has a name already.

        One name for one array: LLVM tests that arrays of different names do not overlap, and leaves the loop scalar where they do.
        """
        return f"{self.arrays.setdefault(place, name)}[j]"

    def read(self, op: int) -> str:
        """Variable with the value of operator `op`: kept by the forward pass, or cheap to compute anew from what was kept."""
        if op not in self.values:
            node = self.plan.cell.ops[op]
            if node.code == "parameter":
                text = self.array(f"p_{node.name}", node.name)
            elif node.code == "state" or op in self.plan.updated_by or op in self.plan.saved:
                text = self.array(f"at_{op}", _place(self.plan, op))
            elif node.code == "activate" and self.plan.is_threshold(op):  # a hard one: others are kept
                text = value(self.plan.activation(op), self.read(node.args[0]))
            elif node.code in _ARITHMETIC:
                text = _ARITHMETIC[node.code].format(*(self.read(a) for a in node.args))
            else:
                raise AssertionError(f"{node.code} {node.name} was not kept")
            self.assign(op, text)
        return self.values[op]

    def assign(self, op: int, text: str) -> None:
        self.values[op] = f"v{op}"
        self.lines.append(f"v{op} = {text}")

    def scalar(self, name: str, text: str) -> str:
        """A number that is the same for all elements."""
        self.scalars[name] = text
        return name

    def write(self, out: Source) -> None:
        arguments = {name: place for place, name in self.arrays.items()}
        out.loop({**arguments, **self.scalars}, self.lines)


_ARITHMETIC = {"add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "complement": "f(1) - {0}"}


def _write_forward_loop(plan: Plan, out: Source, phase: int) -> None:
    loop = _Loop(plan)
    for k, op in enumerate(plan.cell.ops):
        if plan.phases[k] != phase or op.code in ("state", "parameter"):
            continue
        if op.code == "row":
            loop.assign(k, loop.array(f"at_{k}", _place(plan, k)))
            continue
        if op.code == "activate":
            x = loop.read(op.args[0])
            if plan.is_clipped(k):
                loop.lines.append(f"x{k} = min(max({x}, {number(-(plan.clip or 0))}), {number(plan.clip or 0)})")
                x = f"x{k}"
            if k in plan.noisy:
                loop.lines.append(f"z{k} = {x} + {loop.array(f'noise_{k}', f'noise_t[{plan.noisy.index(k)}]')}")
                x = f"z{k}"
            if plan.is_soft(k):
                loop.assign(k, soft_threshold(x, loop.scalar("sharpness", "sharpness")))
            else:
                loop.assign(k, value(plan.activation(k), x))
        else:
            loop.assign(k, _ARITHMETIC[op.code].format(*(loop.read(a) for a in op.args)))
        if k in plan.slots:
            loop.lines.append(f"{loop.array(f'to_{k}', f'tape[t, {plan.slots[k]}]')} = v{k}")
        for state in plan.updated_by.get(k, ()):
            loop.lines.append(f"{loop.array(f'new_{state}', f'states[{state}, t + 1]')} = v{k}")
    loop.write(out)


class _AdjointLoop(_Loop):
    """The reverse of a forward loop: from the adjoints of what the loop made to those of what it read."""

    def __init__(self, plan: Plan, phase: int) -> None:
        super().__init__(plan)
        self.phase = phase
        self.terms: dict[int, list[str]] = {}
        output = plan.cell.states.index(plan.cell.output)
        for k in range(len(plan.cell.ops)):
            if plan.phases[k] != phase:
                continue
            self.terms[k] = [self.array(f"d_state_{s}", f"d_states[{s}]") for s in plan.updated_by.get(k, ())]
            if output in plan.updated_by.get(k, ()):
                self.terms[k].append(self.array("d_out", "d_output[t]"))
            if k in plan.crossing:
                self.terms[k].append(self.array(f"d_cross_{k}", f"d_cross_{k}"))

    def give(self, op: int, term: str) -> None:
        """Adds `term` to the adjoint of `op`."""
        node = self.plan.cell.ops[op]
        if node.code == "state":
            state = self.plan.cell.states.index(node.name)
            self.lines.append(f"{self.array(f'd_before_{state}', f'd_before[{state}]')} += {term}")
        elif node.code == "parameter":
            self.lines.append(f"{self.array(f'd_{node.name}', f'd_{node.name}')} += {term}")
        elif self.plan.phases[op] < self.phase:
            self.lines.append(f"{self.array(f'd_cross_{op}', f'd_cross_{op}')} += {term}")
        else:
            self.terms[op].append(term)

    def reverse(self, op: int) -> None:
        node = self.plan.cell.ops[op]
        if node.code == "activate" and node.name in self.plan.cell.gates:
            cost = self.scalar(f"penalty_{node.name}", f"penalty[{self.plan.cell.gates.index(node.name)}]")
            self.terms[op].append(f"{cost} * {self.array('counted', 'mask_t')}")
        self.lines.append(f"d{op} = {' + '.join(self.terms[op]) or 'f(0)'}")
        if node.code == "row":
            self.lines.append(f"{self.array(f'd_row_{op}', f'd_rows[t, {self.plan.slots[op]}]')} = d{op}")
        elif node.code == "activate":
            self.give(node.args[0], f"d{op} * ({self._derivative(op)})")
        elif node.code == "multiply":
            a, b = node.args
            self.give(a, f"d{op} * {self.read(b)}")
            self.give(b, f"d{op} * {self.read(a)}")
        else:
            for sign, argument in zip({"add": ("", ""), "subtract": ("", "-"), "complement": ("-",)}[node.code], node.args, strict=True):
                self.give(argument, f"{sign}d{op}")

    def _derivative(self, op: int) -> str:
        kind = self.plan.activation(op)
        if kind.kind in ("threshold", "three_level"):
            self.scalar("slope", "slope")
        argument = self.read(self.plan.cell.ops[op].args[0]) if self.plan.needs_argument(op) else ""
        if self.plan.is_soft(op):
            text = soft_threshold_derivative(self.read(op), "slope")
        else:
            text = derivative(kind, argument, "" if self.plan.is_threshold(op) else self.read(op))
        return f"({text}) if abs({argument}) < {number(self.plan.clip or 0)} else f(0)" if self.plan.is_clipped(op) else text


def _write_backward_loop(plan: Plan, out: Source, phase: int) -> None:
    loop = _AdjointLoop(plan, phase)
    for k in reversed(range(len(plan.cell.ops))):
        if plan.phases[k] == phase and plan.cell.ops[k].code not in ("state", "parameter"):
            loop.reverse(k)
    loop.write(out)


def _write_row_adjoints(plan: Plan, out: Source, k: int) -> None:
    """From the adjoints of the rows of group k to those of the vectors that they read."""
    group = plan.groups[k]
    first = plan.slots[group[0]]
    out(f"rows = d_rows[t, {first} : {first + len(group)}].reshape({len(group)} * units, batch)")
    for source, op in enumerate(() if plan.truncated else plan.cell.ops[group[0]].args):
        node = plan.cell.ops[op]
        target = f"d_before[{plan.cell.states.index(node.name)}]" if node.code == "state" else f"d_cross_{op}"
        out(f"accumulate({target}.reshape(units, batch), RT_{k}_{source}, rows)")
    if _reads_input(plan, group):
        with out.block("if d_x.shape[0] > 0:"):
            out(f"accumulate(d_x[t], WT_{k}, rows)")


def _write_weight_gradients(plan: Plan, out: Source) -> None:
    """The gradients of all weights from the adjoints of the rows at all steps."""
    out("o = 0")
    out("d = d_rows.reshape(steps, d_rows.shape[1] * units, batch)")
    for group in plan.groups:
        height, first = f"{len(group)} * units", f"{plan.slots[group[0]]} * units"
        if _reads_input(plan, group):
            out(f"accumulate_outer(gradient[o : o + {height} * inputs].reshape({height}, inputs), d, {first}, x, 0)")
            out(f"o += {height} * inputs")
        for source in plan.cell.ops[group[0]].args:
            node, start = plan.cell.ops[source], "0"
            if node.code == "state":
                values = f"states[{plan.cell.states.index(node.name)}, :steps].reshape(steps, units, batch)"
            elif source in plan.updated_by:
                values = f"states[{plan.updated_by[source][0]}, 1:].reshape(steps, units, batch)"
            else:
                values, start = "tape.reshape(steps, tape.shape[1] * units, batch)", f"{plan.slots[source]} * units"
            out(f"accumulate_outer(gradient[o : o + {height} * units].reshape({height}, units), d, {first}, {values}, {start})")
            out(f"o += {height} * units")
        if _has_bias(plan, group):  # else the zeros stay
            out(f"accumulate_sum(gradient[o : o + {height}], d, {first})")
        out(f"o += {height}")
    for name in plan.cell.parameters:
        out(f"accumulate_sum(gradient[o : o + units], d_{name}.reshape(1, units, batch), 0)")
        out("o += units")
