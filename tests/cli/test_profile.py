"""profile: the figures of the emulation, for recordings and for random counts."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from toy_commands import DECIMATION, STEPS, Files

from edge_lstm import data, onnx_io
from firmware_gen import emulation
from firmware_gen.emulation import cross

needs_mcu = pytest.mark.skipif(
    importlib.util.find_spec("unicorn") is None or not cross.compilers(emulation.target("rv32imc")),
    reason="nothing to emulate with: python -m pip install 'edge-lstm[mcu]'",
)


@needs_mcu
def test_profile_reports_what_the_emulation_counts(files: Files, edge_lstm) -> None:
    arguments = ("profile", files.hard_int, files.npz, "-t", "cortex-m0plus", "-t", "rv32imc", "--sequences", 2)
    came = edge_lstm(*arguments, "--json", "--picojoules-per-cycle", 20)
    assert came.status == 0
    dataset = data.load(files.npz)
    windows = data.windows(dataset, DECIMATION * STEPS, DECIMATION * STEPS).x
    expected = emulation.profiles(onnx_io.load(files.hard_int), windows[[0, -1]], ["cortex-m0plus", "rv32imc"])
    assert list(came.json["targets"]) == ["cortex-m0plus", "rv32imc"]
    for one in expected:
        found = came.json["targets"][one.target.name]
        assert found["step"]["instructions"] == one.step.instructions
        assert found["step"]["cycles"] == {"low": one.step.cycles.low, "nominal": one.step.cycles.nominal, "high": one.step.cycles.high}
        assert found["step"]["microjoules"]["nominal"] == pytest.approx(one.step.cycles.nominal * 20e-6)
        assert found["flash_bytes"]["total"] == one.flash.total
        assert found["ram_bytes"] == {"state": one.ram.state, "static": 0, "stack": one.ram.stack}
        assert (found["differing"], found["steps"]) == (0, 2 * STEPS)

    shown = edge_lstm(*arguments)
    assert shown.status == 0
    assert f"{expected[0].step.worst_instructions:,}" in shown.out
    assert "compared with the NumPy reference" in " ".join(shown.out.split())


@needs_mcu
def test_profile_of_random_counts_says_so_and_follows_the_seed(files: Files, edge_lstm) -> None:
    runs = [edge_lstm("profile", files.hard_int, "-t", "rv32imc", "--sequences", 2, "--seed", seed, "--json") for seed in (1, 1, 2)]
    assert [run.status for run in runs] == [0, 0, 0]
    assert "random counts" in runs[0].json["how"]
    first, again, other = (np.array(run.json["targets"]["rv32imc"]["sample"]["instructions"]) for run in runs)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-t", "z80"), "there is no target 'z80'; choose one of cortex-m0plus"),
        (("--optimization", "O9"), "--optimization is one of O1, O2, O3, Os"),
        (("--compiler", "tcc"), "there is no compiler 'tcc'; choose one of gcc, clang, best"),
    ],
)
def test_profile_refuses_what_it_does_not_know(files: Files, edge_lstm, options, message) -> None:
    came = edge_lstm("profile", files.hard_int, *options)
    assert came.status == 2
    assert message in came.error
