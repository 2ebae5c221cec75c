"""What the importer reads and what it refuses, from its own tables, the words of its refusals, and the tests that hold it to both."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from docs_node_tests import LOSS, TOLERANCE, node_table

from edge_lstm.onnx_io import read, read_activations, read_keras_layers, read_loop, read_unrolled, read_walk
from edge_lstm.onnx_io.read_node import Operator

TESTS = Path(__file__).resolve().parents[1] / "tests" / "onnx_io"
ANYTHING = "…"
REFUSING = re.compile(r"refused|not_read|cannot|damaged|one_line|must_be_there|named|every_reason|mutilated")
SHARED = 4  # reasons that so many readers give are listed once
SPELLING = {"pytorch": "PyTorch", "onnx": "ONNX", "keras": "Keras", "lstm": "LSTM", "rnn": "RNN", "torchscript": "TorchScript"}


@dataclass(frozen=True)
class Reader:
    """One reader of the importer. names: operators or layers; attributes: those understood; reasons: why it refuses, in its own words."""

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    reasons: tuple[str, ...]


def operators() -> list[Reader]:
    """The ONNX operators that are read, those with the same reader together."""
    groups: dict[Any, list[str]] = {}
    for name, operator in read_walk.OPERATORS.items():
        groups.setdefault(_code_of(operator), []).append(name)
    found = []
    for names in groups.values():
        found.append(Reader(tuple(names), tuple(_attributes(names)), reasons_of(*(read_walk.OPERATORS[name].read for name in names))))
    return found


def _attributes(names: list[str]) -> Iterator[str]:
    """The attributes that the operators understand; with the operators in brackets where not all of them do."""
    for attribute in sorted(frozenset().union(*(read_walk.OPERATORS[name].attributes for name in names))):
        having = [name for name in names if attribute in read_walk.OPERATORS[name].attributes]
        yield f"`{attribute}`" if len(having) == len(names) else f"`{attribute}` ({', '.join(having)})"


def shared(readers: list[Reader]) -> tuple[str, ...]:
    """The reasons that at least SHARED readers give."""
    counts = Counter(reason for reader in readers for reason in reader.reasons)
    return tuple(reason for reason, count in counts.items() if count >= SHARED)


def keras_layers() -> list[Reader]:
    """The layers of Keras that are read."""
    groups: dict[Any, list[str]] = {}
    for name, function in read_keras_layers.LAYERS.items():
        groups.setdefault(function, []).append(name)
    return [Reader(tuple(names), (), reasons_of(function)) for function, names in groups.items()]


def imports(render: Callable[..., str]) -> dict[str, str]:
    """The page about the importer."""
    found, layers = operators(), keras_layers()
    common = shared(found)
    common_keras = (*common, *(reason for reason in shared(layers) if reason not in common))
    return {
        "onnx-import.md": render(
            "onnx-import.md.j2",
            oldest=read.OLDEST_OPSET,
            operators=[replace(reader, reasons=tuple(r for r in reader.reasons if r not in common)) for reader in found],
            common=common,
            hints=sorted(read_walk.HINTS.items()),
            activations=read_activations._READ,
            unread=[name for name in read_activations._PARAMETERS if name not in read_activations._READ.lower()],
            keras=[replace(reader, reasons=tuple(r for r in reader.reasons if r not in common_keras)) for reader in layers],
            common_keras=common_keras[len(common) :],
            ignored=read_keras_layers.IGNORED,
            unrolled=list(read_unrolled.STEP_OPERATORS),
            loop=[reason for reason in reasons_of(read_loop.read_loop, read_loop.counted) if reason not in common],
            patterns=tested(),
            nodes=node_table(),
            tolerance=TOLERANCE,
            loss=LOSS,
        )
    }


def tested() -> list[tuple[str, str, list[str]]]:
    """(file, what it is about, its tests as sentences), without the tests of refusals."""
    found = []
    for path in sorted(TESTS.glob("test_read_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tests = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        names = [_sentence(name) for name in tests if not REFUSING.search(name)]
        if names and path.name != "test_read_refusals.py":
            found.append((path.name, (ast.get_docstring(tree) or "").splitlines()[0], names))
    return found


def _sentence(name: str) -> str:
    words = name.removeprefix("test_").replace("_", " ")
    for wrong, right in SPELLING.items():
        words = re.sub(rf"\b{wrong}\b", right, words)
    return words


def reasons_of(*functions: Callable[..., Any]) -> tuple[str, ...]:
    """The texts of all refusals in the functions and in those of the importer that they call; what varies in a text is an ellipsis."""
    found: dict[str, None] = {}
    for function in _reachable(functions):
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Refusal", "Refused") and node.args:
                found.update(dict.fromkeys(_texts(node.args[0], function)))
    return tuple(text for text in found if re.search(r"\w", text))


def _texts(node: ast.expr, function: FunctionType) -> Iterator[str]:
    """The text of an expression; of a call, the texts that the called function may return; of a variable, those it is given."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield re.sub(rf"(?:{ANYTHING})+", ANYTHING, "".join(str(p.value) if isinstance(p, ast.Constant) else ANYTHING for p in node.values))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, function)
        yield from _texts(node.orelse, function)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        called = function.__globals__.get(node.func.id)
        if isinstance(called, FunctionType):
            returned = [n.value for n in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(called)))) if isinstance(n, ast.Return)]
            for value in returned:
                if value is not None:
                    yield from _texts(value, called)
    elif isinstance(node, ast.Name):
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        for assign in ast.walk(tree):
            if isinstance(assign, ast.Assign) and any(isinstance(t, ast.Name) and t.id == node.id for t in assign.targets):
                yield from _texts(assign.value, function)


def _reachable(functions: tuple[Callable[..., Any], ...]) -> list[FunctionType]:
    """The functions of the importer that these may call, themselves first."""
    waiting = [function for function in functions if isinstance(function, FunctionType)]
    found: list[FunctionType] = []
    while waiting:
        function = waiting.pop(0)
        if any(function.__code__ is other.__code__ for other in found) and not function.__closure__:
            continue
        if not any(function.__code__ is other.__code__ for other in found):
            found.append(function)
        inner = [cell.cell_contents for cell in function.__closure__ or ()]
        called = [function.__globals__.get(name) for name in _names(function.__code__)]
        for other in [*inner, *called]:
            if (
                isinstance(other, FunctionType)
                and other.__module__.startswith(read.__name__)
                and other is not function
                and other not in found
            ):
                waiting.append(other)
    return [function for function in found if function.__name__ != "<lambda>"]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _code_of(operator: Operator) -> CodeType:
    """The code of the function that `operator` was made of: `read_node.operator` wraps it."""
    inner = [cell.cell_contents for cell in operator.read.__closure__ or () if isinstance(cell.cell_contents, FunctionType)]
    return inner[0].__code__ if inner else operator.read.__code__
