"""Reading a model file of any origin."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network
from edge_lstm.onnx_io.integer_read import read_integer
from edge_lstm.onnx_io.network_read import read_own_network
from edge_lstm.onnx_io.own_format import kind_of


def load(path: str | os.PathLike[str]) -> Network | IntegerNetwork:
    """The network in an ONNX file: one that `save_network` or `save_integer` wrote, or one of an exporter.

    Raises EdgeLstmError, naming the file: it is missing, no ONNX file, damaged, or holds what is not supported.
    """
    path = Path(path)
    model = _parse(path)
    try:
        kind = kind_of(model)
        if kind == "integer":
            return read_integer(model)
        if kind == "float":
            return read_own_network(model)
        from edge_lstm.onnx_io.read import read_network  # a large reader that our own files do not need

        return read_network(model, path.parent)
    except EdgeLstmError as error:
        error.args = (f"{path}: {error}",)  # the same error, with its type and its list of reasons, now naming the file
        raise


def _parse(path: Path) -> onnx.ModelProto:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise EdgeLstmError(f"{path} does not exist") from error
    except OSError as error:
        raise EdgeLstmError(f"cannot read {path}: {error.strerror or error}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise EdgeLstmError(f"{path} is no ONNX file, or is cut off") from error
    if not model.ir_version or not model.graph.node:
        raise EdgeLstmError(f"{path} is no ONNX model: it holds no graph")
    return model
