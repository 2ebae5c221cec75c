"""Random feature programs for the tests of all engines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_networks import random_network

from edge_lstm.features import FeatureOp, Features, check_features, prove_features
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.float_inference import preprocess
from edge_lstm.network import Preprocess


def random_curve(rng: np.random.Generator, argument: int) -> FeatureOp:
    """A companding operator with a random table that rises, in places not at all."""
    bits, octaves = int(rng.integers(0, 4)), int(rng.integers(1, 10))
    knee = int(rng.integers(bits, 13))
    steepest = min(32767 // (octaves << bits), 2**29 >> (knee - bits + octaves))  # more would leave 32 bits
    knots = np.concatenate([[0], np.cumsum(rng.integers(0, steepest, octaves << bits))])
    return FeatureOp("compand", (argument,), (knee, bits, *knots.tolist()))


def random_features(rng: np.random.Generator, channels: int) -> Features:
    """Every operator at least once, then a random few; all read random earlier ones, channels in any order and more than once."""
    ops = [FeatureOp("channels", (), tuple(rng.integers(0, channels, int(rng.integers(1, 5))).tolist()))]
    codes = ["average", "subtract", "difference", "magnitude", "compand", *rng.choice(["average", "difference", "compand", "channels"], 3)]
    for code in rng.permutation(codes).tolist():
        widths = Features(channels, tuple(ops), (0,)).widths
        argument = int(rng.integers(len(ops)))
        if code == "channels":
            start = int(rng.integers(channels))
            ops.append(FeatureOp(code, (), tuple(range(start, int(rng.integers(start + 1, channels + 1))))))
        elif code == "average":
            ops.append(FeatureOp(code, (argument,), (int(rng.integers(1, 8)),)))
        elif code == "subtract":
            alike = [k for k, width in enumerate(widths) if width == widths[argument]]
            ops.append(FeatureOp(code, (argument, int(rng.choice(alike)))))
        elif code == "compand":
            ops.append(random_curve(rng, argument))
        else:
            ops.append(FeatureOp(code, (argument,)))
    count = len(ops)
    outputs = tuple(rng.choice(count, int(rng.integers(1, 4)), replace=bool(rng.integers(2))).tolist())
    features = Features(channels, tuple(ops), (*outputs, count - 1))
    check_features(features)
    prove_features(features, 8)
    return features


def broad_counts(rng: np.random.Generator, batch: int, samples: int, channels: int, *, extremes: bool = False) -> np.ndarray:
    """int16 counts [batch, samples, channels] of all sizes around a slow drift; `extremes`: only 0, +-1, and the ends of int16."""
    shape = batch, samples, channels
    if extremes:
        return rng.choice(np.array([-32768, 32767, 0, 1, -1, -32767], np.int16), shape)
    sizes = 10 ** rng.uniform(0, 4.5, (batch, 1, channels))
    return np.clip(np.round(rng.normal(0, 1, shape) * sizes + rng.normal(0, 3000, (batch, 1, channels))), -32768, 32767).astype(np.int16)


def random_preprocess(rng: np.random.Generator) -> tuple[Preprocess, np.ndarray]:
    """Random decimation and features, standardized, and the counts [8, samples, channels] that they were standardized on."""
    channels, decimation = int(rng.integers(1, 8)), int(rng.choice([1, 2, 5]))
    features = random_features(rng, channels)
    front = Preprocess(decimation, np.zeros(features.count), np.ones(features.count), None, features)
    counts = broad_counts(rng, 8, 20 * decimation, channels)
    values = preprocess(front, counts).reshape(-1, features.count)
    return replace(front, offset=values.mean(0), scale=1 / np.maximum(values.std(0), 1)), counts


def random_featured(rng: np.random.Generator, name: str = "lstm", gates: str = "threshold", **options: object) -> IntegerNetwork:
    """An integer network behind a random feature program, a random decimation included; options of `random_network`."""
    front, counts = random_preprocess(rng)
    network = random_network(rng, name, len(front.offset), int(rng.integers(1, 20)), gates, **options)  # type: ignore[arg-type]
    return quantize(replace(network, preprocess=front), counts)
