"""Activity is what a direct count over the reference engine finds."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm import engine
from edge_lstm.engine import gate_activity, reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork


def counted(network: IntegerNetwork, raw: np.ndarray) -> list[dict[str, object]]:
    """The hard-gated LSTM, counted product by product from its equations: i, f, o open or closed, c' = f c + i g, h' = o h(c')."""
    x = reference.normalize(network.normalize, raw).astype(np.int64)
    found = []
    for layer in network.recurrent:
        gates = gate_activity.threshold_gates(layer)
        state = reference.initial_state(layer, len(x))
        opened = {gate: np.zeros(layer.units, int) for gate in gates}
        left = products = changed = nonzero = untouched = 0
        outputs = []
        for t in range(x.shape[1]):
            h, c = state["h"], state["c"]
            state, output, values = reference.step(layer, x[:, t], state)
            for gate, index in gates.items():
                opened[gate] += values[index].sum(0)
            columns = (x[:, t] != 0).sum(1) + (h != 0).sum(1)
            lazy = values[gates["i"]].sum(1)
            left += int((columns * (3 * layer.units + lazy)).sum())
            products += len(x) * 4 * layer.units * (layer.inputs + layer.units)
            changed += int((output != h).sum())
            nonzero += int((output != 0).sum())
            untouched += int((state["c"] == c).sum())
            outputs.append(output)
        cells = x.shape[0] * x.shape[1] * layer.units
        x = np.stack(outputs, 1)
        found.append(
            {
                "open": {gate: opened[gate].sum() / cells for gate in gates},
                "constant": {gate: int(np.isin(opened[gate], [0, x.shape[0] * x.shape[1]]).sum()) for gate in gates},
                "products_left": left / products,
                "changed": changed / cells,
                "nonzero": nonzero / cells,
                "untouched": untouched / cells,
                "dead": int((x == 0).all((0, 1)).sum()),
            }
        )
    return found


@pytest.mark.parametrize("layers", [1, 2])
def test_activity_of_a_hard_lstm_is_what_counting_finds(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_activity, "CHUNK", 45)  # several chunks, one of them not full
    rng = np.random.default_rng(layers)
    network = random_integer(rng, "lstm", 4, 11, "threshold", layers=layers)
    raw = random_counts(rng, network, 5, 20)
    for came, wanted in zip(engine.activity(network, raw), counted(network, raw), strict=True):
        assert came.open == pytest.approx(wanted["open"])
        assert set(came.open) == {"i", "f", "o"}
        assert (came.constant, came.dead) == (wanted["constant"], wanted["dead"])
        for what in ("products_left", "changed", "nonzero", "untouched"):
            assert getattr(came, what) == pytest.approx(wanted[what]), what
        assert (came.units, came.steps) == (11, 100)


def test_soft_gates_leave_all_rows_needed() -> None:
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 4, 9, "sigmoid")
    (soft,) = engine.activity(network, random_counts(rng, network, 3, 20))
    assert soft.open == {}
    assert 0.5 < soft.products_left <= 1
    assert soft.products_left == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (70, 200)])
def test_normalizing_whole_recordings_gives_the_bits_of_the_reference(shape: tuple[int, int]) -> None:
    from edge_lstm.engine import front

    rng = np.random.default_rng(4)
    network = random_integer(rng, "rnn", 5, 6, decimation=3)
    for extremes in (False, True):
        raw = random_counts(rng, network, *shape, extremes=extremes)
        np.testing.assert_array_equal(front.normalize(network.normalize, raw), reference.normalize(network.normalize, raw))
        np.testing.assert_array_equal(front.normalize(network.normalize, raw[:, 1:]), reference.normalize(network.normalize, raw[:, 1:]))
