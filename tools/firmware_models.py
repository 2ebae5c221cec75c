"""Trained models for the tables of docs/firmware.md: hard gates that leave a share of the work, and the soft-gated control, at four sizes.

Usage: PYTHONPATH=. python tools/firmware_models.py FOLDER --published
       PYTHONPATH=. python tools/firmware_models.py FOLDER [--data watch hapt] [--sizes 6,16 6,32 9,64 32,128] [--work 0.3]
           [--sparsity 0.1] [--bits 8 4 ternary binary] [--seeds 3] [--folds 5]

Every network is made by the trainer's default recipe (LSTM, mean read-out, 2000 iterations) and tested on people it never saw: watch leaves
two people out in each of 5 folds, HAPT has its nine test people. Hard gates are trained for a share of products left (--work), or with a
fixed penalty on open gates (--sparsity, 0: none). --published trains SETTINGS, what docs/firmware.md has tables of; it says what they
were chosen by. FOLDER then holds the integer networks, one file each, and accuracies.json; what is there already is not trained again. A
network takes 5 s to a minute of one core; HAPT is fetched when first used.

Channels: 6 are accelerometer and gyroscope as they are, 4 samples averaged to a step; 9 add the magnitudes of both and of the change of
the acceleration; 32 are 5 samples side by side and the mean magnitudes of both sensors over them, one step for 5 samples; 64 are 10 samples
side by side with the mean and the largest magnitudes of both sensors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import data, engine, files, float_inference, onnx_io, train
from edge_lstm.data.hapt_recordings import ACTIVITIES
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.fixed_point.weights import FORMATS
from edge_lstm.network import Preprocess

SIZES = ((6, 16), (6, 32), (9, 64), (32, 128))
ITERATIONS = 2000
WINDOW, STRIDE, FOLDS = 200, 100, 5
SIDE_BY_SIDE = {32: 5, 64: 10}  # samples of a step
Counts = npt.NDArray[np.int16]


def budget(iterations: int) -> str:
    """How the names of networks tell another number of iterations than the usual one."""
    return "" if iterations == ITERATIONS else f"i{iterations}"


@dataclass(frozen=True, eq=False)
class Split:
    """Windows of people to learn on and of others to be judged on. x: counts [windows, samples, 6]; y: classes."""

    name: str
    classes: tuple[str, ...]
    x: Counts
    y: npt.NDArray[np.int64]
    test_x: Counts
    test_y: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """One network to be trained. sparse: of hard gates, "work" for a target of the work that is left, "hard" for a fixed penalty; empty for
    soft gates; amount: of it; bits: format of the weights of gate rows; iterations: of the
    optimizer."""

    inputs: int
    units: int
    seed: int
    sparse: str = ""
    amount: float = 0.0
    bits: str = "8"
    iterations: int = ITERATIONS

    @property
    def name(self) -> str:
        gates = f"{self.sparse}{self.amount:g}" + (f"w{self.bits}" if self.bits != "8" else "") if self.sparse else "soft"
        return f"{self.inputs}_{self.units}_{gates}{budget(self.iterations)}_{self.seed}"

    @property
    def recipe(self) -> train.Recipe:
        """The default recipe but for gates, sparsity and bits."""
        hard: dict[str, Any] = {"gates": "hard", {"work": "work_target", "hard": "sparsity"}.get(self.sparse, "sparsity"): self.amount}
        changes = hard if self.sparse else {"gates": "soft"}
        return train.Recipe(hidden=self.units, seed=self.seed, weight_bits={"gates": self.bits}, iterations=self.iterations, **changes)


@dataclass(frozen=True)
class Setting:
    """A line of the published tables. way, control: as in the names of networks with hard and soft gates; seeds: how many."""

    size: tuple[int, int]
    sparse: str
    amount: float
    seeds: int
    iterations: int = ITERATIONS

    @property
    def way(self) -> str:
        return f"{self.sparse}{self.amount:g}{budget(self.iterations)}"

    @property
    def control(self) -> str:
        return f"soft{budget(self.iterations)}"

    @property
    def text(self) -> str:
        penalty = f"{'work' if self.sparse == 'work' else 'penalty'} {self.amount:g}" if self.amount else "no penalty"
        return penalty if self.iterations == ITERATIONS else f"{penalty}, {self.iterations:,} iterations"


SETTINGS: dict[str, tuple[Setting, ...]] = {
    "hapt": (
        Setting((6, 16), "hard", 0, 8),
        Setting((6, 32), "work", 0.25, 3),
        Setting((9, 64), "work", 0.25, 3),
        Setting((32, 128), "work", 0.25, 8),
        Setting((32, 128), "work", 0.3, 8, 6000),
    ),
    "watch": (
        Setting((6, 16), "hard", 0, 1, 4000),
        Setting((6, 32), "hard", 0.06, 3),
        Setting((6, 32), "hard", 0.06, 3, 4000),
        Setting((9, 64), "hard", 0.03, 3, 6000),
        Setting((32, 128), "hard", 0.1, 1),
    ),
}


def channels(counts: Counts, inputs: int) -> tuple[Counts, int]:
    """counts [windows, samples, 6] with the channels of a size, and the samples that a step averages."""
    wide = counts.astype(np.float64)
    if inputs == 6:
        return counts, 4
    if inputs == 9:
        jerk = np.diff(wide[..., :3], axis=1, prepend=wide[:, :1, :3])
        magnitudes = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (wide[..., :3], wide[..., 3:], jerk)]
        return _counts(np.concatenate([wide, *magnitudes], axis=-1)), 4
    samples = SIDE_BY_SIDE[inputs]
    steps = wide.shape[1] // samples
    blocks = wide[:, : steps * samples].reshape(len(wide), steps, samples, 6)
    lengths = [np.linalg.norm(v, axis=-1) for v in (blocks[..., :3], blocks[..., 3:])]
    magnitudes = [v.mean(-1, keepdims=True) for v in lengths]
    magnitudes += [v.max(-1, keepdims=True) for v in lengths] if inputs == 64 else []
    return _counts(np.concatenate([blocks.reshape(len(wide), steps, -1), *magnitudes], axis=-1)), 1


def _counts(values: npt.NDArray[np.generic]) -> Counts:
    return np.clip(np.round(np.asarray(values, np.float64)), -32768, 32767).astype(np.int16)


def splits(which: str) -> Iterator[Split]:
    """The folds of a set of recordings."""
    if which == "watch":
        recordings = data.watch()
        windows = data.windows(recordings, WINDOW, STRIDE)
        for number, (training, test) in enumerate(data.person_folds(windows.person, FOLDS, 0)):
            x, y = _counts(windows.x), windows.y
            yield Split(f"watch{number + 1}", recordings.classes, x[training], y[training], x[test], y[test])
    else:
        learn, judge = data.hapt_windows()
        yield Split("hapt", ACTIVITIES, _counts(learn.x), learn.y, _counts(judge.x), judge.y)


def fit(split: Split, kind: Kind) -> tuple[IntegerNetwork, float, float]:
    """(integer network, its accuracy, that of the float network)."""
    (x, decimation), (test_x, _) = channels(split.x, kind.inputs), channels(split.test_x, kind.inputs)
    found = data.standardize(x, decimation, [f"channel {k}" for k in range(kind.inputs)])
    preprocess = Preprocess(decimation, found.offset, 1 / found.scale, np.ones(kind.inputs))
    made = train.fit(kind.recipe, x, split.y, classes=split.classes, preprocess=preprocess)
    network = made.integer or quantize(made.network, x[:: max(len(x) // 256, 1)])
    right = (engine.run(network, test_x).scores.argmax(-1) == split.test_y).mean()
    float_right = (np.asarray(float_inference.run(made.network, test_x)).argmax(-1) == split.test_y).mean()
    return network, float(right), float(float_right)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--published", action="store_true", help="the networks of docs/firmware.md; of all else only --data counts")
    parser.add_argument("--data", nargs="+", choices=("watch", "hapt"), default=("watch", "hapt"))
    parser.add_argument("--sizes", nargs="+", default=[f"{i},{u}" for i, u in SIZES])
    parser.add_argument("--work", nargs="*", type=float, default=[0.3])
    parser.add_argument("--sparsity", nargs="*", type=float, default=[])
    parser.add_argument("--bits", nargs="+", default=["8"], choices=FORMATS)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=FOLDS, help="of the watch recordings, the first ones")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "accuracies.json"
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    for which, folds, kind in _published(arguments.data) if arguments.published else _asked(arguments):
        for split in islice(splits(which), folds):
            name = f"{split.name}_{kind.name}"
            if name in known:
                continue
            network, right, float_right = fit(split, kind)
            onnx_io.save_integer(network, arguments.folder / f"{name}.int.onnx")
            known[name] = {"integer": round(right, 4), "float": round(float_right, 4)}
            files.write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
            print(name, known[name], flush=True)


def _published(data: Sequence[str]) -> Iterator[tuple[str, int, Kind]]:
    """(recordings, number of folds, network), the soft-gated control after each."""
    for which in data:
        for setting in SETTINGS[which]:
            for seed in range(setting.seeds):
                yield which, FOLDS, Kind(*setting.size, seed, setting.sparse, setting.amount, iterations=setting.iterations)
                yield which, FOLDS, Kind(*setting.size, seed, iterations=setting.iterations)


def _asked(arguments: argparse.Namespace) -> Iterator[tuple[str, int, Kind]]:
    ways = [("work", amount) for amount in arguments.work] + [("hard", amount) for amount in arguments.sparsity]
    for seed in range(arguments.seeds):
        for size in arguments.sizes:
            inputs, units = map(int, size.split(","))
            kinds = [Kind(inputs, units, seed, *way, bits, arguments.iterations) for way in ways for bits in arguments.bits]
            for which in arguments.data:
                for kind in (*kinds, Kind(inputs, units, seed, iterations=arguments.iterations)):
                    yield which, arguments.folds, kind


if __name__ == "__main__":
    main()
