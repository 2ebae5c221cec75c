"""What a header may not do in a device that has to keep working: see docs/misra.md, which these tests hold to its word."""

from __future__ import annotations

import re
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_integer

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import write
from firmware_gen.columns import STRATEGIES
from firmware_gen.emulation import cross
from firmware_gen.emulation.targets import BY_NAME
from firmware_gen.model import build
from firmware_gen.toolchain import compilers

DOCUMENT = Path(__file__).parents[2] / "docs/misra.md"
USE = """
#include "watch.h"
void start(watch_state *state);
int use(watch_state *state, const int16_t *raw, int32_t *scores);
void start(watch_state *state)
{
    watch_reset(state);
}
int use(watch_state *state, const int16_t *raw, int32_t *scores)
{
    int result = -1;
    if (watch_push(state, raw) != 0) {
        if (watch_ready(state) != 0) {
            result = watch_class(state);
            watch_scores(state, scores);
        }
    }
    return result;
}
"""
SAVED = 13 * 4  # bytes: what a kernel in assembler pushes, which the compiler does not see
MAY_CALL = {"memcpy", "memmove", "memset", "__aeabi_memcpy", "__aeabi_memclr", "__aeabi_memset"}


def networks() -> list[tuple[IntegerNetwork, str]]:
    """Several cells and kinds of gates, each with a strategy, read-outs and stacks between them."""
    rng = np.random.default_rng(3)
    bits = {"gates": "ternary", "candidates": "4", "dense": "4"}
    return [
        (random_integer(rng, "lstm", 6, 9, "threshold", read_out="mean", decimation=2, steps=5, outputs=3), "event"),
        (random_integer(rng, "lstm", 6, 16, "mixed", read_out="last", steps=5, layers=2, input_bits=16, mix=1), "dense"),
        (random_integer(rng, "lstm_peephole", 4, 9, "mixed", read_out="every", cell_bits=32, bits={"gates": "binary"}), "delta-tables"),
        (random_integer(rng, "gru_reset_before", 5, 9, "threshold", read_out="last", hidden=5, initial=True, bits=bits), "rows"),
    ]


def written(folder: Path, network: IntegerNetwork, strategy: str) -> Path:
    write(network, folder, prefix="watch", strategy=strategy)
    (folder / "use.c").write_text(USE)
    return folder / "use.c"


def test_every_misra_deviation_is_listed_with_its_reason(tmp_path):
    if shutil.which("cppcheck") is None:
        pytest.skip("no cppcheck here: apt install cppcheck")
    rows = re.findall(r"^\| (\d+\.\d+) \| (advisory|required|mandatory) \| (.+) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    listed = {rule for rule, *_ in rows}
    assert len(listed) == len(rows) > 5
    assert "mandatory" not in {category for _, category, *_ in rows}
    found: dict[str, str] = {}
    options = ("--std=c99", "--addon=misra", "--enable=warning,performance,portability", "--quiet", "--suppress=missingIncludeSystem",
               "--template={file}:{line} {id} {message}")  # fmt: skip
    for number in (0, 2, 3):  # the second has nothing that the others have not
        source = written(tmp_path / str(number), *networks()[number])
        result = subprocess.run(["cppcheck", *options, source.name], cwd=source.parent, capture_output=True, text=True, check=True)
        for line in (result.stdout + result.stderr).splitlines():
            assert re.match(r"\S+:\d+ misra-c2012-\d+\.\d+", line), line
            if line.startswith("watch.h"):
                found.setdefault(line.split("misra-c2012-")[1].split()[0], line)
    assert {rule: line for rule, line in found.items() if rule not in listed} == {}
    assert listed - set(found) == set(), "no longer reported: take them out of docs/misra.md"


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("optimization", ["-O1", "-Os"])
def test_no_recursion_and_a_stack_within_the_banner(tmp_path, core, optimization):
    compiler = next((one for one in cross.compilers(BY_NAME[core]) if one.name.startswith("gcc")), None)
    if compiler is None:
        pytest.skip("no arm-none-eabi-gcc here: apt install gcc-arm-none-eabi")
    for number, (network, strategy) in enumerate(networks()):
        source = written(tmp_path / str(number), network, strategy)
        compiler.run([source], source.with_suffix(".o"), "-c", optimization, "-fcallgraph-info=su")
        graph = source.with_suffix(".ci").read_text()
        frames = {}
        for name, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]*)"', graph):
            size = re.search(r"(\d+) bytes \((\w+)\)", label)
            assert size is None or size[2] == "static", label
            frames[name] = int(size[1]) if size else 0
            frames[name] += SAVED if re.search(r"watch_(add|keep)_(columns|changes|few\d|wide(_\d+)?)$", name) else 0
        calls: dict[str, set[str]] = {name: set() for name in frames}
        for caller, callee in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
            calls.setdefault(caller, set()).add(callee)
        deepest: dict[str, int] = {}
        for name in TopologicalSorter(calls).static_order():  # raises CycleError on recursion
            deepest[name] = frames.get(name, 0) + max((deepest[callee] for callee in calls.get(name, ())), default=0)
        bound = build(network, "watch", strategy).stack_bound
        text = source.with_name("watch.h").read_text()
        assert f"return addresses at most {bound} bytes" in text
        assert 0 < max(deepest.values()) <= bound


def test_no_heap_no_library_and_no_static_state(tmp_path, compiler):
    if shutil.which("nm") is None or shutil.which("size") is None:
        pytest.skip("no binutils here")
    for number, (network, strategy) in enumerate(networks()):
        compiled = written(tmp_path / str(number), network, strategy).with_suffix(".o")
        compiler.run([compiled.with_suffix(".c")], compiled, "-std=c99", "-c", "-O2", "-fno-stack-protector", "-fno-pic")
        undefined = subprocess.run(["nm", "-u", compiled], capture_output=True, text=True, check=True).stdout.split()
        assert set(undefined) - {"U", "_GLOBAL_OFFSET_TABLE_"} <= MAY_CALL
        sections = subprocess.run(["size", "-A", compiled], capture_output=True, text=True, check=True).stdout
        sizes = {name: int(size) for name, size in re.findall(r"^(\.\S+) +(\d+)", sections, re.MULTILINE)}
        assert sum(size for name, size in sizes.items() if name.startswith((".data", ".bss"))) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_cxx11_takes_every_header_without_a_warning(tmp_path, strategy):
    with_cxx = [one for one in compilers() if one.cxx]
    if not with_cxx:
        pytest.skip("no C++ compiler here")
    for number, (network, _) in enumerate(networks()):
        source = written(tmp_path / str(number), network, strategy)
        for compiler in with_cxx:
            flags = ("-std=c++11", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-fsyntax-only", "-x", "c++")
            compiler.run([source], source.with_suffix(".o"), *flags, cxx=True)
