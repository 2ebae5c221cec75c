"""A fingerprint of an integer network: the same for the same numbers, wherever and however the network was stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from edge_lstm.fixed_point.integer_network import IntegerNetwork


def sha256(network: IntegerNetwork) -> str:
    """SHA-256 (hexadecimal) over every number and text of the network, metadata left out."""
    digest = hashlib.sha256()
    _feed(digest, {f.name: getattr(network, f.name) for f in fields(network) if f.name != "metadata"})
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, value: object) -> None:
    """Adds one value, marked with its kind and length so that no two networks give the same bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        digest.update(f"<{type(value).__name__}".encode())
        # Without features a front end keeps the fingerprint that it had before there were any.
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        _feed(digest, {name: part for name, part in given.items() if name != "features" or part is not None})
    elif isinstance(value, Mapping):
        digest.update(f"{{{len(value)}".encode())
        for key in sorted(value):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, np.ndarray):
        little_endian = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"))
        digest.update(f"[{value.dtype.kind}{value.dtype.itemsize}{value.shape}".encode())
        digest.update(little_endian.tobytes())
    elif isinstance(value, tuple | list):
        digest.update(f"({len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, str | int | float):
        text = repr(value).encode()
        digest.update(f"'{len(text)}".encode() + text)
    else:
        raise TypeError(f"cannot take the fingerprint of a {type(value).__name__}")
