"""The example of docs/pytorch.md runs as it stands, and learns its task."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "pytorch.md"


def test_the_example_learns_its_task_and_keeps_it_in_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(MANUAL), "exec"), {"__name__": "__main__"})
    output = capsys.readouterr().out
    accuracy = {name: float(percent) for name, percent in re.findall(r"(float|integer): ([\d.]+)%", output)}
    assert accuracy.keys() == {"float", "integer"}
    assert min(accuracy.values()) >= 95, output
    openings = {gate: float(value) for gate, value in re.findall(r"'([ifo])': '([\d.]+)'", output)}
    assert openings["i"] < 0.5
    assert openings["f"] > 0.5
    assert list((tmp_path / "firmware").glob("*latch*.h"))
