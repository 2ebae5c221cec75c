"""Readers of what stands around the recurrent layers: dense layers, normalisations, activations, mean over time, Softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_lstm.cells import Activation
from edge_lstm.network import FloatArray
from edge_lstm.onnx_io.read_directions import laid_out
from edge_lstm.onnx_io.read_layers import add_activation, add_affine, add_dense, features_of, opened, read_out, settle
from edge_lstm.onnx_io.read_node import Node, Operator, operator, resolve_axis
from edge_lstm.onnx_io.read_quantized import scaled
from edge_lstm.onnx_io.read_recurrent import as_float
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_shapes import axes_of, repeated, with_axes
from edge_lstm.onnx_io.read_values import (
    Array,
    Constant,
    Labels,
    Magnitude,
    Quantized,
    Signal,
    Value,
    concrete,
    constant,
    describe,
    shape_text,
)


def _of_repeated(node: Node, B: Array) -> Constant | None:
    """The product of a constant that is repeated for a batch of unknown size (a state of zeros, say) with the matrix B."""
    left = node.value(0)
    if not isinstance(left, Constant):
        return None
    if B.ndim != 2 or not left.shape or left.array.shape[-1] != left.shape[-1] or left.shape[-1] != B.shape[0]:
        raise Refusal(f"multiplies {describe(left)} by a matrix of shape {list(B.shape)}")
    return Constant(as_float(left.array) @ as_float(B), (*left.shape[:-1], B.shape[1]))


def _gemm(node: Node) -> Value:
    if isinstance(node.value(0), Constant):
        return _constant_gemm(node)
    signal = node.signal(0)
    if node.attribute("transA", 0):
        raise Refusal("attribute transA = 1 is not read: the signal must be the left factor as it is")
    if len(signal.axes) != 2:
        raise Refusal(f"reads {describe(signal)}; expected rank 2")
    B = concrete(node.value(1), "the weight matrix", 2)
    W = as_float(B if node.attribute("transB", 0) else B.T) * np.float32(node.attribute("alpha", 1.0))
    b = np.zeros(W.shape[0], W.dtype)
    if node.input(2) is not None:
        b = np.float32(node.attribute("beta", 1.0)) * per_feature(concrete(node.value(2), "the bias"), W.shape[0], 1, 2)
    return add_dense(signal, W, b.astype(W.dtype), 1, node.roles)


def _constant_gemm(node: Node) -> Value:
    B = concrete(node.value(1), "the weight matrix", 2)
    product = _of_repeated(node, B.T if node.attribute("transB", 0) else B)
    if product is None or node.attribute("transA", 0):
        raise Refusal("multiplies a transposed constant")
    scaled_product = Constant(as_float(product.array) * np.float32(node.attribute("alpha", 1.0)), product.shape)
    if node.input(2) is None:
        return scaled_product
    bias = as_float(concrete(node.value(2), "the bias")) * np.float32(node.attribute("beta", 1.0))
    return _constant_arithmetic("Add", scaled_product, constant(bias))


def _matmul(node: Node) -> Value:
    B = concrete(node.value(1), "the weight matrix")
    product = _of_repeated(node, B)
    if product is not None:
        return product
    signal = node.signal(0)
    if B.ndim < 2 or any(size != 1 for size in B.shape[:-2]) or B.ndim > len(signal.axes):
        raise Refusal(f"multiplies by weights of shape {list(B.shape)}; expected one matrix")
    W = as_float(B.reshape(B.shape[-2:]).T)
    return add_dense(signal, W, np.zeros(W.shape[0], W.dtype), len(signal.axes) - 1, node.roles)


def per_feature(array: np.ndarray, features: int, dimension: int, rank: int) -> FloatArray:
    """The numbers [features] of a constant that broadcasts along `dimension` of a value of that rank, and along no other."""
    shape = (1,) * (rank - array.ndim) + array.shape
    if len(shape) != rank or any(size != 1 for d, size in enumerate(shape) if d != dimension) or shape[dimension] not in (1, features):
        raise Refusal(f"combines the signal with a constant of shape {list(array.shape)}, expected one number, or one a feature")
    return np.broadcast_to(as_float(array).reshape(-1), (features,))


def _features_dimension(node: Node, signal: Signal) -> int:
    """The dimension of the features: the one already known, else the last."""
    known = [d for d in range(len(signal.axes)) if node.roles.is_role(signal, d, "features")]
    return known[0] if known else len(signal.axes) - 1


def _arithmetic(node: Node) -> Value:
    if (softsign := _softsign(node)) is not None:
        return softsign
    left, right = node.value(0), node.value(1)
    if isinstance(left, Constant) and isinstance(right, Constant):
        return _constant_arithmetic(node.operator, left, right)
    if node.operator == "Mul" and (isinstance(left, Quantized) or isinstance(right, Quantized)):
        return scaled(left, right)
    if isinstance(left, Signal) and isinstance(right, Signal):
        raise Refusal("combines two signals; only a chain of layers is read (no skip connections or parallel branches): train without them")
    signal, other = (left, right) if isinstance(left, Signal) else (right, left)
    if not isinstance(signal, Signal) or not isinstance(other, Constant):
        raise Refusal(f"combines {describe(left)} with {describe(right)}")
    dimension = _features_dimension(node, signal)
    features = features_of(signal, dimension, node.roles)
    numbers = per_feature(concrete(other, "the other operand"), features, dimension, len(signal.axes)).astype(np.float64)
    one, zero = np.ones(features), np.zeros(features)
    if node.operator == "Add":
        return add_affine(signal, one, numbers)
    if node.operator == "Sub":
        return add_affine(signal, one, -numbers) if signal is left else add_affine(signal, -one, numbers)
    if node.operator == "Mul":
        return add_affine(signal, numbers, zero)
    if signal is right:
        raise Refusal("divides a constant by the signal")
    if not numbers.all():
        raise Refusal("divides the signal by zero")
    return add_affine(signal, 1 / numbers, zero)


def _softsign(node: Node) -> Value | None:
    """The sum or the quotient of x / (1 + |x|); None for anything else."""
    if len(node.inputs) != 2:
        return None
    left, right = node.inputs
    if node.operator == "Add":
        magnitude, other = (left, right) if isinstance(left, Magnitude) else (right, left)
        if isinstance(magnitude, Magnitude) and isinstance(other, Constant) and not magnitude.plus:
            return replace(magnitude, plus=1.0) if (concrete(other, "the other operand") == 1).all() else None
    if node.operator == "Div" and isinstance(right, Magnitude) and right.plus == 1 and left is right.of:
        return _activation(lambda node: Activation("softsign"))(node)
    return None


_ON_CONSTANTS: dict[str, Callable] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide}


def _constant_arithmetic(name: str, left: Constant, right: Constant) -> Value:
    """Arithmetic on sizes, or on states that are repeated for a batch of unknown size; all else has been folded before it comes here."""
    if all(side.array.dtype.kind == "f" for side in (left, right)):
        shape = repeated(left, right.shape).shape
        function = {"Div": np.true_divide}.get(name, _ON_CONSTANTS[name])
        return Constant(np.asarray(function(left.array, right.array)), shape)
    if left.array.shape != left.shape or right.array.shape != right.shape:
        raise Refusal("computes with a constant that is repeated along an axis of unknown size")
    if any(side.array.dtype.kind not in "iuO" for side in (left, right)):
        raise Refusal("computes with a size of the input as a float")
    return constant(_ON_CONSTANTS[name](left.array.astype(object), right.array.astype(object)))


def _batch_normalization(node: Node) -> Value:
    signal = node.signal(0)
    if node.attribute("training_mode", 0):
        raise Refusal("attribute training_mode = 1: export the model in evaluation mode (model.eval() in PyTorch)")
    features = features_of(signal, 1, node.roles)
    gain, bias, mean, variance = (as_float(concrete(node.value(i), "a parameter")).astype(np.float64) for i in range(1, 5))
    if {p.shape for p in (gain, bias, mean, variance)} != {(features,)}:
        raise Refusal(f"has parameters that do not fit {features} features")
    scale = gain / np.sqrt(variance + node.attribute("epsilon", 1e-5))
    return add_affine(signal, scale, bias - mean * scale)


def _activation(make: Callable[[Node], Activation]) -> Callable[[Node], Value]:
    def read(node: Node) -> Value:
        signal = node.signal(0)
        activation = make(node)
        return add_activation(signal, activation, features_of(signal, _features_dimension(node, signal), node.roles))

    return read


def _hard_sigmoid(node: Node) -> Activation:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if not alpha > 0:
        raise Refusal(f"attribute alpha = {alpha:g} must be positive")
    return Activation("hard_sigmoid", float(alpha), float(beta))


def _clip(node: Node) -> Activation:
    low, high = node.attribute("min", -math.inf), node.attribute("max", math.inf)
    low = low if node.input(1) is None else float(concrete(node.value(1), "min").item())
    high = high if node.input(2) is None else float(concrete(node.value(2), "max").item())
    if (low, high) == (-1, 1):
        return Activation("hard_tanh")
    if low == 0 and high > 1e38:
        return Activation("relu")
    if low <= 0 < high < 1e38 and low > -1e38:
        return Activation("clamp", low, high)
    raise Refusal(f"clips to {low:g} ... {high:g}; read are finite limits around 0, and 0 ... infinity")


def _sloped(kind: str, alpha: float) -> Callable[[Node], Activation]:
    """LeakyRelu or Elu, with the attribute alpha and its default."""

    def function(node: Node) -> Activation:
        given = float(node.attribute("alpha", alpha))
        if not 0 <= given < math.inf:
            raise Refusal(f"attribute alpha = {given:g} must be positive")
        return Activation(kind, given) if given else Activation("relu")

    return function


def _gelu(node: Node) -> Activation:
    approximate = node.attribute("approximate", b"none").decode()
    if approximate not in ("none", "tanh"):
        raise Refusal(f"attribute approximate = {approximate} is unknown")
    return Activation("gelu_tanh" if approximate == "tanh" else "gelu")


def _softmax(node: Node) -> Value:
    signal = settle(opened(node.signal(0)))
    rank = len(signal.axes)
    dimension = resolve_axis(node.attribute("axis", -1 if node.opset >= 13 else 1), rank)
    features_of(signal, dimension, node.roles)
    if node.opset < 13 and any(signal.axes[dimension + 1 :]):
        raise Refusal(f"attribute axis = {dimension} covers several axes of {describe(signal)}; it must be the features alone")
    return replace(signal, softmax=True, state="")


def _arg_max(node: Node) -> Value:
    signal = node.signal(0)
    dimension = resolve_axis(node.attribute("axis", 0), len(signal.axes))
    features_of(signal, dimension, node.roles)
    if node.attribute("select_last_index", 0):
        raise Refusal("attribute select_last_index = 1 is not read: of equal scores the first one is taken")
    return Labels(signal)


def _reduce_mean(node: Node) -> Value:
    signal, axes = node.signal(0), axes_of(node)
    if axes is None and node.attribute("noop_with_empty_axes", 0):
        return signal
    return _mean(node, signal, tuple(range(len(signal.axes))) if axes is None else axes, bool(node.attribute("keepdims", 1)))


def _global_average_pool(node: Node) -> Value:
    signal = node.signal(0)
    return _mean(node, signal, tuple(range(2, len(signal.axes))), keep=True)


def _mean(node: Node, signal: Signal, axes: tuple[int, ...], keep: bool) -> Value:
    gone = {resolve_axis(a, len(signal.axes)) for a in axes}
    for a in sorted(gone):
        if node.roles.is_role(signal, a, "time") and signal.layers:
            signal = read_out(signal, "mean")
        elif signal.shape[a] != 1:
            raise Refusal(f"averages over axis {a} of {describe(signal)}; only the mean over time behind a recurrent layer is read")
    kept = tuple(() if a in gone else d for a, d in enumerate(signal.axes) if keep or a not in gone)
    return replace(with_axes(signal, kept), state="")


def check_output(signal: Signal) -> Signal:
    """The finished signal: batch (and time) and features each in a dimension of their own. Raises Refusal otherwise.

    The order of the dimensions is the graph's; the network has batch, time, features (of both directions, forward first).
    """
    if not signal.softmax:
        signal = opened(laid_out(signal))
    if any(len(d) > 1 for d in signal.axes):
        raise Refusal(f"has shape {shape_text(signal.shape)}, which merges several axes; batch, time and outputs must be separate")
    return settle(signal)


TAIL_OPERATORS: dict[str, Operator] = {
    "Gemm": operator(_gemm, "alpha", "beta", "transA", "transB"),
    "MatMul": operator(_matmul),
    **{name: operator(_arithmetic) for name in ("Add", "Sub", "Mul", "Div")},
    "BatchNormalization": operator(_batch_normalization, "epsilon", "momentum", "training_mode", "spatial"),
    "Relu": operator(_activation(lambda node: Activation("relu"))),
    "Sigmoid": operator(_activation(lambda node: Activation("sigmoid"))),
    "Tanh": operator(_activation(lambda node: Activation("tanh"))),
    "Abs": operator(lambda node: Magnitude(node.signal(0))),
    "Softsign": operator(_activation(lambda node: Activation("softsign"))),
    "HardSigmoid": operator(_activation(_hard_sigmoid), "alpha", "beta"),
    "LeakyRelu": operator(_activation(_sloped("leaky_relu", 0.01)), "alpha"),
    "Elu": operator(_activation(_sloped("elu", 1.0)), "alpha"),
    "Gelu": operator(_activation(_gelu), "approximate"),
    "Clip": operator(_activation(_clip), "min", "max"),
    "Softmax": operator(_softmax, "axis"),
    "ArgMax": operator(_arg_max, "axis", "keepdims", "select_last_index"),
    "ReduceMean": operator(_reduce_mean, "axes", "keepdims", "noop_with_empty_axes"),
    "GlobalAveragePool": operator(_global_average_pool),
}
