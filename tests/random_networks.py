"""Random networks and inputs for the tests of all engines: the whole family, every activation mix, extremes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edge_lstm.cells import FEED_FORWARD_ONLY, Activation, Cell, activation, cell, family
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, Preprocess, ReadOut, Recurrent, RowWeights, steps_before

GATES = ("sigmoid", "threshold", "hard_sigmoid", "three_level", "mixed")
_GATE_KINDS = ("sigmoid", "threshold", "hard_sigmoid", "three_level")
# Of dense layers and convolutions.
BEHIND = ("relu", "clamp", "hard_tanh", "hard_sigmoid", "tanh", "sigmoid", "softsign", "scaled_sigmoid", "identity", *FEED_FORWARD_ONLY)
_SQUASHINGS = ("tanh", "hard_tanh", "softsign", "scaled_sigmoid", "relu", "identity", "clamp")


def assert_same(came: reference.Run, wanted: reference.Run) -> None:
    """The scores and all states of a run, and their types."""
    assert came.scores.dtype == np.int32
    np.testing.assert_array_equal(came.scores, wanted.scores)
    assert len(came.states) == len(wanted.states)
    for ours, theirs in zip(came.states, wanted.states, strict=True):
        assert list(ours) == list(theirs)
        for state, values in theirs.items():
            np.testing.assert_array_equal(ours[state], values, err_msg=state)


def random_activations(rng: np.random.Generator, member: Cell, gates: str = "sigmoid", squash: str = "own") -> dict[str, Activation]:
    """Role -> activation. gates: one of GATES; squash: "own" (the paper's), "any" (random) or the name of one activation."""
    chosen = {}
    for role in member.roles:
        if role.gate:
            kind = str(rng.choice(_GATE_KINDS)) if gates == "mixed" else gates
            chosen[role.name] = (
                activation(kind, alpha=float(rng.choice([0.2, 1 / 6, 0.25]))) if kind == "hard_sigmoid" else activation(kind)
            )
        elif squash == "own":
            chosen[role.name] = role.default
        else:
            chosen[role.name] = activation(str(rng.choice(_SQUASHINGS)) if squash == "any" else squash)
    return chosen


def random_recurrent(
    rng: np.random.Generator, name: str, inputs: int, units: int, gates: str = "sigmoid", squash: str = "own", *, initial: bool = False,
    clip: float | None = None, dtype: type = np.float64, mix: int | None = None,
) -> Recurrent:  # fmt: skip
    """One recurrent layer with normally distributed weights; `initial` gives it random initial states too.

    mix: seed of the random choice of activations, so that several networks can share one mix; None draws it from rng.
    """
    member = cell(name)

    def normal(scale: float, *shape: int) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(dtype)

    rows = {}
    for row in member.rows:
        R = tuple(normal(1.2 / np.sqrt(units), units, units) for _ in row.sources)
        b = normal(0.3, units) if row.bias else np.zeros(units, dtype)
        rows[row.name] = RowWeights(normal(1.2 / np.sqrt(inputs), units, inputs) if row.input else None, R, b)
    parameters = {p: normal(0.5, units) for p in member.parameters}
    if name == "fastgrnn":
        parameters |= {"zeta": np.full(units, rng.uniform(0, 1), dtype), "nu": np.full(units, rng.uniform(0, 0.5), dtype)}
    start = {s: normal(0.3, units) for s in member.states} if initial else {}
    chosen = random_activations(rng if mix is None else np.random.default_rng(mix), member, gates, squash)
    return Recurrent(member, chosen, rows, parameters, start, clip)


def random_network(
    rng: np.random.Generator, name: str = "lstm", inputs: int = 5, units: int = 12, gates: str = "sigmoid", read_out: str = "last", *,
    layers: int = 1, squash: str = "own", hidden: int = 0, behind: str = "relu", outputs: int = 3, steps: int = 20, decimation: int = 1,
    initial: bool = False, clip: float | None = None, dtype: type = np.float64, mix: int | None = None,
) -> Network:  # fmt: skip
    """A float network. steps: its window; hidden: units of a dense layer with the activation `behind` before the output (0: none).

    decimation > 1 adds a `Preprocess` with random offsets and scales.
    """
    options = {"initial": initial, "clip": clip, "dtype": dtype, "mix": mix}
    widths = [inputs] + [units] * (layers - 1)
    stack: list[Layer] = [random_recurrent(rng, name, width, units, gates, squash, **options) for width in widths]  # type: ignore[arg-type]
    stack.append(ReadOut(read_out))
    width = units
    if hidden:
        stack.append(Dense(rng.normal(0, 0.5, (hidden, units)).astype(dtype), rng.normal(0, 0.1, hidden).astype(dtype), activation(behind)))
        width = hidden
    stack.append(Dense(rng.normal(0, 0.5, (outputs, width)).astype(dtype), rng.normal(0, 0.1, outputs).astype(dtype)))
    front = None
    if decimation > 1:
        front = Preprocess(decimation, rng.normal(0, 500, inputs), rng.uniform(1 / 4000, 1 / 200, inputs), rng.uniform(1e-4, 1e-2, inputs))
    return Network(tuple(stack), front, bool(rng.integers(2)), window=steps)


def random_deep(
    rng: np.random.Generator, name: str = "lstm", gates: str = "sigmoid", read_out: str = "last", *, streams: bool = True
) -> Network:
    """Convolution -> pooling -> dense -> recurrent -> read-out -> dense, each with random sizes; `streams`: causal and forward only."""
    inputs, width, units = (int(n) for n in rng.integers(2, 7, 3))
    kernel, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    padding = ((kernel - 1) * dilation, 0) if streams else (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    W = rng.normal(0, 1 / np.sqrt(inputs * kernel), (width, inputs, kernel))
    squashed, bent = (activation(str(kind)) for kind in rng.choice(BEHIND, 2))
    layers: list[Layer] = [Conv1d(W, rng.normal(0, 0.2, width), int(rng.integers(1, 3)), padding, dilation, squashed)]
    layers.append(Pool(str(rng.choice(["average", "max"])), int(rng.integers(1, 4)), int(rng.integers(1, 3)), width))
    layers.append(Dense(rng.normal(0, 0.6, (5, width)), rng.normal(0, 0.2, 5), bent))
    forward = random_recurrent(rng, name, 5, units, gates)
    if streams:
        layers.append(forward)
    else:
        layers.append(Bidirectional(forward, replace(random_recurrent(rng, name, 5, units + 1, gates), reverse=True)))
    below = units if streams else 2 * units + 1
    window = steps_before(layers, 24)  # of which the read-out sees 24
    return Network((*layers, ReadOut(read_out), Dense(rng.normal(0, 0.5, (3, below)), rng.normal(0, 0.1, 3))), window=window)


def random_input(rng: np.random.Generator, network: Network, batch: int = 4, steps: int = 20) -> np.ndarray:
    """Smooth random input [batch, steps (before decimation), channels]: int16 counts if the network preprocesses, else float64."""
    if network.preprocess is None:
        return rng.normal(0, 1, (batch, steps, network.inputs))
    front = network.preprocess
    x = rng.normal(0, 1, (batch, steps * front.decimation, network.inputs)) / front.scale + front.offset
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def random_integer(
    rng: np.random.Generator,
    name: str = "lstm",
    *args: object,
    cell_bits: int = 16,
    bits: Mapping[str, str] | None = None,
    separate_rows: bool = False,
    input_bits: int = 8,
    calibration_steps: int = 20,
    **options: object,
) -> IntegerNetwork:
    """A quantized random network; arguments of `random_network`. bits: of the weights, as in `weights.row_formats`;
    calibration_steps: of the input that calibrates it."""
    network = random_network(rng, name, *args, **options)  # type: ignore[arg-type]
    return quantize(network, random_input(rng, network, 6, calibration_steps), Options(bits or {}, cell_bits, separate_rows, input_bits))


def random_counts(
    rng: np.random.Generator, network: IntegerNetwork, batch: int = 4, steps: int = 20, *, extremes: bool = False
) -> np.ndarray:
    """int16 counts [batch, steps * decimation, channels] that use the whole range of x; `extremes`: only 0, +-1, and the ends of int16."""
    front = network.normalize
    shape = (batch, steps * front.decimation, front.inputs)
    if extremes:
        return rng.choice(np.array([-32768, 32767, 0, 1, -1, -32767], np.int16), shape)
    gain = front.multiplier / 2.0**front.shift * front.decimation
    counts = rng.normal(0, 50 / 127 * front.limit_of_x, shape) / gain + front.offset / front.decimation
    return np.clip(np.round(counts), -32768, 32767).astype(np.int16)


def every_member() -> list[tuple[str, str]]:
    """(cell, gates) for the whole family; cells without gates once."""
    return [(name, gates) for name in family() for gates in (GATES if cell(name).gates else ("sigmoid",))]
