"""Recorded music, telephone quality: five tracks by three artists, CC BY-SA 3.0, out of the Debian archive."""

from __future__ import annotations

import wave
from functools import cache

import debian
import numpy as np
from speech import RATE, Floats, beat_features

TRACKS = {
    "Macroform, Cold Day": "macroform-cold_day.wav",
    "Macroform, Robot Dity": "macroform-robot_dity.wav",
    "Macroform, The Simplicity": "macroform-the_simplicity.wav",
    "Manolo Camp, Morning Coffee": "manolo_camp-morning_coffee.wav",
    "Reno Project, System": "reno_project-system.wav",
}
_CHECKSUMS = (
    "716048b9913498c5416ed2df0d28b562b5c8017c07a030e19bb119b96d905b92",
    "018064be59d8830d495c948231aefa286369eaff9a289a112af09acf94b57445",
    "ce642e2f083a9d2df94b252476f6a339c93a59882838fce5d4dd6afbdcf2cef9",
    "43540271262ebb37f5a760dea62686cc30dc379d85757a83f79b8bc0dce8bedb",
    "6eab497384d54844e064125625ae6e147973de6a4b1e58fad87cf5aa095fbf92",
)
_FOLDER = "usr/share/asterisk/moh/"
MUSIC = debian.DebianFile(
    name="asterisk-moh-opsound-wav",
    version="2.03-1.1",
    sha256="8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c",
    members={_FOLDER + file: sha256 for file, sha256 in zip(TRACKS.values(), _CHECKSUMS, strict=True)},
)


@cache
def features(title: str, start: int = 0, seconds: int | None = None) -> Floats:
    """[frames, 162] of a track, from `start` for so many seconds (None: to its end): 100 frames a second.

    The recordings have 8000 samples a second. The Fourier transform brings them to the 16000 that the front end takes; nothing is added
    above 4 kHz, so that the upper 24 of the 81 bands, which a recording of full quality would fill, stay empty.
    """
    with wave.open(str(debian.fetch(MUSIC)[_FOLDER + TRACKS[title]])) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE // 2)
        file.setpos(start * RATE // 2)
        counts = np.frombuffer(file.readframes(file.getnframes() if seconds is None else seconds * RATE // 2), "<i2")
    signal = 2 * np.fft.irfft(np.fft.rfft(counts / 32768), 2 * len(counts))
    return beat_features(signal.astype(np.float32))
