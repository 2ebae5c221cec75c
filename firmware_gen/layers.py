"""One recurrent layer as C text: the passes over its units, statement by statement."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from firmware_gen.activity import LayerActivity
from firmware_gen.choice import Choice
from firmware_gen.column_text import column_text
from firmware_gen.columns import Plan, plan_columns
from firmware_gen.expressions import CONDITION, EXPRESSION, PRODUCT, SUM, UNARY, Expression, LayerNames, as_number, condition, number
from firmware_gen.feed_forward import dot_of_input
from firmware_gen.layer_text import LayerText, Pass
from firmware_gen.names import identifier
from firmware_gen.saturation import clips_behind_gates, common_clamp
from firmware_gen.schedule import Path, Schedule, schedule, stored_as_read
from firmware_gen.simplify import Constant, Dataflow, Value, simplify
from firmware_gen.tables import WIDTH, Tables, signed_type
from firmware_gen.vectors import obstacle, vector_text

STORED_VIEW = ("clip", "shift", "raise", "offset", "complement")  # operators that need nothing but a stored number
LONGEST_OPERAND = 20  # characters
LONGEST = 3  # operators in one expression before it is split into statements
INDENT = "    "
SELDOM = "const uint_fast16_t v"  # the unit, behind a gate that is seldom open
# Names of values that are one other value, changed.
PARTICIPLE = {
    "select": "gated_", "complement": "one_minus_", "shift": "rounded_", "rescale": "scaled_", "clip": "clipped_", "raise": "raised_",
}  # fmt: skip
RESERVED = {
    "u", "v", "x", "y", "state", "first", "columns", "end", "excess", "listed", "nonzero", "sums", "total", "totals", "values",
}  # taken  # fmt: skip
RESERVED_FIELDS = {"sum", "block", "samples", "steps", "output"}  # and that the struct has


def layer_text(
    layer: IntegerRecurrent, tables: Tables, infix: str, choice: Choice, running_sum: str | None = None,
    *, vectors: bool = True, activity: LayerActivity | None = None,
) -> LayerText:  # fmt: skip
    """The C of `layer`; its constants are added to `tables`.

    choice: how its rows are summed; running_sum: C type of the sum of its output over the steps, if it is the one that a mean reads;
    vectors: whether it is written for cores with vectors, too; activity: what it does on data, None to assume it.
    """
    return _Writer(layer, tables, infix, choice, running_sum, vectors, activity).write()


def _field_name(state: str, layer: str) -> str:
    name = identifier(state)
    return f"{name}_{layer}" if name in RESERVED_FIELDS else f"{name}{layer}"


def _at_the_same(inner: list[str], text: str) -> str:
    """`text` behind the gate that `inner` is behind, with the unit by the name that it has there."""
    return text.replace("[u]", "[v]") if inner and inner[0].lstrip().startswith(SELDOM) else text


class _Writer:
    def __init__(
        self, layer: IntegerRecurrent, tables: Tables, infix: str, choice: Choice, running_sum: str | None, vectors: bool,
        activity: LayerActivity | None,
    ):  # fmt: skip
        self.layer, self.tables, self.infix, self.choice, self.running_sum = layer, tables, infix, choice, running_sum
        self.number = infix.strip("_").removeprefix("layer")
        self.fields = {s.name: (f"int{s.bits}_t", _field_name(s.name, self.number)) for s in layer.states}
        self.view = self._view()
        self.flow: Dataflow = simplify(layer, with_output=self.view is None)
        self.column_plan: Plan = plan_columns(
            self.flow, schedule(self.flow), choice.strategy, choice.lists_x, choice.lists_lazy, choice.few, choice.tables
        )  # fmt: skip
        by_columns = frozenset(index for group in self.column_plan.groups for index in (*group.rows, *group.lazy))
        joints = [joint for group in self.column_plan.groups for joint in group.joints]
        self.joined = {joint.add: self.flow.ops[joint.of_input].name for joint in joints}  # sum of two rows -> the first one's name
        self.unwritten = {index for joint in joints for index in joint.absorbed}
        self.plan: Schedule = schedule(self.flow, by_columns)
        rescalings = [index for index, op in self.flow.ops.items() if op.code == "rescale" and index not in self.plan.arrays]
        clamps = {self.flow.ops[index].name: common_clamp(self.flow, index) for index in rescalings}
        common = {name: clamp for name, clamp in clamps.items() if clamp is not None}
        self.names = LayerNames(layer, tables, infix, self._row_of, common)
        self.statements = self._statements()
        self.local: dict[int, str] = {}
        self.absorbed = clips_behind_gates(self.flow, self.plan, self.statements)
        self._name_everything()
        self.columns = column_text(self.column_plan, self.flow, choice.strategy, self.names, self.number, self._vector)
        own = (self.flow, schedule(self.flow), self.names, self.fields, running_sum, self.view, f"output{self.number}", activity)
        self.obstacle = obstacle(self.flow) if vectors else ""
        self.vectors = vector_text(*own) if vectors and not self.obstacle else None

    def write(self) -> LayerText:
        passes = [list(self._block(p, (), INDENT * 2)) for p in range(self.plan.passes)]
        buffers = []
        for state, value in self.flow.updates.items():
            kind, name = self.fields[state]
            target = f"state->{name}[u]"
            if state in self.plan.buffered:
                buffers.append((name, f"next_{name}"))
                target = f"next_{name}[u]"
            passes[-1].append(f"{INDENT * 2}{target} = {self._stored(self._value(value), kind)};")
        arrays = [(signed_type(*self.flow.range[i]), self.local[i]) for i in self.plan.arrays]
        arrays += [(self.fields[s][0], f"next_{self.fields[s][1]}") for s in self.plan.buffered]
        output, output_field = self._output()
        if self.flow.output is not None:
            passes[-1].append(f"{INDENT * 2}{output} = {self._stored(self._value(self.flow.output), 'int8_t')};")
        passes[-1] += self._summed(output)
        return LayerText(
            self.infix, self.layer, self.flow, self._passes(passes), tuple(arrays), self.fields, tuple(buffers), output, output_field,
            self.flow.output is not None, tuple(op.name for i, op in self.flow.ops.items() if op.code == "row" and self.plan.lazy[i]),
            self.choice, self.columns, self.column_plan, self.vectors, self.obstacle,
        )  # fmt: skip

    def _passes(self, bodies: list[list[str]]) -> tuple[Pass, ...]:
        before, first, last = self.columns.before, self.columns.first, self.columns.last
        ends = [[f"{INDENT * 2}{line}" for line in last.get(p, ())] for p in range(len(bodies))]
        return tuple(Pass(before.get(p, ()), first.get(p, ()), (*body, *ends[p])) for p, body in enumerate(bodies))

    def _summed(self, output: str) -> list[str]:
        """The sum of the output over the steps. An output behind a threshold gate is mostly 0, which needs no addition."""
        if self.running_sum is None:
            return []
        update = next((v for s, v in self.flow.updates.items() if output == f"state->{self.fields[s][1]}[u]"), None)
        value, indent = output, INDENT * 2
        for state in self.plan.buffered:
            name = self.fields[state][1]
            value = value.replace(f"state->{name}[u]", f"next_{name}[u]")
        if isinstance(update, int) and update in self.local and update not in self.plan.arrays:
            value = self.local[update]
        add = f"state->sum[u] = ({self.running_sum})(state->sum[u] + {value});"
        if isinstance(update, int) and self.flow.ops[update].code == "select":
            return [f"{indent}if ({value} != 0) {{", f"{indent}{INDENT}{add}", f"{indent}}}"]
        return [f"{indent}{add}"]

    # ---- what the next layer sees -------------------------------------------------------------------------------------------

    def _view(self) -> list[int] | None:
        """The operators between a stored state and the output, innermost first; None if the output is not a function of one state."""
        chain: list[int] = []
        index, stored = self.layer.output, {s.update for s in self.layer.states}
        while index not in stored:
            op = self.layer.ops[index]
            if op.code not in STORED_VIEW:
                return None
            chain.insert(0, index)
            (index,) = op.args
        return chain

    def _output(self) -> tuple[str, str | None]:
        if self.view is None:
            name = f"output{self.infix.strip('_').removeprefix('layer')}"
            return f"state->{name}[u]", name
        first = self.view[0] if self.view else None
        source = self.layer.output if first is None else self.layer.ops[first].args[0]
        state = next(s for s in self.layer.states if s.update == source)
        kind, name = self.fields[state.name]
        text = Expression(f"state->{name}[u]")
        for index in self.view:
            text = EXPRESSION[self.layer.ops[index].code](self.layer.ops[index], [text], self.names)
        return text.text, name if not self.view and kind == "int8_t" else None

    # ---- names --------------------------------------------------------------------------------------------------------------

    def _row_of(self, op: IntOp) -> str:
        """The row that an operator is computed from, for names; its own code if there is none, or more than one."""
        rows, pending = set(), [op]
        while pending:
            current = pending.pop()
            name = next((name for add, name in self.joined.items() if self.layer.ops[add] == current), "")
            if current.code == "row" or name:
                rows.add(name or current.name)
            else:
                pending += [self.layer.ops[a] for a in current.args]
        return rows.pop() if len(rows) == 1 else op.code

    def _name_everything(self) -> None:
        updates = {v: s for s, v in reversed(self.flow.updates.items()) if isinstance(v, int)}
        taken = RESERVED | {f"next_{name}" for _, name in self.fields.values()}
        for index in self.flow.ops:
            if index in self.statements:
                wanted = f"new_{updates[index]}" if index in updates and self.flow.ops[index].code != "state" else self._wanted_name(index)
                name, again = identifier(wanted), 2
                while name in taken:
                    name, again = identifier(f"{wanted}{again}"), again + 1
                taken.add(name)
                self.local[index] = name

    def _wanted_name(self, index: int) -> str:
        op, args = self.flow.ops[index], self.flow.args[index]
        of = next((self.local.get(a) or self._wanted_name(a) for a in reversed(args) if isinstance(a, int)), op.code)
        row = self._row_of(op)
        gates = [role for role, kind in self.layer.activations.items() if kind in ("threshold", "three_level")]
        role = row if row in self.layer.activations else gates[0] if len(gates) == 1 else "gate"
        role = "gate" if role in self.fields else role
        if op.code in ("state", "vector"):
            return op.name
        if op.code == "row" or index in self.joined:
            return f"a_{self.joined.get(index, op.name)}"
        if op.code == "interpolate":
            role = next((r for r in sorted(self.layer.activations, key=len, reverse=True) if op.name.startswith(f"{r}_")), "curve")
            return role if role not in self.fields else "squashed"
        if op.code == "positive" or self._is_gate(index):
            return role
        if op.code == "multiply" and all(isinstance(a, int) and a in self.local for a in args):
            return "_".join(self.local[a] for a in args if isinstance(a, int))
        if op.code in PARTICIPLE:
            return PARTICIPLE[op.code] + re.sub(r"^(a_|new_)", "", of)
        return {"add": "sum", "subtract": "difference", "multiply": "product"}.get(op.code, op.code)

    def _is_gate(self, index: int) -> bool:
        """True for a gate that is more than the sign of a row: three levels, a hard sigmoid, a threshold of a sum."""
        op, args = self.flow.ops[index], self.flow.args[index]
        codes = [self.flow.ops[a].code for a in args if isinstance(a, int)]
        if op.code == "positive":
            return codes != ["row"] and not all(self._is_gate(user) for user in self.flow.users(index))
        if op.code == "add":
            return codes == ["positive", "positive"]
        return op.code == "clip" and op.numbers[0] == 0 and codes == ["offset"]

    # ---- statements ---------------------------------------------------------------------------------------------------------

    def _statements(self) -> set[int]:
        """The operators that get a variable (or array) of their own; the others are written where they are used."""
        chosen: set[int] = set(self.plan.arrays) | set(self.flow.roots())
        size: dict[int, int] = {}
        for index, op in self.flow.ops.items():
            if index in self.unwritten:
                size[index] = 0
                continue
            inline = [a for a in self.flow.args[index] if isinstance(a, int) and a not in chosen and op.code != "row"]
            size[index] = (op.code not in ("state", "vector", "positive", "select")) + sum(size[a] for a in inline)
            users = self.flow.users(index)
            feeds_select = len(users) == 1 and self.flow.ops[users[0]].code == "select"
            elementary = op.code in ("row", "state") or (op.code == "interpolate" and not feeds_select) or self._is_gate(index)
            elementary |= index in self.joined
            repeated = len(users) > 1 and op.code != "vector"
            only_as_vector = op.code == "state" and all(self.flow.ops[user].code == "row" for user in users)
            if not only_as_vector and (elementary or repeated or size[index] > LONGEST):
                chosen.add(index)
        for index in reversed(self.flow.ops):
            if index in chosen and self.plan.lazy[index]:
                chosen.add(self.plan.lazy[index][-1])  # its select becomes an if statement
        return chosen

    def _in_pass(self, index: int, p: int) -> bool:
        """Whether the operator has a statement in pass p: in its own, and for what is simply read again, in each that uses it."""
        if index not in self.statements:
            return False
        if self.flow.ops[index].code in ("state", "vector") and index not in self.plan.arrays:
            return any(self.plan.pass_of[user] == p for user in self.flow.users(index) if self.flow.ops[user].code != "row") or (
                index in self.flow.roots() and p == self.plan.passes - 1
            )
        return self.plan.pass_of[index] == p

    def _block(self, p: int, path: Path, indent: str) -> Iterator[str]:
        """The statements of pass p that are needed where all selects of `path` are open."""
        for index, op in self.flow.ops.items():
            if not self._in_pass(index, p) or self.plan.lazy[index] != path:
                continue
            name = self.local[index]
            inner = self._behind_gate(index, p, path, indent + INDENT) if op.code == "select" else []
            if inner and index in self.absorbed:
                continue
            if index in self.absorbed.values():
                yield from self._clip_where_open(index, p, path, indent)
            elif inner:
                gate, value = (self._value(a) for a in self.flow.args[index])
                declared = f"{name}_u" if index in self.plan.arrays else name
                yield f"{indent}int32_t {declared} = 0;"
                yield f"{indent}if ({condition(gate)}) {{"
                yield from inner
                yield _at_the_same(inner, f"{indent}{INDENT}{declared} = {as_number(value).text};")
                yield f"{indent}}}"
                if index in self.plan.arrays:
                    yield f"{indent}{name}[u] = {self._stored(Expression(declared), signed_type(*self.flow.range[index]))};"
            elif index in self.plan.arrays:
                yield f"{indent}{name}[u] = {self._stored(self._expression(index), signed_type(*self.flow.range[index]))};"
            else:
                line = f"{indent}const int32_t {name} = {as_number(self._expression(index)).text};"
                yield line if len(line) <= WIDTH or op.code != "row" else line.replace(" + ", f"\n{indent}{INDENT * 2}+ ")

    def _behind_gate(self, select: int, p: int, path: Path, indent: str) -> list[str]:
        """The statements that are needed only where a select is open. Where a row is among them, the compiler is kept from stepping
        through all tables along with the units: an address is worked out where it is needed, as that is seldom."""
        lines = list(self._block(p, (*path, select), indent))
        rows = [index for index, op in self.flow.ops.items() if op.code == "row" and index in self.statements]
        if not path and any(self.plan.lazy[index][:1] == (select,) and self.plan.pass_of[index] == p for index in rows):
            declared = f"{indent}{SELDOM} = {self.tables.prefix}_seldom(u);"
            lines = [declared, *(_at_the_same([declared], line) for line in lines)]
        return lines

    def _clip_where_open(self, clip: int, p: int, path: Path, indent: str) -> Iterator[str]:
        select = next(s for s, c in self.absorbed.items() if c == clip)
        (total,) = self.flow.args[clip]
        assert isinstance(total, int)
        other = next(a for a in self.flow.args[total] if a != select)
        gate, value = (self._value(a) for a in self.flow.args[select])
        name = self.local[clip]
        yield f"{indent}int32_t {name} = {as_number(self._value(other)).text};"
        yield f"{indent}if ({condition(gate)}) {{"
        inner = self._behind_gate(select, p, path, indent + INDENT)
        yield from inner
        added = _at_the_same(inner, as_number(value).within(PRODUCT))
        if len(added) > LONGEST_OPERAND:
            yield f"{indent}{INDENT}const int32_t {self.local[select]} = {added};"
            added = self.local[select]
        sum_of_both = Expression(f"{name} + {added}", SUM)
        yield f"{indent}{INDENT}{name} = {EXPRESSION['clip'](self.flow.ops[clip], [sum_of_both], self.names).text};"
        yield f"{indent}}}"

    def _stored(self, value: Expression, kind: str) -> str:
        text = as_number(value)
        return text.text if kind == "int32_t" else f"({kind}){text.within(UNARY)}"

    def _value(self, value: Value) -> Expression:
        if isinstance(value, Constant):
            return number(value.value)
        if value in self.plan.arrays:
            return Expression(f"(int32_t){self.local[value]}[u]", UNARY)
        if value in self.statements:
            return Expression(self.local[value])
        return self._expression(value)

    def _expression(self, index: int) -> Expression:
        op = self.flow.ops[index]
        if index in self.columns.value:
            return self.columns.value[index]
        if op.code == "state":
            return Expression(f"state->{self.fields[op.name][1]}[u]")
        if op.code == "row":
            return self._row(index)
        if op.code == "complement" and self._is_closed(index):
            return self._closed(index)
        arguments = [self._value(a) for a in self.flow.args[index]]
        arguments = [a if op.code == "select" and k == 0 else as_number(a) for k, a in enumerate(arguments)]
        return EXPRESSION[op.code](op, arguments, self.names)

    def _closed(self, index: int) -> Expression:
        """1 - gate for a threshold gate: whether it is closed."""
        gate = self.flow.args[index][0]
        if gate in self.statements:
            return Expression(f"{self._value(gate).text} == 0", CONDITION)
        assert isinstance(gate, int)
        (preactivation,) = self.flow.args[gate]
        return Expression(f"{as_number(self._value(preactivation)).within(SUM)} <= 0", CONDITION)

    def _is_closed(self, index: int) -> bool:
        op, (gate, *_) = self.flow.ops[index], self.flow.args[index]
        return op.code == "complement" and op.numbers == (1,) and isinstance(gate, int) and self.flow.ops[gate].code == "positive"

    def _row(self, index: int) -> Expression:
        op, args = self.flow.ops[index], self.flow.args[index]
        row, prefix, units = self.layer.rows[op.name], self.tables.prefix, f"{self.tables.prefix.upper()}_{self.infix.upper()}UNITS"
        terms = []
        if row.bias.any():
            bias = self.names.add((f"{row.name}_b",), row.bias, f"[units] bias of row {row.name}")
            terms.append(f"{bias}[u]")
        if row.W is not None and row.W.any():
            W, dot = self._weights(f"{row.name}_W", row.W, f"[units][inputs] weights of x in row {row.name}")
            inputs = f"{prefix.upper()}_{self.infix.upper()}INPUTS"
            raised = f" * {2**row.input_shift}" if row.input_shift else ""
            terms.append(dot_of_input(f"{prefix}_{dot}", f"{W}[u]", "x", inputs, self.layer.wide) + raised)
        for k, (source, weights) in enumerate(zip(args, row.R, strict=True)):
            if not weights.any():
                continue
            assert isinstance(source, int), "a source of a row is always kept as a vector"
            vector = self._vector(source)
            which = "" if len(row.R) == 1 else str(k + 1)
            comment = f"[units][units] weights of {vector.removeprefix('state->')} in row {row.name}"
            R, dot = self._weights(f"{row.name}_R{which}", weights, comment)
            terms.append(f"{prefix}_{dot}({R}[u], {vector}, {units})")
        return Expression(" + ".join(terms) or "0", SUM)

    def _weights(self, name: str, values: npt.NDArray[np.int8], comment: str) -> tuple[str, str]:
        """The table of a matrix and the function that sums its rows. Where rows are for the least memory, few bits share a byte."""
        packed = self.choice.strategy == "rows"
        return self.tables.add_weights((self.infix + name,), values, comment, "dot", pack_them=packed)

    def _vector(self, index: int) -> str:
        """The C array that a row reads the values of all units from."""
        if stored_as_read(self.flow, index):
            return f"state->{self.fields[self.flow.ops[index].name][1]}"
        return self.local[index]
