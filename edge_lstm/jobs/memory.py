"""What a network takes on the device: compiled where a compiler is found, counted where none is."""

from __future__ import annotations

from collections.abc import Sequence

import firmware_gen
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs.networks import parameters
from edge_lstm.network import Network
from edge_lstm.report.content import Memory
from firmware_gen.activity import LayerActivity
from firmware_gen.model import build


def memory(
    network: IntegerNetwork,
    *,
    strategy: str | None = None,
    target: str | None = None,
    activity: Sequence[LayerActivity] | None = None,
) -> Memory:
    """Flash of constants and code, RAM of the state and the stack of a step, in bytes. The options are those of `firmware_gen.header`."""
    try:
        model = build(network, strategy=strategy, target=target, activity=activity)
    except UsageError:
        raise
    except EdgeLstmError as reason:
        return Memory(network.name, [("weights (flash)", parameters(network))], f"Counted: parameters alone. {reason}.")
    ram = [("state struct (RAM, yours)", model.state_bytes), ("local arrays of a step (stack)", model.stack_bytes)]
    try:
        compiled = firmware_gen.footprint(network, strategy=strategy, target=target, activity=activity)
    except EdgeLstmError as reason:  # no compiler, or one whose object files have no sections to measure
        constants = model.tables.bytes
        how = f"Counted from the header: its constants and its state; the size of its code is not measured ({reason})."
        return Memory(network.name, [("constants (flash)", constants), *ram], how)
    parts = [("code (flash)", compiled.text), ("constants (flash)", compiled.rodata), ("initialised data (flash and RAM)", compiled.data)]
    how = (
        f"{compiled.how[:1].upper()}{compiled.how[1:]}; state and stack computed from the header. The host stands in for a microcontroller."
    )
    return Memory(network.name, [part for part in parts if part[1]] + ram, how)


def flash(found: Memory) -> int:
    """Bytes of flash among the parts."""
    return sum(size for what, size in found.parts if "flash" in what)


def state(found: Memory) -> int:
    """Bytes of the state struct."""
    return next((size for what, size in found.parts if what.startswith("state")), 0)


def float_memory(network: Network) -> Memory:
    """The same for a float network: its weights alone, since no code is made from it."""
    return Memory(
        network.name,
        [("weights as 32-bit floats", 4 * parameters(network))],
        "Counted: weights only; no code is made from a float network.",
    )
