"""Tables of docs/firmware.md on trained models: accuracy and instructions of a step, hard gates against CMSIS-NN and our own soft gates.

Usage: PYTHONPATH=. python tools/trained_firmware_table.py FOLDER [--document docs/firmware.md] [--data hapt watch] [--networks 1] [--fresh]

FOLDER holds what `tools/firmware_models.py FOLDER --published` trained. Every setting of SETTINGS becomes a line: its accuracy over all
networks, and its instructions by the best of the strategies *event* and *delta* and of the installed compilers: of the first network, or
at the sizes that have bars the mean over the first --networks. They run over windows of people they never saw; every bit is
compared with the reference. What was counted is kept in FOLDER/counts.json; --fresh counts again, after a change of the generator.
With --document the tables replace what stands between the markers of that file. Needs the extra `mcu`; cortex-m55 and atmega328p need
packages of the system.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from firmware_models import SETTINGS, SIZES, Setting, Split, channels, splits

from edge_lstm import files, onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import activity, emulation
from firmware_gen.emulation import cross
from firmware_gen.toolchain import Compiler

BAR_TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55")
OTHERS = ("rv32imc", "atmega328p")
# Quoted, see docs/firmware.md: fewest instructions a step of several builds of CMSIS-NN arm_lstm_unidirectional_s8, random weights.
CMSIS_NN = {
    "cortex-m0plus": (26000, 60000, 164000, 563200), "cortex-m3": (12600, 30000, 84800, 303100),
    "cortex-m4": (11700, 25900, 66700, 214100), "cortex-m7": (11800, 25900, 66700, 214100), "cortex-m55": (5470, 9800, 19400, 43800),
}  # fmt: skip
# What the ratio to CMSIS-NN, and the loss of accuracy in points, are to be.
BARS = {(6, 32): (8, 5.5, 6, 6, 7), (32, 128): (6.5, 4.5, 4.5, 4.5, 3.5)}
LOSS = 0.5
WINDOWS = 2
DETAILS = ("target", "size", "trained with", "strategy", "instructions", "worst", "cycles", "per MAC", "soft gates", "code", "tables",
           "weights", "state + stack")  # fmt: skip
TITLES = {"hapt": "HAPT", "watch": "Watch"}
MARKERS = ("<!-- trained models: made by tools/trained_firmware_table.py -->", "<!-- end of trained models -->")
Record = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """The fewest instructions of a step of one or more networks. Means; worst and bytes: the largest."""

    instructions: float
    worst: int
    low: float
    high: float
    ways: tuple[str, ...]
    code: int
    tables: int
    weights: int
    state: int
    stack: int


class Counts:
    """What was counted so far: network, target, strategy, compiler -> figures, in a file."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.folder, self.path = folder, folder / "counts.json"
        self.known: dict[str, Record] = {} if fresh or not self.path.exists() else json.loads(self.path.read_text())

    def fewest(self, names: Sequence[str], raw: Sequence[np.ndarray], target: str, strategies: tuple[str, ...]) -> Step:
        """Of networks `names`, each with its windows: the least over strategies and compilers of each."""
        compilers = cross.compilers(emulation.target(target))
        found = []
        for name, windows in zip(names, raw, strict=True):
            tried = [self._record(name, windows, target, s, c) for s in strategies for c in compilers]
            found.append(min(tried, key=lambda one: one["instructions"]))
        mean = {key: float(np.mean([one[key] for one in found])) for key in ("instructions", "low", "high")}
        most: dict[str, int] = {key: max(one[key] for one in found) for key in ("worst", "code", "tables", "weights", "state", "stack")}
        ways = tuple(way for way, _ in Counter(one["way"] for one in found).most_common())
        return Step(mean["instructions"], low=mean["low"], high=mean["high"], ways=ways, **most)

    def _record(self, name: str, raw: np.ndarray, target: str, strategy: str, compiler: Compiler) -> Record:
        key = f"{name} {target} {strategy} {compiler.name.split()[0]}"
        if key not in self.known:
            one = emulation.profile(load(self.folder / f"{name}.int.onnx"), raw, target, strategy=strategy, compiler=compiler)
            if one.differing:
                raise SystemExit(f"{key}: bits differ from the reference")
            self.known[key] = {
                "instructions": one.step.instructions, "worst": one.step.worst_instructions, "low": one.step.cycles.low,
                "high": one.step.cycles.high, "way": f"{one.strategy}, {'gcc' if 'gcc' in one.compiler.lower() else 'clang'}",
                "code": one.flash.code, "tables": one.flash.tables, "weights": one.flash.weights, "state": one.ram.state,
                "stack": one.ram.stack,
            }  # fmt: skip
            files.write_text(self.path, json.dumps(self.known, indent=1, sort_keys=True) + "\n")
        return self.known[key]


