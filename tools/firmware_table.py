"""The table of docs/firmware.md: what the header of an LSTM with random weights costs on emulated microcontrollers, as Markdown.

Usage: python tools/firmware_table.py [-O2] [--gcc] [target ...]      about four minutes for all targets; needs the extra `mcu`.
Compiles with the clang of the `ziglang` package, or with --gcc with the GNU compiler of the target, which has to be on PATH.
"""

from __future__ import annotations

import sys

import numpy as np

from edge_lstm.cells import activation, cell
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Dense, Network, ReadOut, Recurrent, RowWeights
from firmware_gen import emulation
from firmware_gen.emulation import cross

SIZES = ((6, 16), (6, 32), (9, 64), (32, 128))
STEPS, CLASSES = 12, 6


def network(rng: np.random.Generator, inputs: int, units: int, gates: str) -> tuple[IntegerNetwork, np.ndarray]:
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
    integer = quantize(Network((recurrent, ReadOut("mean"), dense), None, False, window=STEPS), smooth(rng, 8, inputs))
    front = integer.normalize
    x = smooth(rng, 1, inputs)
    return integer, np.clip(np.round(x * 127 / 3 / (front.multiplier / 2.0**front.shift)), -32768, 32767).astype(np.int16)


def smooth(rng: np.random.Generator, sequences: int, channels: int) -> np.ndarray:
    """Sequences [sequences, STEPS, channels] of variance 1 in which neighbouring steps correlate by 0.9."""
    x = rng.normal(0, 1, (sequences, STEPS, channels))
    for t in range(1, STEPS):
        x[:, t] = 0.9 * x[:, t - 1] + np.sqrt(1 - 0.81) * x[:, t]
    return x


def main(arguments: list[str]) -> None:
    optimization = next((one for one in arguments if one.startswith("-O")), "-O2")
    which = 0 if "--gcc" in arguments else -1
    targets = [one for one in arguments if not one.startswith("-")] or [target.name for target in emulation.TARGETS]
    columns = [
        "target", "size", "gates", "instructions", "worst", "per MAC", "cycles", "normalize", "decide", "code", "tables", "weights", "state",
        "stack",
    ]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|---|---|---|{'---:|' * (len(columns) - 3)}")
    compilers: dict[str, None] = {}
    for name in targets:
        compiler = cross.compilers(emulation.target(name))[which]
        for inputs, units in SIZES:
            for gates in ("threshold", "sigmoid"):
                integer, raw = network(np.random.default_rng(inputs * units), inputs, units, gates)
                found = emulation.profile(integer, raw, name, compiler=compiler, optimization=optimization)
                if found.differing:
                    raise SystemExit(f"{name} {inputs},{units} {gates}: {found.differing} of {found.values} values differ")
                compilers[found.compiler] = None
                step, flash, ram = found.step, found.flash, found.ram
                cycles = sorted({round(step.cycles.low), round(step.cycles.high)})
                cells = (
                    name, f"{inputs},{units}", "hard" if gates == "threshold" else "soft", f"{step.instructions:,.0f}",
                    f"{step.worst_instructions:,}", f"{step.instructions / (4 * units * (inputs + units)):.2f}",
                    " – ".join(f"{one:,}" for one in cycles), f"{found.normalize.instructions:,.0f}", f"{found.decide.instructions:,.0f}",
                    f"{flash.code:,}", f"{flash.tables:,}", f"{flash.weights:,}", f"{ram.state}", f"{ram.stack}",
                )  # fmt: skip
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{optimization}; {', '.join(compilers)}; {STEPS} steps")


if __name__ == "__main__":
    main(sys.argv[1:])
