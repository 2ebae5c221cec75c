"""The table of docs/firmware.md on weights of few bits: flash, RAM and instructions of a step for 8, 4 bits, ternary and binary gate rows.

Usage: PYTHONPATH=. python tools/packed_firmware_table.py FOLDER [--targets cortex-m4 ...] [--sizes 6,32 32,128] [--hard work0.3]
           [--iterations 2000]

FOLDER holds what `tools/firmware_models.py FOLDER --data watch --folds 1 --bits 8 4 ternary binary` trained. Every network runs
over windows of people it never saw, by the strategy that the cost model chooses and by the same one with a byte for each weight.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from firmware_models import ITERATIONS, budget, channels, splits

from edge_lstm import onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.weights import FORMATS
from firmware_gen import emulation
from firmware_gen.columns import BYTES, PACKED, TABLES

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "rv32imc", "atmega328p")
WINDOWS = 2
COLUMNS = (
    "target", "gate rows", "strategy", "instructions", "cycles", "in bytes: instructions", "cycles", "weights", "code", "state + stack",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--sizes", nargs="+", default=["6,32", "32,128"])
    parser.add_argument("--hard", default="work0.3")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of the training")
    arguments = parser.parse_args()
    split = next(splits("watch"))
    known = json.loads((arguments.folder / "accuracies.json").read_text())
    for size in arguments.sizes:
        inputs, units = map(int, size.split(","))
        x = channels(split.test_x, inputs)[0]
        raw = x[np.linspace(0, len(x) - 1, WINDOWS).round().astype(int)]
        way, spent = f"{split.name}_{inputs}_{units}_{arguments.hard}", budget(arguments.iterations)
        names = {bits: f"{way}{'' if bits == '8' else f'w{bits}'}{spent}_0" for bits in FORMATS}
        accuracy = ", ".join(f"{bits} {100 * known[name]['integer']:.1f} %" for bits, name in names.items())
        print(f"\n({size}); accuracy: {accuracy}\n")
        print(f"| {' | '.join(COLUMNS)} |\n|---|---|---|{'---:|' * (len(COLUMNS) - 3)}", flush=True)
        for target in arguments.targets:
            if target == "atmega328p" and units > 32:
                continue  # more than its RAM, or its flash
            for bits, name in names.items():
                network = onnx_io.load(arguments.folder / f"{name}.int.onnx")
                assert isinstance(network, IntegerNetwork)
                print(f"| {target} | {bits} | {_line(network, raw, target)} |", flush=True)


def _line(network: IntegerNetwork, raw: np.ndarray, target: str) -> str:
    found = emulation.profile(network, raw, target)
    plain = found.strategy.removesuffix(PACKED).removesuffix(TABLES)
    in_bytes = emulation.profile(network, raw, target, strategy=plain + BYTES) if plain != found.strategy else found
    if found.differing or in_bytes.differing:
        raise SystemExit(f"{target}: bits differ from the reference")
    steps = [f"{one.step.instructions:,.0f} | {one.step.cycles.nominal:,.0f}" for one in (found, in_bytes)]
    ram = f"{found.ram.state:,} + {found.ram.stack:,}"
    return f"{found.strategy} | {' | '.join(steps)} | {found.flash.weights:,} | {found.flash.code:,} | {ram}"


if __name__ == "__main__":
    main()
