"""`HardGRU`: the module `nn.GRU` with threshold gates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from edge_lstm.torch.gates import SLOPE, SQUASHINGS
from edge_lstm.torch.recurrent import HardRecurrent, State
from edge_lstm.torch.sequences import GRUSequence


class HardGRU(HardRecurrent):
    """`nn.GRU` with threshold gates: r, z = [W x + R h + b > 0], n = candidate(Wn x + bn + r (Rn h + bRn)), h' = z h + (1 - z) n.

    Arguments, call and state_dict are those of `nn.GRU` (https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html).
    Refused: bidirectional. In addition, by name only:
    gates: the gates that are thresholds, any of "rz" (default: both); the others stay sigmoids.
    candidate: "tanh" or "hard_tanh".  slope: k of the straight-through gradient k s (1 - s), s = sigmoid(k x).
    The start differs from that of `nn.GRU`, see `reset_parameters`. Raises EdgeLstmError for arguments or inputs that do not fit.
    """

    rows, gate_names, candidate_name, holding_gate, states = "rzn", "rz", "n", "z", "h"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None, *,
        gates: Iterable[str] = "rz", candidate: str = "tanh", slope: float = SLOPE,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype, gates, candidate, slope
        )

    def gate_activity(self) -> Tensor:
        """mean(r) + mean(1 - z) of the last forward pass (see `gate_openings`): the term that a sparsity weight multiplies.

        z = 1 holds the state and spares the candidate, a closed r spares the candidate's recurrent row.
        """
        openings = self.gate_openings()
        return openings["r"] + 1 - openings["z"]

    def forward(self, x: Tensor | PackedSequence, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """(output, h_n) with the shapes of `nn.GRU`; hx = h_0, zeros where None."""
        output, (h,) = self._sequence(x, None if hx is None else (hx,))
        return output, h

    def _run_layer(self, layer: int, x: Tensor, sizes: list[int], state: State) -> tuple[Tensor, State, Tensor]:
        b, b_recurrent = (self._arranged(name, layer) if self.bias else None for name in ("bias_ih", "bias_hh"))
        product = functional.linear(x, self._arranged("weight_ih", layer), b)
        r, z = (self._order.index(gate) for gate in "rz")
        h, h_n, opened = GRUSequence.apply(
            product, self._arranged("weight_hh", layer), b_recurrent, *state, sizes, self._gates(), (r, z), SQUASHINGS[self.candidate]
        )
        return h, (h_n,), opened
