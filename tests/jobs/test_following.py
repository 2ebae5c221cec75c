"""A model followed over a recording decides as the engines do, window by window, and its memory is that of the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_commands import DECIMATION, STEPS, float_network, recordings

from edge_lstm import data, engine
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.quantize import harden, quantize
from edge_lstm.jobs import inputs
from edge_lstm.jobs.following import follow
from edge_lstm.network import Network, ReadOut

DATASET = recordings()
NAME = "p1-run"


def windows_of(network: inputs.AnyNetwork) -> np.ndarray:
    """The windows of the recording as the model takes them."""
    one = replace(DATASET, recordings=tuple(r for r in DATASET.recordings if r.name == NAME))
    return np.asarray(inputs.model_input(network, one, data.windows(one, DECIMATION * STEPS, DECIMATION * STEPS).x))


@pytest.mark.parametrize("kind", ["float", "integer"])
def test_decisions_are_those_of_whole_windows(kind: str) -> None:
    network: inputs.AnyNetwork = float_network()
    if kind == "integer":
        network = quantize(harden(float_network()), data.windows(DATASET, DECIMATION * STEPS, DECIMATION * STEPS).x)
    found = follow(network, DATASET, NAME)
    expected = network(windows_of(network))
    assert np.allclose(found.decisions.values[list(found.decisions.due)], expected, atol=1e-5)
    assert found.steps == 100
    assert (found.truth == DATASET.classes.index("run")).all()


def test_the_memory_is_that_of_the_engine_bit_by_bit_and_reset_after_each_decision() -> None:
    network = quantize(harden(float_network()), data.windows(DATASET, DECIMATION * STEPS, DECIMATION * STEPS).x)
    layer = follow(network, DATASET, NAME).layers[0]
    states = engine.run(network, np.asarray(windows_of(network), np.int16), states=True).states[0]["c"]
    scale = network.recurrent[0].state("c").scale
    assert np.array_equal(layer.value, states.reshape(-1, states.shape[2]) * scale)
    assert layer.starts == tuple(range(0, 100, STEPS))
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], 1)
    assert np.array_equal(layer.moved, (states != before).reshape(-1, states.shape[2]))
    unbroken = follow(network, DATASET, NAME, continuous=True).layers[0]
    assert unbroken.starts == (0,)
    assert np.array_equal(unbroken.value[:STEPS], layer.value[:STEPS])
    assert not np.array_equal(unbroken.value, layer.value)


def test_a_part_is_given_in_seconds_and_keeps_its_place_in_the_recording() -> None:
    found = follow(float_network(), DATASET, NAME, (1.0, 2.0))
    assert (found.edges[0], found.edges[-1]) == (1.0, 2.0)
    recording = next(r for r in DATASET.recordings if r.name == NAME)
    assert np.allclose(found.signal.values[0], recording.samples[50:52].mean(0) / 1024)
    with pytest.raises(UsageError, match=r"100 steps of 0\.04 s"):
        follow(float_network(), DATASET, NAME, (9.0, 10.0))


@pytest.mark.parametrize("read_out", ["last", "every"])
def test_without_a_mean_the_running_decision_is_the_output_so_far(read_out: str) -> None:
    network: Network = float_network()
    layers = tuple(ReadOut(read_out) if isinstance(layer, ReadOut) else layer for layer in network.layers)
    network = replace(network, layers=layers, window=0)
    found = follow(network, DATASET, NAME)
    recording = next(r for r in DATASET.recordings if r.name == NAME).samples
    outputs = network(recording[None, : DECIMATION * 31])
    assert np.allclose(found.decisions.values[30], outputs[0, 30] if read_out == "every" else outputs[0], atol=1e-5)
