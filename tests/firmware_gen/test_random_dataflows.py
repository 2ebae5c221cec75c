"""Random integer dataflows hold the general machinery (folding, passes, laziness, buffering) to the bits of the reference, whatever cell
comes next."""

from __future__ import annotations

from collections import Counter

import numpy as np
from random_dataflows import random_dataflow
from random_networks import random_counts

from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import CODES
from firmware_gen.host import HostModel
from firmware_gen.schedule import schedule
from firmware_gen.simplify import simplify
from firmware_gen.toolchain import WARNINGS


def test_random_dataflows_give_the_bits_of_the_reference(compiler):
    networks = [random_dataflow(seed) for seed in range(60)]
    hosts = HostModel.several(networks, compiler, (*WARNINGS, "-O0", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"))
    rng = np.random.default_rng(1)
    for seed, (network, host) in enumerate(zip(networks, hosts, strict=True)):
        raw = random_counts(rng, network, 3, 12, extremes=seed % 2 == 0)
        expected, got = reference.run(network, raw, states=True), host.run(raw, states=True)
        assert np.array_equal(expected.scores, got.scores), seed
        for a, b in zip(expected.states, got.states, strict=True):
            assert [name for name in a if not np.array_equal(a[name], b[name])] == [], seed


def test_the_random_dataflows_exercise_what_they_are_for():
    """Every operator; several passes, laziness within laziness, buffers, folded gates."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        for layer in random_dataflow(seed).recurrent:
            flow = simplify(layer)
            plan = schedule(flow)
            seen.update(op.code for op in flow.ops.values())
            seen[f"passes {min(plan.passes, 3)}"] += 1
            seen["nested"] += any(len(path) > 1 for path in plan.lazy.values())
            seen["lazy row"] += any(plan.lazy[i] and op.code == "row" for i, op in flow.ops.items())
            seen["buffered"] += bool(plan.buffered)
            seen["folded"] += len(flow.ops) < len(layer.ops)
    wanted = {*CODES, "passes 1", "passes 2", "passes 3", "nested", "lazy row", "buffered", "folded"}
    assert {name: seen[name] for name in wanted if seen[name] < 3} == {}
