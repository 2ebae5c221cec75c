"""Model files as the commands need them: of one kind, or of either."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_lstm import onnx_io
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network

AnyNetwork = TypeVar("AnyNetwork", bound=Network | IntegerNetwork)


def load_integer(path: str | os.PathLike[str]) -> IntegerNetwork:
    """An integer network. Raises EdgeLstmError as `onnx_io.load`, UsageError for a float network."""
    network = onnx_io.load(path)
    if isinstance(network, IntegerNetwork):
        return network
    raise UsageError(f"{path} is a float model; make an integer one with: edge-lstm convert {path}")


def load_float(path: str | os.PathLike[str], *, start: str = "", end: str = "") -> Network:
    """A float network, or the part of one between two values. Raises EdgeLstmError as `onnx_io.load`, UsageError for an integer one."""
    network = onnx_io.load(path, start=start, end=end)
    if isinstance(network, Network):
        return network
    raise UsageError(f"{path} is an integer model already; give the float model that it was made from")


def named(network: AnyNetwork, classes: Sequence[str] | None) -> AnyNetwork:
    """The network with these names for its outputs, in order; None: as it is.

    Raises UsageError where it has other names already, or another number of outputs.
    """
    if classes is None:
        return network
    if network.classes and tuple(classes) != network.classes:
        raise UsageError(f"{network.name} names its classes itself: {', '.join(network.classes)}")
    if len(classes) != network.outputs or len(set(classes)) < len(classes) or network.outputs < 2:
        given = f"{len(classes)} classes ({', '.join(classes)})"
        raise UsageError(f"{given} for the {network.outputs} outputs of {network.name}: name each of several outputs, once")
    return replace(network, classes=tuple(classes))


def integer_path(path: Path) -> Path:
    """Where the integer form of a float model file goes by default: model.onnx and model.keras -> model.int.onnx."""
    return path.with_name(f"{path.stem}.int.onnx")


def gates_of(network: Network | IntegerNetwork) -> dict[str, str]:
    """Gate -> activation of the first recurrent layer, as text: {"i": "threshold", ...}."""
    from edge_lstm import cells

    first = network.recurrent[0]
    name = first.cell if isinstance(first.cell, str) else first.cell.name
    gates = cells.cell(name).gates if name in cells.family() else ()
    return {gate: str(first.activations[gate]).partition(", always")[0] for gate in gates}  # one that is folded away is what it was


def is_hard(network: Network | IntegerNetwork) -> bool:
    """Whether every gate of the first layer is a threshold."""
    kinds = set(gates_of(network).values())
    return kinds == {"threshold"}


def gates_text(network: Network | IntegerNetwork) -> str:
    """ "threshold gates", "soft gates (sigmoid)", "mixed gates", "no gates"."""
    kinds = sorted(set(gates_of(network).values()))
    if not kinds:
        return "no gates"
    if kinds == ["threshold"]:
        return "threshold gates"
    return "mixed gates" if "threshold" in kinds else f"soft gates ({', '.join(kinds)})"


def distinct_names(paths: list[Path]) -> list[str]:
    """File names, made longer by folders where two are equal. Raises UsageError for a file that is named twice."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a model file is named twice")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


_PARAMETERS = ("W", "R", "b", "bias", "parameters")


def parameters(network: Network | IntegerNetwork) -> int:
    """Number of learned numbers: the elements of every weight matrix, bias and parameter vector."""
    return sum(_count(layer, learned=False) for layer in network.layers)


def _count(value: object, learned: bool) -> int:
    if isinstance(value, np.ndarray):
        return int(value.size) if learned else 0
    if is_dataclass(value):
        return sum(_count(getattr(value, field.name), learned or field.name in _PARAMETERS) for field in fields(value))
    if isinstance(value, Mapping):
        return sum(_count(one, learned) for one in value.values())
    if isinstance(value, tuple):
        return sum(_count(one, learned) for one in value)
    return 0
