"""Both cells as autograd sees them: a loop over single sequences, steps and layers, with the straight-through gradient made by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

SQUASH = {"tanh": torch.tanh, "hard_tanh": torch.nn.functional.hardtanh}


def gate(a: Tensor, hard: bool, slope: float) -> Tensor:
    """A sigmoid; if hard, the value of a step with the gradient of sigmoid(slope a), which autograd takes of the difference."""
    if not hard:
        return torch.sigmoid(a)
    soft = torch.sigmoid(slope * a)
    return torch.where(a > 0, 1.0, 0.0).detach() + (soft - soft.detach())


def run(module: torch.nn.Module, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor], dict[str, list[Tensor]]]:
    """One sequence x: [time, inputs] from state: [layers, units] each. Returns h of the last layer, the final states, all gates."""
    finals, gates = [], {name: [] for name in module.gate_names}
    for k in range(module.num_layers):
        values = [s[k] for s in state]
        outputs = []
        for t in range(len(x)):
            values, opened = step(module, k, x[t], values)
            outputs.append(values[0])
            for name in gates:
                gates[name].append(opened[name])
        x = torch.stack(outputs)
        finals.append(values)
    return x, [torch.stack(s) for s in zip(*finals, strict=True)], gates


def step(module: torch.nn.Module, k: int, x: Tensor, state: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The equations of PyTorch's manual."""
    names = [f"{name}_l{k}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    W, R = (getattr(module, name).chunk(len(module.rows)) for name in names[:2])
    zero = torch.zeros(module.hidden_size * len(module.rows), dtype=x.dtype)
    b, b_recurrent = ((getattr(module, name) if module.bias else zero).chunk(len(module.rows)) for name in names[2:])
    part = {row: (W[j] @ x + b[j], R[j] @ state[0] + b_recurrent[j]) for j, row in enumerate(module.rows)}
    opened = {name: gate(sum(part[name]), name in module.gates, module.slope) for name in module.gate_names}
    candidate = SQUASH[module.candidate]
    if "c" in module.states:
        c = opened["f"] * state[1] + opened["i"] * candidate(sum(part["g"]))
        return [opened["o"] * SQUASH[module.output](c), c], opened
    n = candidate(part["n"][0] + opened["r"] * part["n"][1])
    return [(1 - opened["z"]) * n + opened["z"] * state[0]], opened
