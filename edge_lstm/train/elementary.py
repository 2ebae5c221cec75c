"""What the training kernels call per element: tanh and the surrogate derivative in floats, shifts in int32.

tanh is a rational function in float32, which LLVM vectorizes, and the library's own in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload, register_jitable

_f = np.float32
BOUND = _f(7.90531110763549805)  # tanh(x) is 1 to within 2.8e-7 from here on


def tanh(x: Any) -> Any:
    """Hyperbolic tangent of a float32 or float64 number. The float32 form is within 3e-7 of the exact value."""
    return type(x)(math.tanh(x))


@overload(tanh)
def _tanh(x: Any) -> Callable[[Any], Any]:
    return _tanh32 if getattr(x, "bitwidth", 64) == 32 else _tanh64


def _tanh64(x: Any) -> Any:
    return math.tanh(x)


def _tanh32(x: Any) -> Any:
    return rational_tanh(x)


@register_jitable
def rational_tanh(x: Any) -> Any:
    """Minimax approximation x P(x^2) / Q(x^2) with P of degree 6 and Q of degree 3, the coefficients that Eigen and XLA use too."""
    x = min(max(x, -BOUND), BOUND)
    s = x * x
    p = s * _f(-2.76076847742355e-16) + _f(2.00018790482477e-13)
    p = s * p + _f(-8.60467152213735e-11)
    p = s * p + _f(5.12229709037114e-08)
    p = s * p + _f(1.48572235717979e-05)
    p = s * p + _f(6.37261928875436e-04)
    p = s * p + _f(4.89352455891786e-03)
    q = s * _f(1.19825839466702e-06) + _f(1.18534705686654e-04)
    q = s * q + _f(2.26843463243900e-03)
    q = s * q + _f(4.89352518554385e-03)
    return x * p / q


@register_jitable
def surrogate(x: Any, slope: Any) -> Any:
    """slope s (1 - s) with s = sigmoid(slope x); written with t = tanh(slope x / 2), since s (1 - s) = (1 - t^2) / 4."""
    quarter = slope * type(slope)(0.25)
    t = tanh(type(slope)(0.5) * slope * x)
    return quarter - quarter * t * t


def shift_left(v: Any, count: Any) -> Any:
    """v << count of int32 numbers, in 32 bits (Numba's own operator widens to 64, at half the vector speed)."""
    return np.int32(v << count)


def shift_right(v: Any, count: Any) -> Any:
    """Arithmetic v >> count of int32 numbers, in 32 bits."""
    return np.int32(v >> count)


@intrinsic
def _shl(context: Any, v: Any, count: Any) -> Any:
    return types.int32(types.int32, types.int32), lambda _, builder, __, numbers: builder.shl(*numbers)


@intrinsic
def _ashr(context: Any, v: Any, count: Any) -> Any:
    return types.int32(types.int32, types.int32), lambda _, builder, __, numbers: builder.ashr(*numbers)


@overload(shift_left)
def _shift_left(v: Any, count: Any) -> Callable[[Any, Any], Any]:
    def shift(v: Any, count: Any) -> Any:
        return _shl(v, count)  # type: ignore[call-arg]  # Numba itself gives the context

    return shift


@overload(shift_right)
def _shift_right(v: Any, count: Any) -> Callable[[Any, Any], Any]:
    def shift(v: Any, count: Any) -> Any:
        return _ashr(v, count)  # type: ignore[call-arg]

    return shift


@register_jitable
def round_shift(v: Any, count: Any) -> Any:
    """(v + half) >> count, as in `fixed_point.operators`."""
    half = shift_right(shift_left(np.int32(1), count), np.int32(1))
    return shift_right(np.int32(v + half), count)
