"""Source text of the kernels of a network: one small function for each phase of each layer, written from the integer dataflow.

Every operator has one line in `_OPERATORS`. The text names what it computes, so that it can be read; `edge_lstm.engine.entry_points`
adds the functions that Python calls.
"""

from __future__ import annotations

from edge_lstm.engine.entry_points import ENTRY_POINTS
from edge_lstm.engine.layout import LANES, LINE, NETWORK_SLOTS, PERMUTED_SEGMENTS, LayerStructure, Structure, Target
from edge_lstm.engine.plan import Phase
from edge_lstm.fixed_point.integer_network import IntOp

_VECTORS = (
    "add, bit_and, dot_pairs, dot_quads, lane_at, lanes_at, lanes_of_bytes, lanes_of_words, line_of_pair, load_i8, load_i16, load_i32, load_i64, "
    "lookup, lookup64, maximum, minimum, multiply, pair_sources, pair_weights, positive, quad_sources, quad_weights, select, shift_left, "
    "shift_right, splat, store_as_bytes, store_as_words, store_i8, store_i16, store_i32, store_i64, store_lanes, subtract"
)

_OPERATORS: dict[str, str] = {
    "positive": "positive({0})",
    "select": "select({0}, {1})",
    "add": "add({0}, {1})",
    "subtract": "subtract({0}, {1})",
    "offset": "add({0}, {offset})",
    "clip": "minimum(maximum({0}, {low}), {high})",
    "rescale": "shift_right(add(multiply(minimum(maximum({0}, {low}), {high}), {multiplier}), {half}), {shift})",
    "multiply": "shift_right(add(multiply({0}, {1}), {half}), {shift})",
    "shift": "shift_right(add({0}, {half}), {shift})",
    "raise": "shift_left({0}, {shift})",
}


