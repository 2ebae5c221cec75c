"""All hyper-parameters of training in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any

from edge_lstm.cells import FEED_FORWARD_ONLY, KINDS, Activation, Cell, activation, cell, family
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Options
from edge_lstm.fixed_point.weights import CANDIDATES, DENSE, GATES, row_formats
from edge_lstm.network import READ_OUTS
from edge_lstm.train.front_text import parse
from edge_lstm.train.gate_methods import METHODS

_GATES = {"hard": "threshold", "soft": "sigmoid"}


# What a schedule changes of the defaults. "long_lag": for an answer that hangs on single events long ago. Errors flow along the cell
# state only, whose way to the read-out is open; gates start quiet and are drawn at random, with fading noise, in the first half.
SCHEDULES: dict[str, dict[str, Any]] = {
    "standard": {},
    "long_lag": {
        "cell": "lstm_long_lag", "read_out": "last", "batch": 32, "learning_rate": 1e-2, "noise": 0.0, "scaling": 0.0, "slope": 1.0,
        "forget_bias": 2.0, "input_bias": -1.0, "recurrent_scale": 0.2, "truncated": True, "gate_method": "noise", "relax_until": 0.5,
        "sparsity": 0.03,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained. The defaults train hard gates from scratch to the level of a float network of the same size.

    Network
        cell: name of a member of the family; hidden: units of each layer; layers: recurrent layers, one above the other.
        bidirectional: each layer has a second one of as many units that reads from the end; such a network runs on whole sequences only.
        front: convolutions and poolings in front, as `front_text` reads them: "conv16x5/2,max2"; "" for none. Trained like all else.
        gates: "hard" (thresholds), "soft" (sigmoids), the kind of any gate activation, a mapping gate -> one of these ("soft" where
            missing), or the names of the hard gates: "i,o".
        squash: activation of candidate and output, None for the cell's own (tanh in the modern LSTM).
        read_out: "mean" over the steps, "last" step, or "every" step.
    Optimization
        iterations, batch: number of steps of the optimizer and sequences in each.
        learning_rate: the largest; it rises over the first `warm_up` part and falls to 0 as a cosine.
        betas, weight_decay: of AdamW (Loshchilov & Hutter 2019); clip_norm: largest norm of the gradient.
        noise, scaling: standard deviations of the noise added to each input, and of the factor common to a sequence.
        rotation: standard deviation, in radians about each axis, of a random turn of all `vectors` (three channels each) of a sequence
            together, before anything is computed from them; for inertial sensors.
        class_weights: None (all alike), "balanced" (inverse frequency), or one positive number per class.
        seed: of initial weights, batches and augmentation.
    Gates
        forget_bias, input_bias: initial biases of rows called f and i; recurrent_scale: factor of the initial orthogonal R.
        truncated: whether errors flow back in time along the cell state only (see `plan.Plan`).
        slope: k of the surrogate derivative k s (1 - s), s = sigmoid(k x), of thresholds.
        gate_method: how training gets to hard thresholds, one of `gate_methods.METHODS`; all but "straight_through" relax the thresholds
            up to progress `relax_until` (0 to 1).
        sparsity: weight of the mean of the gates `sparse_gates` in the loss, ramped up over the first 30 %; closed gates skip work.
        work_target: share of the multiply-accumulates (0 to 1) that closed gates and zeros shall leave over, instead of `sparsity`: the
            weight then follows the measured work, and pushes no harder than the target needs. None for a fixed weight.
    Integers
        integer_from: progress (0 to 1) from which the forward pass is that of the integer network, whose accuracy training then reports.
        None: with a hard gate 0.6, 0.5 if weights have less than 8 bits, not before `relax_until`; never without a hard gate (quantize
        soft networks after training). 1: never.
        weight_bits: of every weight matrix, 8 or 4; or a mapping from "gates", "candidates", "dense" or a row of the cell to 8, 4,
            "ternary" or (rows of gates) "binary", 8 where missing. cell_bits: of the cell state, 16 or 32.
    Early stopping (only with a validation part)
        patience: evaluations without a better loss after which training stops, None for never; the best weights are restored.
        evaluations: how often the validation part is looked at.
    """

    cell: str = "lstm"
    hidden: int = 32
    layers: int = 1
    front: str = ""
    bidirectional: bool = False
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
    rotation: float = 0.0
    vectors: tuple[tuple[int, ...], ...] = ()
    class_weights: str | tuple[float, ...] | None = None
    seed: int = 0
    forget_bias: float = 1.0
    input_bias: float = 0.0
    recurrent_scale: float = 1.0
    truncated: bool = False
    slope: float = 0.5
    gate_method: str = "straight_through"
    relax_until: float = 0.6
    sparsity: float = 0.0
    work_target: float | None = None
    sparse_gates: tuple[str, ...] = ("i", "o")
    integer_from: float | None = None
    weight_bits: int | str | Mapping[str, int | str] = field(default_factory=dict)
    cell_bits: int = 16
    patience: int | None = None
    evaluations: int = 20

    @classmethod
    def of(cls, schedule: str, **changes: Any) -> Recipe:
        """The recipe of a schedule of SCHEDULES, with changes. Raises EdgeLstmError for a schedule that does not exist."""
        if schedule not in SCHEDULES:
            raise EdgeLstmError(f"unknown schedule {schedule!r}: choose one of {', '.join(SCHEDULES)}")
        found = {**SCHEDULES[schedule], **changes}
        if found.get("work_target") is not None and "sparsity" not in changes:
            found.pop("sparsity", None)  # the target finds its own weight
        return cls(**found)

    def __post_init__(self) -> None:
        if self.cell not in family():
            raise EdgeLstmError(f"unknown cell {self.cell!r}: choose one of {', '.join(family())}")
        if self.read_out not in READ_OUTS:
            raise EdgeLstmError(f"unknown read-out {self.read_out!r}: choose one of {', '.join(READ_OUTS)}")
        if self.squash is not None and self.squash not in (kinds := [kind for kind in KINDS if kind not in FEED_FORWARD_ONLY]):
            raise EdgeLstmError(f"unknown activation {self.squash!r}: choose one of {', '.join(kinds)}")
        for name in ("hidden", "layers", "iterations", "batch", "evaluations"):
            if not isinstance(getattr(self, name), Integral):
                raise EdgeLstmError(f"{name} must be a whole number, got {getattr(self, name)!r}")
            if getattr(self, name) < 1:
                raise EdgeLstmError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "warm_up", "weight_decay", "noise", "scaling", "rotation", "sparsity"):
            if getattr(self, name) < 0:
                raise EdgeLstmError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "slope"):
            if not getattr(self, name) > 0:
                raise EdgeLstmError(f"{name} must be positive, got {getattr(self, name)}")
        front = parse(self.front)  # refuses what is no layer
        if self.read_out == "every" and any(one.stride > 1 or one.kind != "conv" for one in front):
            raise EdgeLstmError(
                f'read_out "every" gives an answer at each step, but {self.front} in front leaves out steps; convolve without stride'
            )
        if self.cell_bits not in (16, 32):
            raise EdgeLstmError(f"cell_bits must be 16 or 32, got {self.cell_bits}")
        gates = cell(self.cell).gates
        self.activations()  # refuses gates that do not exist
        row_formats(cell(self.cell), self.options.weight_bits)  # refuses matrices and formats that do not exist
        if self.gate_method not in METHODS:
            raise EdgeLstmError(f"unknown gate method {self.gate_method!r}: choose one of {', '.join(METHODS)}")
        if self.gate_method != "straight_through":
            if not self.is_hard:
                raise EdgeLstmError(f"gate method {self.gate_method!r} is a way to hard gates, but no gate is hard")
            if not 0 < self.relax_until < 1:
                raise EdgeLstmError(f"relax_until must lie between 0 and 1, got {self.relax_until}")
            if self.integers_start < self.hard_start:
                raise EdgeLstmError(f"integer_from {self.integer_from} comes before thresholds are hard, at {self.relax_until}")
        absent = set(self.sparse_gates) - set(gates)
        if self.is_sparse and absent:
            raise EdgeLstmError(f"sparsity is asked of {', '.join(sorted(absent))}, but {self.cell} has the gates {', '.join(gates)}")
        if self.work_target is not None:
            if not 0 < self.work_target <= 1:
                raise EdgeLstmError(f"work_target must lie above 0 and at most at 1, got {self.work_target}")
            if self.sparsity:
                raise EdgeLstmError("sparsity is a fixed weight, work_target finds one: give one of them")
            if not any(self.activations()[gate].is_threshold for gate in self.sparse_gates):
                raise EdgeLstmError(f"a work_target needs a hard gate to close: none of {', '.join(self.sparse_gates)} is hard")

    def activations(self) -> dict[str, Activation]:
        """Role of the cell -> activation."""
        member: Cell = cell(self.cell)
        if not isinstance(self.gates, str):
            chosen = dict(self.gates)
        elif self.gates in _GATES or self.gates in KINDS or not set(self.gates.split(",")) & set(member.gates):
            chosen = dict.fromkeys(member.gates, self.gates)
        else:
            chosen = dict.fromkeys(self.gates.split(","), "hard")
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
    def is_sparse(self) -> bool:
        """Whether open gates cost anything in training."""
        return bool(self.sparsity) or self.work_target is not None

    @property
    def is_hard(self) -> bool:
        """Whether any gate is a threshold."""
        return any(a.is_threshold for a in self.activations().values())

    @property
    def integers_start(self) -> int:
        """The first iteration with the integer network in the forward pass; `iterations` when there is none."""
        if self.integer_from is not None:
            start = self.integer_from
        elif self.is_hard:
            start = 0.6 if set(self.options.weight_bits.values()) <= {"8"} else 0.5
            start = start if self.gate_method == "straight_through" else max(start, self.relax_until)
        else:
            start = 1.0
        return min(round(start * self.iterations), self.iterations)

    @property
    def hard_start(self) -> int:
        """The first iteration whose thresholds are not relaxed."""
        return 0 if self.gate_method == "straight_through" else round(self.relax_until * self.iterations)

    @property
    def options(self) -> Options:
        """How the integer network is made."""
        bits = self.weight_bits if isinstance(self.weight_bits, Mapping) else dict.fromkeys((GATES, CANDIDATES, DENSE), self.weight_bits)
        return Options({name: str(one) for name, one in bits.items()}, self.cell_bits)

    def as_text(self) -> str:
        """One line of JSON: what travels with the model file."""
        return json.dumps(asdict(self), sort_keys=True)
