"""A rising function behind the last dense layer is left to the host: the scores keep every bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_input, random_network

from edge_lstm import engine, onnx_io
from edge_lstm.cells import activation
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.decisions import HOST_ACTIVATION
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import RISING, quantize
from edge_lstm.network import Dense


@pytest.mark.parametrize("read_out", ["last", "mean", "every"])
def test_the_scores_are_those_without_and_the_outputs_those_with_the_function(read_out: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(read_out))
    plain = replace(random_network(rng, "lstm", 4, 8, "threshold", read_out), softmax=False)
    x = random_input(rng, plain, 8, 12)
    without = quantize(plain, x)
    for kind in RISING:
        last = plain.layers[-1]
        assert isinstance(last, Dense)
        network = plain.with_layers((*plain.layers[:-1], replace(last, activation=activation(kind))))
        integer = quantize(network, x)
        raw = engine.counts(integer.normalize, x)
        np.testing.assert_array_equal(reference.run(integer, raw).scores, reference.run(without, raw).scores)
        onnx_io.save_integer(integer, tmp_path / "model.int.onnx")
        read = onnx_io.load(tmp_path / "model.int.onnx")
        assert isinstance(read, IntegerNetwork)
        assert read.metadata[HOST_ACTIVATION].split()[0] == kind
        expected = activation(kind)(engine.outputs(without, x).astype(np.float64))
        np.testing.assert_allclose(engine.outputs(read, x), expected, rtol=0, atol=1e-6)


def test_an_edited_name_is_refused() -> None:
    network = random_network(np.random.default_rng(1))
    x = random_input(np.random.default_rng(2), network)
    integer = replace(quantize(network, x), metadata={HOST_ACTIVATION: "sigmund 0 0"})
    with pytest.raises(EdgeLstmError, match="sigmund"):
        engine.outputs(integer, x)
