"""Random recordings to test with."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lstm.data import Dataset, Recording


def random_dataset(seed: int, counts: bool, lengths: tuple[int, ...] = (40, 25, 60, 33), people: int = 3) -> Dataset:
    """Recordings of 3 channels and 2 classes; the last of them changes its label on the way."""
    random = np.random.default_rng(seed)
    recordings = []
    for index, length in enumerate(lengths):
        samples = random.normal(0, 3000, (length, 3))
        last = index == len(lengths) - 1
        steps = np.repeat([0, -1, 1], [length // 3, 3, length - length // 3 - 3]).astype(np.int64) if last else None
        recordings.append(
            Recording(
                samples=samples.astype(np.int16 if counts else np.float32),
                label=None if last else index % 2,
                person=f"person {index % people}",
                name=f"take {index}",
                step_labels=steps,
            )
        )
    scales = random.uniform(0.001, 0.1, 3) if counts else None
    return Dataset("random", tuple(recordings), ("ax", "ay", "az"), ("rest", "walk"), 50.0, scales, "a test", ("g", "g", "g"))


@pytest.fixture(params=[True, False], ids=["counts", "float"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return random_dataset(seed=7, counts=request.param)
