"""Activation functions of ONNX recurrent operators, with their parameters, as activations of this package."""

from __future__ import annotations

from collections.abc import Sequence

from edge_lstm.cells import Activation
from edge_lstm.onnx_io.read_refusals import Refusal

# Function -> default alpha and beta, None where it has no such parameter (ONNX operator specification, LSTM: "activation functions").
_PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "sigmoid": (None, None),
    "tanh": (None, None),
    "relu": (None, None),
    "softsign": (None, None),
    "hardsigmoid": (0.2, 0.5),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "softplus": (None, None),
}
_READ = "Sigmoid, Tanh, Relu, Softsign, HardSigmoid, ScaledTanh with beta 0.5 or alpha = beta = 1, Affine with alpha 1 and beta 0"


def read_activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> tuple[Activation, ...]:
    """The activations called `names` (in any case of letters); each takes the next of `alphas` and `betas` if it has such a parameter.

    Raises Refusal for a function that no cell here can compute, or for parameters left over.
    """
    waiting_alphas, waiting_betas = list(alphas), list(betas)
    found, refused = [], []
    for name in names:
        if name.lower() not in _PARAMETERS:
            refused.append(f"unknown function {name}")
            continue
        alpha, beta = _PARAMETERS[name.lower()]
        if alpha is not None and waiting_alphas:
            alpha = float(waiting_alphas.pop(0))
        if beta is not None and waiting_betas:
            beta = float(waiting_betas.pop(0))
        try:
            found.append(_activation(name, alpha or 0.0, beta or 0.0))
        except Refusal as refusal:
            refused.append(str(refusal))
    if refused:
        raise Refusal(f"{' and '.join(dict.fromkeys(refused))} is not read; read are {_READ}")
    for attribute, waiting in (("activation_alpha", waiting_alphas), ("activation_beta", waiting_betas)):
        if waiting:
            raise Refusal(f"attribute {attribute} has {len(waiting)} value(s) more than the functions {', '.join(names)} take")
    return tuple(found)


def _activation(name: str, alpha: float, beta: float) -> Activation:
    kind = name.lower()
    if kind in ("sigmoid", "tanh", "relu", "softsign"):
        return Activation(kind)
    if kind == "hardsigmoid" and alpha > 0:
        return Activation("hard_sigmoid", alpha, beta)
    if kind == "affine" and (alpha, beta) == (1.0, 0.0):
        return Activation("identity")
    if kind == "scaledtanh" and (alpha, beta) == (1.0, 1.0):
        return Activation("tanh")
    if kind == "scaledtanh" and alpha > 0 and beta == 0.5:
        # alpha tanh(x / 2) = 2 alpha sigmoid(x) - alpha: g and h of Hochreiter & Schmidhuber (1997) with alpha 2 and 1.
        return Activation("scaled_sigmoid", 2 * alpha, -alpha)
    given = [f"{p} {v:g}" for p, v, default in zip(("alpha", "beta"), (alpha, beta), _PARAMETERS[kind], strict=True) if default is not None]
    raise Refusal(f"activation {name}{' with ' + ' and '.join(given) if given else ''}")
