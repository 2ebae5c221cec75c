"""A network in words and numbers, for `inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerLayer,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)
from edge_lstm.jobs.inputs import AnyNetwork, decimation
from edge_lstm.jobs.networks import parameters
from edge_lstm.network import Bidirectional, Layer, ReadOut, Recurrent
from firmware_gen.model import build


def describe(network: AnyNetwork) -> dict[str, Any]:
    """Name, sizes, classes, metadata, and a dictionary a layer: "what", "lines", and for integers "bounds" and the kernel."""
    if isinstance(network, IntegerNetwork):
        layers = [_integer_layer(layer) for layer in network.layers]
        for layer, bounds in zip(layers, prove_network(network), strict=True):
            layer["bounds"] = [{**asdict(bound), "bits": bound.bits} for bound in bounds]
        window = network.read_out.window
    else:
        layers = [_float_layer(layer) for layer in network.layers]
        window = network.window
    return {
        "name": network.name,
        "numbers": "integers" if isinstance(network, IntegerNetwork) else "floats",
        "inputs": network.inputs,
        "outputs": network.outputs,
        "classes": list(network.classes),
        "window_steps": window,
        "decimation": decimation(network),
        "parameters": parameters(network),
        "size": _size(network),
        "file_metadata": dict(network.metadata),
        "kernel": _kernel(network) if isinstance(network, IntegerNetwork) else "",
        "layers": layers,
    }


def _size(network: AnyNetwork) -> str:
    """What it takes in C without its code, counted; of a float network, from which no C is made, the weights."""
    if not isinstance(network, IntegerNetwork):
        return f"{4 * parameters(network):,} bytes of weights as 32-bit floats"
    try:
        model = build(network)
    except EdgeLstmError as reason:
        return f"{parameters(network):,} bytes of weights; no C: {reason}"
    return f"{model.tables.bytes:,} bytes of constants and {model.state_bytes:,} of state in C"


def _kernel(network: IntegerNetwork) -> str:
    """Which kernel runs an integer network here, why, and what it leaves out; LLVM is asked about the processor, so this loads it."""
    from edge_lstm.engine.prepared import leaves_out_zeros
    from edge_lstm.engine.target import choose, why

    chosen = choose()
    if not any(leaves_out_zeros(layer, chosen) for layer in network.recurrent):
        return why(chosen)
    return f"{why(chosen)}; columns of zeros behind threshold gates are left out of a sequence, and of a batch where enough are zero"


def _integer_layer(layer: IntegerLayer) -> dict[str, Any]:
    if isinstance(layer, IntegerReadOut):
        return {"what": _read_out(layer.kind) + ("" if layer.gain is None else f", times 2^{layer.gain} in 8 bits")}
    if isinstance(layer, IntegerBidirectional):
        both = [_integer_layer(layer.forward), _integer_layer(layer.backward)]
        return {"what": f"both directions: {both[0]['what']}", "lines": both[0]["lines"]}
    if not isinstance(layer, IntegerRecurrent):
        return {"what": f"{type(layer).__name__.removeprefix('Integer').lower()}, {_inputs(layer)} -> {layer.outputs}"}
    states = [f"state {s.name}: int{s.bits}, one unit = {s.scale:.6g}, within ±{s.limit}" for s in layer.states]
    return {
        "what": f"{layer.cell}, {_inputs(layer)} -> {layer.units} units",
        "lines": [*layer.equations, _activations(layer.activations), *states],
    }


def _inputs(layer: IntegerRecurrent | IntegerConv1d | IntegerPool | IntegerDense) -> str:
    return f"{layer.inputs} of 16 bits" if not isinstance(layer, IntegerPool) and layer.wide else str(layer.inputs)


def _float_layer(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Bidirectional):
        both = [_float_layer(layer.forward), _float_layer(layer.backward)]
        return {"what": f"both directions: {both[0]['what']}", "lines": both[0]["lines"]}
    if isinstance(layer, Recurrent):
        return {
            "what": f"{layer.cell.name} ({layer.cell.title}), {layer.inputs} -> {layer.units} units",
            "lines": [*layer.cell.equations, _activations({role: str(one) for role, one in layer.activations.items()})],
        }
    if isinstance(layer, ReadOut):
        return {"what": _read_out(layer.kind)}
    return {"what": f"{type(layer).__name__.lower()}, {layer.inputs} -> {layer.outputs}"}


def _read_out(kind: str) -> str:
    return f"read-out: {kind}"


def _activations(activations: Any) -> str:
    return ", ".join(f"{role}: {kind}" for role, kind in activations.items())
