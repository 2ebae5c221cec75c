"""A training that was interrupted and goes on ends with the same bytes as one that was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm import train
from edge_lstm.errors import EdgeLstmError

rng = np.random.default_rng(0)
X, Y = rng.normal(0, 1, (40, 6, 3)).astype(np.float32), rng.integers(0, 3, 40)
RECIPE = train.Recipe(hidden=4, iterations=24, batch=8, evaluations=6, gate_method="noise", patience=20, work_target=0.4)
DATA: dict[str, Any] = {"classes": ("a", "b", "c"), "validation": (X[:7], Y[:7])}


def numbers(result: train.Result) -> bytes:
    rows = result.network.recurrent[0].rows.values()
    return b"".join(part.tobytes() for row in rows for part in (row.W, *row.R, row.b)) + result.network.layers[-1].W.tobytes()


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("interrupted_at", [2, 9, 14, 15, 19, 24])
def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path: Path, interrupted_at: int) -> None:
    """Before the first save, in the relaxed part, on both sides of the integers' start, behind it, and at the very end."""
    expected = train.fit(RECIPE, X, Y, **DATA)

    def interrupt(done: int, total: int, loss: float) -> None:
        if done == interrupted_at:
            raise KeyboardInterrupt

    file, seen = tmp_path / "training.npz", []
    with pytest.raises(KeyboardInterrupt):
        train.fit(RECIPE, X, Y, **DATA, progress=interrupt, checkpoint=file)
    found = train.fit(RECIPE, X, Y, **DATA, progress=lambda done, total, loss: seen.append(done), checkpoint=file)
    assert numbers(found) == numbers(expected)
    assert found.history == expected.history
    assert len(seen) == 24 - interrupted_at // 4 * 4
    again = train.fit(RECIPE, X, Y, **DATA, progress=lambda done, total, loss: pytest.fail("it was finished"), checkpoint=file)
    assert numbers(again) == numbers(expected)


@pytest.mark.usefixtures("without_compiling")
def test_files_that_are_not_of_this_training_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "training.npz"
    train.fit(RECIPE, X, Y, **DATA, checkpoint=file)
    for recipe, x in ((replace(RECIPE, seed=1), X), (RECIPE, X + 1)):
        with pytest.raises(EdgeLstmError, match="checkpoint of another training"):
            train.fit(recipe, x, Y, **DATA, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(EdgeLstmError, match="damaged"):
        train.fit(RECIPE, X, Y, **DATA, checkpoint=file)
    with pytest.raises(EdgeLstmError, match="does not exist"):
        train.fit(RECIPE, X, Y, **DATA, checkpoint=tmp_path / "nowhere" / "training.npz")
