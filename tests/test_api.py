"""The public functions do what the parts under them do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_commands import float_network, nothing_half_written, recordings

import edge_lstm
import firmware_gen
from edge_lstm import data, engine, onnx_io
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.quantize import quantize

X = data.windows(recordings(), 20, 20).x


def test_load_gives_callable_networks(tmp_path: Path) -> None:
    onnx_io.save_network(float_network(), tmp_path / "m.onnx")
    onnx_io.save_integer(quantize(float_network(), X), tmp_path / "m.int.onnx")
    floats, integers = edge_lstm.load(tmp_path / "m.onnx"), edge_lstm.load(tmp_path / "m.int.onnx")
    assert floats(X).shape == integers(X).shape == (len(X), 3)
    assert np.abs(floats(X) - integers(X)).max() < 0.2
    np.testing.assert_allclose(integers(X), integers(X * recordings().units_per_count), atol=1e-6)  # counts, or what they stand for


def test_quantize_is_that_of_fixed_point_and_refuses_untrained_gates() -> None:
    network = float_network()
    np.testing.assert_array_equal(reference.run(edge_lstm.quantize(network, X), X).scores, reference.run(quantize(network, X), X).scores)
    with pytest.raises(UsageError, match="untrained=True"):
        edge_lstm.quantize(network, X, gates="hard")
    assert edge_lstm.quantize(network, X, gates="hard", untrained=True).recurrent[0].activations["i"] == "threshold"
    with pytest.raises(UsageError, match="keep, hard, soft"):
        edge_lstm.quantize(network, X, gates="firm")


def test_networks_of_the_other_kind_are_refused() -> None:
    integer = quantize(float_network(), X)
    with pytest.raises(UsageError, match="'toy' is no float network"):
        edge_lstm.quantize(integer, X)  # type: ignore[arg-type]
    for call in (engine.Stream, lambda network: engine.Streams(network, 2), lambda network: engine.run(network, X)):
        with pytest.raises(UsageError, match="the engine runs integer networks only"):
            call(float_network())  # type: ignore[arg-type, operator]


def test_export_c_writes_the_header(tmp_path: Path) -> None:
    network = edge_lstm.quantize(float_network(), X)
    paths = edge_lstm.export_c(network, tmp_path / "fw", name="motion", self_test=X[:2])
    nothing_half_written(tmp_path / "fw", "motion.h", "motion_selftest.c")
    assert paths[0].read_text(encoding="utf-8") == firmware_gen.header(network, prefix="motion")
    with pytest.raises(UsageError, match="integer networks"):
        edge_lstm.export_c(float_network(), tmp_path / "fw")  # type: ignore[arg-type]


def test_compare_gives_figures_and_writes_a_page(tmp_path: Path) -> None:
    network = edge_lstm.quantize(float_network(), X)
    windows = data.windows(recordings(), 20, 20)
    found = edge_lstm.compare({"floats": float_network(), "integers": network}, recordings(), tmp_path / "page.html")
    right = reference.run(network, windows.x).scores.argmax(-1) == windows.y
    by_person = [right[windows.person == person].mean() for person in ("p0", "p1", "p2")]
    assert found["accuracy"]["integers"]["mean"] == pytest.approx(np.mean(by_person))
    assert found["latency_seconds"]["integers: Numba"]["step"] > 0
    assert "integers" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_compare_takes_paths(tmp_path: Path) -> None:
    onnx_io.save_integer(quantize(float_network(), X), tmp_path / "m.int.onnx")
    data.save(recordings(), tmp_path / "d.npz")
    assert set(edge_lstm.compare(tmp_path / "m.int.onnx", tmp_path / "d.npz")["accuracy"]) == {"m.int.onnx"}
    with pytest.raises(EdgeLstmError, match="does not exist"):
        edge_lstm.compare([tmp_path / "absent.onnx"], tmp_path / "d.npz")
