"""Makes the reference models of `models/`: trains, judges on people never seen, measures what each costs, and writes its card.

    python tools/make_models.py                        # all of them
    python tools/make_models.py watch-exercise-16      # one
    python tools/make_models.py --costs                # what the models that are there cost today, and their cards
    python tools/make_models.py --cards                # the cards and the list again, from what is in the folders

A folder holds model.int.onnx, model.onnx (float, as it was trained), facts.json (everything measured) and README.md (the card).
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from model_cards import write_cards
from study_sets import IMU, Part, front, labels, split

import edge_lstm
from edge_lstm import data, files, onnx_io, train
from edge_lstm.engine.gate_activity import activity, course
from edge_lstm.fixed_point.decisions import RATE
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import emulation
from firmware_gen.columns import STRATEGIES
from firmware_gen.model import build

MODELS = Path(__file__).resolve().parents[1] / "models"
TARGETS = ("cortex-m0plus", "cortex-m4")
PROFILED, COUNTED = 2, 200  # windows
RATES = {"watch": "50", "hapt": "50"}  # samples a second; vowels come as frames


@dataclass(frozen=True)
class Spec:
    """One model. set: of `study_sets`; changes: of the recipe; seeds: number of networks that are judged."""

    set: str
    changes: Mapping[str, Any]
    seeds: int = 5
    most_bytes: int = 0  # of constants, 0 for no limit


HAPT: dict[str, Any] = {"iterations": 2400, "batch": 64, "squash": "hard_tanh"}
SPECS = {
    "watch-exercise-8": Spec("watch", {"hidden": 8, "sparsity": 0.1}),
    "watch-exercise-16": Spec("watch", {"hidden": 16, "sparsity": 0.1}),
    "watch-exercise-32": Spec("watch", {"hidden": 32, "sparsity": 0.1}),
    "hapt-activity-9": Spec("hapt", {**HAPT, "hidden": 9, "rotation": 0.1, "weight_bits": 4}, 5, 600),
    "hapt-activity-16": Spec("hapt", {**HAPT, "hidden": 16, "rotation": 0.1}, 5, 2048),
    "hapt-activity-32": Spec("hapt", {**HAPT, "hidden": 32, "rotation": 0.2}, 5, 6144),
    "japanese-vowels": Spec("vowels", {"hidden": 16, "sparsity": 0.03, "iterations": 1200, "batch": 32}),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A network, what it learned from, and what it never saw."""

    network: train.Result
    test: Part | None


def fit(spec: Spec, part: Part, classes: tuple[str, ...], preprocess: Any, noise: float, seed: int) -> train.Result:
    """Trains on a part. Raises AssertionError where no integers were in the loop."""
    vectors = IMU.vectors if spec.changes.get("rotation") else ()
    recipe = train.Recipe(**{"noise": noise, **spec.changes, "seed": seed, "vectors": vectors})
    made = train.fit(recipe, part.x, part.y, classes=classes, preprocess=preprocess, lengths=part.lengths, memory=part.memory)
    assert made.integer is not None
    return made


def watch(spec: Spec) -> tuple[list[Trained], train.Result, Part]:
    """Each fold's network with its two unseen people, the network that learned from all ten, and windows to measure it on."""
    dataset = data.watch()
    windows = data.windows(dataset, 200, 100)
    whole = Part(windows.x, windows.y, windows.person)
    judged = []
    for seed, (learn, test) in enumerate(data.person_folds(whole.person, spec.seeds, 0)):
        learned = whole.take(learn)
        judged.append(Trained(fit(spec, learned, dataset.classes, front(learned, 4, dataset), 0.1, seed), whole.take(test)))
    final = fit(spec, whole, dataset.classes, front(whole, 4, dataset), 0.1, 0)
    return judged, final, whole


def fixed_test(spec: Spec) -> tuple[list[Trained], train.Result, Part]:
    """The published test part: a network a seed, the first of which is the model."""
    from study_figures import joined

    made = split(spec.set, 0)
    learned = joined(made.training, made.validation)
    judged = [Trained(fit(spec, learned, made.classes, made.front, made.noise, seed), made.test) for seed in range(spec.seeds)]
    return judged, judged[0].network, made.test


