"""Equality of networks field by field: values, types, and every bit of every array."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


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
