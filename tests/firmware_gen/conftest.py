from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from random_networks import every_member, random_integer

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.toolchain import Compiler, compilers

READ_OUTS = ("last", "mean", "every")
NO_COMPILER = pytest.param(None, marks=pytest.mark.skip(reason="no C compiler here: install gcc, clang or ziglang"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "any_compiler" in metafunc.fixturenames:
        found = list(compilers())
        metafunc.parametrize("any_compiler", found or [NO_COMPILER], ids=[c.name for c in found] or None)


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    if not compilers():
        pytest.skip("no C compiler here: install gcc, clang or ziglang")
    return compilers()[0]


@dataclass(frozen=True)
class Sample:
    """One network of the family. what: cell, gates and the rest, for messages."""

    what: str
    network: IntegerNetwork


@pytest.fixture(scope="session")
def family() -> list[Sample]:
    """Every cell with every kind of gate; read-outs, sizes, layers, decimation and formats take turns."""
    rng = np.random.default_rng(2024)
    samples = []
    for k, (name, gates) in enumerate(every_member()):
        options: dict[str, object] = {
            "read_out": READ_OUTS[k % 3], "layers": 1 + (k % 4 == 3), "hidden": 5 * (k % 2), "decimation": 1 + k % 3, "initial": k % 5 == 1,
            "squash": ("own", "any")[k % 2], "clip": (None, 1.5)[k % 7 == 3], "cell_bits": (16, 32)[k % 7 == 6],
        }  # fmt: skip
        inputs, units = 1 + k % 4, 1 + (3 * k) % 8
        samples.append(Sample(f"{name} {gates} {inputs}x{units} {options}", random_integer(rng, name, inputs, units, gates, **options)))
    return samples


@pytest.fixture(scope="session")
def watch() -> IntegerNetwork:
    """The network of the main job: LSTM(6, 32), threshold gates, mean read-out over 50 steps of 4 samples, 7 classes; random weights."""
    return random_integer(np.random.default_rng(7), "lstm", 6, 32, "threshold", read_out="mean", decimation=4, steps=50, outputs=7)


@pytest.fixture(scope="session")
def sanitizing() -> tuple[Compiler, tuple[str, ...]]:
    """A compiler whose programs can run under the address and undefined-behaviour sanitizers, and the flags for it."""
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O0")
    for candidate in reversed(compilers()):  # clang compiles this much faster
        if _runs(candidate, flags):
            return candidate, flags
    pytest.skip("no compiler here has sanitizers that run")


def _runs(candidate: Compiler, flags: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "try.c", Path(folder) / "try"
        source.write_text("int main(void) { return 0; }\n")
        try:
            candidate.run([source], program, *flags)
        except EdgeLstmError:
            return False
        return subprocess.run([str(program)], check=False).returncode == 0
