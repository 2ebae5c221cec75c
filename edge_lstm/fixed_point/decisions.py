"""What the scores of an integer network say: a class, or numbers; and what its metadata tell about them, and about the samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError

HOST_ACTIVATION = "host_activation"  # metadata: "kind alpha beta" of a function that the host applies to the real value of the scores
RATE = "rate_hz"  # metadata: samples a second of the recordings that the network learned from
SLOWEST, FASTEST = 1e-3, 1e6  # rates that a model may have
OUTPUTS = "outputs"  # metadata: JSON list of the names of the numbers that the network gives


def decisions(scores: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The class for scores [..., outputs] of a network of classes: the highest score, the first one on a tie; of one score, 1 above 0."""
    return np.asarray(scores[..., 0] > 0 if scores.shape[-1] == 1 else scores.argmax(-1), np.int64)


def output_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the numbers that a network was trained to give; () for classes, and where its file does not say.

    Raises EdgeLstmError for an entry that is no list of names.
    """
    if OUTPUTS not in metadata:
        return ()
    try:
        found = json.loads(metadata[OUTPUTS])
    except ValueError as error:
        raise EdgeLstmError(f"metadata {OUTPUTS} = {metadata[OUTPUTS]!r} is no list of names") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise EdgeLstmError(f"metadata {OUTPUTS} = {metadata[OUTPUTS]!r} is no list of names")
    return tuple(found)


def sampling_rate(metadata: Mapping[str, str]) -> float | None:
    """Samples a second of the recordings that a network learned from; None where its file does not say.

    Raises EdgeLstmError for an entry that is no number from 0.001 to a million: a period then fits 32 bits of microseconds.
    """
    if RATE not in metadata:
        return None
    try:
        found = float(metadata[RATE])
    except ValueError:
        found = 0.0
    if not SLOWEST <= found <= FASTEST:
        raise EdgeLstmError(f"metadata {RATE} = {metadata[RATE]!r} is no rate")
    return found


def gives_numbers(outputs: int, classes: Sequence[str], metadata: Mapping[str, str]) -> bool:
    """Whether a network of so many outputs names no class: one that was trained on numbers, or with one output and no sigmoid behind it."""
    if len(classes) > 1 or output_names(metadata):
        return len(classes) < 2
    kind, *numbers = metadata.get(HOST_ACTIVATION, "identity").split()
    halves_at_zero = kind == "sigmoid" or (kind == "hard_sigmoid" and numbers[-1:] == ["0.5"])
    return outputs == 1 and not halves_at_zero


def left_to_host(metadata: Mapping[str, str]) -> str:
    """The function that the host applies to the real values of the scores, in words; "" where there is none."""
    kind, *numbers = metadata.get(HOST_ACTIVATION, "").split() or [""]
    return f"{kind} ({', '.join(f'{float(number):g}' for number in numbers)})" if kind in ("hard_sigmoid", "scaled_sigmoid") else kind
