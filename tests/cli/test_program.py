"""Help, versions and exit statuses of the whole program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from edge_lstm import __version__
from edge_lstm.cli import app, program

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(command: str, edge_lstm) -> None:
    came = edge_lstm(command, "--help")
    assert came.status == 0
    text = " ".join(came.out.split())
    assert f"Example: edge-lstm {command}" in text
    assert "--json" in text


def test_version(edge_lstm) -> None:
    assert edge_lstm("--version").out == f"edge-lstm {__version__}\n"


@pytest.mark.parametrize(
    "call", [("no-such-command",), ("run",), ("run", "a", "b", "--bogus"), ("demo", "--seed", "x"), ("train", "watch")]
)
def test_a_wrong_call_is_one_line_and_status_2(call: tuple[str, ...], edge_lstm) -> None:
    came = edge_lstm(*call)
    assert came.status == 2
    assert "--help" in came.error


def test_no_command_shows_the_commands_and_is_status_2(edge_lstm) -> None:
    came = edge_lstm()
    assert came.status == 2
    assert all(command in came.out + came.err for command in COMMANDS)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, edge_lstm) -> None:
    import edge_lstm.jobs.networks as networks

    def broken(path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(networks, "load_integer", broken)
    with pytest.raises(ZeroDivisionError):
        edge_lstm("verify", "model.onnx")


def test_help_loads_no_heavy_library() -> None:
    heavy = ("numpy", "numba", "onnx", "matplotlib", "jinja2")
    code = f"import sys; from edge_lstm.cli.program import call; call(['--help']); print([m for m in {heavy} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment, timeout=60)
    assert out.stdout.strip().splitlines()[-1] == "[]"


def test_interruption_is_one_line_and_status_130(monkeypatch: pytest.MonkeyPatch, edge_lstm) -> None:
    import edge_lstm.jobs.networks as networks

    def interrupted(path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "load_integer", interrupted)
    came = edge_lstm("verify", "model.onnx")
    assert came.status == program.INTERRUPTED == 130
    assert came.err.strip() == "interrupted: nothing was left half-written"
