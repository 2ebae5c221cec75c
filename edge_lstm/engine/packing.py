"""From an integer network to the buffer that its kernels read: padded, tiled, with the corrections that keep every bit.

Kernels for VNNI hold sources as unsigned bytes v + 128; the 128 * sum(weights) that a dot product gains is taken off the bias here, modulo
2^32 as all sums are. Padded units and sources have zero weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.buffer import Buffer, Bytes
from edge_lstm.engine.curves import bare_rows, curve_of, rescale_limits, short_rescales, signed_places, table_reach, within_range
from edge_lstm.engine.floating import float_constants, float_rescales, start_of, started_rows
from edge_lstm.engine.instructions import BYTE_OFFSET
from edge_lstm.engine.layout import (
    DENSE_SLOTS,
    LANES,
    LINE,
    PERMUTED_SEGMENTS,
    STREAM_SUMS,
    LayerStructure,
    Structure,
    Target,
    column_bytes,
    list_bytes,
    padded,
)
from edge_lstm.engine.narrow import narrow_forms
from edge_lstm.engine.plan import Phase, listed_segment, plan
from edge_lstm.engine.saturated import saturated_output
from edge_lstm.engine.words import scaled_multipliers, word_forms
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerDense, IntegerReadOut, IntegerRecurrent, IntOp, Normalize, input_width
from edge_lstm.fixed_point.operators import VALUE, half

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stack:
    """What one kernel runs: recurrent layers, a read-out ("last", "mean" or "every"), dense layers.

    normalize: of a stack that sees the network's input, which streams need; None for one that other layers feed.
    """

    normalize: Normalize | None
    recurrent: tuple[IntegerRecurrent, ...]
    read_out: IntegerReadOut
    dense: tuple[IntegerDense, ...]

    @property
    def inputs(self) -> int:
        """Number of int8 values that it reads in a step."""
        return input_width(self.recurrent[0])

    @property
    def outputs(self) -> int:
        return self.dense[-1].outputs if self.dense else self.recurrent[-1].units


@dataclass(frozen=True)
class StatePlace:
    """One state as kernels list them. padded: units, rounded up to whole groups."""

    layer: int
    state: str
    units: int
    padded: int


@dataclass(frozen=True)
class Packed:
    """A packed stack. model: the buffer, aligned to 64 bytes; initial: one record as it is before the first step."""

    model: Bytes
    initial: Bytes
    states: tuple[StatePlace, ...]


def structure_of(stack: Stack, target: Target) -> Structure:
    """What the kernels of `stack` for `target` depend on."""
    layers = []
    for layer in stack.recurrent:
        schedule = plan(layer)
        curves = {name: curve_of(layer, name) for name in schedule.tables}
        narrow = narrow_forms(layer, schedule) if target.narrows else {}
        listed = listed_segment(schedule)
        raised = listed is not None and bool(target.instructions.offset)
        short = tuple(k for k in short_rescales(layer, schedule) if k not in narrow) if target.core.slow_products else ()
        saturated = saturated_output(layer, schedule, short) if target.stores_saturate else None
        floats = float_rescales(layer, schedule, short) if target.rescales_in_float else ()
        words = word_forms(layer, schedule, narrow, saturated) if target.packs_lanes else {}
        started = started_rows(layer, schedule, [*floats, *(k for k, form in words.items() if form == "sign")])
        within, bare = within_range(layer, schedule), bare_rows(layer, schedule)
        one = LayerStructure(schedule, curves, within, bare, narrow, short, saturated, floats, started, listed, raised)
        layers.append(replace(one, columns=raised and target.is_avx512 and len(one.listed_rows) == 4, words=words))
    return Structure(tuple(layers), stack.read_out.kind)


def pack(stack: Stack, structure: Structure, target: Target) -> Packed:
    """The model buffer of `stack` for kernels that were generated from `structure` for `target`."""
    buffer = Buffer(structure.head_bytes)
    inputs, gain = stack.inputs, -1 if stack.read_out.gain is None else stack.read_out.gain
    record = padded(STREAM_SUMS + 4 * inputs, LINE)
    slots = {"channels": stack.recurrent[0].inputs, "width": inputs, "inputs": record, "window": stack.read_out.window, "gain": gain}
    slots |= _pack_normalize(buffer, stack.normalize)
    record += padded(padded(inputs, 4) * target.source_bytes, LINE)
    numbers: dict[str, int] = {}
    initial: list[tuple[int, npt.NDArray[np.generic]]] = []
    states: list[StatePlace] = []
    for k, (layer, one) in enumerate(zip(stack.recurrent, structure.layers, strict=True)):
        packer = _LayerPacker(layer, one, target)
        slots |= {f"{k}.{name}": value for name, value in packer.pack(buffer, layer.inputs, record).items()}
        numbers |= {f"{k}.{name}": value for name, value in packer.numbers().items()}
        initial += packer.initial(record)
        states += [StatePlace(k, name, layer.units, packer.padded) for name in one.plan.updates]
        record += packer.record_bytes
        inputs = layer.units
    groups = padded(inputs) // LANES
    slots |= {"units": inputs, "groups": groups, "sum": record, "values": record + groups * LINE}
    widest = max(layer.units for layer in stack.recurrent)
    values_bytes = 4 * padded(max([widest, *(layer.outputs for layer in stack.dense)]))
    tiles = -(-widest // target.tile_sources)  # a step lists them where the layers behind keep their values
    lists = list_bytes(tiles) + (column_bytes(tiles) if any(layer.columns for layer in structure.layers) else 0)
    record += groups * LINE + max(2 * values_bytes, lists)
    if record // LINE % 2 == 0:
        record += LINE  # an odd number of lines: the records of a batch spread over all sets of the cache
    slots |= {"values_bytes": values_bytes, "outputs": stack.outputs}
    slots |= {"dense_layers": len(stack.dense), "dense": _pack_dense(buffer, stack.dense)}
    image = np.zeros(record, np.uint8)
    for at, values in initial:
        piece = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        image[at : at + len(piece)] = piece
    slots |= {"record": record, "initial": buffer.add(image)}
    model = buffer.finish()
    head = np.array([slots[name] for name in structure.slot_names], np.int64).view(np.uint8)
    tail = np.array([numbers[name] for name in structure.number_names], np.int64).astype(np.int32).view(np.uint8)
    model[: len(head)] = head
    model[len(head) : len(head) + len(tail)] = tail
    return Packed(model, image, tuple(states))


def _pack_normalize(buffer: Buffer, front: Normalize | None) -> dict[str, int]:
    """Slots of the front end, which only streams read."""
    if front is None:
        return {"decimation": 1, "normalize": 0}
    shifts = np.array([front.shift, half(front.shift)], np.int32)
    values = np.concatenate([front.offset, front.limit, front.multiplier, shifts]).astype(np.int32)
    return {"decimation": front.decimation, "normalize": buffer.add(values)}


class _LayerPacker:
    def __init__(self, layer: IntegerRecurrent, structure: LayerStructure, target: Target):
        self.layer, self.structure, self.plan, self.target = layer, structure, structure.plan, target
        self.limits = rescale_limits(layer, structure.plan)
        self.padded = padded(layer.units)
        self.groups = self.padded // LANES
        self.segment_bytes = self.padded * target.source_bytes
        self.half_bytes = len(self.plan.segments) * self.segment_bytes
        self.unit_bytes = self.groups * LINE * len(structure.unit_names)
        self.segments_bytes = padded(2 * self.half_bytes, LINE)

    @property
    def record_bytes(self) -> int:
        return self.segments_bytes + self.unit_bytes

    def pack(self, buffer: Buffer, inputs: int, record: int) -> dict[str, int]:
        """Adds weights, constants and tables to the buffer; returns the layer's slots. record: where its part of a record begins."""
        slots = {
            "groups": self.groups,
            "input_tiles": -(-inputs // self.target.tile_sources),
            "input_bytes": inputs * self.target.source_bytes,
            "unit_tiles": -(-self.layer.units // self.target.tile_sources),
            "segment_bytes": self.segment_bytes,
            "half_bytes": self.half_bytes,
            "segments": record,
            "units": record + self.segments_bytes,
            "constants": buffer.add(self.constants()),
        }
        for p, phase in enumerate(self.plan.phases):
            tiles = self.weights(phase)
            slots |= {f"weights{p}": buffer.add(tiles), f"group_weights{p}": tiles.nbytes // self.groups}
            if self.structure.raised:  # then there is one phase, and its last pass reads the listed segment
                raised = self.raised(tiles)
                slots |= {"raised_weights": buffer.add(raised), "raised_constants": buffer.add(self.constants(raised=True))}
                if self.structure.columns:
                    slots["column_weights"] = buffer.add(self.columns(raised))
        for name in self.plan.tables:
            slots[f"table {name}"] = buffer.add(self.table(name))
        return slots

    def matrices(self, phase: Phase) -> list[list[npt.NDArray[np.int8]]]:
        """For each pass of the phase, the matrices [units, sources] of its rows."""
        found = []
        for one in phase.passes:
            rows = [(self.layer.rows[self.plan.ops[phase.rows[position]].name], k) for position, k in one.rows]
            found.append([row.R[k] if k >= 0 else np.asarray(row.W) for row, k in rows])
        return found

    def weights(self, phase: Phase) -> npt.NDArray[np.generic]:
        """[groups, bytes]: for each pass [tile, row, unit, source of the tile]."""
        width = self.target.tile_sources
        parts = [np.zeros((self.groups, 0), np.uint8)]
        for matrices in self.matrices(phase):
            tiles = -(-matrices[0].shape[1] // width)
            wide = np.zeros((len(matrices), self.padded, tiles * width), np.int8 if self.target.source_bytes == 1 else np.int16)
            for k, matrix in enumerate(matrices):
                wide[k, : matrix.shape[0], : matrix.shape[1]] = matrix
            tiled = wide.reshape(len(matrices), self.groups, LANES, tiles, width).transpose(1, 3, 0, 2, 4)
            parts.append(np.ascontiguousarray(tiled).reshape(self.groups, -1).view(np.uint8))
        return np.concatenate(parts, 1)

    def raised(self, tiles: npt.NDArray[np.generic]) -> Bytes:
        """The weights of a phase with those of the listed segment, w, as unsigned w + 128."""
        listed = len(self.structure.listed_rows) * LINE * -(-self.layer.units // self.target.tile_sources)
        raised = tiles.view(np.uint8).copy()
        raised[:, -listed:] ^= 0x80
        return raised

    def columns(self, raised: Bytes) -> Bytes:
        """The listed segment's part of `raised` as [groups, source, units by fours, row, unit of the four]: 64 bytes for each source."""
        tiles, rows = -(-self.layer.units // self.target.tile_sources), len(self.structure.listed_rows)
        listed = raised[:, -rows * LINE * tiles :].reshape(self.groups, tiles, rows, LANES // 4, 4, self.target.tile_sources)
        return np.ascontiguousarray(listed.transpose(0, 1, 5, 3, 2, 4))

    def constants(self, raised: bool = False) -> Int32Array:
        """[groups, names, 16] in the order of `LayerStructure.constant_names`.

        raised: for steps that read the listed segment by lists, and so as it is, not as the value plus 128.
        """
        values: dict[str, Int64Array] = {}
        biases: dict[int, Int64Array] = {}
        for index in self.structure.rows:
            row = self.layer.rows[self.plan.ops[index].name]
            bias = row.bias.astype(np.int64)
            added = self.target.instructions.offset  # to every source
            if row.W is not None:
                twice = (1 << HALF_BITS) + 1 if self.layer.wide else 1  # both halves have it
                bias = bias - (twice * added * row.W.astype(np.int64).sum(1) << row.input_shift)
            for matrix in () if raised else row.R:  # where there is a listed segment, rows read no other
                bias = bias - added * matrix.astype(np.int64).sum(1)
            if index in self.structure.started:
                values[f"start {row.name}"], bias = start_of(self.layer, self.plan, index, bias)
            biases[index] = bias
            values |= {f"bias {row.name}": bias, f"threshold {row.name}": -bias}
        for name in self.plan.vectors:
            values[f"vector {name}"] = self.layer.vectors[name].astype(np.int64)
        for index, op in enumerate(self.plan.ops):
            if op.code == "rescale":
                # Of an accumulator without its bias b: clip(a + b, low, high) m + half = clip(a, low - b, high - b) m + (b m + half).
                b = biases[op.args[0]] if op.args[0] in self.structure.bare else np.zeros(self.layer.units, np.int64)
                if index in self.structure.floats:
                    values |= self._float_constants(index, op, b)
                    continue
                low, high = self.limits[op.name]
                multiplier = self.layer.vectors[f"{op.name}.multiplier"].astype(np.int64)
                lift = 16 - op.numbers[0] if index in self.structure.narrow else 0  # the result is then the high half of a lane
                values |= {f"{op.name}.low": low - b, f"{op.name}.high": high - b, f"{op.name}.multiplier": multiplier << lift}
                values[f"{op.name}.half"] = (b * multiplier + half(op.numbers[0])) << lift  # modulo 2^32, as the product with it
                if self.structure.saturated is not None and self.structure.saturated.rescale == index:
                    values[f"{op.name}.half"] += BYTE_OFFSET << op.numbers[0]
        values |= self._pairs(values)
        names = self.structure.constant_names
        packed = np.zeros((len(names), self.padded), np.int32)
        for k, name in enumerate(names):
            packed[k, : len(values[name])] = values[name].astype(np.int32)
        return np.ascontiguousarray(packed.reshape(len(names), self.groups, LANES).transpose(1, 0, 2))

    def _pairs(self, values: dict[str, Int64Array]) -> dict[str, Int64Array]:
        """Constants in words by name: each vector of lanes packed with itself, four and four."""
        found: dict[str, Int64Array] = {}
        for index, form in self.structure.words.items():
            op = self.plan.ops[index]
            if form == "sign":
                name = f"threshold {self.plan.ops[op.args[0]].name}"
                found[f"words {name}"] = self._packed_twice(values[name])
            elif form == "scaled":
                multipliers = scaled_multipliers(self.layer, op)
                assert multipliers is not None
                found[f"words {op.name}.multiplier"] = self._packed_twice(multipliers)
        return found

    def _packed_twice(self, values: Int64Array) -> Int64Array:
        """[padded] int32 of the words."""
        wide = np.zeros(self.padded, np.int16)
        wide[: self.layer.units] = values
        return np.repeat(wide.reshape(-1, 1, 4), 2, 1).reshape(-1).view(np.int32).astype(np.int64)

    def _float_constants(self, index: int, op: IntOp, left: Int64Array) -> dict[str, Int64Array]:
        """The bits of a rescale's floats by name; left: of the bias, what its argument lacks."""
        found: dict[str, Int64Array] = {}
        for part, floats in float_constants(self.layer, self.plan, index, left).items():
            found[f"{op.name}.{part}"] = floats.view(np.int32).astype(np.int64)
            found[f"{op.name}.odd {part}"] = (floats * np.float32(1 << 16)).view(np.int32).astype(np.int64)
        return found

    def table(self, name: str) -> npt.NDArray[np.generic]:
        """Paired: high half knot, low half difference to the next. Otherwise all knots, then all differences.

        For curves in 16 bits that are looked up in registers, knots and differences are int16, those for values of 0 and more first.
        """
        curve, form = self.structure.curves[name], self.structure.table_form(name)
        knots = self.layer.tables[name].astype(np.int64)
        steps = knots[1:] - knots[:-1]
        if form == "floor":
            out = next(op.numbers[1] for op in self.plan.ops if op.code == "interpolate" and op.name == name)
            knots, steps = knots + half(out), 2 * steps
        if form and self.target.instructions.permutes and curve.segments == PERMUTED_SEGMENTS:
            below = signed_places(knots) if self.target.looks_up_bytes else knots[:-1]
            words = np.stack([np.roll(values, PERMUTED_SEGMENTS // 2) for values in (below, steps)]).astype("<i2")
            return words.view(np.uint8).reshape(2, -1, 2).transpose(0, 2, 1) if self.target.looks_up_bytes else words
        if curve.paired or form:
            return ((knots[:-1] << 16) | (steps & 0xFFFF)).astype(np.int32)
        return np.concatenate([knots[:-1], steps]).astype(np.int32)

    def numbers(self) -> dict[str, int]:
        values = {f"input_shift {row.name}": row.input_shift for row in self.layer.rows.values()}
        for index, op in enumerate(self.plan.ops):
            if index in self.structure.narrow:
                continue
            if op.code == "offset":
                values[f"{index} offset"] = op.numbers[0]
            elif op.code == "clip":
                values |= {f"{index} low": op.numbers[0], f"{index} high": op.numbers[1]}
            elif op.code == "rescale":
                values[f"{index} shift"] = op.numbers[0]
            elif op.code in ("multiply", "shift"):
                values |= {f"{index} shift": op.numbers[0], f"{index} half": half(op.numbers[0])}
            elif op.code == "raise":
                values[f"{index} shift"] = op.numbers[0]
            elif op.code == "interpolate":
                segment, out = op.numbers
                reach = table_reach(self.layer, op)
                values |= {
                    f"{index} low": -reach, f"{index} high": reach - 1, f"{index} segment_shift": segment,
                    f"{index} segment_mask": (1 << segment) - 1, f"{index} segment_one": 1 << segment + 16,
                    f"{index} shift": segment + out, f"{index} half": half(segment + out),
                }  # fmt: skip
        return values

    def initial(self, record: int) -> list[tuple[int, npt.NDArray[np.generic]]]:
        """(offset, values) of what a record holds before the first step."""
        start = {state.name: state.initial.astype(np.int64) for state in self.layer.states}
        placed: list[tuple[int, npt.NDArray[np.generic]]] = []
        units = np.zeros((self.groups, len(self.structure.unit_names), LANES), np.int32)
        for k, name in enumerate(self.plan.stored):
            wide = np.zeros(self.padded, np.int32)
            wide[: self.layer.units] = start[name]
            units[:, k] = wide.reshape(self.groups, LANES)
        placed.append((record + self.segments_bytes, units))
        for j, segment in enumerate(self.plan.segments):
            wide = np.zeros(self.padded, np.int64)
            if segment.source >= 0 and segment.at_end is not None:
                wide[: self.layer.units] = self._from_states(segment.source, start)
            stored = (wide + self.target.instructions.offset).astype(np.uint8 if self.target.source_bytes == 1 else np.int16)
            placed.append((record + j * self.segment_bytes, stored))
        return placed

    def _from_states(self, index: int, states: dict[str, Int64Array]) -> Int64Array:
        """Value of an operator that depends on nothing but states and constants."""
        op = self.plan.ops[index]
        if op.code == "state":
            return states[op.name]
        if op.code == "vector":
            return self.layer.vectors[op.name].astype(np.int64)
        return np.asarray(VALUE[op.code](op, self.layer, [self._from_states(a, states) for a in op.args]))


def _pack_dense(buffer: Buffer, layers: tuple[IntegerDense, ...]) -> int:
    """Adds the dense layers and the table of DENSE_SLOTS that describes them; returns the table's offset."""
    table = np.zeros((max(len(layers), 1), len(DENSE_SLOTS)), np.int64)
    for k, layer in enumerate(layers):
        width = padded(layer.outputs)
        weights = np.zeros((layer.inputs, width), np.int32)
        weights[:, : layer.outputs] = layer.W.T
        tiled = weights.reshape(layer.inputs, width // LANES, LANES).transpose(1, 0, 2)

        def vector(values: Int32Array, width: int = width) -> int:
            wide = np.zeros(width, np.int32)
            wide[: len(values)] = values
            return buffer.add(wide)

        entry = {"inputs": layer.inputs, "groups": width // LANES, "weights": buffer.add(tiled), "bias": vector(layer.bias)}
        if layer.limit is not None and layer.multiplier is not None:
            entry |= {"limit": vector(layer.limit), "multiplier": vector(layer.multiplier), "shift": layer.shift, "half": half(layer.shift)}
        entry |= {"low": layer.low, "high": layer.high}
        if layer.curve is not None:
            segment, out = layer.curve.segment_shift, layer.curve.out_shift
            reach = (len(layer.curve.knots) - 1) << segment >> 1
            entry |= {"knots": buffer.add(layer.curve.knots.astype(np.int32)), "reach": reach, "segment_shift": segment}
            entry |= {"curve_shift": segment + out, "curve_half": half(segment + out)}
        table[k] = [entry.get(name, 0) for name in DENSE_SLOTS]
    return buffer.add(table)