def facts(name: str, spec: Spec) -> tuple[dict[str, Any], train.Result]:
    """Everything that is measured, and the model."""
    judged, final, sample = watch(spec) if spec.set == "watch" else fixed_test(spec)
    integer = final.integer
    assert integer is not None
    outputs = len(integer.classes)
    confusion = np.zeros((outputs, outputs), np.int64)
    accuracies, tested = [], judged if spec.set == "watch" else judged[:1]
    for one in judged:
        assert one.test is not None
        assert one.network.integer is not None
        predicted = labels(one.network.integer, one.test)
        accuracies.append(float((predicted == one.test.y).mean()))
        if one in tested:
            np.add.at(confusion, (one.test.y, predicted), 1)
    raw = counted(sample)
    seen = activity(course(integer, raw)[0])
    rows = build(integer, "model", "rows")
    assert not spec.most_bytes or rows.tables.bytes <= spec.most_bytes, f"{name} has {rows.tables.bytes} bytes of constants"
    found = {
        "set": spec.set, "command": f"python tools/make_models.py {name}",
        "recipe": json.loads(final.network.metadata["recipe"]) if "recipe" in final.network.metadata else dict(spec.changes),
        "accuracies": accuracies, "confusion": confusion.tolist(), "tested": int(confusion.sum()),
        "activity": {"open": seen.open, "output_zero": seen.zero, "output_unchanged": seen.unchanged, "products_left": seen.products_left,
                     "steps": seen.steps},
        "constants_bytes": rows.tables.bytes, "state_bytes": rows.state_bytes,
        "cost": cost(integer, raw[:PROFILED]),
        "versions": {"edge_lstm": edge_lstm.__version__, "python": platform.python_version(), "numpy": np.__version__,
                     "machine": platform.machine()},
    }  # fmt: skip
    return found, final


def counted(sample: Part) -> np.ndarray:
    """The windows of `sample` that activity and cost are measured on."""
    chosen = np.unique(np.linspace(0, len(sample) - 1, COUNTED).round().astype(int))
    raw = np.asarray(sample.x[chosen], np.int16)
    return raw if sample.lengths is None else raw[:, : int(sample.lengths[chosen].min())]


def cost_again(name: str) -> None:
    """Measures a model that is there with today's generator, and writes its facts."""
    network = onnx_io.load(MODELS / name / "model.int.onnx")
    assert isinstance(network, IntegerNetwork)
    windows = data.windows(data.watch(), 200, 100) if SPECS[name].set == "watch" else None
    sample = Part(windows.x, windows.y, windows.person) if windows is not None else split(SPECS[name].set, 0).test
    assert sample is not None
    found = json.loads((MODELS / name / "facts.json").read_text(encoding="utf-8"))
    rows = build(network, "model", "rows")
    found |= {"cost": cost(network, counted(sample)[:PROFILED]), "constants_bytes": rows.tables.bytes, "state_bytes": rows.state_bytes}
    files.write_text(MODELS / name / "facts.json", json.dumps(found, indent=1) + "\n")


def cost(network: IntegerNetwork, raw: np.ndarray) -> dict[str, Any]:
    """Target -> what the strategy with the fewest instructions costs there, emulated."""
    every = {strategy: emulation.profiles(network, raw, TARGETS, strategy=strategy, optimization="-O2") for strategy in STRATEGIES}
    found = {}
    for place, target in enumerate(TARGETS):
        strategy = min(every, key=lambda one: every[one][place].sample.instructions)
        best = every[strategy][place]
        assert best.differing == 0
        found[target] = {
            "strategy": strategy, "instructions": round(best.sample.instructions), "worst_instructions": best.sample.worst_instructions,
            "cycles": [round(best.sample.cycles.low), round(best.sample.cycles.high)], "flash": best.flash.total,
            "state": best.ram.state, "stack": best.ram.stack, "compiler": best.compiler,
        }  # fmt: skip
    return found


def make(name: str) -> None:
    """Writes the folder of one model, but for its card."""
    found, final = facts(name, SPECS[name])
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    assert final.integer is not None
    rate = {RATE: RATES[SPECS[name].set]} if SPECS[name].set in RATES else {}
    onnx_io.save_network(replace(final.network, name=name, metadata={**final.network.metadata, **rate}), folder / "model.onnx")
    onnx_io.save_integer(replace(final.integer, name=name, metadata={**final.integer.metadata, **rate}), folder / "model.int.onnx")
    files.write_text(folder / "facts.json", json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*SPECS, []], help="which models (default: all)")
    parser.add_argument("--cards", action="store_true", help="only write the cards and the list again")
    parser.add_argument("--costs", action="store_true", help="only measure again what the models that are there cost")
    arguments = parser.parse_args()
    if not arguments.cards:
        for name in arguments.names or SPECS:
            (cost_again if arguments.costs else make)(name)
    write_cards(MODELS)


if __name__ == "__main__":
    main()
