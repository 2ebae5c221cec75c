"""A whole network as C text: what the templates of the header, of the self-test and of the host library are filled with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.bounds import needs_clamp, prove_network
from edge_lstm.fixed_point.decisions import sampling_rate
from edge_lstm.fixed_point.integer_network import (
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
    input_width,
)
from firmware_gen.activity import LayerActivity
from firmware_gen.choice import choose
from firmware_gen.columns import PACKED, TABLES
from firmware_gen.features import FeaturesText, features_text
from firmware_gen.feed_forward import FeedForward, FeedForwardText, add_curve, feed_forward_text
from firmware_gen.layer_text import LayerText
from firmware_gen.layers import layer_text
from firmware_gen.names import prefix_of
from firmware_gen.packed import fewest_bits, row_bytes
from firmware_gen.tables import BYTES, Tables, signed_type, unsigned_type

FUNCTIONS = (
    "reset", "normalize", "push", "step", "ready", "class", "class_name", "scores", "state", "round", "clip", "dot", "dot_sum", "rescale",
    "dot2", "dot4", "dot_sum2", "dot_sum4",
    "curve", "recurrent", "shift_is_arithmetic", "column", "weight", "value", "list", "list_changes", "end_list", "nothing", "features",
    "compand", "magnitude", "average", "longer", "add_columns", "add_changes", "add_listed", "add_each", "gather", "seldom", "dot_listed",
    "dot_at", "dot_at2", "dot_at4", "index", "gather_x", "ends",
    *(f"{name}_x{shift}" for name in ("add_columns", "add_changes") for shift in range(9)),
    "dot_values", "next_window", "vectors", "vectors_copy", "vectors_curve", "add_signs", "keep_signs", "offset", "listed", "end_part",
    "tables4", "tables6", "tables8", "add_few1", "add_few2", "add_few4", "keep_few1", "keep_few2", "keep_few4",
    "vectors_round", "vectors_list", "vectors_whole",
    "kept", "gather_wide", "add_each_wide", "add_wide", *(f"add_wide_{shift}" for shift in range(31)),
)  # fmt: skip

# Bytes of stack that registers and return addresses of the deepest call are allowed. The most seen is 374 (clang for a Cortex-M0+, -O2), on
# an AVR 319; the tests hold every emulated core to it.
REGISTERS = 448
DOT_CODE = 64  # bytes of code that a function for packed weights takes: what it has to save where constants are not all that counts

Stage = LayerText | FeedForwardText


@dataclass(frozen=True)
class Field:
    """One field of the state struct. shape: () for a scalar; lengths: the shape as C text; meaning: for its comment;
    start: value after a reset, a C expression (of the index k for an array); front: whether it belongs to the front end; declared: type
    in C, where a target may have a smaller one than `type`."""

    type: str
    name: str
    shape: tuple[int, ...]
    lengths: tuple[str, ...]
    meaning: str
    start: str = "0"
    front: bool = False
    declared: str = ""

    @property
    def declaration(self) -> str:
        """The field in the struct, with its comment."""
        shape = "".join(f"[{n}]" for n in self.shape)
        array = "".join(f"[{n}]" for n in self.lengths)
        return f"{self.declared or self.type} {self.name}{array}; /* {shape}{' ' if shape else ''}{self.meaning} */"

    @property
    def bytes(self) -> int:
        return BYTES[self.type] * math.prod(self.shape)


@dataclass(frozen=True)
class DenseText:
    """One dense layer. W, bias, limit, multiplier: names of tables (limit and multiplier None for the last layer); name: for macros;
    dot: function that sums one row of W, without prefix; curve: table of its activation's knots, None where that is a straight line."""

    layer: IntegerDense
    name: str
    W: str
    bias: str
    limit: str | None
    multiplier: str | None
    dot: str
    curve: str | None


