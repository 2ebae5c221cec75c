"""Options of the ONNX operators LSTM, GRU and RNN, from a file through `convert` to the bits of NumPy, Numba, ONNX Runtime and C.

That what is read computes what the file says is the business of `test_read_recurrent`; here it goes on to integers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from read_graphs import Graph

import firmware_gen.host
from edge_lstm import data, engine, onnx_io
from edge_lstm.cli.program import call
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network

BATCH, STEPS, INPUTS, UNITS, CLASSES = 4, 12, 3, 6, 3
LENGTHS = np.array([12, 5, 1, 9])
OPTIONS: dict[str, dict[str, Any]] = {
    "clip, constant states, layout 1": {"clip": 0.8, "layout": 1},
    "clip, states as inputs, lengths": {"clip": 0.8},  # of the same kernels as the one before, which take seconds to compile
    "both directions": {"direction": "bidirectional"},
    "reverse": {"direction": "reverse"},
}
ALSO = {"LSTM": {"input_forget": 1}, "GRU": {"linear_before_reset": 1}, "RNN": {}}  # with clip


def graph_of(operator: str, option: str, seed: int) -> onnx.ModelProto:
    """The operator with random weights, its final states, and a dense layer."""
    given, as_inputs = dict(OPTIONS[option]), "inputs" in option
    directions, first = 2 if "both" in option else 1, bool(given.get("layout"))
    graph = Graph({"x": (BATCH, "time", INPUTS) if first else ("time", BATCH, INPUTS)}, seed=seed)
    names, states = ("h", "c")[: 2 if operator == "LSTM" else 1], []
    for name in names:
        if as_inputs:
            graph.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [directions, BATCH, UNITS]))
            states.append(name)
        else:
            value = np.repeat(graph.rng.uniform(-0.9, 0.9, (directions, 1, UNITS)), BATCH, 1)
            states.append(graph.constant(value.swapaxes(0, 1) if first else value))
    if as_inputs:
        graph.inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [BATCH]))
    more = ALSO[operator] if "clip" in option else {}
    lengths = "lengths" if as_inputs else ""
    final = graph.recurrent(operator, "x", INPUTS, UNITS, states=states, lengths=lengths, directions=directions, **given, **more)[1]
    final = final if first else graph.node("Transpose", final, perm=[1, 0, 2])
    flat = graph.node("Reshape", final, graph.constant([0, -1]))
    return graph.model(graph.node("Gemm", flat, graph.random(CLASSES, directions * UNITS), graph.random(CLASSES), transB=1))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("operator", ALSO)
def test_from_a_file_to_the_same_bits(operator: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(graph_of(operator, option, 3), tmp_path / "model.onnx")
    rng = np.random.default_rng(4)
    samples = rng.normal(0, 1, (40, STEPS, INPUTS)).astype(np.float32)
    recordings = tuple(data.Recording(one, None, "", f"r{k}") for k, one in enumerate(samples))
    data.save(data.Dataset("random", recordings, ("x", "y", "z"), (), None, None, "made by the test"), tmp_path / "recordings.npz")
    ragged, path = "lengths" in option, tmp_path / "model.int.onnx"
    arguments = ["convert", str(tmp_path / "model.onnx"), "-c", str(tmp_path / "recordings.npz"), "--window", str(STEPS), "-o", str(path)]
    status = call([*arguments, *(["--form", "lengths"] if ragged else [])])
    assert status == 0, capsys.readouterr().err
    integer, floats = onnx_io.load(path), onnx_io.load(tmp_path / "model.onnx")
    assert isinstance(integer, IntegerNetwork)
    assert isinstance(floats, Network)

    x = samples[:BATCH]
    error = (engine.outputs(integer, x) - floats(x)) / np.ptp(floats(samples))
    assert np.sqrt(np.mean(error**2)) < 0.03
    raw = engine.counts(integer.normalize, x)
    raw[1] = rng.choice(np.array([-32768, 32767, 0], np.int16), raw[1].shape)
    lengths = LENGTHS if ragged else None
    expected = reference.run(integer, raw, lengths, states=True)
    numba = engine.run(integer, raw, lengths=lengths, states=True)
    assert np.array_equal(numba.scores, expected.scores)
    for ours, theirs in zip(numba.states, expected.states, strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scores, label = session.run(None, {"raw": raw, **({"lengths": LENGTHS} if ragged else {})})
    assert np.array_equal(scores, expected.scores)
    assert np.array_equal(label, expected.labels)
    if not integer.streams:
        assert ("forward" if "both" in option else "reads the sequence from its end") in integer.stream_obstacle
        return
    host = firmware_gen.host.HostModel(integer, flags=["-O1"])
    for k, length in enumerate(LENGTHS if ragged else [STEPS] * BATCH):
        alone = host.run(raw[k : k + 1, :length], states=True)
        assert np.array_equal(alone.scores[0], expected.scores[k])
        for ours, theirs in zip(alone.states, expected.states, strict=True):
            assert all(np.array_equal(ours[name][0], theirs[name][k, :length]) for name in theirs)


def test_the_weights_matter() -> None:
    """Else the comparison would compare nothing: other weights, other scores."""
    one, other = (onnx_io.read.read_network(graph_of("LSTM", "reverse", seed)) for seed in (3, 4))
    x = np.random.default_rng(5).normal(0, 1, (2, STEPS, INPUTS))
    assert np.abs(one(x) - other(x)).max() > 0.1
