"""Compiled kernels are kept on disk, and a disk that fails costs time, never a result: as object code, and in Numba's own files."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm import engine
from edge_lstm.engine import kernel_cache, machine_code, reference
from edge_lstm.engine.kernel_cache import Kernels
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.stages import StackStage, Stages, prepare
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
print("same", "numba" in sys.modules)
"""


def run_program(cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGE_LSTM_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.startswith("same"), done.stderr
    return done


@pytest.fixture
def network() -> IntegerNetwork:
    return random_integer(np.random.default_rng(1), "rnn", 2, 5)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "cache"))
    kernel_cache._warn_once.cache_clear()


@pytest.fixture(params=["object code", "numba"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How kernels are kept and called."""
    if request.param == "numba":
        monkeypatch.setattr(machine_code, "available", lambda: False)
    elif not machine_code.available():
        pytest.skip("object code is loaded on Linux only")
    return str(request.param)


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
    assert second.stdout.split() == ["same", str(not machine_code.available())]  # and object code is loaded without Numba


def test_models_of_one_structure_share_their_kernels(network: IntegerNetwork) -> None:
    other = random_integer(np.random.default_rng(9), "rnn", 7, 19, outputs=5)
    assert source(other) == source(network)
    assert source(random_integer(np.random.default_rng(9), "lstm", 7, 19)) != source(network)


@pytest.mark.usefixtures("way")
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
    way: str, network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.caching import IndexDataCacheFile

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if way == "numba":
        monkeypatch.setattr(IndexDataCacheFile, "save", full)
    else:
        monkeypatch.setattr(kernel_cache.files, "write_bytes", full)
    check(network, Kernels(source(network)))
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage"])
def test_damaged_files_of_numba_are_survived(network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    monkeypatch.setattr(machine_code, "available", lambda: False)
    check(network, Kernels(source(network)))
    files = list(kernel_cache.folder().rglob("*.nb[ci]"))
    assert files
    for file in files:
        file.write_bytes(damage)
    check(network, Kernels(source(network)))


def test_damaged_object_code_is_made_anew(network: IntegerNetwork, caplog: pytest.LogCaptureFixture) -> None:
    if not machine_code.available():
        pytest.skip("object code is loaded on Linux only")
    kernels = Kernels(source(network))
    kernels["snapshot"]  # the quickest to compile
    (file,) = kernel_cache.folder().glob("*.o")
    good = file.read_bytes()
    for damage in (b"", b"garbage", good[:-100], good[:100] + bytes([good[100] ^ 1]) + good[101:]):
        file.write_bytes(damage)
        caplog.clear()
        kernel_cache._warn_once.cache_clear()
        assert Kernels(source(network)).loaded("snapshot") is not None
        assert "cannot be used" in caplog.text
        assert len(file.read_bytes()) == len(good)


def test_what_object_code_cannot_do_numba_does(network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise AttributeError("another version of Numba")

    monkeypatch.setattr(Kernels, "_compiled", fails)
    kernels = Kernels(source(network))
    check(network, kernels)
    assert kernels.loaded("run") is None
    raw = random_counts(np.random.default_rng(3), network, 1, 6)[0]
    prepared = copy(whole(network))
    prepared.kernels = kernels
    monkeypatch.setattr("edge_lstm.engine.streams.prepare", lambda *_: Stages((StackStage(prepared),)))
    check_stream(network, raw)


def check_stream(network: IntegerNetwork, raw: np.ndarray) -> None:
    """Sample by sample and in one call, the calls that go straight to a kernel and those that do not."""
    stream = engine.Stream(network)
    for sample in raw:
        assert stream.push(sample) is True
    wanted = reference.run(network, raw[None]).scores[0]
    np.testing.assert_array_equal(stream.scores, wanted)
    x = reference.normalize(network.normalize, raw[None])[0]
    for run in (stream.run, lambda x: sum(map(stream.step, x)), lambda x: stream.run(np.asfortranarray(x))):
        stream.reset()
        assert run(x) == len(x)
        np.testing.assert_array_equal(stream.scores, wanted)


def test_calls_of_object_code_refuse_what_they_cannot_read(network: IntegerNetwork) -> None:
    if not machine_code.available():
        pytest.skip("object code is loaded on Linux only")
    stream = engine.Stream(network)
    check_stream(network, random_counts(np.random.default_rng(3), network, 1, 6)[0])
    prepared = whole(network)
    address, x = stream._streams.last.address, np.zeros(2, np.int8)
    read_only = x.copy()
    read_only.flags.writeable = False
    step = prepared.kernels["step"]
    assert step(x, address) == 1
    assert step(x.view(np.dtype("i1").newbyteorder("=")), np.int64(address)) == 1  # an equal type that is another object
    assert step(np.zeros(3, np.int8), address) == -1
    strided = np.zeros(4, np.int8)[::2]
    arrays = x.astype(np.int16), x[None], strided, read_only, x.view(np.uint8), [0, 0], None
    for wrong in ((x,), (x, address, 0), *((one, address) for one in arrays), (x, "here"), (x, 2**70)):
        with pytest.raises((TypeError, OverflowError)):
            step(*wrong)
    assert stream.push(np.zeros(2, np.dtype("i2").newbyteorder("="))) is True
    sequence = prepared.kernels["sequence"]
    assert sequence(np.zeros((5, 2), np.int8), np.int64(address)) == 5
    for wrong in ((x, address), (np.zeros((2, 5), np.int8).T, address), (np.zeros((5, 2), np.int16), address)):
        with pytest.raises(TypeError):
            sequence(*wrong)
    assert stream.steps == 8


def test_a_changed_source_is_not_trusted(
    network: IntegerNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(machine_code, "available", lambda: False)
    kernels = Kernels(source(network))
    check(network, kernels)
    path = kernel_cache.folder() / f"{kernels.name}.py"
    path.write_text(path.read_text().replace("return -1", "return 1"))
    check(network, Kernels(source(network)))
    assert "cannot be used" in caplog.text


def test_kernels_are_named_after_every_module_that_writes_code() -> None:
    """One that is missing would leave users with the kernels of the version before."""
    here = Path(kernel_cache.__file__).parent
    writes = re.compile(r"^from llvmlite|import Code\b|ControlCode", re.MULTILINE)
    writers = {path.stem for path in here.glob("*.py") if writes.search(path.read_text())}
    assert {"code", "lists", "sweeps"} <= writers
    assert writers - {"kernel_cache", "target"} <= set(kernel_cache.FOUNDATION)


def test_importing_the_engine_loads_no_numba() -> None:
    code = "import sys; import edge_lstm.engine; print([m for m in ('numba', 'numpy', 'llvmlite') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
