"""Tables of docs/firmware.md on trained models: instructions of a step, hard gates against CMSIS-NN and against our own soft gates.

Usage: PYTHONPATH=. python tools/trained_firmware_table.py FOLDER [--targets cortex-m0plus ...] [--data watch1 hapt] [--seed 0] [--all]

FOLDER holds what tools/firmware_models.py trained. Every network runs over windows of people it never saw, with the strategy that the cost
model chooses and the first compiler of the target; with --all each strategy and each installed compiler is tried, and the fewest
instructions count, for hard gates and for soft ones alike. Needs the extra `mcu`; cortex-m55 and atmega328p need packages of the system.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from firmware_models import SIZES, channels, splits

from edge_lstm import onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import activity, emulation
from firmware_gen.emulation import cross

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc", "atmega328p")
# Quoted, see docs/firmware.md: fewest instructions a step of several builds of CMSIS-NN arm_lstm_unidirectional_s8, random weights.
CMSIS_NN = {
    "cortex-m0plus": (26000, 60000, 164000, 563200), "cortex-m3": (12600, 30000, 84800, 303100),
    "cortex-m4": (11700, 25900, 66700, 214100), "cortex-m7": (11800, 25900, 66700, 214100), "cortex-m55": (5470, 9800, 19400, 43800),
}  # fmt: skip
WINDOWS = 2


def accuracies(folder: Path) -> None:
    """The accuracy of all networks, hard gates against float ones of the same size and budget, as Markdown."""
    known = json.loads((folder / "accuracies.json").read_text())
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for name, found in known.items():
        split, inputs, units, gates, _ = name.split("_")
        size = f"{inputs},{units}"
        groups[split.rstrip("0123456789"), size, gates].append(100 * found["integer"])
        if gates == "soft":
            groups[split.rstrip("0123456789"), size, "float"].append(100 * found["float"])
    print("| recordings | size | gates | networks | accuracy, % | minus float |\n|---|---|---|---:|---:|---:|")
    for (data, size, gates), values in sorted(groups.items()):
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        difference = np.mean(values) - np.mean(groups[data, size, "float"])
        print(f"| {data} | {size} | {gates} | {len(values)} | {np.mean(values):.1f}{spread} | {difference:+.1f} |")
    print()


def fewest(
    network: IntegerNetwork, raw: np.ndarray, target: str, strategies: tuple[str | None, ...], everyone: bool
) -> emulation.Profile:  # fmt: skip
    """The profile with the fewest instructions over strategies and compilers, the first compiler alone unless everyone."""
    compilers = cross.compilers(emulation.target(target))
    found = [
        emulation.profile(network, raw, target, strategy=strategy, compiler=compiler)
        for strategy in strategies
        for compiler in (compilers if everyone else compilers[:1])
    ]
    if any(one.differing for one in found):
        raise SystemExit(f"{target}: bits differ from the reference")
    return min(found, key=lambda one: one.step.instructions)


def compiler_of(profile: emulation.Profile) -> str:
    return "gcc" if "gcc" in profile.compiler.lower() else "clang"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--data", nargs="+", default=("watch1", "hapt"))
    parser.add_argument("--sizes", nargs="+", default=[f"{i},{u}" for i, u in SIZES])
    parser.add_argument("--hard", default="hard0.1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    accuracies(arguments.folder)
    sizes = [size for size in SIZES if f"{size[0]},{size[1]}" in arguments.sizes]
    tests = {split.name: split for data in ("watch", "hapt") if any(d.startswith(data) for d in arguments.data) for split in splits(data)}
    print("| recordings | size | i open | o open | h not 0 | h changed | x changed |\n|---|---|---:|---:|---:|---:|---:|")
    lines = []
    for data in arguments.data:
        for size in sizes:
            x = channels(tests[data].test_x, size[0])[0]
            raw = x[np.linspace(0, len(x) - 1, WINDOWS).round().astype(int)]
            name = f"{data}_{size[0]}_{size[1]}"
            paths = {gates: arguments.folder / f"{name}_{gates}_{arguments.seed}.int.onnx" for gates in (arguments.hard, "soft")}
            if not all(path.exists() for path in paths.values()):
                continue
            hard, soft = (onnx_io.load(path) for path in paths.values())
            assert isinstance(hard, IntegerNetwork)
            assert isinstance(soft, IntegerNetwork)
            print(f"| {data} | {size[0]},{size[1]} | {_activity(hard, x)} |", flush=True)
            for target in arguments.targets:
                if target == "atmega328p" and size[1] > 32:
                    continue  # more than its RAM, or its flash
                ours = fewest(hard, raw, target, ("event", "delta") if arguments.all else (None,), arguments.all)
                lines.append(_line(data, size, target, ours, fewest(soft, raw, target, ("dense",), arguments.all)))
                print(lines[-1], file=sys.stderr, flush=True)
    print(
        "\n| recordings | size | target | strategy | hard gates | worst | cycles | per MAC | CMSIS-NN ÷ ours | soft gates | soft ÷ hard "
        "| code | tables | weights | state + stack |\n|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    print("\n".join(lines))


def _activity(network: IntegerNetwork, x: np.ndarray) -> str:
    (found,) = activity.measure(network, x[:: max(len(x) // 100, 1)])
    (h,) = found.vectors.values()
    ops = network.recurrent[0].ops
    opened = {ops[ops[gate].args[0]].name: share for gate, share in found.open.items()}
    return f"{opened.get('i', 0):.2f} | {opened.get('o', 0):.2f} | {h.nonzero:.2f} | {h.changed:.2f} | {found.x.changed:.2f}"


def _line(data: str, size: tuple[int, int], target: str, hard: emulation.Profile, soft: emulation.Profile) -> str:
    step, peer, (inputs, units) = hard.step, CMSIS_NN.get(target), size
    low, high = round(step.cycles.low), round(step.cycles.high)
    cells = [
        data, f"{inputs},{units}", target, f"{hard.strategy}, {compiler_of(hard)}", f"{step.instructions:,.0f}",
        f"{step.worst_instructions:,}", f"{low:,}" if low == high else f"{low:,} – {high:,}",
        f"{step.instructions / (4 * units * (inputs + units)):.2f}",
        f"{peer[SIZES.index(size)] / step.instructions:.1f}×" if peer else "", f"{soft.step.instructions:,.0f} ({compiler_of(soft)})",
        f"{soft.step.instructions / step.instructions:.1f}×", f"{hard.flash.code:,}", f"{hard.flash.tables:,}", f"{hard.flash.weights:,}",
        f"{hard.ram.state:,} + {hard.ram.stack:,}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
