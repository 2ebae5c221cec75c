"""The project keeps its own rules: imports are cheap and follow the arrows, files stay small, the documents match the code."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edge_lstm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("edge_lstm", "firmware_gen")
MAX_LINES = 400

# What each unit may import of the project: the arrows of CONTRIBUTING.md. A new unit must be given its place here.
FOUNDATION = {"edge_lstm", "edge_lstm.errors", "edge_lstm.files"}
FLOAT_MODEL = FOUNDATION | {"edge_lstm.cells", "edge_lstm.features", "edge_lstm.network", "edge_lstm.float_inference"}
INTEGER_MODEL = FLOAT_MODEL | {"edge_lstm.fixed_point"}
JOBS = INTEGER_MODEL | {"edge_lstm.data", "edge_lstm.engine", "edge_lstm.onnx_io", "edge_lstm.report", "edge_lstm.train", "firmware_gen"}
MAY_IMPORT: dict[str, set[str]] = {
    "edge_lstm": set(),
    "edge_lstm.errors": set(),
    "edge_lstm.files": {"edge_lstm.errors"},
    "edge_lstm.cells": {"edge_lstm.errors"},
    "edge_lstm.features": {"edge_lstm.errors"},
    "edge_lstm.network": FOUNDATION | {"edge_lstm.cells", "edge_lstm.features"},
    "edge_lstm.float_inference": FOUNDATION | {"edge_lstm.cells", "edge_lstm.features", "edge_lstm.network"},
    "edge_lstm.data": FOUNDATION,
    "edge_lstm.fixed_point": FLOAT_MODEL,
    "edge_lstm.onnx_io": INTEGER_MODEL,
    "edge_lstm.engine": INTEGER_MODEL,
    "edge_lstm.torch": FOUNDATION | {"edge_lstm.cells", "edge_lstm.network"},
    "edge_lstm.train": INTEGER_MODEL | {"edge_lstm.data", "edge_lstm.engine"},
    # The reference engine gives the expected values of the self-test.
    "firmware_gen": FOUNDATION | {"edge_lstm.cells", "edge_lstm.features", "edge_lstm.fixed_point", "edge_lstm.engine"},
    "edge_lstm.report": INTEGER_MODEL | {"edge_lstm.data", "edge_lstm.engine", "edge_lstm.onnx_io"},
    "edge_lstm.jobs": JOBS,
    "edge_lstm.api": JOBS | {"edge_lstm.jobs"},
    "edge_lstm.cli": JOBS | {"edge_lstm.jobs", "edge_lstm.api"},
}
# `network(x)` is a convenience for users; the engine is imported in the call, so that the models themselves depend on no engine.
# The facade `edge_lstm` names the API for type checkers only.
CONVENIENCES = {
    ("edge_lstm.network", "edge_lstm.float_inference"),
    ("edge_lstm.fixed_point", "edge_lstm.engine"),
    ("edge_lstm", "edge_lstm.api"),
}

# The libraries that decide where a unit can run, and the only units that may use them.
ONLY_IN: dict[str, set[str]] = {
    "numba": {"edge_lstm.engine", "edge_lstm.train"},
    "onnx": {"edge_lstm.onnx_io"},
    "onnxruntime": {"edge_lstm.onnx_io", "edge_lstm.jobs"},
    "matplotlib": {"edge_lstm.report"},
    "typer": {"edge_lstm.cli"},
    "torch": {"edge_lstm.torch"},
}


def unit_of(module: str) -> str:
    """The unit (a top-level module or folder of edge_lstm, or the whole of firmware_gen) that `module` belongs to."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "edge_lstm" else parts[0]


