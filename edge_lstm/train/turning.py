"""Augmentation of inertial data: a sensor is never worn twice alike, so all its vectors are turned together, by a small random angle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.feature_kernel import ProgramTables
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import COUNTS, Features, Memory, block_sums
from edge_lstm.network import Preprocess

Array = npt.NDArray[Any]
Vectors = tuple[tuple[int, ...], ...]
ROTATION = 0.1  # radians, of an imu: how differently the same sensor is worn


def random_rotations(rng: np.random.Generator, count: int, sd: float) -> npt.NDArray[np.float64]:
    """[count, 3, 3] rotations; axis times angle has normally distributed components of `sd` radians (Rodrigues' formula)."""
    turn = rng.normal(0, sd, (count, 3))
    angle = np.maximum(np.linalg.norm(turn, axis=1), 1e-12)
    x, y, z = (turn / angle[:, None]).T
    zero = np.zeros(count)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(count, 3, 3)
    return np.eye(3) + np.sin(angle)[:, None, None] * K + (1 - np.cos(angle))[:, None, None] * (K @ K)


def require_vectors(front: Preprocess | None, vectors: Vectors, channels: int) -> None:
    """Refuses vectors that cannot be turned. Raises EdgeLstmError."""
    if front is None:
        raise EdgeLstmError("only sensor counts can be turned: give the network a preprocessing")
    named = [channel for vector in vectors for channel in vector]
    if not named or any(len(v) != 3 for v in vectors) or len(set(named)) < len(named) or not all(0 <= c < channels for c in named):
        raise EdgeLstmError(f"vectors {[list(v) for v in vectors]} to be turned: each needs three channels of its own, of {channels}")
    for op in () if front.features is None else (front.features.ops[k] for k in front.features.remembering):
        assert front.features is not None
        source = front.features.ops[op.args[0]]
        touched = source.code != "channels" or (set(source.numbers) & set(named) and source.numbers not in vectors)
        if touched:
            raise EdgeLstmError(f"the memory of feature {op.code} is not that of a vector, and cannot be turned")


def turned(front: Preprocess, raw: Array, memory: Memory | None, vectors: Vectors, sd: float, rng: np.random.Generator) -> Array:
    """What the network reads, float32 [batch, time, inputs], of int16 counts raw [batch, samples, channels], each sequence turned.

    memory: of the features before the first sample, turned too; None: a reset.
    """
    rotation = random_rotations(rng, len(raw), sd).transpose(0, 2, 1)
    sums = block_sums(raw, front.decimation)
    turned_sums = sums.astype(np.float64)
    for vector in vectors:
        turned_sums[..., list(vector)] = turned_sums[..., list(vector)] @ rotation
    if front.features is None:
        return np.asarray((turned_sums / front.decimation - front.offset) * front.scale, np.float32)
    low, high = (edge * front.decimation for edge in COUNTS)
    whole = np.clip(np.floor(turned_sums + 0.5), low, high).astype(np.int64)
    before = None if memory is None else _turned_memory(front.features, memory, vectors, rotation)
    features = ProgramTables(front.features).run(whole, before)
    return np.asarray((features - front.offset) * front.scale, np.float32)


def _turned_memory(features: Features, memory: Memory, vectors: Vectors, rotation: Array) -> Memory:
    found = dict(memory)
    for index, values in memory.items():
        if features.ops[features.ops[index].args[0]].numbers in vectors:
            found[index] = np.floor((values[:, None].astype(np.float64) @ rotation)[:, 0] + 0.5).astype(np.int64)
    return found
