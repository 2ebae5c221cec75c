"""A synthetic rhythm, since no package has music that could be fetched: drums, cymbals and a tone, 120 beats a minute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16000
BEAT = 0.5  # seconds


def rhythm(seconds: int, seed: int = 0) -> NDArray[np.float32]:
    """So many seconds at 16 kHz, each beat up to a few milliseconds early or late."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE // 2) / RATE
    drum = 0.5 * np.sin(2 * np.pi * (55 * t - 0.5 * np.exp(-30 * t))) * np.exp(-12 * t)
    y = np.zeros((seconds + 1) * RATE)

    def add(start: float, sound: NDArray[np.float64]) -> None:
        first = round(start * RATE)
        y[first : first + len(t)] += sound

    start, number = 0.0, 0
    while start < seconds:
        noise = rng.normal(0, 1, (3, len(t)))
        add(start, 0.25 * noise[0] * np.exp(-25 * t) if number % 2 else drum)
        add(start, 0.12 * noise[1] * np.exp(-60 * t))
        add(start + BEAT / 2, 0.12 * noise[2] * np.exp(-60 * t))
        tone = (220, 262, 294, 330)[number // 4 % 4]
        add(start, 0.15 * np.sign(np.sin(2 * np.pi * tone * t)) * np.exp(-3 * t))
        start, number = start + BEAT + rng.normal(0, 0.003), number + 1
    return y[: seconds * RATE].astype(np.float32)
