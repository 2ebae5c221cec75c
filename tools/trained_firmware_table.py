"""Tables of docs/firmware.md on trained models: instructions of a step, hard gates against CMSIS-NN and against our own soft gates.

Usage: PYTHONPATH=. python tools/trained_firmware_table.py FOLDER [--targets cortex-m0plus ...] [--data watch1 hapt] [--sizes 6,32 ...]
           [--hard work0.25 work0.3] [--seeds 0 1 2] [--all]

FOLDER holds what tools/firmware_models.py trained; of hard gates the first way of --hard counts that a size has. Every network runs over
windows of people it never saw, with the strategy that the cost model chooses and the first compiler of the target; figures are means over
the networks of --seeds that are there, the worst step and memory those of the largest. With --all each strategy and each installed
compiler is tried, and the fewest instructions count, for hard gates and for soft ones alike. Needs the extra `mcu`; cortex-m55 and
atmega328p need packages of the system.
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
    """Hard gates in integers against the float network of the same people, size, seed and budget, paired, as Markdown."""
    known = json.loads((folder / "accuracies.json").read_text())
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for name, found in known.items():
        split, inputs, units, gates, seed = name.split("_")
        control = known.get(f"{split}_{inputs}_{units}_soft_{seed}")
        if control is not None:
            groups[split.rstrip("0123456789"), f"{inputs},{units}", gates].append((100 * found["integer"], 100 * control["float"]))
    print("| recordings | size | gates | pairs | integers, % | float, % | difference |\n|---|---|---|---:|---:|---:|---:|")
    for (data, size, gates), pairs in sorted(groups.items()):
        ours, theirs = np.array(pairs).T
        error = f" ± {np.std(ours - theirs, ddof=1) / len(pairs) ** 0.5:.1f}" if len(pairs) > 1 else ""
        print(
            f"| {data} | {size} | {gates} | {len(pairs)} | {ours.mean():.1f} | {theirs.mean():.1f} | {(ours - theirs).mean():+.1f}{error} |"
        )
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
    parser.add_argument("--hard", nargs="+", default=["work0.25", "work0.3"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
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
            pairs = _pairs(arguments.folder, f"{data}_{size[0]}_{size[1]}", arguments.hard, arguments.seeds)
            if not pairs:
                continue
            print(f"| {data} | {size[0]},{size[1]} | {' | '.join(_activity([hard for hard, _ in pairs], x))} |", flush=True)
            for target in arguments.targets:
                if target == "atmega328p" and size[1] > 32:
                    continue  # more than its RAM, or its flash
                ways = ("event", "delta") if arguments.all else (None,)
                ours = [fewest(hard, raw, target, ways, arguments.all) for hard, _ in pairs]
                controls = [fewest(soft, raw, target, ("dense",), arguments.all) for _, soft in pairs]
                lines.append(_line(data, size, target, ours, controls))
                print(lines[-1], file=sys.stderr, flush=True)
    head = ("recordings", "size", "target", "networks", "strategy", "hard gates", "worst", "cycles", "per MAC", "CMSIS-NN ÷ ours",
            "soft gates", "soft ÷ hard", "code", "tables", "weights", "state + stack")  # fmt: skip
    print(f"\n| {' | '.join(head)} |\n|{'|'.join('---' if title in (*head[:3], 'strategy') else '---:' for title in head)}|")
    print("\n".join(lines))


def _pairs(folder: Path, name: str, ways: list[str], seeds: list[int]) -> list[tuple[IntegerNetwork, IntegerNetwork]]:
    """(hard gates, soft gates) of every seed that has both, by the first way that any seed has."""
    for way in ways:
        paths = [(folder / f"{name}_{way}_{seed}.int.onnx", folder / f"{name}_soft_{seed}.int.onnx") for seed in seeds]
        found = [tuple(onnx_io.load(path) for path in pair) for pair in paths if all(path.exists() for path in pair)]
        if found:
            return [(hard, soft) for hard, soft in found if isinstance(hard, IntegerNetwork) and isinstance(soft, IntegerNetwork)]
    return []


def _activity(networks: list[IntegerNetwork], x: np.ndarray) -> list[str]:
    """i open, o open, h not 0, h changed, x changed: means over the networks."""
    rows = []
    for network in networks:
        (found,) = activity.measure(network, x[:: max(len(x) // 100, 1)])
        (h,) = found.vectors.values()
        ops = network.recurrent[0].ops
        opened = {ops[ops[gate].args[0]].name: share for gate, share in found.open.items()}
        rows.append((opened.get("i", 0.0), opened.get("o", 0.0), h.nonzero, h.changed, found.x.changed))
    return [f"{value:.2f}" for value in np.mean(rows, axis=0)]


def _line(data: str, size: tuple[int, int], target: str, hard: list[emulation.Profile], soft: list[emulation.Profile]) -> str:
    peer, (inputs, units) = CMSIS_NN.get(target), size
    step, control = (np.mean([one.step.instructions for one in profiles]) for profiles in (hard, soft))
    low, high = (round(np.mean([getattr(one.step.cycles, end) for one in hard])) for end in ("low", "high"))
    largest = max(hard, key=lambda one: one.ram.state + one.ram.stack)
    cells = [
        data, f"{inputs},{units}", target, str(len(hard)), ", ".join(sorted({f"{one.strategy}, {compiler_of(one)}" for one in hard})),
        f"{step:,.0f}", f"{max(one.step.worst_instructions for one in hard):,}", f"{low:,}" if low == high else f"{low:,} – {high:,}",
        f"{step / (4 * units * (inputs + units)):.2f}", f"{peer[SIZES.index(size)] / step:.1f}×" if peer else "–",
        f"{control:,.0f} ({compiler_of(soft[0])})", f"{control / step:.1f}×", f"{max(one.flash.code for one in hard):,}",
        f"{max(one.flash.tables for one in hard):,}", f"{max(one.flash.weights for one in hard):,}",
        f"{largest.ram.state:,} + {largest.ram.stack:,}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
