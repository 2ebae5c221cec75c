"""What is supported, found by trying: every back end is given small networks of every kind, and takes them or refuses them by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from docs_integers import INPUTS, UNITS, example_layer

import firmware_gen
from edge_lstm import engine
from edge_lstm.cells import FEED_FORWARD_ONLY, KINDS, Activation, activation, cell, family
from edge_lstm.engine import reference
from edge_lstm.engine.stages import prepare
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Imu, imu_features
from edge_lstm.fixed_point.feed_forward import CURVES, LINES
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, Preprocess, ReadOut, Recurrent
from edge_lstm.onnx_io.integer_session import IntegerSession
from edge_lstm.onnx_io.network_standard import FORMS
from edge_lstm.train import head
from edge_lstm.train.float_kernels import backward_source, forward_source
from edge_lstm.train.passes import require_trainable
from edge_lstm.train.plan import plan

Array = npt.NDArray[Any]
BATCH, STEPS = 3, 12
BACK_ENDS = ("float", "trainer", "NumPy", "ONNX Runtime", "Numba", "Numba streams", "C")
YES = "✓"


def _dense(inputs: int, outputs: int, kind: str = "identity") -> Dense:
    weights = (np.arange(inputs * outputs).reshape(outputs, inputs) * 5 % 11 - 5) / 8
    return Dense(weights, np.arange(outputs) / 8, activation(kind))


def _lstm(inputs: int = INPUTS, **changes: Any) -> Recurrent:
    member = cell("lstm")
    return replace(example_layer(member, member.default_activations(), inputs), **changes)


def _convolution(padding: tuple[int, int], stride: int = 1, dilation: int = 1, kind: str = "relu") -> Conv1d:
    weights = (np.arange(UNITS * INPUTS * 3).reshape(UNITS, INPUTS, 3) * 5 % 11 - 5) / 8
    return Conv1d(weights, np.zeros(UNITS), stride, padding, dilation, activation(kind))


def _network(*before: Layer, read_out: str = "last", behind: tuple[Layer, ...] | None = None, **changes: Any) -> Network:
    width = before[-1].outputs  # type: ignore[union-attr]
    return Network((*before, ReadOut(read_out), *((_dense(width, 3),) if behind is None else behind)), window=STEPS, **changes)


def layer_cases() -> dict[str, tuple[Network, Options]]:
    """What the table of layers tries: description -> network and how it is quantized."""
    lstm, second, own = _lstm(), _lstm(UNITS), Options()
    initial = {"h": np.full(UNITS, 0.5), "c": np.full(UNITS, -0.5)}
    front = Preprocess(4, np.zeros(INPUTS), np.full(INPUTS, 1 / 512))
    imu = imu_features(Imu(turning=()), [1 / 512] * 3, 4, 50.0)
    sensor = Preprocess(4, np.zeros(imu.count), np.full(imu.count, 1 / 4096), None, imu)
    networks = {
        "one recurrent layer, last step": _network(lstm),
        "two recurrent layers": _network(lstm, second),
        "mean over the steps": _network(lstm, read_out="mean"),
        "every step": _network(lstm, read_out="every"),
        "final state (ONNX `Y_h`)": _network(lstm, read_out="final"),
        "no dense layer behind": _network(lstm, behind=()),
        **{f"hidden dense layer, {kind}": _network(lstm, behind=(_dense(UNITS, 4, kind), _dense(4, 3))) for kind in (*LINES[1:], *CURVES)},
        "hidden dense layer behind a mean": _network(lstm, read_out="mean", behind=(_dense(UNITS, 4, "relu"), _dense(4, 3))),
        "softmax": _network(lstm, softmax=True),
        "normalization and decimation of sensor counts": _network(lstm, preprocess=front),
        "features of an inertial sensor": _network(_lstm(imu.count), preprocess=sensor),
        "initial states": _network(replace(lstm, initial=initial)),
        "`clip`": _network(replace(lstm, clip=1.5)),
        "cell state in 32 bits": _network(lstm),
        "inputs of 16 bits": _network(lstm),
        "weights in 4 bits": _network(lstm),
        "gate rows of -1, 0, 1": _network(replace(lstm, activations=cell("lstm").default_activations(activation("threshold")))),
        "gate rows of -1, 1": _network(replace(lstm, activations=cell("lstm").default_activations(activation("threshold")))),
        "dense layer in front": _network(_dense(INPUTS, INPUTS), lstm),
        "causal convolution in front": _network(_convolution((2, 0)), second),
        "the same with stride 2 and dilation 2": _network(_convolution((4, 0), 2, 2), second),
        "convolution with tanh": _network(_convolution((2, 0), kind="tanh"), second),
        "convolution padded at both ends": _network(_convolution((1, 1)), second),
        "average pooling": _network(Pool("average", 2, 2, INPUTS), lstm),
        "max pooling": _network(Pool("max", 2, 2, INPUTS), lstm),
        "layer that reads in reverse": _network(replace(lstm, reverse=True), read_out="final"),
        "bidirectional layer": _network(Bidirectional(lstm, replace(lstm, reverse=True)), read_out="final"),
    }
    options = {
        "cell state in 32 bits": Options(cell_bits=32),
        "inputs of 16 bits": Options(input_bits=16),
        "weights in 4 bits": Options({"gates": "4", "candidates": "4", "dense": "4"}),
        "gate rows of -1, 0, 1": Options({"gates": "ternary"}),
        "gate rows of -1, 1": Options({"gates": "binary"}),
    }
    return {name: (network, options.get(name, own)) for name, network in networks.items()}


def _input(network: Network) -> Array:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (BATCH, STEPS, network.inputs))
    return x if network.preprocess is None else (x * 512).astype(np.int16)


def _trains(network: Network) -> None:
    require_trainable(network)
    for layer in network.layers:
        if isinstance(layer, Recurrent):
            forward_source(plan(layer), "float32")
            backward_source(plan(layer), "float32")
        elif isinstance(layer, Dense):
            v = np.ones((layer.inputs, 1))
            y = head.dense(layer, v)
            head.dense_adjoint(layer, v, y, np.ones_like(y), np.zeros(layer.W.size + layer.b.size))


def _same_bits(integer: IntegerNetwork, raw: Array) -> None:
    expected, found = reference.run(integer, raw).scores, IntegerSession(integer).run(raw).scores
    if not np.array_equal(expected, found):
        raise AssertionError(f"ONNX Runtime differs from the reference for {integer.name}")


def outcomes(network: Network, options: Options) -> tuple[str, ...]:
    """For each of BACK_ENDS "" where it takes the network, else the reason that it gives. Raises AssertionError for bits that differ."""
    x = _input(network)
    found = [_reason(lambda: network(x)), _reason(lambda: _trains(network))]
    try:
        integer = quantize(network, x, options)
    except EdgeLstmError as refusal:
        return (*found, *[str(refusal)] * (len(BACK_ENDS) - len(found)))
    raw = x if network.preprocess is not None else engine.counts(integer.normalize, x)
    found.append(_reason(lambda: reference.run(integer, raw)))
    found.append(_reason(lambda: _same_bits(integer, raw)))
    found.append(_reason(lambda: prepare(integer)))
    found.append(_reason(lambda: engine.Stream(integer)))
    found.append(_reason(lambda: firmware_gen.header(integer)))
    return tuple(found)


def _reason(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except EdgeLstmError as refusal:
        return str(refusal)
    return ""


class Reasons:
    """Refusals, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, reason: str) -> str:
        """The mark of a table's entry."""
        if not reason:
            return YES
        reason = re.sub(r"^layer \d+ ", "a layer ", reason)
        if reason not in self.texts:
            self.texts.append(reason)
        return f"[{self.texts.index(reason) + 1}]"


