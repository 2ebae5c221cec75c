"""`HardLSTM`: the module `nn.LSTM` with threshold gates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from edge_lstm.torch.gates import SLOPE, SQUASHINGS
from edge_lstm.torch.recurrent import HardRecurrent, State
from edge_lstm.torch.sequences import LSTMSequence


class HardLSTM(HardRecurrent):
    """`nn.LSTM` with threshold gates: i, f, o = [W x + R h + b > 0], c' = f c + i candidate(g), h' = o output(c').

    Arguments, call and state_dict are those of `nn.LSTM` (https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html).
    Refused: bidirectional, proj_size. In addition, by name only:
    gates: the gates that are thresholds, any of "ifo" (default: all); the others stay sigmoids.
    candidate, output: "tanh" or "hard_tanh".  slope: k of the straight-through gradient k s (1 - s), s = sigmoid(k x).
    The start differs from that of `nn.LSTM`, see `reset_parameters`. Raises EdgeLstmError for arguments or inputs that do not fit.
    """

    rows, gate_names, candidate_name, holding_gate, states = "ifgo", "ifo", "g", "f", "hc"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None, *,
        gates: Iterable[str] = "ifo", candidate: str = "tanh", output: str = "tanh", slope: float = SLOPE,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype,
            gates, candidate, slope,
        )  # fmt: skip
        self.output = self._squashing("output", output)

    def extra_repr(self) -> str:
        """The arguments that differ from those of `nn.LSTM`, and sizes."""
        return f"{super().extra_repr()}, output={self.output!r}"

    def gate_activity(self) -> Tensor:
        """mean(i) + mean(o) of the last forward pass (see `gate_openings`): the term that a sparsity weight multiplies.

        A closed i leaves the cell state alone and spares the candidate, a closed o spares the column of that unit in R h.
        """
        openings = self.gate_openings()
        return openings["i"] + openings["o"]

    def forward(self, x: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """(output, (h_n, c_n)) with the shapes of `nn.LSTM`; hx = (h_0, c_0), zeros where None."""
        output, (h, c) = self._sequence(x, hx)
        return output, (h, c)

    def _run_layer(self, layer: int, x: Tensor, sizes: list[int], state: State) -> tuple[Tensor, State, Tensor]:
        b = self._arranged("bias_ih", layer) + self._arranged("bias_hh", layer) if self.bias else None
        product = functional.linear(x, self._arranged("weight_ih", layer), b)
        i, f, o = (self._order.index(gate) for gate in "ifo")
        h, h_n, c_n, opened = LSTMSequence.apply(
            product, self._arranged("weight_hh", layer), *state, sizes, self._gates(), (i, f, o),
            SQUASHINGS[self.candidate], SQUASHINGS[self.output],
        )  # fmt: skip
        return h, (h_n, c_n), opened