@dataclass(frozen=True)
class Model:
    """The C of a network.

    prefix: starts all names; stages: the layers before the read-out, in order; normalize: part -> table; due: number of steps after
    which a decision is due; output: what the read-out sees of unit u, an expression of the state; output_field: the int8 field that holds
    it as it is, None if it takes an expression; output_length, outputs: its number of units, as C text and as a number; features: of the
    front end, None where it takes the block sums as they are; target: that it is written for, None for all.
    """

    network: IntegerNetwork
    prefix: str
    tables: Tables
    stages: tuple[Stage, ...]
    dense: tuple[DenseText, ...]
    fields: tuple[Field, ...]
    normalize: dict[str, str]
    due: int
    output: str
    output_field: str | None
    output_length: str
    outputs: int
    features: FeaturesText | None = None
    target: str | None = None

    @property
    def layers(self) -> tuple[LayerText, ...]:
        """The recurrent layers."""
        return tuple(stage for stage in self.stages if isinstance(stage, LayerText))

    @property
    def has_curves(self) -> bool:
        """Whether any layer's activation is a curve of straight segments."""
        around = [stage.layer for stage in self.stages if isinstance(stage, FeedForwardText)]
        flows = any(op.code == "interpolate" for text in self.layers for op in text.flow.ops.values())
        return flows or any(getattr(layer, "curve", None) for layer in (*around, *(d.layer for d in self.dense)))

    @property
    def waits(self) -> bool:
        """Whether a step may end before the read-out, because a convolution or a pooling has no output yet."""
        return any(isinstance(stage, FeedForwardText) and stage.kept for stage in self.stages)

    @property
    def rate(self) -> float | None:
        """Samples a second of the recordings that the network learned from, where its file says it."""
        return sampling_rate(self.network.metadata)

    @property
    def period_us(self) -> int:
        """Whole microseconds between two samples, where the rate is known."""
        return round(1e6 / (self.rate or math.inf))

    @property
    def mean(self) -> bool:
        return self.network.read_out.kind == "mean"

    @property
    def averages(self) -> bool:
        """Whether the layers behind the read-out get the mean itself, in 8 bits."""
        return self.network.read_out.gain is not None

    @property
    def begin_window(self) -> str:
        """Name of the function between windows that follow one another: what the front end remembers runs on."""
        return f"{self.prefix}_{'next_window' if self.features is not None and self.features.memories else 'reset'}"

    @property
    def name_bytes(self) -> int:
        """RAM that the names of the classes and the pointers to them take on an AVR."""
        return sum(len(name.encode()) + 3 for name in self.network.classes)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index of an element of any vector."""
        return 1 if all(layer.units <= 2**8 for layer in self.layers) else 2

    @property
    def narrow(self) -> bool:
        """Whether all that is listed fits entries of two bytes."""
        return all(layer.columns.locals.narrow for layer in self.layers)

    @property
    def state_bytes(self) -> int:
        """sizeof of the state struct where integers are aligned to their own size."""
        size = sum(field.bytes for field in self.fields)
        alignment = max(BYTES[field.type] for field in self.fields)
        return -(-size // alignment) * alignment

    @property
    def stack_bytes(self) -> int:
        """Local arrays of the deepest call, without registers and return addresses."""
        layers = [layer.local_bytes(self.target, self.narrow, self.index_bytes) for layer in self.layers]
        passed = sum(stage.units for stage in self.stages[:-1] if isinstance(stage, FeedForwardText) or stage.output_field is None)
        scores = 4 * self.network.outputs + sum(d.layer.outputs for d in self.dense[:-1])
        scores += self.outputs if self.averages or (not self.mean and self.output_field is None) else 0
        front, values = self.network.normalize.width, self.network.normalize.outputs
        featuring = 0 if self.features is None else front + 4 * values + self.features.local_bytes
        return max(front + passed + max(layers), featuring, scores)

    @property
    def stack_bound(self) -> int:
        """Bytes of stack that no call exceeds with an optimizing compiler: local arrays, registers and return addresses."""
        return self.stack_bytes + REGISTERS

    @property
    def step_multiplies(self) -> int:
        """Worst-case multiply-accumulates of one step."""
        return sum(stage.multiply_accumulates for stage in self.stages)

    @property
    def decision_multiplies(self) -> int:
        """Multiply-accumulates of the dense layers, once per decision."""
        return sum(int(d.layer.W.size) for d in self.dense)


def build(
    network: IntegerNetwork, prefix: str | None = None, strategy: str | None = None, *, target: str | None = None,
    activity: Sequence[LayerActivity] | None = None,
) -> Model:  # fmt: skip
    """The C text of `network`, proved not to overflow.

    strategy: how rows are summed (`columns.STRATEGIES`), chosen for each layer when None, for `target` (all alike when None) and from
    `activity`, one a recurrent layer (assumed when None).

    Raises EdgeLstmError for a network that 32 bits do not suffice for, or whose layers come in an order that has no C form; UsageError for
    an unknown strategy or target, or one that packs weights where there are none of few bits.
    """
    prove_network(network)
    before, dense, mean = _in_order(network)
    name = prefix_of(network.name, prefix)
    tables = Tables(name, {f"{name}_{function}" for function in FUNCTIONS})
    normalize, front = _normalize(network, tables), network.normalize
    features = None
    if front.features is not None:
        features = features_text(front.features, name, "sums" if front.decimation > 1 else "raw", tables)
    sum_type = signed_type(-127 * network.read_out.window, 127 * network.read_out.window) if mean else None
    places = [k for k, layer in enumerate(before) if isinstance(layer, IntegerRecurrent)]
    measured = dict(zip(places, activity if activity is not None else [None] * len(places), strict=True))
    choices = {k: choose(r, strategy, target, measured[k]) for k, r in enumerate(before) if isinstance(r, IntegerRecurrent)}
    vectors = target in (None, "cortex-m55")  # their weights stand beside the others, and make the text twice as long
    alone = len(before) == 1 and features is None  # else the layer's inputs are not those of the model
    stages = tuple(
        layer_text(
            layer, tables, "" if alone else f"layer{k + 1}_", choices[k], sum_type if layer is before[-1] else None,
            vectors=vectors, activity=measured[k],
        )
        if isinstance(layer, IntegerRecurrent)
        else feed_forward_text(layer, k + 1, tables, pack_weights=strategy == "rows")
        for k, layer in enumerate(before)
    )  # fmt: skip
    used = [text.strategy for text in stages if isinstance(text, LayerText)]
    if strategy is not None and strategy.endswith(PACKED) and not any(one.endswith(PACKED) for one in used):
        raise UsageError(f"{strategy} needs weights of at most 4 bits, and no row by columns has those: train with --weights gates=4")
    if strategy is not None and strategy.endswith(TABLES) and not any(one.endswith(TABLES) for one in used):
        raise UsageError(f"{strategy} needs binary weights of x, and no row by columns has those: train with --weights gates=binary")
    dense_texts = tuple(_dense(dense, k, tables, network.read_out.sums, strategy == "rows") for k in range(len(dense)))
    due, last = max(network.read_out.window, 1), stages[-1]
    fields = _fields(network, name, stages, tables, due, mean, features)
    output, output_field = (last.output, last.output_field) if isinstance(last, LayerText) else ("state->output[u]", "output")
    return Model(
        network, name, tables, stages, dense_texts, fields, normalize, due, output, output_field, stage_length(name, last), last.units,
        features, target,
    )  # fmt: skip


def _in_order(network: IntegerNetwork) -> tuple[list[IntegerRecurrent | FeedForward], list[IntegerDense], bool]:
    if obstacle := network.stream_obstacle:
        raise EdgeLstmError(f"C code runs step by step, and this network cannot: {obstacle}")
    kinds = [type(layer) for layer in network.layers]
    read_out = kinds.index(IntegerReadOut)
    before, behind = network.layers[:read_out], network.layers[read_out + 1 :]
    first = [layer for layer in before if isinstance(layer, (IntegerRecurrent, IntegerConv1d, IntegerPool, IntegerDense))]
    dense = [layer for layer in behind if isinstance(layer, IntegerDense)]
    if not any(isinstance(layer, IntegerRecurrent) for layer in first) or len(first) != len(before) or len(dense) != len(behind):
        order = ", ".join(kind.__name__ for kind in kinds)
        raise EdgeLstmError(f"C code needs layers with a recurrent one among them, a read-out, then dense layers; this network has {order}")
    if any(layer.limit is None for layer in dense[:-1]):
        raise EdgeLstmError("C code needs hidden dense layers that requantize to 8 bits (limit, multiplier and shift are missing)")
    return first, dense, network.read_out.kind == "mean"


def _normalize(network: IntegerNetwork, tables: Tables) -> dict[str, str]:
    front = network.normalize
    what = f"sum of {front.decimation} counts of a channel" if front.decimation > 1 else "count of a channel"
    shape = "[inputs]"
    if front.features is not None:
        what, shape = "feature", "[features]"
    parts = {
        "offset": (front.offset, f"{shape} subtracted from the {what}"),
        "limit": (front.limit, f"{shape} clamp before the multiplication"),
        "multiplier": (front.multiplier, f"{shape} factor * 2^{front.shift}"),
    }
    if not needs_clamp(front):
        del parts["limit"]
    return {part: tables.add((f"input_{part}",), values, comment) for part, (values, comment) in parts.items()}


def _dense(layers: list[IntegerDense], index: int, tables: Tables, sums: bool, smallest: bool) -> DenseText:
    layer, last = layers[index], index == len(layers) - 1
    name = "output" if last and layer.limit is None else f"hidden{index + 1}"
    saved = layer.outputs * (layer.inputs - row_bytes(layer.inputs, fewest_bits(layer.W)))
    W, dot = tables.add_weights(
        (f"{name}_W",), layer.W, f"[{layer.outputs}][{layer.inputs}] weights of the {'output' if last else 'hidden'} layer",
        "dot_sum" if sums and index == 0 else "dot", pack_them=smallest or saved >= DOT_CODE,
    )  # fmt: skip
    bias = tables.add((f"{name}_b",), layer.bias, f"[{layer.outputs}] bias of the {'output' if last else 'hidden'} layer")
    limit = multiplier = None
    if layer.limit is not None and layer.multiplier is not None:
        limit = tables.add((f"{name}_limit",), layer.limit, f"[{layer.outputs}] clamp before the multiplication")
        multiplier = tables.add((f"{name}_multiplier",), layer.multiplier, f"[{layer.outputs}] factor * 2^{layer.shift}")
    return DenseText(layer, name, W, bias, limit, multiplier, dot, add_curve(layer, tables))


def stage_length(prefix: str, stage: Stage) -> str:
    """The macro for the number of outputs of a stage."""
    infix = stage.infix if isinstance(stage, LayerText) else f"{stage.name}_"
    return f"{prefix}_{infix}units".upper()


def _fields(
    network: IntegerNetwork, prefix: str, stages: tuple[Stage, ...], tables: Tables, due: int, mean: bool, features: FeaturesText | None
) -> tuple[Field, ...]:  # fmt: skip
    upper, front, last = prefix.upper(), network.normalize, stages[-1]
    fields: list[Field] = []
    for stage in stages:
        fields += _recurrent_fields(stage, prefix, tables) if isinstance(stage, LayerText) else _ring_fields(stage, prefix)
    if not isinstance(last, LayerText):
        fields.append(Field("int8_t", "output", (last.units,), (stage_length(prefix, last),), "what the read-out sees"))
    if mean:
        limit = 127 * network.read_out.window
        meaning = f"sum of the output over the steps, within +-{limit}"
        fields.append(Field(signed_type(-limit, limit), "sum", (last.units,), (stage_length(prefix, last),), meaning))
    if front.decimation > 1:
        sums = "sums of the counts of the block being gathered"
        fields.append(Field("int32_t", "block", (front.inputs,), (f"{upper}_INPUTS",), sums, front=True))
        fields.append(Field(unsigned_type(front.decimation), "samples", (), (), "samples in the block so far", front=True))
    if features is not None and features.memories:
        fields += [Field("int32_t", name, (width,), (str(width),), meaning, front=True) for name, width, meaning in features.memories]
        fields.append(Field("uint8_t", "started", (), (), "whether there was a step since the reset", front=True))
    fields.append(Field(unsigned_type(due), "steps", (), (), f"steps since the reset, at most {due}"))
    return tuple(sorted(fields, key=lambda field: -BYTES[field.type]))


def _recurrent_fields(text: LayerText, prefix: str, tables: Tables) -> list[Field]:
    fields, shape, lengths = [], (text.units,), (stage_length(prefix, text),)
    for state in text.layer.states:
        kind, name = text.fields[state.name]
        start = "0"
        if state.initial.any():
            table = tables.add((f"{text.infix}initial_{state.name}",), state.initial, f"[units] {state.name} after a reset")
            start = f"{table}[k]" if kind == "int32_t" else f"({kind}){table}[k]"
        fields.append(Field(kind, name, shape, lengths, state_meaning(state.name, state.scale, state.limit), start))
    if text.output_stored and text.output_field is not None:
        fields.append(Field("int8_t", text.output_field, shape, lengths, "output of the layer"))
    for kept in text.columns.persistent:
        fields.append(Field(kept.type, kept.name, kept.shape, kept.lengths, kept.meaning, kept.start, declared=kept.declared))
    return fields


def _ring_fields(text: FeedForwardText, prefix: str) -> list[Field]:
    if not text.kept:
        return []
    L, name = f"{prefix}_{text.name}".upper(), text.name
    inputs = f"{'2 * ' if text.wide else ''}{L}_INPUTS"
    counter, wait = unsigned_type(text.kept), unsigned_type(max(text.first, text.every))
    return [
        Field("int8_t", name, (text.kept, input_width(text.layer)), (f"{L}_KEPT", inputs), "ring of the latest steps"),
        Field(counter, f"{name}_next", (), (), "where the next step goes in the ring: the oldest one"),
        Field(wait, f"{name}_wait", (), (), "steps until the next output", str(text.first)),
    ]


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
