"""Reading a model file of any origin."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.files import stem
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network
from edge_lstm.onnx_io.integer_read import read_integer
from edge_lstm.onnx_io.network_read import read_own_network
from edge_lstm.onnx_io.own_format import kind_of

# Names that torch.onnx, tf2onnx and Keras give to every graph.
_GENERIC = re.compile(r"(main_graph|main|graph|network|model|torch[_-]jit([_-]export)?|tf2onnx|sequential|functional)(_\d+)?")


def load(path: str | os.PathLike[str], *, start: str = "", end: str = "") -> Network | IntegerNetwork:
    """The network in a model file: an ONNX file that `save_network`, `save_integer` or an exporter wrote, or a `.keras` file of Keras 3.

    start, end: names of values between which the graph of an exporter is read, where what stands in front or behind is not supported;
    "" for the graph's own input and output.
    Raises EdgeLstmError, naming the file: it is missing, no model, damaged, or holds what is not supported (then it is UnsupportedModel,
    with every reason); UsageError where a file cannot be cut.
    """
    path = Path(path)
    try:
        if path.suffix == ".keras":
            _refuse_cut("a .keras file", start, end)
            from edge_lstm.onnx_io.read_keras import read_keras  # large readers that our own files do not need

            return _called(read_keras(path), path)
        model = _parse(path)
        kind = kind_of(model)
        if kind in ("integer", "float"):
            _refuse_cut("a file of edge-lstm", start, end)
            return read_integer(model) if kind == "integer" else read_own_network(model)
        from edge_lstm.onnx_io.read import read_network

        return _called(read_network(model, path.parent, start=start, end=end), path)
    except EdgeLstmError as error:
        if not str(error).startswith(str(path)):
            error.args = (f"{path}: {error}",)  # the same error, with its type and its list of reasons, now naming the file
        raise


def _called(network: Network, path: Path) -> Network:
    """With the name of its file where an exporter has called it what it calls all: headers of two networks must differ in their names."""
    return replace(network, name=stem(path)) if _GENERIC.fullmatch(network.name) else network


def _refuse_cut(what: str, start: str, end: str) -> None:
    if start or end:
        raise UsageError(f"{what} is read as a whole; only a part of an exporter's ONNX graph can be named (start, end)")


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
