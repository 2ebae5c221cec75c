"""The last section of docs/firmware.md: trained models on emulated microcontrollers, hard gates against soft ones, as Markdown.

Usage: PYTHONPATH=. python tools/trained_firmware_table.py FOLDER [SIZE ...]      SIZE: 6,16 6,32 9,64 32,128

Trains on the bundled smart-watch recordings, hard gates with a penalty on open ones and soft gates without, people 8 and 9 of 10 held
out; keeps the models in FOLDER for the next run. Sizes with more than 6 inputs get channels derived from the 6: magnitudes, differences,
and beyond 14 random mixtures, which carry no new information. Needs the extra `mcu`; about 15 minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge_lstm import data, engine, onnx_io, train
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import training
from edge_lstm.network import Preprocess
from firmware_gen import activity, emulation
from firmware_gen.emulation import cross

SIZES = ((6, 16), (6, 32), (9, 64), (32, 128))
TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "rv32imc")
STRATEGIES = {"hard": ("dense", "event", "delta"), "soft": ("dense", "event", "delta")}
# Quoted, as in docs/firmware.md: fewest instructions a step of several builds of CMSIS-NN arm_lstm_unidirectional_s8, random weights.
CMSIS_NN = {
    "cortex-m0plus": (26000, 60000, 164000, 563200), "cortex-m3": (12600, 30000, 84800, 303100),
    "cortex-m4": (11700, 25900, 66700, 214100), "cortex-m7": (11800, 25900, 66700, 214100),
}  # fmt: skip
DECIMATION, SPARSITY, HELD_OUT, WINDOWS = 4, 0.1, 2, 2


def with_channels(counts: np.ndarray, inputs: int) -> np.ndarray:
    """counts [n, samples, 6] with derived channels up to `inputs`."""
    wide = counts.astype(np.float64)
    magnitudes = np.stack([np.linalg.norm(wide[..., :3], axis=-1), np.linalg.norm(wide[..., 3:], axis=-1)], axis=-1)
    differences = np.diff(wide, axis=1, prepend=wide[:, :1])
    mixtures = wide @ np.random.default_rng(0).normal(0, 0.5, (6, max(inputs - 14, 0)))
    joined = np.concatenate([wide, magnitudes, differences, mixtures], axis=-1)[..., :inputs]
    return np.clip(np.round(joined), -32768, 32767).astype(np.int16)


def trained(folder: Path, inputs: int, units: int, gates: str) -> tuple[IntegerNetwork, np.ndarray, np.ndarray]:
    """(network, counts of held-out people, their classes)."""
    dataset = data.watch()
    windows = training.prepare(dataset, training.Plan(decimation=DECIMATION)).windows
    x = with_channels(windows.x, inputs)
    people = np.unique(windows.person)
    held_out = np.isin(windows.person, people[-HELD_OUT:])
    path = folder / f"watch_{inputs}_{units}_{gates}.int.onnx"
    if not path.exists():
        found = data.standardize(x[~held_out], DECIMATION, [f"channel {k}" for k in range(inputs)])
        preprocess = Preprocess(DECIMATION, found.offset, 1 / found.scale, np.ones(inputs))
        recipe = train.Recipe(hidden=units, gates=gates, sparsity=SPARSITY if gates == "hard" else 0.0)
        result = train.fit(recipe, x[~held_out], windows.y[~held_out], classes=dataset.classes, preprocess=preprocess)
        onnx_io.save_integer(result.integer or quantize(result.network, x[~held_out][::4]), path)
    network = onnx_io.load(path)
    assert isinstance(network, IntegerNetwork)
    return network, x[held_out], windows.y[held_out]


def instructions(network: IntegerNetwork, raw: np.ndarray, target: str, strategy: str) -> emulation.Profile:
    """The profile with the fewest instructions over the compilers."""
    found = [
        emulation.profile(network, raw, target, strategy=strategy, compiler=compiler)
        for compiler in cross.compilers(emulation.target(target))
    ]
    if any(one.differing for one in found):
        raise SystemExit(f"{target} {strategy}: bits differ from the reference")
    return min(found, key=lambda one: one.step.instructions)


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [size for size in SIZES if not arguments[1:] or f"{size[0]},{size[1]}" in arguments[1:]]
    print("| size | gates | accuracy | i open | o open | h not 0 | h changed |\n|---|---|---:|---:|---:|---:|---:|")
    models = {}
    for inputs, units in sizes:
        for gates in ("hard", "soft"):
            network, x, y = trained(folder, inputs, units, gates)
            models[inputs, units, gates] = network, x[np.linspace(0, len(x) - 1, WINDOWS).round().astype(int)]
            right = float((engine.run(network, x).scores.argmax(-1) == y).mean())
            (found,) = activity.measure(network, x[:: max(len(x) // 100, 1)])
            (h,) = found.vectors.values()
            ops = network.recurrent[0].ops
            opened = {ops[ops[gate].args[0]].name: share for gate, share in found.open.items()}
            shares = " | ".join(f"{opened[gate]:.2f}" if gate in opened else "" for gate in "io")
            print(f"| {inputs},{units} | {gates} | {right:.1%} | {shares} | {h.nonzero:.2f} | {h.changed:.2f} |", flush=True)
    print(
        "\n| target | size | hard dense | hard event | hard delta | worst of delta | state, stack of event | of delta "
        "| soft, best | hard against soft | against CMSIS-NN |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for target in TARGETS:
        for inputs, units in sizes:
            found = {
                gates: {s: instructions(*models[inputs, units, gates], target, s) for s in STRATEGIES[gates]} for gates in ("hard", "soft")
            }
            print(_line(target, (inputs, units), found), flush=True)


def _line(target: str, size: tuple[int, int], found: dict[str, dict[str, emulation.Profile]]) -> str:
    hard, soft = found["hard"], found["soft"]
    best = min(one.step.instructions for one in hard.values())
    softest = min(soft, key=lambda s: soft[s].step.instructions)
    peer = CMSIS_NN.get(target)
    cells = [
        target, f"{size[0]},{size[1]}", *(f"{one.step.instructions:,.0f}" for one in hard.values()),
        f"{hard['delta'].step.worst_instructions:,}", *(f"{hard[s].ram.state} + {hard[s].ram.stack}" for s in ("event", "delta")),
        f"{soft[softest].step.instructions:,.0f} ({softest})", f"{soft[softest].step.instructions / best:.1f}×",
        f"{peer[SIZES.index(size)] / best:.1f}×" if peer else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
