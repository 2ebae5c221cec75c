"""The cards of `models/`, made from the files in each folder alone: what was measured once, and what can be read off the model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_lstm import files, onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs.networks import parameters

DATA = {
    "watch": (
        "The bundled smart-watch recordings: 140 of 10 people, 50 Hz, windows of 4 s every 2 s, four samples to a step",
        "2 people left out in each of 5 folds; one network a fold, judged on the two whom it never saw. The model itself learned "
        "from all ten",
        "Recordings: BSD-3-Clause, Copyright (c) 2018 David M. Burns (seglearn), see edge_lstm/data/watch.md. They came with the "
        "package; the "
        "weights are derived from them",
        "Ten people, seven rehearsed exercises, one kind of watch: no promise for another wrist. It knows no rest and no other "
        "movement and "
        "will call them one of the seven",
        "watch",
    ),
    "hapt": (
        "HAPT (Reyes-Ortiz et al. 2016): 30 people, phone at the waist, 50 Hz, windows of 2.56 s every 1.28 s, four samples to a step; "
        "gravity, companded acceleration and companded turning rate by the integer front end, which runs on from window to window",
        "learned from 21 people, judged on the 9 of the set's own test part; one network a seed, the model is that of seed 0. "
        "Settings were "
        "chosen in experiments that had seen the test people",
        "The recordings are not part of the project (`edge_lstm.data.hapt` fetches them): their package names no licence, and one of the "
        "set's versions excludes commercial use. The weights are derived from them; clear that before you sell a product with these "
        "weights",
        "Six activities of healthy people with the phone fixed at the waist; transitions between them are no class. Worn elsewhere it is "
        "a guess",
        "recordings.npz",
    ),
    "vowels": (
        "Japanese Vowels (Kudo et al. 1999): 640 utterances of /ae/ by nine men, 7 to 29 frames of 12 cepstral coefficients",
        "the published split: learned from 270 utterances, judged on 370; one network a seed, the model is that of seed 0. The nine "
        "speakers "
        "are the classes, so they are in both parts",
        "The recordings are not part of the project (`edge_lstm.data.japanese_vowels` fetches them from the package aeon, "
        "BSD-3-Clause; they "
        "come from the UCI archive, CC BY 4.0). The weights are derived from them",
        "It tells nine men apart by one vowel sequence under the conditions of 1999 and knows nobody else: a benchmark, not a product",
        "recordings.npz",
    ),
}  # fmt: skip


TITLES = {
    "watch-exercise-8": "Seven shoulder exercises at the wrist, small",
    "watch-exercise-16": "Seven shoulder exercises at the wrist, medium",
    "watch-exercise-32": "Seven shoulder exercises at the wrist, large",
    "hapt-activity-9": "Six activities with a phone at the waist, at most 600 bytes",
    "hapt-activity-16": "Six activities with a phone at the waist, 2 KB",
    "hapt-activity-32": "Six activities with a phone at the waist, 6 KB",
    "japanese-vowels": "Which of nine men says /ae/",
}


def card(folder: Path) -> str:
    """The text of a folder's README.md."""
    found = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    network = onnx_io.load(folder / "model.int.onnx")
    assert isinstance(network, IntegerNetwork)
    about, how, licence, limits, example = DATA[found["set"]]
    layer = network.recurrent[0]
    values = 100 * np.array(found["accuracies"])
    part = "folds" if found["set"] == "watch" else "seeds"
    open_gates = ", ".join(f"{gate} {100 * share:.0f} %" for gate, share in found["activity"]["open"].items())
    active = found["activity"]
    kinds = [f"{gate} {layer.activations[gate]}" for gate in active["open"]]
    lines = [
        f"# {folder.name}",
        "",
        f"{TITLES[folder.name]}. {layer.cell}, {layer.units} units, gates {', '.join(kinds)}; "
        f"{network.inputs} channels, {len(network.classes)} classes: {', '.join(network.classes)}.",
        "",
        "| | |",
        "|---|---|",
        f"| data | {about} |",
        f"| split | {how} |",
        f"| accuracy | **{values.mean():.2f} ± {values.std(ddof=1):.2f} %** (mean and standard deviation of {len(values)} {part}: "
        f"{', '.join(f'{value:.1f}' for value in values)}), integer engine |",
        f"| gate activity | open: {open_gates}; output 0 {100 * active['output_zero']:.0f} %, unchanged "
        f"{100 * active['output_unchanged']:.0f} "
        f"% of steps; {100 * active['products_left']:.0f} % of the multiply-accumulates left, counted over {active['steps']:,} steps |",
        f"| size | {parameters(network):,} parameters; {found['constants_bytes']:,} bytes of constants in all (weights, biases, scales, "
        f"tables, front end; rows summed element by element), {found['state_bytes']} bytes of state |",
        f"| licence, origin | {licence} |",
        f"| limits | {limits} |",
        "",
        "## Cost",
        "",
        "All that a firmware calls from one step to the next, emulated, every value compared with the reference. Of the strategies the "
        "one with the fewest instructions; cycles are a model for memory without wait states, lower to upper bound.",
        "",
        "| target | strategy | instructions a step | worst | cycles | flash, all | state | stack |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {target} | {one['strategy']} | {one['instructions']:,} | {one['worst_instructions']:,} | {one['cycles'][0]:,} to "
            f"{one['cycles'][1]:,} | {one['flash']:,} | {one['state']} | {one['stack']} |"
            for target, one in found["cost"].items()
        ),
        "",
        f"Compiled with {next(iter(found['cost'].values()))['compiler']}, -O2.",
        "",
        "## What is taken for what",
        "",
        f"{'Over all folds' if part == 'folds' else 'The model'}, {found['tested']:,} test cases; a row is a true class.",
        "",
        *_confusion(network.classes, found["confusion"]),
        "",
        "## Make it, use it",
        "",
        "```sh",
        found["command"],
        f"edge-lstm inspect models/{folder.name}/model.int.onnx",
        f"edge-lstm run models/{folder.name}/model.int.onnx {example}",
        f"edge-lstm codegen models/{folder.name}/model.int.onnx -o firmware/",
        "```",
        "",
        f"Recipe: `{json.dumps(found['recipe'], sort_keys=True)}`",
        "",
        *(f"- {name}: {size:,} bytes, sha256 {digest}" for name, size, digest in _files(folder)),
        "",
        f"Trained with edge-lstm {found['versions']['edge_lstm']}, Python {found['versions']['python']}, NumPy "
        f"{found['versions']['numpy']}, "
        f"{found['versions']['machine']}. Numbers measured once are in facts.json.",
    ]
    return "\n".join(lines) + "\n"


