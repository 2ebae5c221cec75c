"""Timing takes turns and reports medians of single calls."""

from __future__ import annotations

import time

from edge_lstm.report.timing import interleaved, machine, versions


def test_contestants_take_turns_and_the_slower_one_is_slower() -> None:
    turns: list[str] = []

    def wait(name: str, pause: float) -> None:
        if not turns or turns[-1] != name:
            turns.append(name)
        time.sleep(pause)

    found = interleaved({"a": lambda: wait("a", 1e-3), "b": lambda: wait("b", 3e-3)}, rounds=5)
    assert turns[-6:] == ["a", "b"] * 3
    assert 1e-3 <= found["a"].low <= found["a"].median <= found["a"].high
    assert found["b"].median >= 3e-3 > found["a"].median / 2
    assert found["a"].per(10).median == found["a"].median / 10


def test_machine_and_versions_are_named() -> None:
    assert len(machine()) > 5
    assert versions("numpy", "no-such-package-at-all").count(",") == 1
