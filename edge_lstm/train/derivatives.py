"""Values and derivatives of activations as source text of the training kernels.

The derivative is taken from the value where it can be, so that in the integer phase it is that of the value which the integer network
computed. A threshold has none: its surrogate is that of a sigmoid of slope k, k s (1 - s) with s = sigmoid(k x) (straight-through
estimator, Bengio, Leonard & Courville 2013). In the text, f is the float type and `slope` the surrogate's k.
"""

from __future__ import annotations

from edge_lstm.cells import Activation

# A saturated activation of the integer network may stop one unit of its 16-bit format short of its bound.
_INSIDE = 0.9998


def number(value: float) -> str:
    """A constant in the kernel's float type."""
    return f"f({value!r})"


def value(activation: Activation, x: str) -> str:
    """Expression of the activation at the expression x (a variable's name)."""
    a, b = number(activation.alpha), number(activation.beta)
    sigmoid = f"f(0.5) + f(0.5) * tanh(f(0.5) * {x})"
    return {
        "sigmoid": sigmoid,
        "hard_sigmoid": f"min(max({a} * {x} + {b}, f(0)), f(1))",
        "threshold": f"(f(1) if {x} > f(0) else f(0))",
        "three_level": f"(f(0.5) if {x} > f(1) else f(0)) + (f(0.5) if {x} > f(-1) else f(0))",
        "tanh": f"tanh({x})",
        "hard_tanh": f"min(max({x}, f(-1)), f(1))",
        "clamp": f"min(max({x}, {a}), {b})",
        "softsign": f"{x} / (f(1) + abs({x}))",
        "relu": f"max({x}, f(0))",
        "identity": x,
        "scaled_sigmoid": f"{a} * ({sigmoid}) + {b}",
    }[activation.kind]


def derivative(activation: Activation, x: str, y: str) -> str:
    """Expression of the derivative (or surrogate) at argument x with value y, both variables' names; see `Plan.needs_argument` for x."""
    a, b = number(activation.alpha), number(activation.beta)
    return {
        "sigmoid": f"{y} * (f(1) - {y})",
        "hard_sigmoid": f"({a} if abs({y} - f(0.5)) < f({_INSIDE / 2}) else f(0))",
        "threshold": _surrogate(x),
        # the mean of two thresholds, at -1 and at 1
        "three_level": f"f(0.5) * ({_surrogate(f'({x} - f(1))')} + {_surrogate(f'({x} + f(1))')})",
        "tanh": f"f(1) - {y} * {y}",
        "hard_tanh": f"(f(1) if abs({y}) < f({_INSIDE}) else f(0))",
        "clamp": f"(f(1) if f({activation.alpha * _INSIDE!r}) < {y} < f({activation.beta * _INSIDE!r}) else f(0))",
        "softsign": f"(f(1) - abs({y})) * (f(1) - abs({y}))",
        "relu": f"(f(1) if {y} > f(0) else f(0))",
        "identity": "f(1)",
        "scaled_sigmoid": f"({y} - {b}) * (f(1) - ({y} - {b}) / {a})",
    }[activation.kind]


def soft_threshold(x: str, sharpness: str) -> str:
    """Expression of sigmoid(k x): what a threshold is the limit of."""
    return f"f(0.5) + f(0.5) * tanh(f(0.5) * {sharpness} * {x})"


def soft_threshold_derivative(y: str, sharpness: str) -> str:
    """Expression of its derivative, from its value y."""
    return f"{sharpness} * {y} * (f(1) - {y})"


def _surrogate(x: str) -> str:
    return f"surrogate({x}, slope)"
