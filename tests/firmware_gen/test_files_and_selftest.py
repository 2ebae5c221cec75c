"""The files that are written: the self-test finds a wrong bit and no other, runs under sanitizers, and C++ takes the same header."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from firmware_gen import write
from firmware_gen.toolchain import WARNINGS


def run_program(program, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=120, **options)


def test_the_whole_family_passes_its_self_test_under_the_sanitizers(family, sanitizing, tmp_path):
    """All self-tests in one program: no undefined behaviour, no access outside an array, on ordinary counts and on extremes."""
    compiler, flags = sanitizing
    rng = np.random.default_rng(12)
    for k, sample in enumerate(family):
        raw = np.concatenate([random_counts(rng, sample.network, 1, 12, extremes=extremes) for extremes in (False, True)])
        write(sample.network, tmp_path, self_test=raw, prefix=f"m{k}")
    count = len(family)
    lines = [*(f'#include "m{k}_selftest.c"' for k in range(count)), "#include <stdio.h>", "int main(void)", "{"]
    lines += [f'    if (m{k}_selftest() != 0) {{ printf("{k} "); }}' for k in range(count)]
    (tmp_path / "all.c").write_text("\n".join([*lines, '    printf("done\\n");', "    return 0;", "}", ""]))
    compiler.run([tmp_path / "all.c"], tmp_path / "all", *WARNINGS, *flags)
    result = run_program(tmp_path / "all")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_the_self_test_program_says_that_every_bit_is_right(watch, any_compiler, tmp_path):
    raw = random_counts(np.random.default_rng(1), watch, 2, 50)
    paths = write(watch, tmp_path, self_test=raw, prefix="watch")
    assert [path.name for path in paths] == ["watch.h", "watch_selftest.c"]
    any_compiler.run([paths[1]], tmp_path / "selftest", *WARNINGS, "-O2", "-DWATCH_SELFTEST_MAIN")
    result = run_program(tmp_path / "selftest")
    assert (result.returncode, result.stdout) == (0, "watch: 2 sequences of 50 steps, every bit as in the reference\n")


@pytest.mark.parametrize(
    "table", ["watch_columns_W", "watch_columns_b", "watch_g_R", "watch_tanh", "watch_output_b", "watch_input_multiplier"]
)
def test_the_self_test_finds_one_wrong_constant(watch, compiler, tmp_path, table):
    raw = random_counts(np.random.default_rng(1), watch, 3, 50)
    header, selftest = write(watch, tmp_path, self_test=raw, prefix="watch")
    text = header.read_text()
    start = text.index("=", re.search(rf"\b{table}\[[^=;]*\]( WATCH_ALIGNED)? =", text).start())
    numbers = list(re.finditer(r"-?\d+", text[start : text.index(";", start)]))
    chosen = max(numbers, key=lambda number: abs(int(number.group())))
    wrong = int(chosen.group()) // 2 - 17
    header.write_text(text[: start + chosen.start()] + str(wrong) + text[start + chosen.end() :])
    compiler.run([selftest], tmp_path / "selftest", "-O1", "-DWATCH_SELFTEST_MAIN")
    result = run_program(tmp_path / "selftest")
    assert result.returncode == 1
    assert "differs from the reference" in result.stdout


def test_cpp_takes_the_same_header(family, any_compiler, tmp_path):
    if any_compiler.cxx is None:
        pytest.skip(f"{any_compiler.name} has no C++ compiler here")
    includes = []
    for k, sample in enumerate(family[::5]):
        write(sample.network, tmp_path, prefix=f"m{k}")
        function = f"int use{k}(m{k}_state *s, const int16_t *raw)"
        body = f"{{ m{k}_reset(s); return m{k}_push(s, raw) + m{k}_class(s); }}"
        includes.append(f'#include "m{k}.h"\n{function};\n{function} {body}')
    (tmp_path / "all.cpp").write_text("\n".join([*includes, ""]))
    flags = ("-std=c++11", *(flag for flag in WARNINGS if not flag.startswith("-std")))
    any_compiler.run([tmp_path / "all.cpp"], tmp_path / "all.o", *flags, "-c", cxx=True)


@pytest.mark.parametrize("read_out", ["mean", "every"])
def test_the_example_decides_as_the_reference(compiler, tmp_path, read_out):
    network = random_integer(np.random.default_rng(4), "lstm", 3, 6, "threshold", read_out, steps=5, decimation=2, outputs=3)
    network = replace(network, classes=("sit", "walk", "fall down"))
    raw = random_counts(np.random.default_rng(5), network, 12, 5)
    _, example = write(network, tmp_path, prefix="watch", example=True)
    compiler.run([example], tmp_path / "example", *WARNINGS)
    counts = "\n".join(", ".join(map(str, sample)) for sequence in raw for sample in sequence)
    scores = reference.run(network, raw).scores
    if read_out == "every":  # one decision at the end of the first window, then one at each step, without a reset
        scores = reference.run(network, raw.reshape(1, -1, 3)).scores[0, 4:]
    expected = [network.classes[k] for k in scores.argmax(-1)]
    assert len(set(expected)) > 1
    assert run_program(tmp_path / "example", input=counts).stdout.splitlines() == expected


def test_writing_twice_gives_the_same_bytes(watch, tmp_path):
    raw = random_counts(np.random.default_rng(1), watch, 2, 20)
    first, second = (write(watch, tmp_path / name, self_test=raw, example=True) for name in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len(first) == 3


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 40, 6), np.float32), "int16"),
        (np.zeros((2, 40, 5), np.int16), "6"),
        (np.zeros((0, 40, 6), np.int16), "int16"),
        (np.zeros((2, 3, 6), np.int16), "fewer samples"),
        (np.zeros((2, 204, 6), np.int16), "window of 50 steps"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_before_anything_is_written(watch, tmp_path, vectors, message):
    with pytest.raises(EdgeLstmError, match=message):
        write(watch, tmp_path / "new", self_test=vectors)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(watch, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeLstmError, match="cannot make the folder"):
        write(watch, tmp_path / "file" / "folder")
