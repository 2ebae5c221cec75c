"""A whole network as C text: what the templates of the header, of the self-test and of the host library are filled with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut, IntegerRecurrent
from firmware_gen.layers import LayerText, layer_text
from firmware_gen.names import prefix_of
from firmware_gen.tables import BYTES, Tables, signed_type, unsigned_type

INT32 = 2**31 - 1
FUNCTIONS = (
    "reset", "normalize", "push", "step", "ready", "class", "class_name", "scores", "state", "round", "clip", "dot", "dot_sum", "rescale",
    "curve", "recurrent", "shift_is_arithmetic",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One field of the state struct. shape: number of elements, None for a scalar; length: its C text; comment: shape and meaning."""

    type: str
    name: str
    shape: int | None
    length: str
    comment: str

    @property
    def declaration(self) -> str:
        return f"{self.type} {self.name}{'' if self.shape is None else f'[{self.length}]'};"

    @property
    def bytes(self) -> int:
        return BYTES[self.type] * (1 if self.shape is None else self.shape)


@dataclass(frozen=True)
class DenseText:
    """One dense layer. W, bias, limit, multiplier: names of tables (limit and multiplier None for the last layer); name: for macros."""

    layer: IntegerDense
    name: str
    W: str
    bias: str
    limit: str | None
    multiplier: str | None


