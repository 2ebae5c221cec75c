"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.8  # of two classes that are about equally frequent
    assert (tmp_path / "firmware" / "rise.h").exists()


def test_commands_of_the_readme_are_calls_that_exist() -> None:
    """Every option that the README names belongs to the command it stands with."""
    import typer.main

    from edge_lstm.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, rest in re.findall(r"`edge-lstm (\w+)([^`]*)`", README):
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest.split() if word.startswith("-")} <= known, f"edge-lstm {name}{rest}"
