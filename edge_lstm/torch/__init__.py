"""Threshold-gate LSTM and GRU for PyTorch, in place of `nn.LSTM` and `nn.GRU`, and the way from there to a `Network`.

    HardLSTM, HardGRU  modules with the parameters, the call and the results of `nn.LSTM` and `nn.GRU`
    threshold          the gate itself: a step in the forward pass, the slope of a sigmoid in the backward pass
    harden             a trained `nn.LSTM` or `nn.GRU` with its gates made thresholds
    to_network         recurrent modules and a linear head -> `edge_lstm.network.Network`

Needs the extra `torch`; nothing else in the project does. The manual is docs/pytorch.md.
"""

from __future__ import annotations

from edge_lstm.errors import EdgeLstmError


class TorchMissingError(EdgeLstmError, ImportError):
    """PyTorch is not installed. Also an ImportError, for callers who try the import and go on without."""


try:
    from edge_lstm.torch.convert import harden, to_network
    from edge_lstm.torch.gates import threshold
    from edge_lstm.torch.gru import HardGRU
    from edge_lstm.torch.lstm import HardLSTM
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise TorchMissingError("edge_lstm.torch needs PyTorch; install it with: pip install 'edge-lstm[torch]'") from error

__all__ = ["HardGRU", "HardLSTM", "TorchMissingError", "harden", "threshold", "to_network"]
