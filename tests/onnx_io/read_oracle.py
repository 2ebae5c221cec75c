"""LSTM, GRU and RNN in float64, written from the equations of the ONNX operator specification: the oracle where ONNX Runtime is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]


def function(name: str, alpha: float | None = None, beta: float | None = None) -> Function:
    """The activation function `name` of the specification."""
    a, b = {"HardSigmoid": (0.2, 0.5), "Affine": (1.0, 0.0), "ScaledTanh": (1.0, 1.0)}.get(name, (0.0, 0.0))
    a, b = a if alpha is None else alpha, b if beta is None else beta
    return {
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "Tanh": np.tanh,
        "Relu": lambda x: np.maximum(x, 0),
        "Softsign": lambda x: x / (1 + np.abs(x)),
        "HardSigmoid": lambda x: np.clip(a * x + b, 0, 1),
        "Affine": lambda x: a * x + b,
        "ScaledTanh": lambda x: a * np.tanh(b * x),
    }[name]


def run(
    operator: str, x: Array, W: Array, R: Array, B: Array, functions: Sequence[Function], *, h: Array, c: Array | None = None,
    P: Array | None = None, clip: float | None = None, input_forget: bool = False, linear_before_reset: bool = False,
    lengths: Sequence[int] | None = None, reverse: bool = False,
) -> tuple[Array, Array]:  # fmt: skip
    """One direction over x: [time, batch, inputs]; W: [gates * units, inputs], R: [gates * units, units], B: [2 gates * units].

    h, c: [batch, units] before the first step; P: [3 * units]. Returns Y [time, batch, units] and Y_h [batch, units].
    """
    units = R.shape[1]
    half = len(B) // 2
    Wk, Rk = W.reshape(-1, units, W.shape[1]), R.reshape(-1, units, units)
    Wb, Rb = B[:half].reshape(-1, units), B[half:].reshape(-1, units)
    p = np.zeros((3, units)) if P is None else P.reshape(3, units)

    def limited(v: Array) -> Array:
        return v if clip is None else np.clip(v, -clip, clip)

    Y, final = np.zeros((*x.shape[:2], units)), np.zeros_like(h)
    for n in range(x.shape[1]):
        steps = range(x.shape[0] if lengths is None else lengths[n])
        ht, ct = h[n], np.zeros(units) if c is None else c[n]
        for t in reversed(steps) if reverse else steps:
            xt = x[t, n]

            def z(k: int, v: Array, xt: Any = xt) -> Array:
                return Wk[k] @ xt + Rk[k] @ v + Wb[k] + Rb[k]

            if operator == "RNN":
                ht = functions[0](limited(z(0, ht)))
            elif operator == "GRU":
                f, g = functions
                zt, rt = f(limited(z(0, ht))), f(limited(z(1, ht)))
                inside = Wk[2] @ xt + Wb[2] + rt * (Rk[2] @ ht + Rb[2]) if linear_before_reset else z(2, rt * ht)
                ht = (1 - zt) * g(limited(inside)) + zt * ht
            else:
                f, g, squash = functions
                it = f(limited(z(0, ht) + p[0] * ct))
                ft = 1 - it if input_forget else f(limited(z(2, ht) + p[2] * ct))
                ct = ft * ct + it * g(limited(z(3, ht)))
                ht = f(limited(z(1, ht) + p[1] * ct)) * squash(ct)
            Y[t, n] = ht
        final[n] = ht
    return Y, final
