"""Training speed: one epoch of LSTM(6, 32), T = 50, batch 48, here and in PyTorch, single thread, interleaved in one process.

Compared are the soft LSTM here and `nn.LSTM`, and both kinds of gates here with the same cell as a Python loop over time under
autograd. An epoch is 46 batches (2,208 windows): forward, cross-entropy, backward, clipped gradient, AdamW.

    python tools/bench_training.py                  # processor seconds; ratios are medians over the rounds
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from edge_lstm import train
from edge_lstm.train.initial import initial_network
from edge_lstm.train.loop import _Training
from edge_lstm.train.sequences import sequences

INPUTS, UNITS, STEPS, BATCH, BATCHES, CLASSES = 6, 32, 50, 48, 46, 7


def ours(gates: str, integer_from: float, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """An epoch of this package's trainer; integer_from 0: all of it with the integers in the forward pass."""
    recipe = train.Recipe(
        gates=gates, hidden=UNITS, batch=BATCH, iterations=BATCHES, integer_from=integer_from, noise=0.0, scaling=0.0, seed=0
    )
    network = initial_network(recipe, INPUTS, CLASSES, tuple("abcdefg"), STEPS, None)
    training = _Training(network, sequences(network, x, y, None), None, recipe)
    if integer_from == 0:
        training.start_integers()

    def epoch() -> None:
        for iteration in range(BATCHES):
            training.iterate(training.optimizer, iteration)

    return epoch


class Loop(nn.Module):
    """The same cell, one step of time after the other."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.rows, self.hard = nn.Linear(INPUTS + UNITS, 4 * UNITS), hard

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [batch, time, inputs] -> h [batch, time, units]."""
        h = c = x.new_zeros(len(x), UNITS)
        outputs = []
        for t in range(x.shape[1]):
            gates, candidate = self.rows(torch.cat([x[:, t], h], 1)).split([3 * UNITS, UNITS], 1)
            soft = torch.sigmoid(0.5 * gates if self.hard else gates)
            opened = soft + ((gates > 0).to(soft.dtype) - soft).detach() if self.hard else soft
            i, f, o = opened.chunk(3, 1)
            c = f * c + i * torch.tanh(candidate)
            h = o * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1)


class Library(nn.Module):
    """nn.LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(INPUTS, UNITS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [batch, time, inputs] -> h [batch, time, units]."""
        return self.lstm(x)[0]


def torch_epoch(recurrent: nn.Module, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """An epoch in PyTorch."""
    head = nn.Linear(UNITS, CLASSES)
    parameters = [*recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-2, betas=(0.9, 0.99), weight_decay=1e-3)
    all_x, all_y = torch.tensor(x), torch.tensor(y)

    def epoch() -> None:
        for first in range(0, BATCHES * BATCH, BATCH):
            loss = nn.functional.cross_entropy(head(recurrent(all_x[first : first + BATCH]).mean(1)), all_y[first : first + BATCH])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (BATCHES * BATCH, STEPS, INPUTS)).astype(np.float32)
    y = rng.integers(0, CLASSES, len(x))
    epochs = {
        "soft": ours("soft", 1.0, x, y), "nn.LSTM": torch_epoch(Library(), x, y), "soft loop in PyTorch": torch_epoch(Loop(False), x, y),
        "hard": ours("hard", 1.0, x, y), "hard, integers": ours("hard", 0.0, x, y), "hard loop in PyTorch": torch_epoch(Loop(True), x, y),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for epoch in epochs.values():
        epoch()  # compiles, fills caches
    for _ in range(arguments.rounds):
        for name, epoch in epochs.items():
            started = time.process_time()
            epoch()
            seconds[name].append(time.process_time() - started)

    def ratio(a: str, b: str) -> float:
        return statistics.median(p / q for p, q in zip(seconds[a], seconds[b], strict=True))

    ratios = {
        "nn.LSTM / soft": ratio("nn.LSTM", "soft"),
        "soft loop / soft": ratio("soft loop in PyTorch", "soft"),
        "hard loop / hard": ratio("hard loop in PyTorch", "hard"),
        "hard loop / hard, integers": ratio("hard loop in PyTorch", "hard, integers"),
    }  # fmt: skip
    if arguments.json:
        print(json.dumps({"seconds": seconds, "ratios": ratios}, indent=1))
        return
    for name, found in seconds.items():
        print(f"{name:24s} {statistics.median(found):7.3f} s an epoch (least {min(found):.3f}, {len(found)} rounds)")
    for name, found_ratio in ratios.items():
        print(f"{name:32s} {found_ratio:5.2f}")


if __name__ == "__main__":
    main()
