"""C compilers of this machine: gcc and clang where they are installed, else the clang of the `ziglang` package."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edge_lstm.errors import EdgeLstmError

# The generated C is clean under these; a new compiler may still find something new, so only the tests make them errors.
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-pedantic", "-Werror")
TIMEOUT = 300  # seconds; the first use of the ziglang package builds its run-time libraries


@dataclass(frozen=True)
class Compiler:
    """A C compiler. name: for people; command: the words that start it; cxx: those of its C++ compiler, None if it has none;
    support: sources that every program for its target needs."""

    name: str
    command: tuple[str, ...]
    cxx: tuple[str, ...] | None = None
    support: tuple[Path, ...] = ()

    def run(self, sources: list[Path], output: Path, *flags: str, cxx: bool = False, libraries: tuple[str, ...] = ()) -> None:
        """Compiles (and links, unless a flag says otherwise) `sources` to `output`. libraries: flags that stand behind the sources.

        Raises EdgeLstmError with the compiler's first error.
        """
        command = self.cxx if cxx else self.command
        if command is None:
            raise EdgeLstmError(f"{self.name} has no C++ compiler here")
        call = [*command, *flags, *map(str, sources), "-o", str(output), *libraries]
        try:
            result = subprocess.run(call, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EdgeLstmError(f"the C compiler {self.name} does not run: {error}") from error
        if result.returncode:
            lines = result.stderr.splitlines() or ["no message"]
            first = next((line for line in lines if "error:" in line.lower()), lines[0])
            raise EdgeLstmError(f"{self.name} cannot compile {sources[0].name}: {first.strip()}")

    def can_include(self, header: str) -> bool:
        """Whether a header is installed."""
        call = [*self.command, "-E", "-x", "c", "-"]
        source = f"#include <{header}>\n"
        return subprocess.run(call, input=source, capture_output=True, text=True, timeout=TIMEOUT, check=False).returncode == 0

    @property
    def version(self) -> str:
        """The first line that the compiler says about itself."""
        call = [*self.command, "--version"]
        result = subprocess.run(call, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
        return (result.stdout.splitlines() or [self.name])[0].strip()


def _installed(name: str, cxx: str) -> list[Compiler]:
    path, cxx_path = shutil.which(name), shutil.which(cxx)
    return [Compiler(name, (path,), (cxx_path,) if cxx_path else None)] if path else []


def ziglang() -> Compiler | None:
    """The clang of the `ziglang` package, None if it is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    # Zig checks for undefined behaviour by default and then needs its own run-time library: not asked for here.
    start, quiet = (sys.executable, "-m", "ziglang"), ("-fno-sanitize=all",)
    return Compiler("zig cc", (*start, "cc", *quiet), (*start, "c++", *quiet))


@cache
def compilers() -> tuple[Compiler, ...]:
    """gcc and clang as far as they are on PATH, else the ziglang package if it is installed, else nothing."""
    found = _installed("gcc", "g++") + _installed("clang", "clang++")
    zig = ziglang() if not found else None
    return tuple(found) if zig is None else (zig,)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edge-lstm-")


def scratch() -> str:
    """A folder that lives as long as this process, for programs that are compiled once."""
    return _scratch().name


def native() -> Compiler | None:
    """The first of `compilers()`, None if there is none."""
    return next(iter(compilers()), None)


def compiler() -> Compiler:
    """The first of `compilers()`. Raises EdgeLstmError, saying how to get one, if there is none."""
    if not compilers():
        raise EdgeLstmError("no C compiler found: install gcc or clang, or run `python -m pip install ziglang`")
    return compilers()[0]
