"""The program: its commands, and how their failures reach the user as one line and an exit status."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from edge_lstm import __version__
from edge_lstm.cli.codegen import command as codegen
from edge_lstm.cli.compare import command as compare
from edge_lstm.cli.convert import command as convert
from edge_lstm.cli.demo import command as demo
from edge_lstm.cli.inspect import command as inspect
from edge_lstm.cli.profile import command as profile
from edge_lstm.cli.run import command as run
from edge_lstm.cli.train import command as train
from edge_lstm.cli.verify import command as verify
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.files import DISK_ERRORS

DONE, FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

# Typer raises the exceptions of Click, from its own copy in newer releases and from the package in older ones.
_CALL_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="edge-lstm",
    help="LSTMs with threshold gates, in integers only: the same bits in NumPy, Numba, ONNX Runtime and C on a microcontroller.",
    epilog="Start with `edge-lstm demo`. Exit status: 0 done, 1 the job failed, 2 the call was wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (demo, train, convert, run, codegen, verify, profile, compare, inspect):
    app.command(name=_command.__module__.rpartition(".")[2])(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edge-lstm {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    """LSTMs with threshold gates, in integers only: the same bits in NumPy, Numba, ONNX Runtime and C on a microcontroller."""


def main() -> NoReturn:
    """Entry point of the installed command. What the encoding of stdout lacks (a file on Windows, say) is shown as a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    sys.exit(call(sys.argv[1:]))


def call(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit status. Failures a user can repair are one line on stderr; a bug keeps its traceback."""
    command = typer.main.get_command(app)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
        try:
            status = command.main(list(arguments), prog_name="edge-lstm", standalone_mode=False)
            sys.stdout.flush()
        except UsageError as error:
            _say(f"error: {error}")
            return WRONG_CALL
        except EdgeLstmError as error:
            _say(f"error: {error}")
            return FAILED
        except _CALL_ERROR as error:
            return _wrong_call(error)
        except (KeyboardInterrupt, typer.Abort):
            status = INTERRUPTED
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            _write_nothing_more()
            return FAILED
        except OSError as error:  # of the system, not of the program
            if error.filename is None and error.errno not in DISK_ERRORS:
                raise
            full = "" if error.errno not in DISK_ERRORS else "; is the disk of the output, or of temporary files (TMPDIR), full?"
            _say(f"error: {'' if error.filename is None else f'{error.filename}: '}{error.strerror}{full}")
            if error.filename is None:  # it may have been stdout
                _write_nothing_more()
            return FAILED
        except MemoryError as error:
            _say(f"error: the memory is too small for this job{f': {error}' if str(error) else ''}")
            return FAILED
    if status == INTERRUPTED:
        _say("interrupted: nothing was left half-written")
    return status if isinstance(status, int) else DONE


def _write_nothing_more() -> None:
    """What is left in the buffer of stdout goes nowhere, so that Python does not try once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _wrong_call(error: Exception) -> int:
    """One line for a call that Typer refused; `edge-lstm` or a command without arguments shows its help instead."""
    message = str(getattr(error, "format_message", lambda: str(error))())
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "edge-lstm"
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message, err=True)
    else:
        _say(f"error: {' '.join(message.split())} (see {path} --help)")
    return WRONG_CALL


def _say(line: str) -> None:
    typer.echo(" ".join(line.splitlines()), err=True)
