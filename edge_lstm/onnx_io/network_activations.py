"""Activation functions as ONNX operators, and as the activations attribute of ONNX LSTM, GRU and RNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation
from edge_lstm.onnx_io.body import Body

FloatType = type[np.float32] | type[np.float64]
ONNX_TYPE: dict[FloatType, int] = {np.float32: 1, np.float64: 11}  # TensorProto.FLOAT, TensorProto.DOUBLE


def _above(body: Body, x: str, level: float, dtype: FloatType) -> str:
    """1 where x > level, else 0."""
    return body.emit("Cast", body.emit("Greater", x, body.constant(level, dtype)), to=ONNX_TYPE[dtype])


def _clip(body: Body, x: str, low: float, high: float, dtype: FloatType) -> str:
    return body.emit("Clip", x, body.constant(low, dtype), body.constant(high, dtype))


def _line(body: Body, x: str, alpha: float, beta: float, dtype: FloatType) -> str:
    return body.emit("Add", body.emit("Mul", x, body.constant(alpha, dtype)), body.constant(beta, dtype))


def _three_level(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    levels = body.emit("Add", _above(body, x, 1.0, dtype), _above(body, x, -1.0, dtype))
    return body.emit("Mul", levels, body.constant(0.5, dtype))


def _softsign(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    return body.emit("Div", x, body.emit("Add", body.emit("Abs", x), body.constant(1.0, dtype)))


def _halves(body: Body, x: str, dtype: FloatType) -> tuple[str, str]:
    """The part of x above 0, and that below."""
    zero = body.constant(0.0, dtype)
    return body.emit("Max", x, zero), body.emit("Min", x, zero)


def _leaky_relu(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    above, below = _halves(body, x, dtype)
    return body.emit("Add", above, body.emit("Mul", below, body.constant(activation.alpha, dtype)))


def _elu(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    above, below = _halves(body, x, dtype)
    bent = body.emit("Sub", body.emit("Exp", below), body.constant(1.0, dtype))
    return body.emit("Add", above, body.emit("Mul", bent, body.constant(activation.alpha, dtype)))


def _gelu(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    """x times its share, 0.5 (1 + erf(x / sqrt 2)) or the same by tanh. Runtimes have erf in 32 bits only."""
    if activation.kind == "gelu":
        single = body.emit("Cast", body.emit("Mul", x, body.constant(math.sqrt(0.5), dtype)), to=ONNX_TYPE[np.float32])
        bent = body.emit("Cast", body.emit("Erf", single), to=ONNX_TYPE[dtype])
    else:
        cubed = body.emit("Mul", body.emit("Mul", x, x), x)
        inner = body.emit("Add", x, body.emit("Mul", cubed, body.constant(0.044715, dtype)))
        bent = body.emit("Tanh", body.emit("Mul", inner, body.constant(math.sqrt(2 / math.pi), dtype)))
    return body.emit("Mul", x, _line(body, bent, 0.5, 0.5, dtype))


_OPERATORS: dict[str, Callable[[Body, str, Activation, FloatType], str]] = {
    "sigmoid": lambda body, x, f, dtype: body.emit("Sigmoid", x),
    "hard_sigmoid": lambda body, x, f, dtype: _clip(body, _line(body, x, f.alpha, f.beta, dtype), 0.0, 1.0, dtype),
    "threshold": lambda body, x, f, dtype: _above(body, x, 0.0, dtype),
    "three_level": _three_level,
    "tanh": lambda body, x, f, dtype: body.emit("Tanh", x),
    "hard_tanh": lambda body, x, f, dtype: _clip(body, x, -1.0, 1.0, dtype),
    "clamp": lambda body, x, f, dtype: _clip(body, x, f.alpha, f.beta, dtype),
    "softsign": _softsign,
    "relu": lambda body, x, f, dtype: body.emit("Relu", x),
    "identity": lambda body, x, f, dtype: x,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu,
    "scaled_sigmoid": lambda body, x, f, dtype: _line(body, body.emit("Sigmoid", x), f.alpha, f.beta, dtype),
}


def activate(body: Body, x: str, activation: Activation, dtype: FloatType) -> str:
    """The activation of x; its parameters in the precision of the network."""
    return _OPERATORS[activation.kind](body, x, activation, dtype)


def clip(body: Body, x: str, bound: float, dtype: FloatType) -> str:
    """x clipped to [-bound, bound]."""
    return _clip(body, x, -bound, bound, dtype)


def standard(activation: Activation) -> tuple[str, float, float] | None:
    """(name, alpha, beta) in ONNX's recurrent operators; None where they have no such function.

    The scaled sigmoids of 1997 are centred: alpha sigmoid(x) - alpha / 2 = alpha / 2 tanh(x / 2).
    """
    names = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softsign": "Softsign"}
    if activation.kind in names:
        return names[activation.kind], 0.0, 0.0
    if activation.kind == "hard_sigmoid":
        return "HardSigmoid", activation.alpha, activation.beta
    if activation.kind == "identity":
        return "Affine", 1.0, 0.0
    if activation.kind == "scaled_sigmoid" and activation.beta == -activation.alpha / 2:
        return "ScaledTanh", activation.alpha / 2, 0.5
    return None


def parameters(activations: list[tuple[str, float, float]]) -> dict[str, list[str] | list[float]]:
    """The attributes activations, activation_alpha and activation_beta; ONNX lists parameters only of the functions that have them."""
    with_parameters = [(alpha, beta) for name, alpha, beta in activations if name in ("HardSigmoid", "Affine", "ScaledTanh")]
    attributes: dict[str, list[str] | list[float]] = {"activations": [name for name, _, _ in activations]}
    if with_parameters:
        attributes["activation_alpha"] = [alpha for alpha, _ in with_parameters]
        attributes["activation_beta"] = [beta for _, beta in with_parameters]
    return attributes


def float_type(arrays: Iterable[npt.NDArray[np.floating]]) -> FloatType:
    """float32 if every array is, else float64."""
    return np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64
