"""What marks a model file as one of our own, and how JSON text and arrays travel in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

import edge_lstm
from edge_lstm.errors import EdgeLstmError

PRODUCER = "edge-lstm"
FORMAT, FORMAT_VERSION, DEFINITION = "edge_lstm.format", "edge_lstm.format_version", "edge_lstm.network"
CURRENT_VERSION = "1"  # of the file format; a reader refuses what it does not know
T = TypeVar("T")
Array = npt.NDArray[np.generic]


def stamp(model: onnx.ModelProto, kind: str, text: str) -> None:
    """Marks a model as ours: producer, kind of network ("integer" or "float"), version of the format, definition of the network."""
    model.producer_name, model.producer_version = PRODUCER, edge_lstm.__version__
    for key, value in ((FORMAT, kind), (FORMAT_VERSION, CURRENT_VERSION), (DEFINITION, text)):
        model.metadata_props.add(key=key, value=value)


def kind_of(model: onnx.ModelProto) -> str | None:
    """ "integer" or "float" for a file of our own, None for any other. Raises EdgeLstmError for a version that this release cannot read."""
    properties = metadata(model)
    if FORMAT not in properties:
        if model.producer_name == PRODUCER:
            raise EdgeLstmError("the file was written by edge-lstm but has lost its metadata; it is cut off or was edited")
        return None
    kind, version = properties[FORMAT], properties.get(FORMAT_VERSION, "")
    if version != CURRENT_VERSION or kind not in ("integer", "float"):
        raise EdgeLstmError(
            f"format {kind!r} version {version!r} of edge-lstm is not known to this release ({edge_lstm.__version__}); upgrade"
        )
    return kind


def tensor(array: npt.NDArray[np.generic], name: str) -> onnx.TensorProto:
    """An ONNX tensor with the dtype, shape and bits of the array."""
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def metadata(model: onnx.ModelProto) -> Mapping[str, str]:
    """The metadata properties of a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


def to_array(tensor: onnx.TensorProto, where: str) -> Array:
    """The array of an initializer. Raises EdgeLstmError where its data do not fit its shape or lie in another file."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise EdgeLstmError(f"{where}: {tensor.name!r} lies in another file; edge-lstm models are one file")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise EdgeLstmError(f"{where}: {tensor.name!r} cannot be read ({error}); the file is damaged") from error
    return np.array(array)  # a copy of its own, writable and independent of the message


def to_text(value: dict[str, Any]) -> str:
    """Compact JSON; floats in their shortest form that reads back to the same bits."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise EdgeLstmError(f"the network cannot be saved: {error}") from error


class Fields:
    """A JSON object whose fields are read with their types; whatever is wrong is an EdgeLstmError that begins with `where`."""

    def __init__(self, value: object, where: str, index: int = 0) -> None:
        if not isinstance(value, dict):
            raise EdgeLstmError(f"{where}: the definition is {type(value).__name__}, expected a JSON object")
        self.value, self.where = value, where
        self.index = index  # its place in the list it stands in

    @classmethod
    def of_text(cls, text: str, where: str) -> Fields:
        """Parses JSON text."""
        try:
            return cls(json.loads(text), where)
        except (ValueError, RecursionError) as error:
            raise EdgeLstmError(f"{where}: the definition is no valid JSON ({error})") from error

    def _get(self, name: str, kind: type[T]) -> T:
        value = self.value.get(name)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found = "nothing" if name not in self.value else repr(value)[:60]
            raise EdgeLstmError(f"{self.where}: field {name!r} holds {found}, expected {kind.__name__}")
        return value

    def integer(self, name: str) -> int:
        return self._get(name, int)

    def number(self, name: str) -> float:
        return self._get(name, float)

    def flag(self, name: str) -> bool:
        return self._get(name, bool)

    def text(self, name: str) -> str:
        return self._get(name, str)

    def has(self, name: str) -> bool:
        return name in self.value

    def numbers(self, name: str) -> tuple[float, ...]:
        return self._list(name, float)

    def object(self, name: str) -> Fields:
        return Fields(self._get(name, dict), f"{self.where}, {name}")

    def object_map(self, name: str) -> dict[str, Fields]:
        return {key: Fields(item, f"{self.where}, {name}.{key}") for key, item in self._get(name, dict).items()}

    def _list(self, name: str, kind: type[T]) -> tuple[T, ...]:
        items = self._get(name, list)
        if not all(isinstance(item, kind) and not (isinstance(item, bool) and kind is not bool) for item in items):
            raise EdgeLstmError(f"{self.where}: field {name!r} must hold a list of {kind.__name__}")
        return tuple(items)

    def integers(self, name: str) -> tuple[int, ...]:
        return self._list(name, int)

    def texts(self, name: str) -> tuple[str, ...]:
        return self._list(name, str)

    def text_map(self, name: str) -> dict[str, str]:
        items = self._get(name, dict)
        if not all(isinstance(item, str) for item in items.values()):
            raise EdgeLstmError(f"{self.where}: field {name!r} must map texts to texts")
        return dict(items)

    def objects(self, name: str, make: Callable[[Fields], T]) -> tuple[T, ...]:
        """A list of objects, each given to `make`."""
        return tuple(make(Fields(item, f"{self.where}, {name}[{k}]", k)) for k, item in enumerate(self._get(name, list)))
