"""An integer network fed sample by sample, in Numba, ONNX Runtime and the generated C: the same bits in every state after every sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import firmware_gen.host
from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.onnx_io.integer_session import IntegerSession, StreamSession


def assert_streams_agree(network: IntegerNetwork, raw: NDArray[np.int16], host: firmware_gen.host.HostModel | None = None) -> int:
    """Feeds raw: int16 [samples, channels] to all three; returns the number of steps that reached the read-out.

    After each sample: whether a step was made, scores, class, and every state of every layer (of the C model from its own trace of the
    same pushes). Only for layers in front with stride 1: then a layer that has made n of its N steps at the end is N - n samples behind.
    """
    host = host or firmware_gen.host.HostModel(network, flags=["-O1"])
    trace = host.run(raw[None], states=True).states
    numba, onnx_runtime, c = engine.Stream(network), StreamSession(network), host.stream()
    made = 0
    for t, sample in enumerate(raw):
        step = numba.push(sample)
        assert c.push(sample) == step == onnx_runtime.push(sample[None, None]), f"sample {t}: only some of them made a step"
        for layer, (states, others, expected) in enumerate(zip(numba.states, onnx_runtime.states, trace, strict=True)):
            for name, found in states.items():
                assert np.array_equal(found, others[name][0]), f"sample {t}: state {name} of layer {layer} differs in ONNX Runtime"
                k = expected[name].shape[1] - (len(raw) - t)
                assert k < 0 or np.array_equal(found, expected[name][0, k]), f"sample {t}: state {name} of layer {layer} differs"
        if step:
            made += 1
            label, scores = c.decide()
            assert np.array_equal(numba.scores, scores), f"sample {t}: scores differ"
            assert np.array_equal(numba.scores, onnx_runtime.scores.reshape(-1)), f"sample {t}: scores differ in ONNX Runtime"
            if network.gives_numbers:
                assert onnx_runtime.label is None
            else:
                assert numba.label == label == onnx_runtime.label.item()
    return made


def assert_same_bits(network: IntegerNetwork, raw: NDArray[np.int16], host: firmware_gen.host.HostModel | None = None) -> None:
    """Whole sequences raw: int16 [batch, samples, channels]: scores and every state of NumPy, Numba, ONNX Runtime and C."""
    host = host or firmware_gen.host.HostModel(network, flags=["-O1"])
    expected = reference.run(network, raw, states=True)
    found = {
        "Numba": engine.run(network, raw, states=True),
        "ONNX Runtime": IntegerSession(network, states=True).run(raw),
        "C": host.run(raw, states=True),
    }
    for who, run in found.items():
        np.testing.assert_array_equal(run.scores, expected.scores, err_msg=who)
        assert len(run.states) == len(expected.states)
        for layer, (states, wanted) in enumerate(zip(run.states, expected.states, strict=True)):
            assert states.keys() == wanted.keys()
            for name in states:
                np.testing.assert_array_equal(states[name], wanted[name], err_msg=f"{who}, layer {layer}, state {name}")
