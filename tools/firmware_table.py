"""The table of docs/firmware.md: what the header of an LSTM with random weights costs on emulated microcontrollers, as Markdown.

Usage: python tools/firmware_table.py [-O2] [--gcc] [--wide] [--best] [strategy ...] [target ...]

Takes about a minute for a target and a strategy; needs the extra `mcu`. Soft gates are run dense alone. --wide: inputs of 16 bits;
--best: the strategy that the generator chooses from the activity of the sequence.
Compiles with the clang of the `ziglang` package, or with --gcc with the GNU compiler of the target, which has to be on PATH.
"""

from __future__ import annotations

import sys

import numpy as np

from edge_lstm.cells import activation, cell
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.network import Dense, Network, ReadOut, Recurrent, RowWeights
from firmware_gen import emulation
from firmware_gen.columns import STRATEGIES
from firmware_gen.emulation import cross

SIZES = ((6, 16), (6, 32), (9, 64), (32, 128))
STEPS, CLASSES = 40, 6


def network(rng: np.random.Generator, inputs: int, units: int, gates: str, input_bits: int = 8) -> tuple[IntegerNetwork, np.ndarray]:
    """An LSTM with normally distributed weights, the mean over the steps, a dense layer; and one smooth random sequence of counts."""
    member = cell("lstm")
    activations = {role.name: activation(gates) if role.gate else role.default for role in member.roles}
    rows = {
        row.name: RowWeights(
            rng.normal(0, 1.2 / np.sqrt(inputs), (units, inputs)), (rng.normal(0, 1.2 / np.sqrt(units), (units, units)),),
            rng.normal(0, 0.3, units),
        )
        for row in member.rows
    }  # fmt: skip
    recurrent = Recurrent(member, activations, rows, {}, {}, None)
    dense = Dense(rng.normal(0, 0.5, (CLASSES, units)), rng.normal(0, 0.1, CLASSES))
    made = Network((recurrent, ReadOut("mean"), dense), None, False, window=STEPS)
    integer = quantize(made, smooth(rng, 8, inputs), Options(input_bits=input_bits))
    front = integer.normalize
    x = smooth(rng, 1, inputs)
    return integer, np.clip(np.round(x * front.limit_of_x / 3 / (front.multiplier / 2.0**front.shift)), -32768, 32767).astype(np.int16)


def smooth(rng: np.random.Generator, sequences: int, channels: int) -> np.ndarray:
    """Sequences [sequences, STEPS, channels] of variance 1 in which neighbouring steps correlate by 0.9."""
    x = rng.normal(0, 1, (sequences, STEPS, channels))
    for t in range(1, STEPS):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.81) * x[:, t]
    return x


def open_gates(integer: IntegerNetwork, raw: np.ndarray) -> float:
    """Share of input gates that are open: the candidate is needed there."""
    (layer,) = integer.recurrent
    row = next(k for k, op in enumerate(layer.ops) if op.code == "row" and op.name == "i")
    state, opened = reference.initial_state(layer, 1), []
    for x in reference.normalize(integer.normalize, raw)[0].astype(np.int64):
        state, _, values = reference.step(layer, x[None], state)
        opened.append(float((values[row] > 0).mean()))
    return float(np.mean(opened))


def main(arguments: list[str]) -> None:
    optimization = next((one for one in arguments if one.startswith("-O")), "-O2")
    strategies: list[str | None] = [one for one in arguments if one in STRATEGIES]
    strategies = strategies or ([None] if "--best" in arguments else ["dense"])
    input_bits = 16 if "--wide" in arguments else 8
    named = [one for one in arguments if not one.startswith("-") and one not in STRATEGIES]
    targets = named or [target.name for target in emulation.TARGETS]
    columns = [
        "target", "size", "gates", "strategy", "instructions", "worst", "per MAC", "cycles", "normalize", "decide", "code", "tables",
        "weights", "state", "stack",
    ]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|---|---|---|---|{'---:|' * (len(columns) - 4)}")
    compilers: dict[str, None] = {}
    opened: dict[str, float] = {}
    for name in targets:
        compiler = cross.compilers(emulation.target(name))[0 if "--gcc" in arguments else -1]
        for inputs, units in SIZES[: 2 if name == "atmega328p" else None]:  # 32 KB of flash
            for gates in ("threshold", "sigmoid"):
                integer, raw = network(np.random.default_rng(inputs * units), inputs, units, gates, input_bits)
                if gates == "threshold":
                    opened[f"{inputs},{units}"] = open_gates(integer, raw)
                for strategy in strategies if gates == "threshold" else strategies[:1] if strategies == [None] else ["dense"]:
                    found = emulation.profile(integer, raw, name, strategy=strategy, compiler=compiler, optimization=optimization)
                    if found.differing:
                        raise SystemExit(f"{name} {inputs},{units} {gates} {strategy}: {found.differing} of {found.values} values differ")
                    compilers[found.compiler] = None
                    print(f"| {' | '.join([name, f'{inputs},{units}', *_cells(found, gates, 4 * units * (inputs + units))])} |", flush=True)
    shares = ", ".join(f"{size}: {share:.2f}" for size, share in opened.items())
    print(f"\n{optimization}; {', '.join(compilers)}; {STEPS} steps; input gates open: {shares}")


def _cells(found: emulation.Profile, gates: str, multiply_accumulates: int) -> list[str]:
    step, flash, ram = found.step, found.flash, found.ram
    cycles = sorted({round(step.cycles.low), round(step.cycles.high)})
    return [
        "hard" if gates == "threshold" else "soft", found.strategy, f"{step.instructions:,.0f}", f"{step.worst_instructions:,}",
        f"{step.instructions / multiply_accumulates:.2f}", " – ".join(f"{one:,}" for one in cycles),
        f"{found.normalize.instructions:,.0f}", f"{found.decide.instructions:,.0f}", f"{flash.code:,}", f"{flash.tables:,}",
        f"{flash.weights:,}", f"{ram.state:,}", f"{ram.stack:,}",
    ]  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
