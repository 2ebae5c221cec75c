"""Compiled kernels are kept on disk, and a disk that fails costs time, never a result."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm.engine import kernel_cache, reference
from edge_lstm.engine.kernel_cache import Kernels
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.stages import prepare
from edge_lstm.fixed_point.integer_network import IntegerNetwork

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
import numpy as np
from random_networks import random_counts, random_integer
from edge_lstm import engine
from edge_lstm.engine import reference
rng = np.random.default_rng(1)
network = random_integer(rng, "rnn", 2, 5)
raw = random_counts(rng, network, 3, 6)
np.testing.assert_array_equal(engine.run(network, raw).scores, reference.run(network, raw).scores)
print("same")
"""


def run_program(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGE_LSTM_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "same", done.stderr
    return done


@pytest.fixture
def network() -> IntegerNetwork:
    return random_integer(np.random.default_rng(1), "rnn", 2, 5)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "cache"))
    kernel_cache._warn_once.cache_clear()


def whole(network: IntegerNetwork) -> Prepared:
    stages = prepare(network)
    assert stages.whole is not None
    return stages.whole


def source(network: IntegerNetwork) -> str:
    return whole(network).kernels.source


def check(network: IntegerNetwork, kernels: Kernels) -> None:
    """Runs the network with these kernels; the reference says what must come out."""
    prepared = copy(whole(network))
    prepared.kernels = kernels
    raw = random_counts(np.random.default_rng(2), network, 3, 6)
    x = reference.normalize(network.normalize, raw).reshape(18, -1)
    results = prepared.run(x, 6 * np.arange(3), np.full(3, 6), False)
    np.testing.assert_array_equal(results.scores, reference.run(network, raw).scores)


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    first, second = run_program(tmp_path / "kernels"), run_program(tmp_path / "kernels")
    assert "compiling kernels" in first.stderr
    assert second.stderr == ""


def test_models_of_one_structure_share_their_kernels(network: IntegerNetwork) -> None:
    other = random_integer(np.random.default_rng(9), "rnn", 7, 19, outputs=5)
    assert source(other) == source(network)
    assert source(random_integer(np.random.default_rng(9), "lstm", 7, 19)) != source(network)


def test_a_folder_that_cannot_be_made_is_survived(
    network: IntegerNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        check(network, Kernels(source(network)))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot be used" in warnings[0].getMessage()


def test_a_disk_that_fills_while_compiled_code_is_written_is_survived(
    network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.caching import IndexDataCacheFile

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    check(network, Kernels(source(network)))
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage"])
def test_damaged_compiled_code_is_survived(network: IntegerNetwork, damage: bytes) -> None:
    kernels = Kernels(source(network))
    check(network, kernels)
    files = list(kernel_cache.folder().rglob("*.nb[ci]"))
    assert files
    for file in files:
        file.write_bytes(damage)
    check(network, Kernels(source(network)))


def test_a_changed_source_is_not_trusted(network: IntegerNetwork, caplog: pytest.LogCaptureFixture) -> None:
    kernels = Kernels(source(network))
    path = kernel_cache.folder() / f"{kernels.name}.py"
    path.write_text(path.read_text().replace("return -1", "return 1"))
    check(network, Kernels(source(network)))
    assert "cannot be used" in caplog.text


def test_importing_the_engine_loads_no_numba() -> None:
    code = "import sys; import edge_lstm.engine; print([m for m in ('numba', 'numpy', 'llvmlite') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