class _LayerText:
    """Writes the functions of one layer. index: its place in the network."""

    def __init__(self, structure: Structure, index: int, target: Target):
        self.structure, self.index, self.target = structure, index, target
        self.layer: LayerStructure = structure.layers[index]
        self.plan = self.layer.plan
        self.dot, self.weights, self.sources, self.store, self.lanes = (
            ("dot_quads", "quad_weights", "quad_sources", "store_as_bytes", "lanes_of_bytes")
            if target.source_bytes == 1
            else ("dot_pairs", "pair_weights", "pair_sources", "store_as_words", "lanes_of_words")
        )

    # ---- places in memory -------------------------------------------------------------------------------------------------

    def slot(self, name: str) -> str:
        return f"load_i64(model + {self.structure.slot(f'{self.index}.{name}')})"

    def number(self, name: str) -> str:
        return f"lane_at(model + {self.structure.number(f'{self.index}.{name}')})"

    def constant(self, name: str) -> str:
        return f"lanes_at(constants + {LINE * self.layer.constant_names.index(name)})"

    def unit(self, name: str) -> str:
        return f"units + {LINE * self.layer.unit_names.index(name)}"

    # ---- one group of sixteen units of one sequence, after its dot products --------------------------------------------------

    def cell(self, p: int, phase: Phase) -> list[str]:
        rows = [f"v{index}" for index in phase.rows]
        lines = ["@inlined", f"def layer{self.index}_phase{p}_cell({', '.join(['model', 'constants', 'units', 'current', 'following', 'segment_bytes', *rows])}):"]
        lines += [f"v{index} = lanes_at({self.unit(f'spill {index}')})" for index in phase.loads]
        for index in phase.ops:
            lines += self.operator(index, self.plan.ops[index])
        lines += [f"store_lanes({self.unit(f'spill {index}')}, v{index})" for index in phase.spills]
        lines += [f"{self.store}(current + {j} * segment_bytes, v{index})" for index, j in phase.computed]
        if p == len(self.plan.phases) - 1:
            lines += [f"store_lanes({self.unit(f'state {name}')}, v{self.plan.updates[name]})" for name in self.plan.stored]
            lines += [f"{self.store}(following + {j} * segment_bytes, v{s.at_end})" for j, s in enumerate(self.plan.segments) if s.at_end is not None]
        return [*lines[:2], *_indented(lines[2:] or ["pass"])]

    def operator(self, index: int, op: IntOp) -> list[str]:
        arguments = [f"v{a}" for a in op.args]
        if op.code == "state":
            text = f"lanes_at({self.unit(f'state {op.name}')})"
        elif op.code == "vector":
            text = self.constant(f"vector {op.name}")
        elif op.code == "complement":
            text = f"subtract(splat({op.numbers[0]}), {arguments[0]})"
        elif op.code == "interpolate":
            return self.interpolate(index, op)
        else:
            places = {what: self.number(f"{index} {what}") for what in ("offset", "low", "high", "shift", "half") if f"{index} {what}" in self.layer.number_names}
            if op.code == "rescale":
                places |= {part: self.constant(f"{op.name}.{part}") for part in ("low", "high", "multiplier")}
            text = _OPERATORS[op.code].format(*arguments, **places)
        return [f"v{index} = {text}"]

    def interpolate(self, index: int, op: IntOp) -> list[str]:
        curve, table = self.layer.curves[op.name], self.slot(f"table {op.name}")
        lookup = "lookup64" if self.target.permutes and curve.segments == PERMUTED_SEGMENTS else "lookup"

        def number(what: str) -> str:
            return self.number(f"{index} {what}")

        u, k = f"u{index}", f"k{index}"
        lines = [
            f"{u} = add(minimum(maximum(v{op.args[0]}, {number('low')}), {number('high')}), {number('reach')})",
            f"{k} = shift_right({u}, {number('segment_shift')})",
        ]
        if curve.paired:
            factors = f"add(shift_left(bit_and({u}, {number('segment_mask')}), splat(16)), {number('segment_one')})"
            line = f"line_of_pair({number('half')}, {lookup}(model + {table}, {k}), {factors})"
        else:
            at = [f"{lookup}(model + {table} + {4 * curve.segments * part}, {k})" for part in (0, 1)]
            rise = f"multiply({at[1]}, bit_and({u}, {number('segment_mask')}))"
            line = f"add(add(shift_left({at[0]}, {number('segment_shift')}), {rise}), {number('half')})"
        return [*lines, f"v{index} = shift_right({line}, {number('shift')})"]

    # ---- dot products of one group for a tile of sequences ---------------------------------------------------------------------

    def tile(self, p: int, phase: Phase, count: int) -> list[str]:
        rows, sequences = range(len(phase.rows)), range(count)
        started: set[int] = set()
        body: list[str] = []

        def finish_start(row: int) -> None:
            """The accumulator of a row gets its bias, once its inputs are in and shifted."""
            bias = f"lanes_at(constants + {LINE * self.layer.constant_names.index(f'bias {self.plan.ops[phase.rows[row]].name}')})"
            body.append(f"b{row} = {bias}")
            for s in sequences:
                shift = self.number(f"input_shift {self.plan.ops[phase.rows[row]].name}")
                body.append(f"a{row}_{s} = add(shift_left(a{row}_{s}, {shift}), b{row})" if row in started else f"a{row}_{s} = b{row}")

        for position, one in enumerate(phase.passes):
            if one.segment is None:
                started |= {row for row, _ in one.rows}
                body += [f"a{row}_{s} = splat(0)" for row, _ in one.rows for s in sequences]
                source, step, tiles = "inputs", "input_stride", "input_tiles"
            else:
                if position == 0 or phase.passes[position - 1].segment is None:
                    for row in rows:
                        finish_start(row)
                source, step, tiles = f"(current + {one.segment} * segment_bytes)", "stride", "unit_tiles"
            body += [f"s{s} = {source} + {s} * {step}" for s in sequences]
            inner = [f"w{row} = {self.weights}(weights + {LINE * k})" for k, (row, _) in enumerate(one.rows)]
            for s in sequences:
                inner.append(f"q = {self.sources}(s{s})")
                inner += [f"a{row}_{s} = {self.dot}(a{row}_{s}, q, w{row})" for row, _ in one.rows]
                inner.append(f"s{s} += 4")
            inner.append(f"weights += {LINE * len(one.rows)}")
            body += [f"for _ in range({tiles}):", *_indented(inner)]
        if not phase.passes or phase.passes[-1].segment is None:
            for row in rows:
                finish_start(row)
        for s in sequences:
            given = ["model", "constants", f"units + {s} * stride", f"current + lanes + {s} * stride", f"following + lanes + {s} * stride", "segment_bytes"]
            body.append(f"layer{self.index}_phase{p}_cell({', '.join([*given, *(f'a{row}_{s}' for row in rows)])})")
        head = f"def layer{self.index}_phase{p}_tile{count}(model, weights, constants, units, current, following, lanes, stride, inputs, input_stride, input_tiles, unit_tiles, segment_bytes):"
        return ["@inlined", head, *_indented(body)]

    # ---- one step of this layer for all sequences of a block ---------------------------------------------------------------------

    def sweep(self, block: bool) -> list[str]:
        """`layerK_block(...)` for many records, `layerK_single(...)` for one."""
        lines = [
            f"groups = {self.slot('groups')}",
            f"segments, units = {self.slot('segments')}, {self.slot('units')}",
            f"half_bytes, segment_bytes = {self.slot('half_bytes')}, {self.slot('segment_bytes')}",
            f"constants = model + {self.slot('constants')}",
            f"input_tiles, unit_tiles = {self.slot('input_tiles')}, {self.slot('unit_tiles')}",
            "current = segments + half_bytes * parity",
            "following = segments + half_bytes * (1 - parity)",
        ]
        for p, phase in enumerate(self.plan.phases):
            tile = self.target.sequences(len(phase.rows)) if block else 1
            call = (
                f"layer{self.index}_phase{p}_tile{{}}(model, weights + group * group_weights, constants + group * {LINE * len(self.layer.constant_names)}, "
                f"record + units + group * {LINE * len(self.layer.unit_names)}, record + current, record + following, group * {LANES * self.target.source_bytes}, "
                "stride, {}, input_stride, input_tiles, unit_tiles, segment_bytes)"
            )
            loop = ["record = records", "source = inputs"]
            if block:
                loop.append("left = count")
                for size in sorted({tile, 1}, reverse=True):
                    loop += [
                        f"while left >= {size}:",
                        *_indented([call.format(size, "source"), f"record += {size} * stride", f"source += {size} * input_stride", f"left -= {size}"]),
                    ]
            else:
                loop.append(call.format(1, "source"))
            # Odd steps visit the groups backwards: what the step before used last is still in the cache.
            lines += [
                f"weights, group_weights = model + {self.slot(f'weights{p}')}, {self.slot(f'group_weights{p}')}",
                "for visit in range(groups):",
                *_indented(["group = groups - 1 - visit if parity else visit", *loop]),
            ]
        name = "block" if block else "single"
        return ["@inlined", f"def layer{self.index}_{name}(model, records, count, stride, parity, inputs, input_stride):", *_indented(lines)]

    def trace(self) -> list[str]:
        """Copies the states after a step into int32 arrays [sequence, step, padded units], one for each state, listed at `table`."""
        lines = [
            f"groups, following = {self.slot('groups')}, records + {self.slot('segments')} + {self.slot('half_bytes')} * (1 - parity)",
            f"units, segment_bytes = records + {self.slot('units')}, {self.slot('segment_bytes')}",
        ]
        for k, name in enumerate(self.plan.updates):
            if name in self.plan.stored:
                value = f"lanes_at(units + s * stride + group * {LINE * len(self.layer.unit_names)} + {LINE * self.layer.unit_names.index(f'state {name}')})"
            else:
                value = f"{self.lanes}(following + s * stride + {self.plan.in_segment[name]} * segment_bytes + group * {LANES * self.target.source_bytes})"
            lines += [
                "for s in range(count):",
                f"    to = load_i64(table + {8 * k}) + ((first + s) * steps + t) * groups * {LINE}",
                "    for group in range(groups):",
                f"        store_lanes(to + group * {LINE}, {value})",
            ]
        return ["@inlined", f"def layer{self.index}_trace(model, records, count, stride, parity, table, first, steps, t):", *_indented(lines)]

    def text(self) -> list[str]:
        lines: list[str] = []
        for p, phase in enumerate(self.plan.phases):
            sizes = sorted({1, self.target.sequences(len(phase.rows))})
            for function in [self.cell(p, phase), *(self.tile(p, phase, size) for size in sizes)]:
                lines += [*function, "", ""]
        for block in (True, False):
            lines += [*self.sweep(block), "", ""]
        return [*lines, *self.trace(), "", ""]


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _advance(structure: Structure, block: bool) -> list[str]:
    """`advance_block` or `advance_single`: one step of all layers, each fed by what the layer before just wrote."""
    name = "block" if block else "single"
    lines = [f"inputs, input_stride = records + load_i64(model + {structure.slot('inputs')}), stride"]
    for k, layer in enumerate(structure.layers):
        lines.append(f"layer{k}_{name}(model, records, count, stride, parity, inputs, input_stride)")
        lines += [
            f"segments = load_i64(model + {structure.slot(f'{k}.segments')}) + (1 - parity) * load_i64(model + {structure.slot(f'{k}.half_bytes')})",
            f"inputs = records + segments + {layer.plan.output} * load_i64(model + {structure.slot(f'{k}.segment_bytes')})",
        ]
    lines.append("return inputs")
    doc = '"""One step; returns the address of the last layer\'s output in the first record."""'
    return ["@inlined", f"def advance_{name}(model, records, count, stride, parity):", *_indented([doc, *lines]), "", ""]


