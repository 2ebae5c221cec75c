"""The documents say what the code does: generated pages are up to date, links lead somewhere, examples run, pictures can be read."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from random_networks import random_integer, random_network

from edge_lstm import cells, onnx_io
from edge_lstm.cells import cell
from edge_lstm.engine import reference
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import ReadOut, Recurrent, RowWeights

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [*PAGES, *sorted(ROOT.glob("*.md"))]
TESTED_ELSEWHERE = {DOCS / "pytorch.md"}  # tests/pytorch/test_manual.py, which also measures what it learns
PICTURES = sorted(DOCS.rglob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
MOST_BYTES = 20_000


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run(arguments: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_generated_documents_are_what_the_code_says_now(tmp_path: Path) -> None:
    pytest.importorskip("igraph", reason="the generator needs the extra `docs`")
    run([str(ROOT / "tools" / "make_docs.py"), str(tmp_path)], ROOT)
    made = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert len(made) > 2 * len(cells.family())
    stale = [name for name, content in made.items() if not (DOCS / name).is_file() or (DOCS / name).read_bytes() != content]
    assert stale == [], "run python tools/make_docs.py"
    left_over = [relative(path) for path in (DOCS / "cells").iterdir() if path.relative_to(DOCS).as_posix() not in made]
    assert left_over == []


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page that are no web addresses; code is left out."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in links(path):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{relative(path)}: {target}"
        assert not anchor or anchor in anchors(file), f"{relative(path)}: {target}"


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, waiting = {DOCS / "index.md"}, [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        found = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)} & {*PAGES, *PICTURES}
        waiting += [path for path in found - reached if path.suffix == ".md"]
        reached |= found
    assert sorted(map(relative, {*PAGES, *PICTURES} - reached)) == []


def examples(path: Path) -> str:
    """The Python examples of a page as one program: those further down may use the names of those above."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL))


WITH_EXAMPLES = [path for path in PAGES if examples(path) and path not in TESTED_ELSEWHERE]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=relative)
def test_python_examples_run(path: Path, tmp_path: Path) -> None:
    """In a folder with a model.onnx and a model.int.onnx of three channels, as an earlier step would have left them."""
    rng = np.random.default_rng(0)
    onnx_io.save_network(random_network(rng, inputs=3, dtype=np.float32), tmp_path / "model.onnx")
    onnx_io.save_integer(random_integer(rng, "lstm", 3, 8, "threshold"), tmp_path / "model.int.onnx")
    (tmp_path / "example.py").write_text(examples(path), encoding="utf-8")
    run(["example.py"], tmp_path)


def test_the_file_format_and_adding_a_cell_have_examples() -> None:
    assert {DOCS / "file-format.md", DOCS / "adding-a-cell.md"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("path", PICTURES, ids=relative)
def test_pictures_are_small_and_show_the_whole_cell(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    svg = ElementTree.parse(path).getroot()
    member = cell(path.stem)
    texts = ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]
    for gate in member.gates:
        assert gate in texts
    for state in member.states:
        assert f"{state}'" in texts
        if any(op.code == "state" and op.name == state for op in member.ops):  # else the next step does not read it
            assert f"{state} of the next step" in texts
    assert sum(text.startswith(("W", "R")) for text in texts) == len(member.rows)
    assert len(list(svg.iter(f"{SVG}path"))) >= len(member.ops) - len(member.parameters)


@pytest.mark.parametrize("path", PICTURES, ids=relative)
def test_boxes_of_a_picture_lie_apart_and_inside_it(path: Path) -> None:
    svg = ElementTree.parse(path).getroot()
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    boxes = []
    for shape in [*svg.iter(f"{SVG}rect"), *svg.iter(f"{SVG}circle")]:
        a = {name: float(value) for name, value in shape.attrib.items() if name != "style"}
        boxes.append((a["x"], a["y"], a["width"], a["height"]) if "width" in a else (a["cx"] - a["r"], a["cy"] - a["r"], *[2 * a["r"]] * 2))
    assert boxes
    for x, y, w, h in boxes:
        assert left <= x
        assert x + w <= left + width
        assert top <= y
        assert y + h <= top + height
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(boxes, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, f"boxes at ({x}, {y}) and ({x2}, {y2}) overlap"


HOLDS = re.compile(r"(\w+) stays while ((?:\w+ = [01](?: and )?)+)")


def test_the_pages_name_gates_that_hold_for_most_cells() -> None:
    assert sum(bool(HOLDS.search((DOCS / "cells" / f"{name}.md").read_text(encoding="utf-8"))) for name in cells.family()) >= 12


@pytest.mark.parametrize("name", [n for n in cells.family() if HOLDS.search((DOCS / "cells" / f"{n}.md").read_text(encoding="utf-8"))])
def test_the_state_stays_to_the_last_bit_where_its_page_says_so(name: str) -> None:
    """Rows of the named gates are forced by their biases; everything else is random."""
    for state, setting in HOLDS.findall((DOCS / "cells" / f"{name}.md").read_text(encoding="utf-8")):
        values = {gate: int(value) for gate, value in re.findall(r"(\w+) = ([01])", setting)}
        rng = np.random.default_rng(3)
        network = random_network(rng, name, 3, 6, "threshold", initial=True, steps=30)
        layer = network.layers[0]
        assert isinstance(layer, Recurrent)
        rows = dict(layer.rows)
        for gate, value in values.items():
            old = rows[gate]
            W = None if old.W is None else 0 * old.W
            rows[gate] = RowWeights(W, tuple(0 * R for R in old.R), np.full(6, 2.0 * value - 1.0))
        still = {p: 0 * v for p, v in layer.parameters.items()}  # a peephole could outweigh the bias
        forced = Recurrent(layer.cell, layer.activations, rows, still, layer.initial)
        x = rng.normal(0, 1, (4, 30, 3))
        integer = quantize(network.with_layers((forced, ReadOut("last"), network.layers[-1])), x)
        start = integer.recurrent[0].state(state).initial
        trace = reference.run(integer, rng.integers(-32768, 32768, (4, 30, 3)).astype(np.int16), states=True).states[0][state]
        assert (trace == start).all()
        assert len(np.unique(start)) > 3
