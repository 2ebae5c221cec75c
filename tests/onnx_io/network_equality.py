"""Equality of networks field by field: values, types, and every bit of every array. Also: what of a model nobody reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import onnx


def difference(a: object, b: object, where: str = "network") -> str | None:
    """The first place where a and b differ, None where they are the same."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if set(a) != set(b):
            return f"{where} has keys {sorted(a)} and {sorted(b)}"
        pairs = [(f"{where}[{key!r}]", a[key], b[key]) for key in a]
    elif type(a) is not type(b):
        return f"{where} is {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return None if same else f"{where} differs: {a.dtype}{a.shape} and {b.dtype}{b.shape}"
    elif dataclasses.is_dataclass(a):
        pairs = [(f"{where}.{field.name}", getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)]
    elif isinstance(a, tuple) and isinstance(b, tuple):
        if len(a) != len(b):
            return f"{where} has {len(a)} and {len(b)} items"
        pairs = [(f"{where}[{k}]", x, y) for k, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return None if a == b else f"{where} is {a!r} and {b!r}"
    return next((found for found in (difference(x, y, place) for place, x, y in pairs) if found), None)


def unread(model: onnx.ModelProto) -> set[str]:
    """Constants and initializers that no node reads (ONNX Runtime warns about each)."""
    found: set[str] = set()
    for nodes, given in [(model.graph.node, [t.name for t in model.graph.initializer]), *((f.node, []) for f in model.functions)]:
        made = {*given, *(node.output[0] for node in nodes if node.op_type == "Constant")}
        found |= made - _read(nodes)
    return found


def _read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        names |= set(node.input)
        for attribute in node.attribute:
            names |= _read(attribute.g.node)
    return names
