"""Kernels that nobody has used for long leave the cache folder, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.engine import machine_code
from edge_lstm.engine.kernel_cache import Kernels
from edge_lstm.engine.stages import prepare
from edge_lstm.engine.unused_kernels import UNUSED_DAYS, remove_unused

OLD, YOUNG = UNUSED_DAYS + 1, UNUSED_DAYS - 1
HASHES = [digit * 24 for digit in "abcdef"]


def put(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"code")
    os.utime(path, (time.time() - 86400 * days,) * 2)
    return path


def days(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    remove_unused.cache_clear()
    return tmp_path / "cache"


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def one_of_each(folder: Path, name: str, days: float) -> list[Path]:
    """Every kind of file that a kernel of this name may leave."""
    hashed = f"{name}_{HASHES[0][:20]}" if name != "kernels" else f"kernels_{HASHES[0]}"
    here = folder if name == "kernels" else folder / "train"
    tails = [".py", ".step.0123456789ab.o", ".k3x_9.o"] if name == "kernels" else [".py"]
    kept = [put(here / f"{dot}{hashed}{tail}", days) for tail in tails for dot in ("", ".")]
    tails = [f".{name}-96.py311.nbi", f".{name}-96.py311.1.nbc", f".{name}-96.py311.1.nbc.tmp.0a1b", ".cpython-311.pyc"]
    return kept + [put(here / "__pycache__" / (hashed + tail), days) for tail in tails]


@pytest.mark.parametrize("name", ["kernels", "forward", "backward", "forward_integers"])
def test_all_files_of_an_unused_kernel_go_and_those_of_a_used_one_stay(folder: Path, name: str) -> None:
    one_of_each(folder, name, OLD)
    remove_unused(folder)
    assert everything(folder) == set()
    remove_unused.cache_clear()
    files = one_of_each(folder, name, OLD)
    put(files[-2], YOUNG)
    remove_unused(folder)
    assert everything(folder) == set(files)


def test_other_files_stay_whatever_their_age(folder: Path) -> None:
    names = ("hapt.npz", "kernels.o", "kernels_1234.o", f"kernels_{HASHES[0]}", f"kernels_{HASHES[0]}.txt", f"mykernels_{HASHES[0]}.o",
             f"train/model_{HASHES[0][:20]}.py", f"deeper/kernels_{HASHES[0]}.step.o")  # fmt: skip
    files = {put(folder / name, OLD) for name in names}
    remove_unused(folder)
    assert everything(folder) == files


def test_what_cannot_be_removed_is_survived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_unused(folder)  # it is not there at all
    remove_unused.cache_clear()
    files = [put(folder / f"kernels_{digest}.step.0123456789ab.o", OLD) for digest in HASHES[:4]]
    remove, read = Path.unlink, Path.lstat

    def unlink(path: Path, **options: bool) -> None:
        if path == files[0]:
            raise PermissionError(13, "in use")
        remove(path, **options)

    def lstat(path: Path) -> os.stat_result:
        if path == files[1]:
            remove(path)  # as another process does at this very moment
        return read(path)

    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(Path, "lstat", lstat)
    remove_unused(folder)
    assert everything(folder) == {files[0]}


@pytest.mark.parametrize("way", ["object code", "numba"])
def test_loading_makes_a_kernel_young_and_compiling_removes_the_old(folder: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "numba":
        monkeypatch.setattr(machine_code, "available", lambda: False)
    elif not machine_code.available():
        pytest.skip("object code is loaded on Linux only")
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(folder))
    old = put(folder / f"kernels_{HASHES[0]}.step.0123456789ab.o", OLD)
    whole = prepare(random_integer(np.random.default_rng(1), "rnn", 2, 5)).whole
    assert whole is not None
    Kernels(whole.kernels.source)["snapshot"]  # the quickest to compile
    assert not old.exists()
    code = [file for file in everything(folder) if file.suffix in (".o", ".nbc")]
    for file in code:
        os.utime(file, (time.time() - 86400 * OLD,) * 2)
    Kernels(whole.kernels.source)["snapshot"]
    assert len(code) == 1
    assert days(code[0]) < 1