def source_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that the file imports, wherever the statement stands, and whether it is imported on loading the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    deferred = {
        id(node)
        for scope in ast.walk(tree)
        if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        or (isinstance(scope, ast.If) and ast.unparse(scope.test) == "TYPE_CHECKING")
        for node in ast.walk(scope)
    }
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                source = importlib.util.resolve_name("." * node.level + source, package)
            # `from edge_lstm import cells` imports the unit edge_lstm.cells, `from edge_lstm import load` only the facade.
            names = [f"{source}.{alias.name}" if f"{source}.{alias.name}" in MAY_IMPORT else source for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in deferred


def backward_imports(path: Path) -> list[str]:
    """What is wrong with the imports of the file, one line each."""
    unit = unit_of(module_name(path))
    wrong = []
    for name, on_loading in imports_of(path):
        target = unit_of(name)
        library = name.partition(".")[0]
        if library in PACKAGES:
            allowed = target == unit or target in MAY_IMPORT[unit] or ((unit, target) in CONVENIENCES and not on_loading)
        else:
            allowed = unit in ONLY_IN.get(library, {unit})
        if not allowed:
            wrong.append(f"{path.relative_to(ROOT)}: {unit} must not import {name}")
    return wrong


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment, timeout=60).stdout


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("numba", "llvmlite", "numpy", "onnx", "onnxruntime", "matplotlib", "typer", "rich", "jinja2", "torch")
    loaded = run_python(f"import sys, edge_lstm; edge_lstm.__version__; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_importing_the_package_takes_less_than_150_ms() -> None:
    code = "import time; start = time.process_time(); import edge_lstm; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.150


def test_every_public_name_is_found_and_no_other() -> None:
    public = set(edge_lstm.__all__) - {"__version__"}
    assert public <= set(dir(edge_lstm))
    for name in sorted(public):
        assert callable(getattr(edge_lstm, name)), name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = edge_lstm.no_such_name


def test_every_unit_has_its_place_in_the_map() -> None:
    units = {unit_of(module_name(path)) for path in source_files(*PACKAGES)}
    assert units <= set(MAY_IMPORT), "give the new unit its place in MAY_IMPORT (and in CONTRIBUTING.md)"


def test_the_map_has_no_cycle() -> None:
    assert set(TopologicalSorter(MAY_IMPORT).static_order()) == set(MAY_IMPORT)


@pytest.mark.parametrize("path", source_files(*PACKAGES), ids=module_name)
def test_imports_follow_the_arrows(path: Path) -> None:
    assert backward_imports(path) == []


@pytest.mark.parametrize(
    ("unit", "statement"),
    [
        ("cells", "import onnx"),
        ("cells", "from ..engine import kernels"),
        ("cells", "from edge_lstm import network"),
        ("engine", "def late():\n    import firmware_gen.emit"),
        ("network", "from edge_lstm.engine import run"),
        ("fixed_point", "import numba"),
    ],
)
def test_a_backward_import_is_noticed(unit: str, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "edge_lstm" / unit / "example.py"
    path.parent.mkdir(parents=True)
    path.write_text(statement, encoding="utf-8")
    assert len(backward_imports(path)) == 1


@pytest.mark.parametrize("path", [path for path in source_files(*PACKAGES, "tools") if path.name == "__init__.py"], ids=module_name)
def test_a_folder_says_what_lives_in_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def test_a_folder_of_code_is_a_package() -> None:
    assert [str(path) for path in source_files(*PACKAGES) if not (path.parent / "__init__.py").exists()] == []


def test_no_source_file_is_too_long() -> None:
    templates = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.j2")]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in [*source_files(*PACKAGES, "tools"), *templates]
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def shell_blocks(text: str) -> list[str]:
    return re.findall(r"^```(?:sh|bash)\s*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_starts_with_the_main_job_and_the_tests() -> None:
    main_job, tests, *_ = shell_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert re.search(r"pip install .*edge-lstm demo", main_job, flags=re.DOTALL)
    assert re.search(r"pip install .*pytest", tests, flags=re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_documents_lead_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_the_readme_lists_every_command_and_no_other() -> None:
    import typer.main

    from edge_lstm.cli import app

    listed = re.findall(r"^\| `edge-lstm (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(typer.main.get_command(app).commands)