@cache
def load(path: Path) -> IntegerNetwork:
    network = onnx_io.load(path)
    if not isinstance(network, IntegerNetwork):
        raise SystemExit(f"{path}: not an integer network")
    return network


class Report:
    """The tables of one set of recordings."""

    def __init__(self, folder: Path, data: str, networks: int, counts: Counts) -> None:
        self.folder, self.data, self.networks, self.counts = folder, data, networks, counts
        self.known: dict[str, dict[str, float]] = json.loads((folder / "accuracies.json").read_text())
        self.splits: dict[str, Split] = {split.name: split for split in splits(data)}

    def lines(self) -> Iterator[str]:
        head = " | ".join(target.replace("cortex-m", "M").replace("M0plus", "M0+") for target in BAR_TARGETS)
        yield f"| size | trained with | hard, % | float, % | difference (pairs) | {head} |"
        yield f"|---|---|---:|---:|---:|{'---|' * len(BAR_TARGETS)}"
        details, gates = [], []
        for setting in SETTINGS[self.data]:
            names = self._names(setting)
            if not names:
                raise SystemExit(f"{self.folder}: no network of {self.data} {setting.size} {setting.way}")
            yield self._summary(setting, names)
            details += list(self._details(setting, names))
            gates.append(f"| {_size(setting.size)} | {setting.text} | {' | '.join(self._activity(names))} |")
        yield ""
        yield f"| {' | '.join(DETAILS)} |\n|{'---|' * 4}{'---:|' * (len(DETAILS) - 4)}"
        yield from sorted(details, key=lambda line: [*BAR_TARGETS, *OTHERS].index(line.split(" | ")[0].strip("| ")))
        yield ""
        yield "| size | trained with | i open | o open | h not 0 | h changed | x changed |\n|---|---|---:|---:|---:|---:|---:|"
        yield from gates

    def _names(self, setting: Setting) -> list[tuple[str, str]]:
        """(hard gates, soft gates) of every network of a setting, seed by seed."""
        inputs, units = setting.size
        found = []
        for seed in range(100):
            for split in self.splits:
                pair = (f"{split}_{inputs}_{units}_{setting.way}_{seed}", f"{split}_{inputs}_{units}_{setting.control}_{seed}")
                if all(name in self.known for name in pair):
                    found.append(pair)
        return found

    def _counted(self, setting: Setting, names: list[tuple[str, str]], target: str) -> tuple[Step, Step]:
        """Of hard gates, and of the first network's soft gates on the dense kernel, whose work does not depend on the data."""
        count = self.networks if setting.size in BARS and target in BAR_TARGETS else 1
        hard = [pair[0] for pair in names[:count]]
        soft = names[0][1]
        strategies = ("event",) if target == "cortex-m55" else ("event", "delta")  # vectors keep no sums
        ours = self.counts.fewest(hard, [self._windows(name, setting.size) for name in hard], target, strategies)
        return ours, self.counts.fewest([soft], [self._windows(soft, setting.size)], target, ("dense",))

    def _windows(self, name: str, size: tuple[int, int]) -> np.ndarray:
        x = channels(self.splits[name.split("_")[0]].test_x, size[0])[0]
        return x[np.linspace(0, len(x) - 1, WINDOWS).round().astype(int)]

    def _summary(self, setting: Setting, names: list[tuple[str, str]]) -> str:
        pairs = 100 * np.array([(self.known[hard]["integer"], self.known[soft]["float"]) for hard, soft in names])
        difference = pairs[:, 0] - pairs[:, 1]
        error = f" ± {difference.std(ddof=1) / len(pairs) ** 0.5:.1f}" if len(pairs) > 1 else ""
        text = _marked(f"{difference.mean():+.1f}{error}", round(difference.mean(), 1) < -LOSS) + f" ({len(pairs)})"
        cells = []
        for target, bar in zip(BAR_TARGETS, BARS.get(setting.size, (0,) * len(BAR_TARGETS)), strict=True):
            ours, soft = self._counted(setting, names, target)
            ratio = CMSIS_NN[target][SIZES.index(setting.size)] / ours.instructions
            cells.append(f"{_marked(f'{ratio:.1f}×', ratio < bar)} / {soft.instructions / ours.instructions:.1f}×")
        cells = [_size(setting.size), setting.text, f"{pairs[:, 0].mean():.1f}", f"{pairs[:, 1].mean():.1f}", text, *cells]
        return f"| {' | '.join(cells)} |"

    def _details(self, setting: Setting, names: list[tuple[str, str]]) -> Iterator[str]:
        inputs, units = setting.size
        for target in (*BAR_TARGETS, *OTHERS):
            if target == "atmega328p" and units > 32:
                continue  # more than its RAM, or its flash
            step, soft = self._counted(setting, names, target)
            low, high = round(step.low), round(step.high)
            cells = [
                target, _size(setting.size), setting.text, "; ".join(step.ways), f"{step.instructions:,.0f}", f"{step.worst:,}",
                f"{low:,}" if low == high else f"{low:,} – {high:,}", f"{step.instructions / (4 * units * (inputs + units)):.2f}",
                f"{soft.instructions:,.0f}", f"{step.code:,}", f"{step.tables:,}", f"{step.weights:,}",
                f"{step.state:,} + {step.stack:,}",
            ]  # fmt: skip
            yield f"| {' | '.join(cells)} |"

    def _activity(self, names: list[tuple[str, str]]) -> list[str]:
        """i open, o open, h not 0, h changed, x changed: means over the first networks."""
        rows = []
        for name, _ in names[: self.networks]:
            network = load(self.folder / f"{name}.int.onnx")
            x = channels(self.splits[name.split("_")[0]].test_x, network.inputs)[0]
            (found,) = activity.measure(network, x[:: max(len(x) // 100, 1)])
            (h,) = found.vectors.values()
            ops = network.recurrent[0].ops
            opened = {ops[ops[gate].args[0]].name: share for gate, share in found.open.items()}
            rows.append((opened["i"], opened["o"], h.nonzero, h.changed, found.x.changed))
        return [f"{value:.2f}" for value in np.mean(rows, axis=0)]


def _size(size: tuple[int, int]) -> str:
    return f"({size[0]},{size[1]})"


def _marked(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--document", type=Path)
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--networks", type=int, default=1)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    counts, parts = Counts(arguments.folder, arguments.fresh), []
    for data in arguments.data:
        parts += [f"### {TITLES[data]}", "", *Report(arguments.folder, data, arguments.networks, counts).lines(), ""]
    text = "\n".join(parts)
    if arguments.document is None:
        print(text)
        return
    whole = arguments.document.read_text()
    if any(whole.count(marker) != 1 for marker in MARKERS):
        raise SystemExit(f"{arguments.document}: expected {MARKERS[0]} and {MARKERS[1]}, once each")
    before, _, rest = whole.partition(MARKERS[0])
    files.write_text(arguments.document, f"{before}{MARKERS[0]}\n\n{text}\n{MARKERS[1]}{rest.partition(MARKERS[1])[2]}")


if __name__ == "__main__":
    main()
