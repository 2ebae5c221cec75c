"""The node tests of ONNX for LSTM, GRU and RNN, each output on its own: what the importer and the integer path make of it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as node_tests

from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Network
from edge_lstm.onnx_io.integer_session import IntegerSession
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

OPERATORS = ("LSTM", "GRU", "RNN")
TOLERANCE = 1e-5  # of the float network, against the case's own output
LOSS = 0.01  # of the integers, against the float network


@dataclass(frozen=True)
class Outcome:
    """What became of one output of a case.

    reason: why it is refused, "" where it is read; error: largest difference of the float network from the case's own output;
    differing: numbers in which ONNX Runtime differs from the integer reference; loss: largest difference of the integers from the float.
    """

    case: str
    output: str
    reason: str = ""
    error: float = 0.0
    differing: int = 0
    loss: float = 0.0


def cases() -> list[Any]:
    """The cases of the installed ONNX, made by importing their generators."""
    for operator in OPERATORS:
        importlib.import_module(f"{node_tests.__name__}.{operator.lower()}")
    return list({c.name: c for c in node_tests._NodeTestCases if c.model.graph.node[-1].op_type in OPERATORS}.values())


def attributes(case: Any) -> dict[str, Any]:
    """The attributes of the case's node, without the number of units."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in case.model.graph.node[-1].attribute if a.name != "hidden_size"}


def outcomes(case: Any) -> list[Outcome]:
    """Every output of the case. Weights are inputs of these graphs: all but the sequence are bound first."""
    x, *others = case.data_sets[0][0]
    names = [i.name for i in case.model.graph.input]
    found = []
    for output, expected in zip(case.model.graph.output, case.data_sets[0][1], strict=True):
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names[1:], others, strict=True)
        )
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None))
        try:
            network = read_network(model)
        except UnsupportedModel as error:
            found.append(Outcome(case.name, output.name, reason="; ".join(error.reasons)))
            continue
        sequence = x if attributes(case).get("layout") else x.transpose(1, 0, 2)
        found.append(_compared(case, output.name, network, sequence, np.asarray(expected)))
    return found


def _compared(case: Any, output: str, network: Network, x: Any, expected: Any) -> Outcome:
    result = network(x)
    arranged = result.transpose(1, 0, 2) if result.ndim == 3 and not attributes(case).get("layout") else result
    if len(network.recurrent) == 2:
        arranged = np.stack(np.split(arranged, 2, -1), -3)  # the directions are an axis before the batch
    integer = quantize(network, x)
    raw = engine.counts(integer.normalize, x)
    scores, stock = reference.run(integer, raw).scores, IntegerSession(integer).run(raw).scores
    loss = float(np.abs(scores * integer.score_scale - result).max())
    error = float(np.abs(arranged.reshape(expected.shape) - expected).max())
    return Outcome(case.name, output, "", error, int((scores != stock).sum()), loss)
