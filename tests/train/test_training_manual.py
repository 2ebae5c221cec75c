"""The example of docs/training.md runs as it stands, and learns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    exec(compile(example, str(MANUAL), "exec"), {"__name__": "__main__"})
    classified, *_, tagged = capsys.readouterr().out.split("\n")[:-1]
    assert float(classified) > 0.7
    assert float(tagged) > 0.85
