"""Two memories to look at, and what is counted in them: a token kept for 200 steps, and exercises at the wrist.

    python tools/show_memory.py memory/              # trains both, writes models, recordings and pictures into memory/
    python tools/show_memory.py memory/ --docs       # the same, and what docs/how-the-memory-works.md shows

Networks have 16 units and three threshold gates, all figures are those of the integer engine. Latch: 4 tokens, 200 steps, schedule
long_lag, 5 seeds, each tested on 1,000 sequences that it never saw. Watch: the bundled recordings, 2 people left out in each of 5 folds
and tested, windows of 4 s, sparsity 1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm import data, engine, files, onnx_io, train
from edge_lstm.data import tasks
from edge_lstm.engine import reference
from edge_lstm.engine.gate_activity import course
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs.following import follow
from edge_lstm.network import Preprocess
from edge_lstm.report import memory_picture

DOCS = Path(__file__).resolve().parents[1] / "docs"
STEPS, TOKENS, SEEDS, FOLDS, UNITS = 200, 4, 5, 5, 16
LENGTHS = range(20, STEPS + 1, 20)  # the latch is learned on short sequences and long ones
WATCH_RECORDING = "02-ROW-left"
LEARNED = 0.99  # right answers of a network that learned the latch; chance is 0.25


def latch_network(seed: int) -> train.Result:
    """A network that keeps the token that came with the store flag."""
    rng = np.random.default_rng([seed, 1])
    x, y, lengths = [], [], []
    for length in LENGTHS:
        drawn, wanted = tasks.latch(1000, length, rng, TOKENS)
        x.append(np.pad(drawn, ((0, 0), (0, STEPS - length), (0, 0))))
        y.append(wanted)
        lengths.append(np.full(len(wanted), length))
    recipe = train.Recipe.of("long_lag", hidden=UNITS, iterations=1200, sparsity=0.1, seed=seed)
    classes = tuple("ABCD"[:TOKENS])
    return train.fit(recipe, np.concatenate(x), np.concatenate(y), classes=classes, lengths=np.concatenate(lengths))


def latch_figures(network: IntegerNetwork, seed: int) -> dict[str, float]:
    """What is counted over 1,000 sequences of 200 steps."""
    x, y = tasks.latch(1000, STEPS, np.random.default_rng([seed, 2]), TOKENS)
    found = engine.run(network, engine.counts(network.normalize, x), states=True)
    c = found.states[0]["c"]
    same = c[:, 1:] == c[:, :-1]
    stored = x[:, :, TOKENS].argmax(1)
    # The last step between the store flag and the recall at which any bit of the cell states changed.
    after = np.arange(1, STEPS)[None] > stored[:, None]
    steps_after = after.sum()
    gates = course(network, engine.counts(network.normalize, x[:100]))[0].gates
    return {
        "accuracy": float((found.scores.argmax(1) == y).mean()),
        "i_open": float(gates["i"].mean()),
        "f_open": float(gates["f"].mean()),
        "cells_unchanged_after_store": float((same & after[:, :, None]).sum() / (steps_after * c.shape[2])),
        "steps_without_a_changed_bit_after_store": float((same.all(2) & after).sum() / steps_after),
    }


def latch_recording(seed: int = 7) -> data.Dataset:
    """One sequence as a recording."""
    x, y = tasks.latch(1, STEPS, np.random.default_rng(seed), TOKENS)
    channels = (*(f"token {name}" for name in "ABCD"[:TOKENS]), "store", "recall")
    recording = data.Recording(x[0], int(y[0]), "", "latch")
    return data.Dataset("latch", (recording,), channels, tuple("ABCD"[:TOKENS]), None, None, "edge_lstm.data.tasks.latch")


def watch_networks() -> list[tuple[train.Result, data.Windows]]:
    """(network, windows of the two people whom it never saw) of each fold."""
    dataset = data.watch()
    windows = data.windows(dataset, 200, 100)
    made = []
    for seed, (learn, test) in enumerate(data.person_folds(windows.person, FOLDS, 0)):
        found = data.standardize(windows.x[learn], 4, dataset.channels)
        front = Preprocess(4, found.offset, 1 / found.scale, dataset.units_per_count)
        recipe = train.Recipe(hidden=UNITS, sparsity=1.0, seed=seed)
        result = train.fit(recipe, windows.x[learn], windows.y[learn], classes=dataset.classes, preprocess=front)
        made.append((result, windows.take(test)))
    return made


def watch_figures(network: IntegerNetwork, windows: data.Windows) -> dict[str, Any]:
    """What is counted in the quietest tenth of the steps, and in the others, by how much the input moved since the step before."""
    raw = np.asarray(windows.x, np.int16)
    layer = course(network, raw)[0]
    x = reference.normalize(network.normalize, raw).astype(np.float64)
    moved = np.abs(np.diff(x, axis=1)).mean(2)  # [windows, steps - 1], in units of int8
    edges = np.quantile(moved, np.linspace(0, 1, 11))
    tenth = np.clip(np.searchsorted(edges, moved, side="right") - 1, 0, 9)
    c = layer.states["c"][:, 1:]
    same = c[:, 1:] == c[:, :-1]
    i, f = layer.gates["i"][:, 1:], layer.gates["f"][:, 1:]
    rows = [
        {
            "i_open": float(i[tenth == k].mean()), "f_open": float(f[tenth == k].mean()), "cells_unchanged": float(same[tenth == k].mean()),
            "steps_without_a_changed_bit": float(same[tenth == k].all(1).mean()),
        }
        for k in range(10)
    ]  # fmt: skip
    held = (i == 0) & (f == 1)
    assert same[held].all()  # an exact consequence of the arithmetic, not a tendency
    accuracy = float((engine.run(network, raw).scores.argmax(1) == windows.y).mean())
    return {"accuracy": accuracy, "held_cell_steps": int(held.sum()), "cell_steps": held.size, "tenths": rows}


def spread(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation, in %."""
    return f"{100 * np.mean(values):.{digits}f} ± {100 * np.std(values, ddof=1):.{digits}f}"