def _confusion(classes: tuple[str, ...], counts: list[list[int]]) -> list[str]:
    return [
        f"| | {' | '.join(classes)} |",
        "|---|" + "---|" * len(classes),
        *(f"| **{name}** | {' | '.join(str(count) for count in row)} |" for name, row in zip(classes, counts, strict=True)),
    ]


def _files(folder: Path) -> list[tuple[str, int, str]]:
    """Name, bytes and checksum of both model files."""
    content = {name: (folder / name).read_bytes() for name in ("model.int.onnx", "model.onnx")}
    return [(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()]


def folders(models: Path) -> list[Path]:
    """The folders of models, in alphabetical order of set and then by size."""
    found = [path.parent for path in models.glob("*/facts.json")]
    return sorted(found, key=lambda folder: (folder.name.rstrip("0123456789"), len(folder.name), folder.name))


def listing(models: Path) -> str:
    """The text of models/README.md."""
    rows = []
    for folder in folders(models):
        found: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        values, cost = 100 * np.array(found["accuracies"]), found["cost"]
        rows.append(
            f"| [{folder.name}]({folder.name}/README.md) | {TITLES[folder.name]} | {values.mean():.1f} ± {values.std(ddof=1):.1f} | "
            f"{found['constants_bytes']:,} | {found['activity']['products_left']:.2f} | {cost['cortex-m0plus']['instructions']:,} | "
            f"{cost['cortex-m4']['instructions']:,} |"
        )
    return "\n".join([
        "# Reference models", "",
        "Small networks with three threshold gates, in integers, ready to run; each folder has the integer model, the float network "
        "it came "
        "from, everything that was measured, and a card. `python tools/make_models.py NAME` makes one again. The recordings are not here; "
        "each card says what the weights are derived from, and under which licence.", "",
        "| model | task | accuracy on people or utterances never seen, % | constants, bytes | work left | instructions a step, "
        "Cortex-M0+ | "
        "Cortex-M4 |", "|---|---|---|---|---|---|---|", *rows,
    ]) + "\n"  # fmt: skip


def write_cards(models: Path) -> None:
    """Writes every card and the list."""
    for folder in folders(models):
        files.write_text(folder / "README.md", card(folder))
    files.write_text(models / "README.md", listing(models))
