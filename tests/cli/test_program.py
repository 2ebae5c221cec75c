"""Help, versions and exit statuses of the whole program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from toy_commands import Files

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


def test_an_encoding_that_lacks_characters_is_no_error(files: Files, tmp_path: Path) -> None:
    """Where stdout is a file, Windows encodes it as its editors have done for decades."""
    encoding = "cp1252"
    (tmp_path / "größe→.csv").write_bytes(files.csv.read_bytes())
    code = (
        "import sys; from edge_lstm.cli import program\n"
        "for more in ([], ['--json']):\n"
        "    sys.argv[1:] = ['run', *sys.argv[1:3], '--label-column', 'label', *more]\n"
        "    try: program.main()\n"
        "    except SystemExit as left: assert left.code == 0\n"
        "    sys.argv[1:] = sys.argv[2:4]\n"
        "sys.argv[1:] = ['inspect', sys.argv[1], sys.argv[2], '--label-column', 'label']\n"
        "program.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(files.hard_int), str(tmp_path / "größe→.csv")]
    done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "---------   -----" in text
    assert "from no unit open to all: ' .:+#@'" in text
    (found,) = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    assert {row["recording"] for row in found["windows"]} == {"größe→"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are texts")
def test_a_file_name_that_is_no_text(files: Files, edge_lstm, tmp_path: Path) -> None:
    recording = tmp_path / os.fsdecode(b"r\xff.csv")
    recording.write_bytes(files.csv.read_bytes())
    came = edge_lstm("run", files.hard_int, recording, "--label-column", "label", "-o", tmp_path / "labels.csv")
    assert came.status == 0
    assert (tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines()[1].startswith("r?,0,")


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