def layer_table(reasons: Reasons) -> list[tuple[str, tuple[str, ...]]]:
    """Description of the network, and a mark for each back end."""
    return [(name, tuple(reasons.mark(r) for r in outcomes(*case))) for name, case in layer_cases().items()]


GATE_KINDS = tuple(name for name in KINDS if activation(name).bounds == (0.0, 1.0))
SQUASH_KINDS = tuple(name for name in KINDS if name not in (*GATE_KINDS, *FEED_FORWARD_ONLY))


def cell_table(reasons: Reasons) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """For each cell its ONNX operator, and a mark for each kind of gate and of squashing, tried in every back end."""
    table = []
    for name in family():
        form = FORMS.get(name)
        gates = tuple(_mark(name, gate, None, reasons) if cell(name).gates else "-" for gate in GATE_KINDS)
        squashings = tuple(_mark(name, None, squash, reasons) for squash in SQUASH_KINDS)
        table.append((name, f"`{form.operator}`" if form else "function", gates, squashings))
    return table


def _mark(name: str, gate: str | None, squash: str | None, reasons: Reasons) -> str:
    """All gates of one kind, or all squashings of one kind, the others the cell's own."""
    member = cell(name)
    chosen = {
        role.name: activation(gate) if gate and role.gate else activation(squash) if squash and not role.gate else role.default
        for role in member.roles
    }
    return next((reasons.mark(reason) for reason in _outcomes_of(name, tuple(chosen.items())) if reason), YES)


@cache
def _outcomes_of(name: str, activations: tuple[tuple[str, Activation], ...]) -> tuple[str, ...]:
    """`outcomes` of one recurrent layer: the cell with all its own activations is both an entry of its gates and one of its squashings."""
    return outcomes(_network(example_layer(cell(name), dict(activations))), Options())


def support_page(render: Callable[..., str]) -> dict[str, str]:
    """The page of both tables."""
    reasons = Reasons()
    cells, layers = cell_table(reasons), layer_table(reasons)
    kinds = {"gate_kinds": GATE_KINDS, "squash_kinds": SQUASH_KINDS}
    page = render("support.md.j2", yes=YES, back_ends=BACK_ENDS, cells=cells, layers=layers, reasons=reasons.texts, **kinds)
    return {"support.md": page}