def _output_place(structure: Structure) -> list[str]:
    """`output_place`: where in a record the last layer's output is, `parity` being that of the steps made."""
    k = len(structure.layers) - 1
    half, segments = (f"load_i64(model + {structure.slot(f'{k}.{name}')})" for name in ("half_bytes", "segments"))
    output = f"{structure.layers[k].plan.output} * load_i64(model + {structure.slot(f'{k}.segment_bytes')})"
    return ["@inlined", "def output_place(model, parity):", f"    return {segments} + parity * {half} + {output}", "", ""]


def _trace(structure: Structure) -> list[str]:
    """`trace`: the states of all layers after a step."""
    lines = []
    for k, layer in enumerate(structure.layers):
        lines.append(f"layer{k}_trace(model, records, count, stride, parity, table, first, steps, t)")
        lines.append(f"table += {8 * len(layer.plan.updates)}")
    return ["@inlined", "def trace(model, records, count, stride, parity, table, first, steps, t):", *_indented(lines), "", ""]


def source(structure: Structure, target: Target) -> str:
    """Text of a module with the kernels of `structure`."""
    lines = [
        '"""Generated from the integer dataflow of a network; see edge_lstm/engine/emit.py."""',
        "",
        "from numba import njit",
        "",
        f"from edge_lstm.engine.vectors import {_VECTORS}",
        "",
        *(f"AT_{name.upper()} = {structure.slot(name)}" for name in NETWORK_SLOTS),
        f"BYTES, MEAN, EVERY = {target.source_bytes == 1}, {structure.read_out == 'mean'}, {structure.read_out == 'every'}",
        "",
        'inlined = njit(forceinline=True, error_model="numpy")',
        "",
        "",
    ]
    for k in range(len(structure.layers)):
        lines += _LayerText(structure, k, target).text()
    for block in (True, False):
        lines += _advance(structure, block)
    lines += _output_place(structure) + _trace(structure)
    return "\n".join(lines) + ENTRY_POINTS