@dataclass(frozen=True)
class Model:
    """The C of a network. prefix: starts all names; normalize: part -> table; initial: field -> table of a state
    that does not start at 0; due: number of steps after which a decision is due."""

    network: IntegerNetwork
    prefix: str
    tables: Tables
    layers: tuple[LayerText, ...]
    dense: tuple[DenseText, ...]
    fields: tuple[Field, ...]
    normalize: dict[str, str]
    initial: dict[str, str]
    due: int

    @property
    def mean(self) -> bool:
        return self.network.read_out.kind == "mean"

    @property
    def state_bytes(self) -> int:
        """sizeof of the state struct where integers are aligned to their own size."""
        size = sum(field.bytes for field in self.fields)
        alignment = max(BYTES[field.type] for field in self.fields)
        return -(-size // alignment) * alignment

    @property
    def stack_bytes(self) -> int:
        """Local arrays of the deepest call, without registers and return addresses."""
        layers = [sum(BYTES[kind] * layer.layer.units for kind, _ in layer.arrays) for layer in self.layers]
        passed = sum(layer.layer.units for layer in self.layers[:-1] if layer.output_field is None)
        front = self.network.inputs
        scores = 4 * self.network.outputs + sum(d.layer.outputs for d in self.dense[:-1])
        scores += self.layers[-1].layer.units if not self.mean and self.layers[-1].output_field is None else 0
        return max(front + passed + max(layers), scores)

    @property
    def step_multiplies(self) -> int:
        """Worst-case multiply-accumulates of one step."""
        return sum(layer.multiply_accumulates for layer in self.layers)

    @property
    def decision_multiplies(self) -> int:
        """Multiply-accumulates of the dense layers, once per decision."""
        return sum(int(d.layer.W.size) for d in self.dense)


def build(network: IntegerNetwork, prefix: str | None = None) -> Model:
    """The C text of `network`, proved not to overflow.

    Raises EdgeLstmError for a network that 32 bits do not suffice for, or whose layers come in an order that has no C form.
    """
    prove_network(network)
    recurrent, dense, mean = _in_order(network)
    _check_products(network)
    name = prefix_of(network.name, prefix)
    tables = Tables(name, {f"{name}_{function}" for function in FUNCTIONS})
    normalize = _normalize(network, tables)
    infixes = [""] if len(recurrent) == 1 else [f"layer{k + 1}_" for k in range(len(recurrent))]
    layers = tuple(layer_text(layer, tables, infix) for layer, infix in zip(recurrent, infixes, strict=True))
    dense_texts = tuple(_dense(layer, k, k == len(dense) - 1, tables) for k, layer in enumerate(dense))
    due = max(network.read_out.window, 1)
    fields = _fields(network, name, layers, due, mean)
    return Model(network, name, tables, layers, dense_texts, fields, normalize, _initial(layers, tables), due)


def _in_order(network: IntegerNetwork) -> tuple[list[IntegerRecurrent], list[IntegerDense], bool]:
    if not network.streams:
        raise EdgeLstmError(
            "C code runs step by step, and this network needs the end of the sequence (a layer that reads in reverse, or a convolution "
            "padded at its end); use forward layers and causal padding, or run it on the host"
        )
    kinds = [type(layer) for layer in network.layers]
    read_out = kinds.index(IntegerReadOut)
    before, behind = network.layers[:read_out], network.layers[read_out + 1 :]
    recurrent = [layer for layer in before if isinstance(layer, IntegerRecurrent)]
    dense = [layer for layer in behind if isinstance(layer, IntegerDense)]
    if not recurrent or len(recurrent) != len(before) or len(dense) != len(behind):
        order = ", ".join(kind.__name__ for kind in kinds)
        raise EdgeLstmError(f"C code needs recurrent layers, one read-out, then dense layers; this network has {order}")
    if any(layer.limit is None for layer in dense[:-1]):
        raise EdgeLstmError("C code needs hidden dense layers that requantize to 8 bits (limit, multiplier and shift are missing)")
    return recurrent, dense, network.read_out.kind == "mean"


def _check_products(network: IntegerNetwork) -> None:
    """The 32-bit products that the proof of the layers does not cover: normalization, hidden dense layers, curves."""
    front = network.normalize
    rescalings = [("normalization", front.limit, front.multiplier, front.shift)]
    rescalings += [("hidden dense layer", layer.limit, layer.multiplier, layer.shift) for layer in network.layers
                   if isinstance(layer, IntegerDense) and layer.limit is not None and layer.multiplier is not None]  # fmt: skip
    for what, limit, multiplier, shift in rescalings:
        worst = int((limit.astype(np.int64) * multiplier).max(initial=0)) + (1 << shift >> 1)
        if worst > INT32 or limit.min(initial=0) < 0 or multiplier.min(initial=0) < 0:
            raise EdgeLstmError(f"{what}: limit * multiplier + half = {worst} leaves 32 bits; quantize the network again")
    if 32768 * front.decimation + int(np.abs(front.offset.astype(np.int64)).max(initial=0)) > INT32:
        raise EdgeLstmError("normalization: the sum of a block minus its offset leaves 32 bits; use a smaller decimation")
    for layer in network.recurrent:
        for op in layer.ops:
            if op.code == "interpolate":
                steepest = int(np.abs(np.diff(layer.tables[op.name].astype(np.int64))).max(initial=0)) << op.numbers[0]
                if steepest > INT32:
                    raise EdgeLstmError(f"curve {op.name}: a segment of slope {steepest} leaves 32 bits; use narrower segments")


def _normalize(network: IntegerNetwork, tables: Tables) -> dict[str, str]:
    front = network.normalize
    what = f"sum of {front.decimation} counts" if front.decimation > 1 else "count"
    parts = {
        "offset": (front.offset, f"[inputs] subtracted from the {what} of a channel"),
        "limit": (front.limit, "[inputs] clamp before the multiplication"),
        "multiplier": (front.multiplier, f"[inputs] factor * 2^{front.shift}"),
    }
    return {part: tables.add((f"input_{part}",), values, comment) for part, (values, comment) in parts.items()}


def _initial(layers: tuple[LayerText, ...], tables: Tables) -> dict[str, str]:
    return {
        text.fields[state.name][1]: tables.add((f"{text.infix}initial_{state.name}",), state.initial, f"[units] {state.name} after a reset")
        for text in layers for state in text.layer.states if state.initial.any()
    }  # fmt: skip


def _dense(layer: IntegerDense, index: int, last: bool, tables: Tables) -> DenseText:
    name = "output" if last and layer.limit is None else f"hidden{index + 1}"
    W = tables.add((f"{name}_W",), layer.W, f"[{layer.outputs}][{layer.inputs}] weights of the {'output' if last else 'hidden'} layer")
    bias = tables.add((f"{name}_b",), layer.bias, f"[{layer.outputs}] bias of the {'output' if last else 'hidden'} layer")
    limit = multiplier = None
    if layer.limit is not None and layer.multiplier is not None:
        limit = tables.add((f"{name}_limit",), layer.limit, f"[{layer.outputs}] clamp before the multiplication")
        multiplier = tables.add((f"{name}_multiplier",), layer.multiplier, f"[{layer.outputs}] factor * 2^{layer.shift}")
    return DenseText(layer, name, W, bias, limit, multiplier)


def _fields(network: IntegerNetwork, prefix: str, layers: tuple[LayerText, ...], due: int, mean: bool) -> tuple[Field, ...]:
    upper, front = prefix.upper(), network.normalize
    fields = []
    for text in layers:
        length, units = f"{upper}_{text.infix.upper()}UNITS", text.layer.units
        for state in text.layer.states:
            kind, name = text.fields[state.name]
            fields.append(Field(kind, name, units, length, f"[{units}] {state_meaning(state.name, state.scale, state.limit)}"))
        if text.output_stored and text.output_field is not None:
            fields.append(Field("int8_t", text.output_field, units, length, f"[{units}] output of the layer"))
    if mean:
        units, limit = layers[-1].layer.units, 127 * network.read_out.window
        length, comment = f"{upper}_{layers[-1].infix.upper()}UNITS", f"[{units}] sum of the output over the steps, within +-{limit}"
        fields.append(Field(signed_type(-limit, limit), "sum", units, length, comment))
    if front.decimation > 1:
        comment = f"[{front.inputs}] sums of the counts of the block being gathered"
        fields.append(Field("int32_t", "block", front.inputs, f"{upper}_INPUTS", comment))
        fields.append(Field(unsigned_type(front.decimation), "samples", None, "", "samples in the block so far"))
    fields.append(Field(unsigned_type(due), "steps", None, "", f"steps since the reset, at most {due}"))
    return tuple(sorted(fields, key=lambda field: -BYTES[field.type]))


def state_meaning(name: str, scale: float, limit: int) -> str:
    """Name, format and range of a state."""
    words = {"h": "hidden state h", "c": "cell state c"}.get(name, f"state {name}")
    return f"{words}, {q_format(scale, limit)}"


def q_format(scale: float, limit: int) -> str:
    """Q-format of an integer within +-limit whose unit is `scale`: Qm.n for a power of two, else the real value of one unit."""
    mantissa, exponent = np.frexp(scale)
    if mantissa == 0.5 and exponent <= 1:
        fraction = 1 - int(exponent)
        return f"Q{max(limit.bit_length() - fraction, 0)}.{fraction}, within +-{limit}"
    return f"1 unit = {scale:.6g}, within +-{limit}"
