"""What the code costs, how that is measured, and what is said when there is no compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.errors import EdgeLstmError
from firmware_gen import footprint, toolchain
from firmware_gen.elf import sections


@pytest.mark.parametrize("gates", ["threshold", "sigmoid", "hard_sigmoid", "three_level"])
def test_the_watch_model_takes_at_most_9_kilobytes_of_flash_and_400_bytes_of_state(any_compiler, gates):
    network = random_integer(np.random.default_rng(7), "lstm", 6, 32, gates, read_out="mean", decimation=4, steps=50, outputs=7)
    measured = footprint(network, any_compiler)
    weights = 4 * 32 * (6 + 32) + 7 * 32
    assert weights < measured.rodata < measured.flash <= 9 * 1024
    assert measured.text > 500
    assert 32 + 2 * 32 + 2 * 32 + 4 * 6 <= measured.state_bytes <= 400
    assert measured.data == 0  # nothing that two instances could share
    assert "-Os" in measured.how


def test_sections_are_those_that_the_binutils_find(any_compiler, tmp_path):
    if shutil.which("size") is None:
        pytest.skip("no `size` of the binutils here")
    source, target = tmp_path / "a.c", tmp_path / "a.o"
    variables = "const int table[57] = {1}; int counter[13] = {2}; char zero[300];"
    source.write_text(f"{variables} int f(int x) {{ return x + counter[x] + table[x]; }}\n")
    any_compiler.run([source], target, "-Os", "-c", "-fno-common")
    listed = subprocess.run(["size", "-A", str(target)], capture_output=True, text=True, check=True).stdout
    expected = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", listed, re.MULTILINE)}
    found = {section.name: section.size for section in sections(target.read_bytes())}
    for name in (".text", ".rodata", ".data", ".bss"):
        assert sum(v for k, v in found.items() if k.startswith(name)) == sum(v for k, v in expected.items() if k.startswith(name)), name
    assert found[".bss"] == 300
    assert found[".data"] == 52


def test_an_object_of_another_format_is_refused():
    with pytest.raises(EdgeLstmError, match="no ELF object"):
        sections(b"\xcf\xfa\xed\xfe" + bytes(100))


def test_a_compile_error_is_one_line_that_names_the_file(compiler, tmp_path):
    (tmp_path / "wrong.c").write_text("int f(void) { return missing_name; }\n")
    with pytest.raises(EdgeLstmError, match=r"cannot compile wrong\.c: .*missing_name") as caught:
        compiler.run([tmp_path / "wrong.c"], tmp_path / "wrong.o", "-c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "wrong.o").exists()


def test_without_a_compiler_the_message_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain, "ziglang", lambda: None)
    toolchain.compilers.cache_clear()
    try:
        assert toolchain.compilers() == ()
        with pytest.raises(EdgeLstmError, match="pip install ziglang"):
            toolchain.compiler()
    finally:
        toolchain.compilers.cache_clear()


def test_the_ziglang_package_is_used_where_nothing_is_installed(monkeypatch):
    if toolchain.ziglang() is None:
        pytest.skip("the ziglang package is not installed")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    toolchain.compilers.cache_clear()
    try:
        (found,) = toolchain.compilers()
    finally:
        toolchain.compilers.cache_clear()
    measured = footprint(random_integer(np.random.default_rng(7), "lstm", 3, 8, "threshold"), found)
    assert measured.text > 300
    assert Path(found.command[0]).exists()
