"""From the float dataflow of a cell to its integer dataflow: one recursive walk, the same for every cell.

Each float operator is lowered on demand to an integer value with a wanted scale (the real value of one unit). The rules, by operator:

    row          accumulator; its scale is free per unit, so every weight row uses all its bits
    threshold    the sign of an accumulator: no scale, no rounding, no table
    multiply     by a threshold: select; by a soft gate: multiply and rounding shift; by a parameter: multiply, its scale folded in
    activate     straight-segment curve, or clip for the piecewise linear ones
    state        lowered in its own format; its update saturates where the interval analysis says it could leave the format
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.cells.dataflow import Row
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import op_interval
from edge_lstm.fixed_point.formats import INT8, INT16, PREACTIVATION, Format, sampled
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerRecurrent, IntegerRow, IntOp, StateFormat
from edge_lstm.fixed_point.liveness import without_dead_operators
from edge_lstm.fixed_point.operators import Interval
from edge_lstm.fixed_point.peephole_units import peephole_floor
from edge_lstm.fixed_point.rescaling import rescaling
from edge_lstm.fixed_point.separate_rows import RECURRENT, behind_a_threshold
from edge_lstm.fixed_point.weights import WeightBits, quantize_row, row_formats
from edge_lstm.fixed_point.wide_rows import common_unit, quantize_wide_row
from edge_lstm.network import Recurrent

Float64Array = npt.NDArray[np.float64]
Scale = float | Float64Array
GATE = 2.0**-15


@dataclass(frozen=True)
class Lowered:
    """A lowered value: the integer operator that holds it and the real value of one unit (a number, or one per unit)."""

    op: int
    scale: Scale


@dataclass(frozen=True)
class LoweredLayer:
    """The integer layer, and for each float operator the integer value that stands for it (the trainer's tape reads it)."""

    layer: IntegerRecurrent
    values: Mapping[int, Lowered]


def lower(
    layer: Recurrent, input_scale: Float64Array, formats: Mapping[str, Format], weight_bits: WeightBits | None = None, wide: bool = False
) -> LoweredLayer:
    """Lowers one recurrent layer.

    input_scale: [inputs] real value of one unit of the input; formats: state -> Format;
    weight_bits: matrix -> format, as in `weights.row_formats`; wide: the input has 16 bits, and all rows that read it read nothing else
    (`separate_rows.separated`).
    """
    return _Lowering(layer, np.asarray(input_scale, np.float64), formats, weight_bits or {}, wide).run()


class _Lowering:
    def __init__(self, layer: Recurrent, input_scale: Float64Array, formats: Mapping[str, Format], weight_bits: WeightBits, wide: bool):
        self.layer, self.cell, self.input_scale = layer, layer.cell, input_scale
        self.formats, self.row_formats = formats, row_formats(layer.cell, weight_bits)
        self.ops: list[IntOp] = []
        self.intervals: list[Interval] = []
        self.wide = wide
        self.rows: dict[str, IntegerRow] = {}
        self.row_values: dict[str, Lowered] = {}
        self.vectors: dict[str, npt.NDArray[np.int32]] = {}
        self.tables: dict[str, npt.NDArray[np.int16]] = {}
        self.done: dict[tuple[int, bytes | None], Lowered] = {}
        self.values: dict[int, Lowered] = {}
        self.state_of = {op: state for state, op in self.cell.updates if self.cell.ops[op].code != "activate"}
        self.draft = IntegerRecurrent(
            self.cell.name, {}, (), (), self.rows, self.vectors, self.tables, self._states({}), 0, 0.0, self.input_scale, wide=wide
        )  # what op_interval needs to know

    def _states(self, updates: Mapping[str, int]) -> tuple[StateFormat, ...]:
        found = []
        for name in self.cell.states:
            f = self.formats[name]
            start = np.asarray(self.layer.initial.get(name, np.zeros(self.layer.units)), np.float64) / f.scale
            initial = np.clip(np.floor(start + 0.5), -f.limit, f.limit).astype(np.int32)
            found.append(StateFormat(name, f.bits, f.limit, f.scale, updates.get(name, 0), initial))
        return tuple(found)

    def run(self) -> LoweredLayer:
        updates = {}
        for state, op in self.cell.updates:
            updates[state] = self._saturated(self.lower(op, self.formats[state].scale), self.formats[state].limit).op
        output = Lowered(updates[self.cell.output], self.formats[self.cell.output].scale)
        if self.formats[self.cell.output].limit > INT8:
            output = self._narrow(output)
        activations = {role: str(self.layer.activations[role]) for role in self.layer.activations}
        lowered = IntegerRecurrent(
            self.cell.name, activations, self.cell.equations, tuple(self.ops), self.rows, self.vectors, self.tables,
            self._states(updates), output.op, float(np.asarray(output.scale)), self.input_scale, wide=self.wide,
        )  # fmt: skip
        pruned, place = without_dead_operators(lowered)
        values: dict[int, Lowered] = {}
        for op, value in [*self.values.items(), *((op, value) for (op, _), value in self.done.items())]:
            if value.op in place:
                values.setdefault(op, Lowered(place[value.op], value.scale))
        return LoweredLayer(pruned, values)

    # ---- emitting -----------------------------------------------------------------------------------------------------------

    def emit(self, code: str, *args: int, name: str = "", numbers: tuple[int, ...] = ()) -> int:
        op = IntOp(code, args, name, numbers)
        if op in self.ops:  # the same operator on the same arguments: one value is enough
            return self.ops.index(op)
        self.ops.append(op)
        self.intervals.append(op_interval(op, self.draft, [self.intervals[a] for a in args])[0])
        return len(self.ops) - 1

    def reach(self, op: int) -> int:
        """Largest magnitude that the operator can take."""
        low, high = self.intervals[op]
        return int(max(-low.min(), high.max(), 1))

    def vector(self, name: str, values: npt.NDArray[np.floating]) -> int:
        if not np.all(np.abs(values) < 2**31 - 1):
            raise EdgeLstmError(f"{self.cell.name}: constant {name} does not fit 32 bits; the weights of this layer span too wide a range")
        unique = name
        rounded = np.floor(values + 0.5).astype(np.int32)
        while unique in self.vectors and not np.array_equal(self.vectors[unique], rounded):
            unique += "_"
        self.vectors[unique] = rounded
        return self.emit("vector", name=unique)

    def _saturated(self, value: Lowered, limit: int) -> Lowered:
        if self.reach(value.op) <= limit:
            return value
        return Lowered(self.emit("clip", value.op, numbers=(-limit, limit)), value.scale)

    def _narrow(self, value: Lowered) -> Lowered:
        """The int8 view of a state that is kept with 8 more bits."""
        return Lowered(self.emit("shift", value.op, numbers=(8,)), np.asarray(value.scale) * 256)

    def convert(self, value: Lowered, want: Scale, reach: int = INT16) -> Lowered:
        """The same value in units of `want`, clamped near +-reach when a multiplication is needed."""
        ratio = np.asarray(value.scale / np.asarray(want), np.float64)
        if np.all(ratio == 1.0):
            return value
        if math.frexp(float(ratio.flat[0]))[0] == 0.5 and np.all(ratio == ratio.flat[0]):
            power = round(math.log2(float(ratio.flat[0])))
            return Lowered(
                self.emit("raise", value.op, numbers=(power,)) if power > 0 else self.emit("shift", value.op, numbers=(-power,)), want
            )
        if ratio.ndim == 0 and self.reach(value.op) <= 2:  # a threshold or a level
            constant = self.vector(f"unit_{float(ratio):g}", np.full(self.layer.units, float(ratio)))
            return Lowered(self.emit("multiply", value.op, constant, numbers=(0,)), want)
        constants = rescaling(np.broadcast_to(ratio, (self.layer.units,)), reach)
        name = f"rescale{sum(op.code == 'rescale' for op in self.ops)}"
        self.vectors[name + ".limit"], self.vectors[name + ".multiplier"] = constants.limit, constants.multiplier
        return Lowered(self.emit("rescale", value.op, name=name, numbers=(constants.shift,)), want)

    # ---- the walk -----------------------------------------------------------------------------------------------------------

    def lower(self, op: int, want: Scale | None = None, reach: int = INT16) -> Lowered:
        """Integer value of float operator `op`, in units of `want` (its natural unit when None)."""
        key = op, None if want is None else np.asarray(want, np.float64).tobytes()
        if key not in self.done:
            state = self.state_of.get(op)
            if state is not None and key[1] != np.float64(self.formats[state].scale).tobytes():
                value = self.lower(op, self.formats[state].scale)  # whoever reads a new state reads it as it will be stored
                self.done[key] = value if want is None else self.convert(value, want, reach)
            else:
                value = getattr(self, "_" + self.cell.ops[op].code)(op, want, reach)
                if state is not None:
                    value = self._saturated(value, self.formats[state].limit)
                self.done[key] = value
            self.values.setdefault(op, self.done[key])
        return self.done[key]

    def _or_convert(self, value: Lowered, want: Scale | None, reach: int) -> Lowered:
        return value if want is None else self.convert(value, want, reach)

    def _row(self, op: int, want: Scale | None, reach: int) -> Lowered:
        spec = self.cell.row(self.cell.ops[op].name)
        if spec.name not in self.rows:
            sources = self._sources(spec)
            row = self.rows[spec.name] = self._quantized(spec, sources, op)
            value = Lowered(self.emit("row", *(s.op for s in sources), name=spec.name), row.scale)
            if self.wide and row.W is not None and not behind_a_threshold(self.layer, spec.name):
                fewer = self.emit("shift", value.op, numbers=(HALF_BITS,))  # a rescaling of its 32 bits would have few bits for its factor
                value = Lowered(fewer, row.scale * 2**HALF_BITS)
            self.values[op] = self.row_values[spec.name] = value
        return self._or_convert(self.row_values[spec.name], want, reach)

    def _sources(self, spec: Row) -> list[Lowered]:
        """What a row reads beside x, as int8."""
        sources = []
        for source in spec.sources:
            value, node = self.lower(source), self.cell.ops[source]
            if node.code != "state":  # a vector made in this step, e.g. r * h: seen by the row like the state h itself
                output = self.formats[self.cell.output]
                value = self._saturated(self.lower(source, output.scale * (256 if output.limit > INT8 else 1), INT8), INT8)
            elif self.formats[node.name].limit > INT8:
                value = self._narrow(value)
            sources.append(value)
        return sources

    def _quantized(self, spec: Row, sources: list[Lowered], op: int) -> IntegerRow:
        weights, bits = self.layer.rows[spec.name], self.row_formats[spec.name]
        floor = peephole_floor(self.layer, self.formats, op, self.wide)
        if self.wide and behind_a_threshold(self.layer, spec.name):
            floor = np.maximum(floor, self._common_unit(spec.name))
        if self.wide and weights.W is not None:
            return quantize_wide_row(spec.name, weights, self.input_scale, bits, floor)
        return quantize_row(spec.name, weights, self.input_scale, [float(np.asarray(s.scale)) for s in sources], bits, floor)

    def _common_unit(self, name: str) -> Float64Array:
        """Unit of a row of a threshold gate at which W x + b and R s, in two rows, are added without rounding; 0 for a row of its own."""
        second = (first := name.removesuffix(RECURRENT)) + RECURRENT
        if second not in self.layer.rows:
            return np.zeros(self.layer.units)
        at = next(k for k, op in enumerate(self.cell.ops) if op.code == "row" and op.name == first)
        floor = peephole_floor(self.layer, self.formats, at, self.wide)
        of_input = quantize_wide_row(first, self.layer.rows[first], self.input_scale, self.row_formats[first], floor)
        scales = [float(np.asarray(s.scale)) for s in self._sources(self.cell.row(second))]
        of_states = quantize_row(second, self.layer.rows[second], self.input_scale, scales, self.row_formats[second], np.zeros_like(floor))
        unit, shift = common_unit(of_input, of_states)
        return unit if name == first else unit * 2.0**shift

    def _state(self, op: int, want: Scale | None, reach: int) -> Lowered:
        name = self.cell.ops[op].name
        return self._or_convert(Lowered(self.emit("state", name=name), self.formats[name].scale), want, reach)

    def _parameter(self, op: int, want: Scale | None, reach: int) -> Lowered:
        name = self.cell.ops[op].name
        values = np.asarray(self.layer.parameters[name], np.float64)
        unit: Scale = GATE * 2.0 ** math.ceil(math.log2(max(float(np.abs(values).max()), 2.0**-15))) if want is None else want
        return Lowered(self.vector(name, values / unit), unit)

    def _activate(self, op: int, want: Scale | None, reach: int) -> Lowered:
        (argument,), activation = self.cell.ops[op].args, self.layer.activations[self.cell.ops[op].name]
        if activation.kind == "threshold":
            return self._or_convert(Lowered(self.emit("positive", self.lower(argument).op), 1.0), want, reach)
        if activation.kind == "three_level":
            a = self.lower(argument)
            one = self.vector(f"{self.cell.ops[op].name}_level", np.broadcast_to(1 / np.asarray(a.scale), (self.layer.units,)))
            open_fully, open_half = (self.emit("positive", self.emit(code, a.op, one)) for code in ("subtract", "add"))
            return self._or_convert(Lowered(self.emit("add", open_fully, open_half), 0.5), want, reach)
        low, high = activation.bounds
        unit = want if want is not None else GATE * (2.0 ** math.ceil(math.log2(max(abs(low), abs(high)))) if math.isfinite(high) else 16.0)
        top = min(reach, INT16)
        if activation.kind in ("identity", "relu"):
            value = self._clipped_argument(argument, unit, top)
            return (
                self._saturated(value, top)
                if activation.kind == "identity"
                else Lowered(self.emit("clip", value.op, numbers=(0, top)), unit)
            )
        if activation.kind in ("hard_tanh", "clamp"):
            edges = tuple(int(np.clip(round(edge / float(np.asarray(unit))), -INT16, INT16)) for edge in (low, high))
            return Lowered(self.emit("clip", self._clipped_argument(argument, unit, max(map(abs, edges))).op, numbers=edges), unit)
        if activation.kind == "hard_sigmoid":
            one = min(INT16, round(1 / float(np.asarray(unit))))
            line = self._clipped_argument(
                argument, np.asarray(unit) / activation.alpha, round(one * max(activation.beta, 1 - activation.beta)) + 1
            )
            offset = self.emit("offset", line.op, numbers=(math.floor(activation.beta / float(np.asarray(unit)) + 0.5),))
            return Lowered(self.emit("clip", offset, numbers=(0, one)), unit)
        return self._curve(op, argument, activation.saturation or 16.0, float(np.asarray(unit)))

    def _clipped_argument(self, argument: int, unit: Scale, reach: int) -> Lowered:
        """The argument of an activation in `unit`, with the layer's clip applied."""
        value = self.lower(argument, unit, reach)
        if self.layer.clip is None or not self._reads_row(argument):
            return value
        bound = math.floor(self.layer.clip / float(np.asarray(unit).flat[0]) + 0.5)
        return Lowered(self.emit("clip", value.op, numbers=(-bound, bound)), value.scale) if bound < self.reach(value.op) else value

    def _reads_row(self, op: int) -> bool:
        return self.cell.ops[op].code == "row" or (
            self.cell.ops[op].code in ("add", "multiply") and any(self._reads_row(a) for a in self.cell.ops[op].args)
        )

    def _curve(self, op: int, argument: int, saturation: float, unit: float) -> Lowered:
        """A curve of straight segments over [-saturation, saturation]."""
        role = self.cell.ops[op].name
        activation, state = self.layer.activations[role], self.state_of.get(argument)
        grid = PREACTIVATION if state is None else self.formats[state].scale
        value = self._clipped_argument(argument, grid, round(saturation / grid))
        curve, name = sampled(activation, unit, grid), f"{role}_{activation.kind}"
        while name in self.tables and not np.array_equal(self.tables[name], curve.knots):
            name += "_"
        self.tables[name] = curve.knots
        return Lowered(self.emit("interpolate", value.op, name=name, numbers=(curve.segment_shift, curve.out_shift)), unit)

    def _natural(self, op: int) -> Scale | None:
        """The unit that `op` has when nobody asks for one; None for a parameter, which has none of its own."""
        node = self.cell.ops[op]
        if node.code in ("row", "state", "activate"):
            return self.lower(op).scale
        units = [u for u in (self._natural(a) for a in node.args) if u is not None]
        vectors = [u for u in units if np.ndim(u)]
        return vectors[0] if vectors else min(units, key=lambda u: float(np.asarray(u)), default=None)

    def _sum(self, op: int, want: Scale | None, reach: int) -> Lowered:
        unit = want if want is not None else self._natural(op)
        left, right = self.cell.ops[op].args
        if all(self.cell.ops[k].code == "row" for k in (left, right)):  # W x may be beyond `reach` where W x + R h is not
            reach += self.reach(self.lower(right, unit, reach).op)
        a, b = self.lower(left, unit, reach), self.lower(right, unit, reach)
        return Lowered(self.emit(self.cell.ops[op].code, a.op, b.op), GATE if unit is None else unit)

    _add = _subtract = _sum

    def _complement(self, op: int, want: Scale | None, reach: int) -> Lowered:
        a = self.lower(self.cell.ops[op].args[0])
        one = round(1 / float(np.asarray(a.scale)))
        return self._or_convert(Lowered(self.emit("complement", a.op, numbers=(one,)), a.scale), want, reach)

    def _is_switch(self, op: int) -> bool:
        """True for a threshold gate or the complement of one."""
        node = self.cell.ops[op]
        if node.code == "complement":
            return self._is_switch(node.args[0])
        return node.code == "activate" and self.layer.activations[node.name].is_threshold

    def _is_gate(self, op: int) -> bool:
        node = self.cell.ops[op]
        return (
            self._is_gate(node.args[0])
            if node.code == "complement"
            else node.code == "activate" and self.layer.activations[node.name].bounds == (0.0, 1.0)
        )

    def _multiply(self, op: int, want: Scale | None, reach: int) -> Lowered:
        a, b = self.cell.ops[op].args
        for switch, other in ((a, b), (b, a)):
            if self._is_switch(switch):
                value = self.lower(other, want, reach)
                return Lowered(self.emit("select", self.lower(switch).op, value.op), value.scale)
        for parameter, other in ((a, b), (b, a)):
            if self.cell.ops[parameter].code == "parameter":
                return self._scaled(self.cell.ops[parameter].name, self.lower(other), want)
        gate, other = (a, b) if self._is_gate(a) or not self._is_gate(b) else (b, a)
        unit = want if want is not None else self._natural(other)
        if unit is None:
            raise EdgeLstmError(f"{self.cell.name}: the product of operators {a} and {b} has no format")
        factor = self._factor(other, unit, reach)
        opening = self._opening(gate, room=30 - self.reach(factor.op).bit_length())
        ratio = np.asarray(opening.scale) * np.asarray(factor.scale) / np.asarray(unit)
        shift = -round(math.log2(float(ratio.flat[0])))
        if shift < 0 or not np.allclose(ratio, 2.0**-shift, rtol=1e-12):  # no shift leads to the wanted unit: convert the factor first
            factor = self.lower(other, unit, reach)
            shift = -round(math.log2(float(np.asarray(opening.scale))))
        return Lowered(self.emit("multiply", opening.op, factor.op, numbers=(shift,)), unit)

    def _opening(self, gate: int, room: int) -> Lowered:
        """A soft gate with at most `room` fraction bits; any other factor (FastGRNN's mixture) within 16 bits."""
        if not self._is_gate(gate):
            return self._saturated(self.lower(gate, 2.0**-13), INT16)
        return self.lower(gate, 2.0 ** -min(15, room)) if self._smooth(gate) else self.lower(gate)

    def _smooth(self, op: int) -> bool:
        node = self.cell.ops[op]
        return (
            self._smooth(node.args[0])
            if node.code == "complement"
            else self.layer.activations[node.name].kind not in ("threshold", "three_level")
        )

    def _factor(self, op: int, unit: Scale, reach: int) -> Lowered:
        """The other factor of a gate: an activation with all the bits that 16 allow; a stored state as it is; else in `unit`."""
        node = self.cell.ops[op]
        if node.code == "activate" and np.ndim(unit) == 0:
            bound = max(map(abs, self.layer.activations[node.name].bounds))
            if math.isfinite(bound):
                return self.lower(op, float(np.asarray(unit)) / 2 ** max(0, math.floor(math.log2(INT16 * float(np.asarray(unit)) / bound))))
        if node.code == "state":
            return self.lower(op)
        return self.lower(op, unit, reach)

    def _scaled(self, name: str, value: Lowered, want: Scale | None) -> Lowered:
        """parameter * value: the parameter's scale takes up the change of unit."""
        parameter = np.asarray(self.layer.parameters[name], np.float64)
        if self.reach(value.op) > INT16 + 1:  # a 32-bit cell state: 16 bits of it are enough beside int8 weights
            drop = self.reach(value.op).bit_length() - 15
            value = Lowered(self.emit("shift", value.op, numbers=(drop,)), np.asarray(value.scale) * 2.0**drop)
        if want is None:
            want = float(np.asarray(value.scale)) * 2.0 ** math.ceil(math.log2(max(float(np.abs(parameter).max()), 2.0**-15)))
        factor = parameter * np.asarray(value.scale) / np.asarray(want)
        largest = max(float(np.abs(factor).max()), 2.0**-30)
        shift = math.floor(math.log2(2**30 / self.reach(value.op) / largest))
        if shift < 0:
            raise EdgeLstmError(f"{self.cell.name}: parameter {name} is too large for 32-bit arithmetic beside the weights of its row")
        constant = self.vector(name, factor * 2.0 ** min(shift, 30))
        return Lowered(self.emit("multiply", value.op, constant, numbers=(min(shift, 30),)), want)