def as_markdown(latch: list[dict[str, float]], watch: list[dict[str, Any]]) -> str:
    """The figures as a page."""
    learned = [one for one in latch if one["accuracy"] > LEARNED]
    lines = [
        "# What was counted in two memories",
        "",
        f"Integer engine; ± is the standard deviation over {SEEDS} networks (latch: seeds; watch: folds of 2 people never seen). What "
        "it means: [how the memory works](../how-the-memory-works.md).",
        "",
        f"**Latch**, {TOKENS} tokens, {STEPS} steps, 1,000 new sequences a network. Right: "
        f"{', '.join(f'{100 * right:.1f} %' for right in (one['accuracy'] for one in latch))}. Of the {len(learned)} of {len(latch)} "
        "networks that learned it:",
        "",
        "| | % |",
        "|---|---|",
        f"| input gates open | {spread([one['i_open'] for one in learned], 2)} |",
        f"| forget gates open | {spread([one['f_open'] for one in learned])} |",
        f"| cells unchanged in a step after the store flag | {spread([one['cells_unchanged_after_store'] for one in learned])} |",
        "| steps after the store flag in which not a bit of any cell changed | "
        f"{spread([one['steps_without_a_changed_bit_after_store'] for one in learned])} |",
        "",
        f"**Watch**, accuracy {spread([one['accuracy'] for one in watch])} on people never seen; the steps by how much the input "
        f"moved since "
        "the step before, in tenths:",
        "",
        "| tenth of the steps | i open, % | f open, % | cells unchanged, % | steps in which not a bit of any cell changed, % |",
        "|---|---|---|---|---|",
    ]
    for k in range(10):
        name = {0: "quietest", 9: "liveliest"}.get(k, str(k + 1))
        keys = ("i_open", "f_open", "cells_unchanged", "steps_without_a_changed_bit")
        lines.append(f"| {name} | " + " | ".join(spread([one["tenths"][k][key] for one in watch]) for key in keys) + " |")
    held, every = sum(one["held_cell_steps"] for one in watch), sum(one["cell_steps"] for one in watch)
    lines += [
        "",
        f"With i = 0 and f = 1, {held:,} times of {every:,} (one cell in one step), the cell state changed by a bit 0 times.",
        "",
        "Made by `python tools/show_memory.py memory/ --docs`. Every network: [memory.json](memory.json).",
    ]
    return "\n".join(lines) + "\n"


def draw(network: IntegerNetwork, dataset: data.Dataset, name: str, path: Path, *, continuous: bool = False) -> None:
    """The picture, as `edge-lstm inspect` draws it; a .png in few colours, to keep it small."""
    memory_picture.write(follow(network, dataset, name, continuous=continuous), path)
    from PIL import Image

    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(192, dither=Image.Dither.NONE)
    with files.atomic_path(path) as temporary:
        few.save(temporary, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--docs", action="store_true")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    pictures = DOCS / "pictures" if arguments.docs else folder
    pictures.mkdir(parents=True, exist_ok=True)
    latches = [latch_network(seed) for seed in range(SEEDS)]
    watches = watch_networks()
    # The people of fold 0 are drawn.
    shown = {"latch": latches[0], "watch": watches[_fold_of("02", watches)][0]}
    for name, result in shown.items():
        assert result.integer is not None
        onnx_io.save_integer(result.integer, folder / f"{name}.int.onnx")
        onnx_io.save_network(result.network, folder / f"{name}.onnx")
    recording = latch_recording()
    data.save(recording, folder / "latch.npz")
    draw(_integer(shown["latch"]), recording, "latch", pictures / "memory-latch.png")
    draw(_integer(shown["watch"]), data.watch(), WATCH_RECORDING, pictures / "memory-watch.png", continuous=True)
    latch = [latch_figures(_integer(result), seed) for seed, result in enumerate(latches)]
    watch = [watch_figures(_integer(result), windows) for result, windows in watches]
    page = as_markdown(latch, watch)
    print(page)
    if arguments.docs:
        files.write_text(DOCS / "results" / "memory.json", json.dumps({"latch": latch, "watch": watch}, indent=1) + "\n")
        files.write_text(DOCS / "results" / "memory.md", page)


def _integer(result: train.Result) -> IntegerNetwork:
    assert result.integer is not None
    return result.integer


def _fold_of(person: str, made: list[tuple[train.Result, data.Windows]]) -> int:
    return next(k for k, (_, windows) in enumerate(made) if person in windows.person)


if __name__ == "__main__":
    main()
