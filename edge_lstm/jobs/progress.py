"""How a job says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as progress("training fold 1", done, total, "loss 0.42"): `what` names one bar."""

    def __call__(self, what: str, done: int, total: int, info: str = "") -> None: ...


def silent(what: str, done: int, total: int, info: str = "") -> None:
    """Nobody listens."""
