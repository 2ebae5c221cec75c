"""From PyTorch modules to the float network, and from `nn.LSTM` or `nn.GRU` to their threshold forms.

PyTorch stacks the rows of an LSTM as i, f, g, o and those of a GRU as r, z, n, and gives each two biases. Both are added where they
only ever occur as a sum; the two of a GRU's candidate are kept apart, for the reset gate multiplies one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edge_lstm.cells import Activation, activation, cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Dense, FloatArray, Layer, Network, Preprocess, ReadOut, Recurrent, RowWeights
from edge_lstm.torch.gru import HardGRU
from edge_lstm.torch.lstm import HardLSTM

_THRESHOLD = Activation("threshold")


def _hard_tanh(module: nn.Module) -> Activation | None:
    low, high = float(getattr(module, "min_val", 0)), float(getattr(module, "max_val", 0))
    if (low, high) == (-1, 1):
        return activation("hard_tanh")
    return activation("clamp", low, high) if low <= 0 < high else None


def _sloped(kind: str, alpha: float) -> Activation | None:
    return activation(kind, alpha) if alpha > 0 else activation("relu") if alpha == 0 else None


# What may follow a linear layer, as the activation of that layer; None where its arguments have no counterpart.
_ACTIVATIONS: dict[type[nn.Module], Callable[[nn.Module], Activation | None]] = {
    nn.ReLU: lambda module: activation("relu"),
    nn.Tanh: lambda module: activation("tanh"),
    nn.Sigmoid: lambda module: activation("sigmoid"),
    nn.Softsign: lambda module: activation("softsign"),
    nn.Hardsigmoid: lambda module: activation("hard_sigmoid", 1 / 6, 0.5),
    nn.Hardtanh: _hard_tanh,
    nn.ReLU6: _hard_tanh,
    nn.LeakyReLU: lambda module: _sloped("leaky_relu", getattr(module, "negative_slope", 0.0)),
    nn.ELU: lambda module: _sloped("elu", getattr(module, "alpha", 0.0)),
    nn.GELU: lambda module: activation("gelu_tanh" if getattr(module, "approximate", "none") == "tanh" else "gelu"),
}


def to_network(
    recurrent: nn.Module | Sequence[nn.Module],
    head: nn.Module | None = None,
    *,
    read_out: str = "last",
    softmax: bool = False,
    classes: Sequence[str] = (),
    window: int = 0,
    preprocess: Preprocess | None = None,
    name: str = "network",
) -> Network:
    """The float network that computes what `head(read_out(recurrent(x)))` computes in evaluation mode, from zero initial states.

    recurrent: HardLSTM, HardGRU, nn.LSTM or nn.GRU, or several of them, each fed by the one before; stacked layers included.
    head: nn.Linear, or nn.Sequential of nn.Linear with activations between them (dropout and nn.Identity are passed over; a final
    nn.Softmax sets `softmax`); None when the recurrent output itself is wanted.
    read_out: "last" step, "mean" over the steps, or "every" step. The other arguments are those of `Network`.
    Weights are copied, float32 or float64 as they are. Raises EdgeLstmError for whatever has no counterpart in a `Network`.
    """
    modules = list(recurrent) if isinstance(recurrent, Sequence | nn.ModuleList | nn.Sequential) else [recurrent]
    layers: list[Layer] = [layer for module in modules for layer in _recurrent(module)]
    dense, ends_in_softmax = _head(head, read_out)
    layers += [ReadOut(read_out), *dense]
    return Network(tuple(layers), preprocess, softmax or ends_in_softmax, tuple(classes), window, name)


def harden(module: nn.Module, gates: Iterable[str] | None = None) -> HardLSTM | HardGRU:
    """A HardLSTM or HardGRU with a copy of the weights of an nn.LSTM or nn.GRU; train on: thresholds alone cost accuracy.

    gates: those to make thresholds, all of them when None. Raises EdgeLstmError for other modules and for forms that are not supported.
    """
    hard_type: type[HardLSTM | HardGRU]
    if isinstance(module, nn.LSTM):
        hard_type = HardLSTM
    elif isinstance(module, nn.GRU):
        hard_type = HardGRU
    else:
        raise EdgeLstmError(f"harden takes an nn.LSTM or nn.GRU, got {type(module).__name__}")
    _check_form(module)
    weight = module.weight_ih_l0
    hard = hard_type(
        module.input_size, module.hidden_size, module.num_layers, module.bias, module.batch_first, module.dropout,
        device=weight.device, dtype=weight.dtype, gates=hard_type.gate_names if gates is None else gates,
    )  # fmt: skip
    hard.load_state_dict(module.state_dict())
    return hard.train(module.training)


def _check_form(module: nn.RNNBase) -> None:
    kind = type(module).__name__
    if module.bidirectional:
        raise EdgeLstmError(
            f"{kind} is bidirectional, which has no integer form; export it with torch.onnx.export to use it as a float network"
        )
    if module.proj_size:
        raise EdgeLstmError(f"{kind} projects its output (proj_size={module.proj_size}), which has no counterpart in a network")


def _recurrent(module: nn.Module) -> list[Recurrent]:
    """One layer per stacked layer of the module."""
    if isinstance(module, HardLSTM | HardGRU):
        squashings = {module.candidate_name: activation(module.candidate)}
        if isinstance(module, HardLSTM):
            squashings["h"] = activation(module.output)
        gates = dict.fromkeys(module.gates, _THRESHOLD)
    elif isinstance(module, nn.LSTM | nn.GRU):
        _check_form(module)
        squashings, gates = {}, {}
    else:
        raise EdgeLstmError(f"no recurrent layer can be made of {type(module).__name__}; use HardLSTM, HardGRU, nn.LSTM or nn.GRU")
    is_lstm = isinstance(module, HardLSTM | nn.LSTM)
    member, rows = (cell("lstm"), _lstm_rows) if is_lstm else (cell("gru"), _gru_rows)
    activations = {**member.default_activations(), **gates, **squashings}
    return [Recurrent(member, activations, rows(module, layer)) for layer in range(module.num_layers)]


def _parts(module: nn.Module, layer: int, names: str) -> list[dict[str, FloatArray]]:
    """W, R, b (of the input) and b (of the recurrence), each row name -> array."""
    rows = len(names)
    W, R = (_array(getattr(module, f"{which}_l{layer}"), f"{which}_l{layer}") for which in ("weight_ih", "weight_hh"))
    if module.bias:
        biases = [_array(getattr(module, f"{which}_l{layer}"), f"{which}_l{layer}") for which in ("bias_ih", "bias_hh")]
    else:
        biases = [np.zeros(len(W), W.dtype)] * 2
    return [dict(zip(names, np.split(array, rows), strict=True)) for array in (W, R, *biases)]


def _lstm_rows(module: nn.Module, layer: int) -> dict[str, RowWeights]:
    W, R, b, b_recurrent = _parts(module, layer, "ifgo")
    return {k: RowWeights(W[k], (R[k],), b[k] + b_recurrent[k]) for k in "ifgo"}


def _gru_rows(module: nn.Module, layer: int) -> dict[str, RowWeights]:
    W, R, b, b_recurrent = _parts(module, layer, "rzn")
    rows = {k: RowWeights(W[k], (R[k],), b[k] + b_recurrent[k]) for k in "rz"}
    return {**rows, "n": RowWeights(W["n"], (), b["n"]), "n_recurrent": RowWeights(None, (R["n"],), b_recurrent["n"])}


def _head(head: nn.Module | None, read_out: str) -> tuple[list[Dense], bool]:
    """The dense layers of the head, and whether a softmax follows them."""
    modules = _flat(head)
    softmax = bool(modules) and isinstance(modules[-1], nn.Softmax)
    if softmax:
        axis = modules.pop().dim
        if axis not in (-1, 2 if read_out == "every" else 1):
            raise EdgeLstmError(f"the head's Softmax is taken over dimension {axis}, not over the outputs; use dim=-1")
    layers: list[Dense] = []
    open_for_activation = False
    for index, module in enumerate(modules):
        if isinstance(module, nn.Linear):
            W = _array(module.weight, f"weight of head layer {index}")
            b = np.zeros(len(W), W.dtype) if module.bias is None else _array(module.bias, f"bias of head layer {index}")
            layers.append(Dense(W, b))
            open_for_activation = True
            continue
        chosen = _ACTIVATIONS[type(module)](module) if type(module) in _ACTIVATIONS else None
        if chosen is None:
            raise EdgeLstmError(
                f"the head's {module} has no counterpart in a network; use Linear, then one of "
                f"{', '.join(kind.__name__ for kind in _ACTIVATIONS)} in its usual form, and leave what belongs to the loss out of the head"
            )
        if not open_for_activation:
            raise EdgeLstmError(f"the head's {module} stands behind no Linear layer that it could be the activation of")
        layers[-1] = Dense(layers[-1].W, layers[-1].b, chosen)
        open_for_activation = False
    return layers, softmax


def _flat(head: nn.Module | None) -> list[nn.Module]:
    """The modules of a head in order, without those that do nothing in evaluation mode."""
    if head is None or isinstance(head, nn.Dropout | nn.Identity):
        return []
    if isinstance(head, nn.Sequential):
        return [module for child in head for module in _flat(child)]
    return [head]


def _array(tensor: Tensor, what: str) -> FloatArray:
    """A copy of the tensor in float32, or float64 where it is that. Refuses what is not finite."""
    tensor = tensor.detach().cpu()
    array = tensor.to(torch.float64 if tensor.dtype == torch.float64 else torch.float32).numpy().copy()
    if not np.isfinite(array).all():
        raise EdgeLstmError(f"{what} holds a NaN or an infinity; the training diverged")
    return array
