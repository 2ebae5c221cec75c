"""What the models were made to hear, computed from a minute of real speech as their authors' programs compute it."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
RATE = 16000


@cache
def samples(path: Path) -> Floats:
    """The recording, 16 kHz, in -1 ... 1."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        counts = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (counts / 32768).astype(np.float32)


def _frames(signal: Floats, size: int, hop: int) -> Floats:
    return sliding_window_view(signal, size)[::hop]


def silero_frames(signal: Floats) -> Floats:
    """[frames, 576]: 512 samples, with the 64 before them in front."""
    return _frames(np.concatenate([np.zeros(64, np.float32), signal]), 576, 512)


def magnitudes(signal: Floats) -> Floats:
    """[frames, 257]: spectra of 512 samples every 128, without a window, as DTLN takes them."""
    return np.abs(np.fft.rfft(_frames(signal, 512, 128))).astype(np.float32)


def mel_power(signal: Floats) -> Floats:
    """[frames, 40]: power in 40 mel bands, 25 ms every 10 ms, of speech at -30 dB, as Resemblyzer takes it."""
    loud = signal * 10 ** (-30 / 20) / np.sqrt(np.mean(signal.astype(np.float64) ** 2))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(_frames(np.pad(loud, 200, mode="reflect"), 400, 160) * hann)) ** 2
    return (power @ _mel_bands().T).astype(np.float32)


def _mel_bands() -> NDArray[np.float64]:
    """[40, 201]: triangles of equal area between 42 points evenly spaced on the mel scale of Slaney's auditory toolbox."""
    linear, step = 1000 * 3 / 200, np.log(6.4) / 27  # linear up to 1 kHz, logarithmic above

    def hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mel < linear, mel * 200 / 3, 1000 * np.exp(step * (mel - linear)))

    corners = hertz(np.linspace(0, linear + np.log(RATE / 2 / 1000) / step, 42))
    bins = np.linspace(0, RATE / 2, 201)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (corners[2:] - corners[:-2]))[:, None]


def beat_features(signal: Floats) -> Floats:
    """[frames, 162]: 81 logarithmic bands 100 times a second and how much each has grown, as madmom's beat trackers take them.

    Those analyse 2048 samples at 44.1 kHz. 743 samples at 16 kHz last as long, so the bins of both spectra are the same up to 8 kHz, and
    the bands above stay empty.
    """
    size, bins = 743, 1024
    hann = np.hanning(size) * (2048 / size)
    spectra = np.zeros((len(_frames(signal, size, 160)), bins))
    spectra[:, : size // 2 + 1] = np.abs(np.fft.rfft(_frames(signal, size, 160) * hann))
    logarithmic = np.log10(1 + spectra @ _log_bands(bins).T)
    grown = np.maximum(0, np.diff(logarithmic, axis=0, prepend=logarithmic[:1]))
    return np.hstack([logarithmic, grown]).astype(np.float32)


def _log_bands(bins: int) -> NDArray[np.float64]:
    """[81, bins]: triangles of area 1, 12 an octave from 30 Hz to 17 kHz; bands that would share a bin are one."""
    notes = 440 * 2 ** (np.arange(-60, 80) / 12)
    notes = notes[(notes >= 30) & (notes <= 17000)]
    corners = np.unique(np.round(notes / (44100 / 2 / bins)).astype(int))
    bands = np.zeros((len(corners) - 2, bins))
    for band, (start, center, stop) in zip(bands, zip(corners, corners[1:], corners[2:], strict=False), strict=True):
        stop = max(stop, center + 1)
        band[start:center] = np.linspace(0, 1, center - start, endpoint=False)
        band[center:stop] = np.linspace(1, 0, stop - center, endpoint=False)
        band /= band.sum()
    return bands
