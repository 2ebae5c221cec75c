"""A small network and recordings for the tests of commands and jobs, and what a call leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from random_networks import random_network

from edge_lstm import data
from edge_lstm.network import Network, Preprocess

CHANNELS, CLASSES, UNITS = ("ax", "ay", "az"), ("rest", "walk", "run"), 1 / 1024
DECIMATION, STEPS = 2, 10


@dataclass
class Called:
    """What a command left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error; fails unless it is exactly one, and no traceback."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0]


def recordings(people: int = 3, seconds: float = 4.0, classes: tuple[str, ...] = CLASSES, seed: int = 1) -> data.Dataset:
    """Counts whose size and rhythm depend on the class: one recording a person and class."""
    rng = np.random.default_rng(seed)
    made = []
    for person in range(people):
        for label in range(len(classes)):
            t = np.arange(int(50 * seconds))[:, None]
            wave = 400 * (label + 1) * np.sin(t * (0.1 + 0.2 * label) + rng.uniform(0, 6, 3)) + 900 * np.array([0, 0, 1])
            samples = np.round(wave + rng.normal(0, 60, wave.shape)).astype(np.int16)
            made.append(data.Recording(samples, label, f"p{person}", f"p{person}-{classes[label]}"))
    return data.Dataset("toy", tuple(made), CHANNELS, classes, 50.0, np.full(3, UNITS), "made by the tests")


def float_network(seed: int = 7, gates: str = "sigmoid") -> Network:
    """A random network for `recordings`."""
    network = random_network(
        np.random.default_rng(seed), "lstm", 3, 8, gates, "mean", outputs=3, steps=STEPS, decimation=DECIMATION, dtype=np.float32
    )
    front = Preprocess(DECIMATION, np.array([0.0, 0.0, 900.0]), np.full(3, 1 / 700), np.full(3, UNITS))
    return replace(network, preprocess=front, classes=CLASSES, name="toy")


@dataclass(frozen=True)
class Files:
    """Files of one folder: soft and hard models, float and integer, and recordings as .npz and .csv."""

    folder: Path
    soft: Path
    hard: Path
    soft_int: Path
    hard_int: Path
    npz: Path
    csv: Path


def nothing_half_written(folder: Path, *expected: str) -> None:
    """The folder holds these files and no temporary one."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
