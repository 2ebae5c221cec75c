"""Every way of summing rows on every core that is emulated: the same bits, whatever is listed and whatever is added always."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from firmware_gen import choice, emulation

WAYS = {
    "dense": [(False, False)],
    "event": [(False, True), (True, True)],
    "delta": [(False, False), (True, True)],
}


@pytest.mark.parametrize(("strategy", "lists"), [(strategy, lists) for strategy, ways in WAYS.items() for lists in ways])
def test_every_strategy_gives_the_bits_of_the_reference(core, strategy, lists, monkeypatch):
    """Half of the counts are held for a while, so that lists are neither empty nor full; a second sequence holds the extremes of int16."""
    rng = np.random.default_rng(5)
    network = random_integer(rng, "lstm", 5, 13, "threshold", read_out="last", initial=True)
    held = np.repeat(random_counts(rng, network, 1, 4), 4, axis=1)[:, :14]
    raw = np.concatenate([held, random_counts(rng, network, 1, 14, extremes=True)])
    monkeypatch.setattr(choice, "_lists", lambda *_: lists)
    found = emulation.profile(network, raw, core, strategy=strategy)
    assert (found.differing, found.strategy) == (0, strategy)
    assert found.values > raw.size
