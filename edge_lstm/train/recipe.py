"""All hyper-parameters of training in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from edge_lstm.cells import KINDS, Activation, Cell, activation, cell, family
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import READ_OUTS

_GATES = {"hard": "threshold", "soft": "sigmoid"}


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained. The defaults train hard gates from scratch to the level of a float network of the same size.

    Network
        cell: name of a member of the family; hidden: units of each layer; layers: recurrent layers, one above the other.
        gates: "hard" (thresholds), "soft" (sigmoids), the kind of any gate activation, or a mapping gate -> one of these.
        squash: activation of candidate and output, None for the cell's own (tanh in the modern LSTM).
        read_out: "mean" over the steps, "last" step, or "every" step.
    Optimization
        iterations, batch: number of steps of the optimizer and sequences in each.
        learning_rate: the largest; it rises over the first `warm_up` part and falls to 0 as a cosine.
        betas, weight_decay: of AdamW (Loshchilov & Hutter 2019); clip_norm: largest norm of the gradient.
        noise, scaling: standard deviations of the noise added to each input, and of the factor common to a sequence.
        class_weights: None (all alike), "balanced" (inverse frequency), or one positive number per class.
        seed: of initial weights, batches and augmentation.
    Gates
        forget_bias: initial bias of rows called f; slope: k of the surrogate derivative k s (1 - s), s = sigmoid(k x), of thresholds.
        sparsity: weight of the mean of the gates `sparse_gates` in the loss, ramped up over the first 30 %; closed gates skip work.
    Integers
        integer_from: progress (0 to 1) from which the forward pass is that of the integer network, whose accuracy training then reports.
        None: 0.6 with a hard gate, never without (quantize soft networks after training). 1: never.
        weight_levels: row -> largest weight integer (127: 8 bits, 7: 4 bits), 8 bits where missing; cell_bits: of the cell state, 16 or 32.
    Early stopping (only with a validation part)
        patience: evaluations without a better loss after which training stops, None for never; the best weights are restored.
        evaluations: how often the validation part is looked at.
    """

    cell: str = "lstm"
    hidden: int = 32
    layers: int = 1
    gates: str | Mapping[str, str] = "hard"
    squash: str | None = None
    read_out: str = "mean"
    iterations: int = 2000
    batch: int = 48
    learning_rate: float = 2e-2
    warm_up: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-3
    clip_norm: float = 1.0
    noise: float = 0.1
    scaling: float = 0.1
    class_weights: str | tuple[float, ...] | None = None
    seed: int = 0
    forget_bias: float = 1.0
    slope: float = 0.5
    sparsity: float = 0.0
    sparse_gates: tuple[str, ...] = ("i", "o")
    integer_from: float | None = None
    weight_levels: Mapping[str, int] = field(default_factory=dict)
    cell_bits: int = 16
    patience: int | None = None
    evaluations: int = 20

    def __post_init__(self) -> None:
        if self.cell not in family():
            raise EdgeLstmError(f"unknown cell {self.cell!r}: choose one of {', '.join(family())}")
        if self.read_out not in READ_OUTS:
            raise EdgeLstmError(f"unknown read-out {self.read_out!r}: choose one of {', '.join(READ_OUTS)}")
        if self.squash is not None and self.squash not in KINDS:
            raise EdgeLstmError(f"unknown activation {self.squash!r}: choose one of {', '.join(KINDS)}")
        for name in ("hidden", "layers", "iterations", "batch", "evaluations"):
            if getattr(self, name) < 1:
                raise EdgeLstmError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warm_up", "weight_decay", "noise", "scaling", "sparsity"):
            if getattr(self, name) < 0:
                raise EdgeLstmError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "slope"):
            if not getattr(self, name) > 0:
                raise EdgeLstmError(f"{name} must be positive, got {getattr(self, name)}")
        if self.cell_bits not in (16, 32):
            raise EdgeLstmError(f"cell_bits must be 16 or 32, got {self.cell_bits}")
        gates = cell(self.cell).gates
        self.activations()  # refuses gates that do not exist
        absent = set(self.sparse_gates) - set(gates)
        if self.sparsity and absent:
            raise EdgeLstmError(f"sparsity is asked of {', '.join(sorted(absent))}, but {self.cell} has the gates {', '.join(gates)}")

    def activations(self) -> dict[str, Activation]:
        """Role of the cell -> activation."""
        member: Cell = cell(self.cell)
        chosen = dict.fromkeys(member.gates, self.gates) if isinstance(self.gates, str) else dict(self.gates)
        unknown = set(chosen) - set(member.gates)
        if unknown:
            raise EdgeLstmError(f"{self.cell} has no gate {', '.join(sorted(unknown))}; it has {', '.join(member.gates) or 'none'}")
        found = {}
        for role in member.roles:
            if role.gate:
                kind = _GATES.get(str(chosen.get(role.name, "soft")), str(chosen.get(role.name, "soft")))
                if kind not in KINDS or activation(kind).bounds != (0.0, 1.0):
                    raise EdgeLstmError(f"{kind!r} is no gate: choose hard, soft, threshold, sigmoid, hard_sigmoid or three_level")
                found[role.name] = activation(kind)
            else:
                found[role.name] = role.default if self.squash is None else activation(self.squash)
        return found

    @property
    def is_hard(self) -> bool:
        """Whether any gate is a threshold."""
        return any(a.is_threshold for a in self.activations().values())

    @property
    def integers_start(self) -> int:
        """The first iteration with the integer network in the forward pass; `iterations` when there is none."""
        start = self.integer_from if self.integer_from is not None else 0.6 if self.is_hard else 1.0
        return min(round(start * self.iterations), self.iterations)

    def as_text(self) -> str:
        """One line of JSON: what travels with the model file."""
        return json.dumps(asdict(self), sort_keys=True)
