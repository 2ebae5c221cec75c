"""What `HardLSTM` and `HardGRU` share: parameters, layouts, layers and gates.

A packed sequence and a padded batch take the same path: at step t the first `sizes[t]` sequences are still running.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from edge_lstm.errors import EdgeLstmError
from edge_lstm.torch.gates import SQUASHINGS, Gates

State = tuple[Tensor, ...]  # one [batch, units] per state; h first


class HardRecurrent(nn.Module):
    """The base of both modules; a subclass adds its equations (`_run_layer`) and its call."""

    rows: ClassVar[str]  # the order of PyTorch's weight rows
    gate_names: ClassVar[str]
    candidate_name: ClassVar[str]
    holding_gate: ClassVar[str]  # the gate that keeps the state: open at the start of training
    states: ClassVar[str]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float, bidirectional: bool,
        proj_size: int, device: Any, dtype: Any, gates: Iterable[str], candidate: str, slope: float,
    ) -> None:  # fmt: skip
        super().__init__()
        kind = type(self).__name__
        if bidirectional:
            raise EdgeLstmError(f"{kind}: bidirectional=True is not supported: the integer networks decide as samples arrive")
        if proj_size:
            raise EdgeLstmError(f"{kind}: proj_size={proj_size} is not supported; use a smaller hidden_size")
        if min(input_size, hidden_size, num_layers) < 1:
            raise EdgeLstmError(f"{kind}: input_size, hidden_size and num_layers must be positive")
        if not 0 <= dropout <= 1:
            raise EdgeLstmError(f"{kind}: dropout is a probability between 0 and 1, got {dropout}")
        if dropout and num_layers == 1:
            warnings.warn(f"{kind}: dropout acts between layers and does nothing in a single one", stacklevel=3)
        if not slope > 0:
            raise EdgeLstmError(f"{kind}: the slope of the straight-through gradient must be positive, got {slope}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.slope = bias, batch_first, float(dropout), float(slope)
        self.bidirectional, self.proj_size = False, 0
        self.candidate = self._squashing("candidate", candidate)
        self.set_gates(gates)
        width = len(self.rows) * hidden_size
        for k in range(num_layers):
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (width, input_size if k == 0 else hidden_size),
                "weight_hh": (width, hidden_size),
            }
            if bias:
                shapes |= {"bias_ih": (width,), "bias_hh": (width,)}
            for name, shape in shapes.items():
                self.register_parameter(f"{name}_l{k}", nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self._opened: list[tuple[str, Tensor]] = []
        self.reset_parameters()

    def _squashing(self, role: str, name: str) -> str:
        if name not in SQUASHINGS:
            raise EdgeLstmError(f"{type(self).__name__}: unknown {role} {name!r}: choose one of {', '.join(SQUASHINGS)}")
        return name

    @property
    def gates(self) -> str:
        """The gates that are thresholds, such as "ifo"; the others are sigmoids."""
        return self._hard

    def set_gates(self, names: Iterable[str]) -> None:
        """Makes the named gates thresholds and all others sigmoids; for a training that starts soft and goes on hard."""
        chosen = list(names)
        unknown = [name for name in chosen if name not in self.gate_names or len(name) != 1]
        if unknown:
            raise EdgeLstmError(f"{type(self).__name__} has no gate {', '.join(map(repr, unknown))}; it has {', '.join(self.gate_names)}")
        self._hard = "".join(g for g in self.gate_names if g in chosen)
        self._order = self._hard + "".join(g for g in self.gate_names if g not in chosen) + self.candidate_name

    def reset_parameters(self) -> None:
        """W uniform of variance 0.36 / inputs, R orthogonal per row, biases 0 but that of the gate that holds the state: 1."""
        with torch.no_grad():
            for k in range(self.num_layers):
                W = self.get_parameter(f"weight_ih_l{k}")
                W.uniform_(-1, 1).mul_(0.6 * math.sqrt(3 / W.shape[1]))
                for R in self.get_parameter(f"weight_hh_l{k}").chunk(len(self.rows)):
                    nn.init.orthogonal_(R)
                if self.bias:
                    self.get_parameter(f"bias_hh_l{k}").zero_()
                    b = self.get_parameter(f"bias_ih_l{k}").zero_()
                    b.chunk(len(self.rows))[self.rows.index(self.holding_gate)].fill_(1)

    def flatten_parameters(self) -> None:
        """Does nothing; there for code that calls it on every recurrent module."""

    def extra_repr(self) -> str:
        """The arguments that differ from those of `nn.LSTM`, and sizes."""
        parts = [f"{self.input_size}, {self.hidden_size}", f"gates={self.gates!r}", f"candidate={self.candidate!r}"]
        parts += [f"{name}={value}" for name, default in (("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0))
                  if (value := getattr(self, name)) != default]  # fmt: skip
        return ", ".join(parts)

    def __getstate__(self) -> dict[str, Any]:
        """Without the gates of the last forward pass: they belong to its graph and can be neither copied nor pickled."""
        return {**self.__dict__, "_opened": []}

    def gate_openings(self) -> dict[str, Tensor]:
        """Gate -> mean opening in the last forward pass: over steps, sequences, units and layers; padding of packed sequences left out.

        Scalars with gradient where the forward pass had one. Raises EdgeLstmError before the first pass.
        """
        if not self._opened:
            raise EdgeLstmError(f"{type(self).__name__}: there are no gates to look at before the first forward pass")
        layers = [dict(zip(order, opened.mean(0).view(len(order), -1).mean(1), strict=True)) for order, opened in self._opened]
        return {gate: torch.stack([layer[gate] for layer in layers]).mean() for gate in self.gate_names}

    def _arranged(self, name: str, layer: int) -> Tensor:
        """A weight or bias with its rows in the order of `Gates`: thresholds, sigmoids, candidate."""
        chunks = getattr(self, f"{name}_l{layer}").chunk(len(self.rows))
        return torch.cat([chunks[self.rows.index(row)] for row in self._order])

    def _gates(self) -> Gates:
        return Gates(len(self.gates) * self.hidden_size, self.slope)

    def _run_layer(self, layer: int, x: Tensor, sizes: list[int], state: State) -> tuple[Tensor, State, Tensor]:
        """x: [sum of sizes, inputs], the steps one behind the other. Returns h of all steps, the final states, and the gates."""
        raise NotImplementedError

    def _run(self, x: Tensor, sizes: list[int], initial: State | None) -> tuple[Tensor, State]:
        """All layers. initial and the returned states: [layers, batch, units] each."""
        self._opened = []
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.to(next(self.parameters()).dtype)  # from a layer in front that autocast ran in half precision
        if initial is None:
            zeros = x.new_zeros(self.num_layers, sizes[0], self.hidden_size)
            initial = (zeros,) * len(self.states)
        finals = []
        for k in range(self.num_layers):
            if k > 0 and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            with torch.autocast(x.device.type, enabled=False):  # half precision would flip gates
                x, final, opened = self._run_layer(k, x, sizes, tuple(s[k] for s in initial))
            finals.append(final)
            self._opened.append((self._order[:-1], opened))
        return x, tuple(torch.stack(layers) for layers in zip(*finals, strict=True))

    def _check(self, initial: State | None, shape: tuple[int, ...], width: int) -> None:
        kind = type(self).__name__
        if width != self.input_size:
            raise EdgeLstmError(f"{kind}: the input has {width} channels, expected input_size = {self.input_size}")
        if initial is None:
            return
        if not isinstance(initial, tuple | list) or len(initial) != len(self.states):
            raise EdgeLstmError(f"{kind}: the initial state must be {' and '.join(f'{name}_0' for name in self.states)}, as a tuple")
        for name, state in zip(self.states, initial, strict=True):
            if state.shape != shape:
                raise EdgeLstmError(f"{kind}: {name}_0 has shape {tuple(state.shape)}, expected {shape}")

    def _sequence(self, x: Tensor | PackedSequence, initial: State | None) -> tuple[Tensor | PackedSequence, State]:
        """Any layout that `nn.LSTM` takes: packed, [time, batch, inputs], [batch, time, inputs] or [time, inputs]."""
        if isinstance(x, PackedSequence):
            sizes = x.batch_sizes.tolist()
            self._check(initial, (self.num_layers, sizes[0], self.hidden_size), x.data.shape[-1])
            if initial is not None and x.sorted_indices is not None:
                initial = tuple(s.index_select(1, x.sorted_indices) for s in initial)
            h, final = self._run(x.data, sizes, initial)
            if x.unsorted_indices is not None:
                final = tuple(s.index_select(1, x.unsorted_indices) for s in final)
            return PackedSequence(h, x.batch_sizes, x.sorted_indices, x.unsorted_indices), final
        if x.dim() not in (2, 3):
            raise EdgeLstmError(f"{type(self).__name__}: the input has {x.dim()} dimensions, expected 3, or 2 for a single sequence")
        single = x.dim() == 2
        steps = x.unsqueeze(1) if single else x.transpose(0, 1) if self.batch_first else x
        time, batch, width = steps.shape
        if time == 0 or batch == 0:
            raise EdgeLstmError(f"{type(self).__name__}: the input of shape {tuple(x.shape)} is empty")
        self._check(initial, (self.num_layers, self.hidden_size) if single else (self.num_layers, batch, self.hidden_size), width)
        if single and initial is not None:
            initial = tuple(s.unsqueeze(1) for s in initial)
        h, final = self._run(steps.reshape(time * batch, width), [batch] * time, initial)
        h = h.view(time, batch, self.hidden_size)
        if single:
            return h.squeeze(1), tuple(s.squeeze(1) for s in final)
        return h.transpose(0, 1) if self.batch_first else h, final
