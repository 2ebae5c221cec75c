"""What the scores decide: the highest of several, yes or no of one behind a sigmoid, nothing of numbers; the same in every engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from random_networks import random_counts, random_input, random_network

import firmware_gen
import firmware_gen.host
from edge_lstm import data, engine, onnx_io
from edge_lstm.cells import Activation
from edge_lstm.cli.program import call
from edge_lstm.engine import reference
from edge_lstm.engine.physical import finished, real_values
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.decisions import OUTPUTS
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import inputs
from edge_lstm.network import Dense, Network
from edge_lstm.onnx_io.integer_session import IntegerSession, StreamSession
from firmware_gen import packaging
from firmware_gen.header import header
from firmware_gen.toolchain import compiler


def network(last: Activation, outputs: int = 1, numbers: tuple[str, ...] = ()) -> Network:
    """An LSTM with a last layer of so many outputs; numbers: what it was trained on."""
    made = random_network(np.random.default_rng(4), "lstm", 3, 6, "threshold", outputs=outputs, steps=8, mix=1)
    dense = made.layers[-1]
    assert isinstance(dense, Dense)
    metadata = {OUTPUTS: json.dumps(numbers)} if numbers else {}
    # A bias of its own, so that both answers come.
    return replace(made, layers=(*made.layers[:-1], replace(dense, b=dense.b * 0, activation=last)), metadata=metadata, softmax=False)


CASES = {
    "yes or no": network(Activation("sigmoid")),
    "yes or no, hard": network(Activation("hard_sigmoid", 0.2, 0.5)),
    "classes": network(Activation("identity"), 2),
    "a number": network(Activation("identity")),
    "a number between -1 and 1": network(Activation("tanh")),
    "a hard sigmoid that is not even": network(Activation("hard_sigmoid", 0.2, 0.4)),
    "numbers": network(Activation("identity"), 2, ("speed", "angle")),
}
FLOATS = list(CASES.values())
INTEGERS = [quantize(one, random_input(np.random.default_rng(5), one, 8)) for one in FLOATS]
NUMBERS = ["number" in name or "not even" in name for name in CASES]


@pytest.fixture(scope="module")
def hosts() -> list[firmware_gen.host.HostModel]:
    return firmware_gen.host.HostModel.several(INTEGERS, None, ["-O1"])


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASES)
def test_every_engine_names_the_same_class_or_none(case: int, hosts: list[firmware_gen.host.HostModel]) -> None:
    made, floats = INTEGERS[case], FLOATS[case]
    raw = random_counts(np.random.default_rng(6), made, 40, 8)
    scores = reference.run(made, raw).scores
    assert made.gives_numbers == inputs.gives_numbers(floats) == NUMBERS[case]
    found, streamed = IntegerSession(made).run(raw), StreamSession(made)
    streamed.push(raw)
    stream, streams, in_c = engine.Stream(made), engine.Streams(made, len(raw)), hosts[case].stream()
    for t in range(raw.shape[1]):
        streams.push(raw[:, t])
    if NUMBERS[case]:
        assert found.label is None
        assert streamed.label is None
        model = onnx_io.integer_model(made).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == ["scores"]
        with pytest.raises(EdgeLstmError, match="names no class"):
            streams.labels()
        stream.run(reference.normalize(made.normalize, raw[0]))
        with pytest.raises(EdgeLstmError, match="names no class"):
            _ = stream.label
        return
    expected = (scores[:, 0] > 0).astype(int) if made.outputs == 1 else scores.argmax(1)
    assert set(expected) == {0, 1}
    real = finished(made, real_values(made, scores, 8))
    assert made.outputs > 1 or np.array_equal(real[:, 0] > 0.5, expected == 1)
    for labels in (engine.run(made, raw).labels, found.label, streamed.label, streams.labels()):
        assert labels is not None
        assert labels.tolist() == expected.tolist()
    for sequence, wanted in zip(raw, expected, strict=True):
        stream.reset()
        in_c.reset()
        for sample in sequence:
            stream.push(sample)
            in_c.push(sample)
        assert stream.label == in_c.decide()[0] == wanted
    x = np.asarray(raw * made.normalize.units_per_count, np.float32)
    given = floats(x)
    assert np.array_equal(inputs.decided(floats, given), given[:, 0] > 0.5 if made.outputs == 1 else given.argmax(1))


@pytest.mark.parametrize("case", range(len(CASES)), ids=CASES)
def test_the_header_says_what_is_left_to_the_host_and_has_a_class_only_where_there_is_one(case: int) -> None:
    text = header(INTEGERS[case], prefix="net")
    kind = FLOATS[case].layers[-1].activation.kind
    left = "Left to the host, on the real values of the scores: "
    assert (f"{left}{kind}" in text) == (kind != "identity")
    assert (left in text) == (kind != "identity")
    assert ("net_class(" in text) == (not NUMBERS[case])
    softmax = replace(INTEGERS[2], softmax=True)
    assert f"{left}softmax" in header(softmax)


@pytest.mark.parametrize("case", [0, 3], ids=["yes or no", "a number"])
def test_run_prints_classes_or_numbers(case: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Floats and integers, from files; recordings of two classes fit a single score behind a sigmoid."""
    rng = np.random.default_rng(7)
    recordings = tuple(data.Recording(rng.normal(0, 1, (8, 3)).astype(np.float32), k % 2, "", f"r{k}") for k in range(24))
    data.save(data.Dataset("two", recordings, ("x", "y", "z"), ("off", "on"), None, None, "made by the test"), tmp_path / "two.npz")
    onnx_io.save_network(FLOATS[case], tmp_path / "float.onnx")
    onnx_io.save_integer(INTEGERS[case], tmp_path / "model.int.onnx")
    x = np.stack([recording.samples for recording in recordings])
    real = FLOATS[case](x)[:, 0]
    for name, given in (("float.onnx", real), ("model.int.onnx", engine.outputs(INTEGERS[case], x)[:, 0])):
        assert call(["run", str(tmp_path / name), str(tmp_path / "two.npz"), "--json"]) == 0
        windows = json.loads(capsys.readouterr().out)["windows"]
        if NUMBERS[case]:
            np.testing.assert_allclose([row["output"] for row in windows], given, rtol=1e-5, atol=1e-6)
        else:
            assert [row["label"] for row in windows] == [str(int(value > 0.5)) for value in given]
            assert {row["label"] for row in windows} == {"0", "1"}
    assert call(["convert", str(tmp_path / "float.onnx"), "-c", str(tmp_path / "two.npz"), "-o", str(tmp_path / "new.int.onnx")]) == 0
    assert ("calibration windows right" in capsys.readouterr().out) == (not NUMBERS[case])
    status = call(["convert", str(tmp_path / "float.onnx"), "-c", str(tmp_path / "two.npz"), "--finetune"])
    assert (status, capsys.readouterr().err.count("\n")) == (1, 1)


@pytest.mark.parametrize("case", [0, 3, 6], ids=lambda k: list(CASES)[k])
def test_packages_and_examples_compile_without_a_class(case: int, tmp_path: Path) -> None:
    """The self-test and the example of a desktop, and what Arduino and others compile."""
    made = INTEGERS[case]
    firmware_gen.write(made, tmp_path, prefix="net", example=True)
    compiler().run([tmp_path / "net_example.c"], tmp_path / "example", "-std=c99", "-Wall", "-Wextra", "-Werror")
    packaging.write(made, tmp_path / "package", "arduino", prefix="net")
    source, include = next(tmp_path.rglob("classifier.c")), next((tmp_path / "package").rglob("net.h")).parent
    compiler().run([source], tmp_path / "classifier.o", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", f"-I{include}")
    assert firmware_gen.footprint(made).text > 0
