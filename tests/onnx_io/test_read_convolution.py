"""Convolution, pooling and normalisation in front of the recurrent layers, and bidirectional layers, as exporters write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from read_graphs import Graph, assert_reads, layers, runtime

from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, CHANNELS, UNITS, CLASSES = 4, 5, 6, 3
SHAPES: dict[str, tuple[int | str, int | str, int]] = {"static": (3, 20, INPUTS), "dynamic": ("batch", "time", INPUTS)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def channels_first(graph: Graph) -> str:
    return graph.node("Transpose", "x", perm=[0, 2, 1])


def finish(graph: Graph, value: str, width: int = CHANNELS) -> Any:
    """LSTM, last step and Linear behind [batch, channels, time]."""
    y, _, _ = graph.recurrent("LSTM", graph.node("Transpose", value, perm=[2, 0, 1]), width, UNITS)
    last = graph.node("Gather", graph.node("Squeeze", y, graph.constant([1])), graph.constant(-1), axis=0)
    return graph.model(graph.node("Gemm", last, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1))


def conv(graph: Graph, value: str, inputs: int, outputs: int, kernel: int, *, bias: bool = True, group: int = 1, **given: Any) -> str:
    weights = [graph.random(outputs, inputs // group, kernel)] + ([graph.random(outputs)] if bias else [])
    return graph.node("Conv", value, *weights, group=group, **given)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stride": {"strides": [2]},
    "dilation": {"dilations": [3]},
    "padding": {"pads": [2, 1]},
    "all": {"strides": [2], "dilations": [2], "pads": [4, 0], "kernel_shape": [3]},
    "same": {"auto_pad": "SAME_UPPER"},
    "same lower": {"auto_pad": "SAME_LOWER"},
    "valid": {"auto_pad": "VALID"},
    "no bias": {"bias": False},
    "groups": {"group": 2, "outputs": 6},
    "depthwise": {"group": INPUTS, "outputs": INPUTS},
}


@every_shape
@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kernel", [3, 4])
def test_convolution_over_time(shape: Any, given: dict[str, Any], kernel: int) -> None:
    if "kernel_shape" in given and kernel != 3:
        given = {**given, "kernel_shape": [kernel]}
    given = dict(given)
    outputs = given.pop("outputs", CHANNELS)
    graph = Graph({"x": shape})
    value = graph.node("Relu", conv(graph, channels_first(graph), INPUTS, outputs, kernel, **given))
    network = assert_reads(finish(graph, value, outputs), steps=20)
    assert layers(network) == ["Conv1d", "lstm", "last", "Dense"]
    assert network.layers[0].activation.kind == "relu"  # type: ignore[union-attr]


@every_shape
def test_deep_conv_lstm(shape: Any) -> None:
    """Ordonez & Roggen 2016: convolutions, two LSTM layers, last step, Linear."""
    graph = Graph({"x": shape})
    value = channels_first(graph)
    for k in range(2):
        value = graph.node("Relu", conv(graph, value, CHANNELS if k else INPUTS, CHANNELS, 5))
    first = graph.recurrent("LSTM", graph.node("Transpose", value, perm=[2, 0, 1]), CHANNELS, UNITS)[0]
    second = graph.recurrent("LSTM", graph.node("Squeeze", first, graph.constant([1])), UNITS, UNITS)[0]
    last = graph.node("Gather", graph.node("Squeeze", second, graph.constant([1])), graph.constant(-1), axis=0)
    model = graph.model(graph.node("Gemm", last, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1))
    assert layers(assert_reads(model, steps=20)) == ["Conv1d", "Conv1d", "lstm", "lstm", "last", "Dense"]


@every_shape
@pytest.mark.parametrize("order", ["before", "behind"])
def test_batch_normalization_vanishes_into_the_convolution(shape: Any, order: str) -> None:
    graph = Graph({"x": shape})

    def normalized(value: str, width: int) -> str:
        statistics = [graph.random(width), graph.random(width), graph.random(width), graph.constant(graph.rng.uniform(0.2, 2, width))]
        return graph.node("BatchNormalization", value, *statistics, epsilon=1e-3)

    value = channels_first(graph)
    value = normalized(value, INPUTS) if order == "before" else value
    value = conv(graph, value, INPUTS, CHANNELS, 3)
    value = normalized(value, CHANNELS) if order == "behind" else value
    assert layers(assert_reads(finish(graph, value), steps=20)) == ["Conv1d", "lstm", "last", "Dense"]


def test_a_shift_before_a_padded_convolution_stays_a_layer() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = graph.node("Transpose", graph.node("Add", "x", graph.random(INPUTS)), perm=[0, 2, 1])
    network = assert_reads(finish(graph, conv(graph, value, INPUTS, CHANNELS, 3, pads=[2, 0])), steps=20)
    assert layers(network) == ["Dense", "Conv1d", "lstm", "last", "Dense"]


@every_shape
def test_normalization_of_the_input_vanishes_into_the_first_weights(shape: Any) -> None:
    graph = Graph({"x": shape})
    value = graph.node("Div", graph.node("Sub", "x", graph.random(INPUTS)), graph.constant(graph.rng.uniform(0.5, 2, INPUTS)))
    y = graph.recurrent("GRU", graph.node("Transpose", value, perm=[1, 0, 2]), INPUTS, UNITS, linear_before_reset=1)[0]
    value = graph.node("Mul", graph.node("Squeeze", y, graph.constant([1])), graph.constant(2.0))
    value = graph.node("MatMul", value, graph.random(UNITS, CLASSES))
    value = graph.node("Sub", graph.constant(1.0), graph.node("ReduceMean", value, axes=[0], keepdims=0))
    assert layers(assert_reads(graph.model(value), steps=20)) == ["gru", "mean", "Dense"]


@every_shape
def test_causal_convolution_by_pad(shape: Any) -> None:
    graph = Graph({"x": shape})
    padded = graph.node("Pad", channels_first(graph), graph.constant([0, 0, 4, 0, 0, 0]))
    network = assert_reads(finish(graph, conv(graph, padded, INPUTS, CHANNELS, 3, dilations=[2])), steps=20)
    assert network.layers[0].padding == (4, 0)  # type: ignore[union-attr]
    assert network.streams


@every_shape
def test_convolution_of_keras_by_tf2onnx(shape: Any) -> None:
    """Conv1D as Unsqueeze, two-dimensional Conv, Squeeze, and BatchNormalization as Mul and Add."""
    graph = Graph({"x": shape}, opset=15)
    image = graph.node("Transpose", graph.node("Unsqueeze", "x", graph.constant([1])), perm=[0, 3, 1, 2])
    value = graph.node("Conv", image, graph.random(CHANNELS, INPUTS, 1, 3), kernel_shape=[1, 3], strides=[1, 2], pads=[0, 1, 0, 1])
    value = graph.node("Squeeze", graph.node("Transpose", value, perm=[0, 2, 3, 1]), graph.constant([1]))
    value = graph.node("Add", graph.node("Mul", value, graph.random(CHANNELS)), graph.random(CHANNELS))
    value = graph.node("Transpose", graph.node("Relu", value), perm=[0, 2, 1])
    assert layers(assert_reads(finish(graph, value), steps=20)) == ["Conv1d", "lstm", "last", "Dense"]


@every_shape
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pooling(shape: Any, operator: str, stride: int) -> None:
    graph = Graph({"x": shape})
    value = conv(graph, channels_first(graph), INPUTS, CHANNELS, 3)
    network = assert_reads(finish(graph, graph.node(operator, value, kernel_shape=[2], strides=[stride])), steps=20)
    assert layers(network) == ["Conv1d", {"MaxPool": "max"}.get(operator, "average"), "lstm", "last", "Dense"]


def test_mean_over_time_by_global_average_pool() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y = graph.recurrent("LSTM", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS)[0]
    value = graph.node("Transpose", graph.node("Squeeze", y, graph.constant([1])), perm=[1, 2, 0])
    value = graph.node("Flatten", graph.node("GlobalAveragePool", value), axis=1)
    assert layers(assert_reads(graph.model(graph.node("MatMul", value, graph.random(UNITS, CLASSES))))) == ["lstm", "mean", "Dense"]


def test_an_input_with_channels_before_time() -> None:
    graph = Graph({"x": ("batch", INPUTS, "time")})
    model = finish(graph, conv(graph, "x", INPUTS, CHANNELS, 3))
    network = read_network(model)
    assert network.metadata["onnx_input_axes"] == "batch, features, time"
    x = graph.rng.normal(0, 1, (3, INPUTS, 11)).astype(np.float32)
    np.testing.assert_allclose(network(x.transpose(0, 2, 1)), runtime(model, {"x": x})[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("build", "reason"), [
    (lambda g: conv(g, channels_first(g), INPUTS, CHANNELS, 3, auto_pad="SAME_UPPER", strides=[2]), "auto_pad = SAME_UPPER"),
    (lambda g: g.node("MaxPool", channels_first(g), kernel_shape=[2], ceil_mode=1), "ceil_mode"),
    (lambda g: g.node("MaxPool", channels_first(g), kernel_shape=[2], pads=[1, 0]), "pads the sequence"),
    (lambda g: g.node("Pad", channels_first(g), g.constant([0, 0, 2, 0, 0, 0])), "padded with zeros"),
    (lambda g: g.node("Pad", channels_first(g), g.constant([0, 0, 2, 0, 0, 0]), mode="edge"), "mode edge"),
    (lambda g: g.node("Pad", channels_first(g), g.constant([0, 0, 2, 0, 0, 0]), g.constant(1.5)), "with 1.5"),
    (lambda g: g.node("ConvTranspose", channels_first(g), g.random(INPUTS, CHANNELS, 3)), "operator ConvTranspose"),
    (lambda g: conv(g, channels_first(g), INPUTS, CHANNELS, 30), "spans 30 steps of a sequence of 20"),
    (lambda g: conv(g, g.node("Transpose", conv(g, "x", 20, 7, 3), perm=[0, 2, 1]), 2, CHANNELS, 1), "another layer reads"),
])  # fmt: skip
def test_what_is_no_convolution_over_time_is_refused(build: Any, reason: str) -> None:
    graph = Graph({"x": (3, 20, INPUTS)})
    with pytest.raises(UnsupportedModel) as error:
        read_network(finish(graph, build(graph)))
    assert any(reason in found for found in error.value.reasons), error.value.reasons


def bidirectional(graph: Graph, value: str, width: int, operator: str = "LSTM") -> list[str]:
    return graph.recurrent(operator, value, width, UNITS, directions=2, direction="bidirectional")


@every_shape
@pytest.mark.parametrize("tail", ["last", "mean", "every", "final"])
def test_bidirectional_layers_of_pytorch(shape: Any, tail: str) -> None:
    graph = Graph({"x": shape})
    value, width, finals = graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, []
    for _ in range(2):
        y, y_h, _ = bidirectional(graph, value, width)
        value = graph.node("Reshape", graph.node("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1]))
        width = 2 * UNITS
        finals.append(y_h)
    if tail == "last":
        value = graph.node("Gather", value, graph.constant(-1), axis=0)
    elif tail == "mean":
        value = graph.node("ReduceMean", value, axes=[0], keepdims=0)
    elif tail == "every":
        value = graph.node("Transpose", value, perm=[1, 0, 2])
    else:  # torch.cat((h[-2], h[-1]), 1)
        h = graph.node("Concat", *finals, axis=0)
        value = graph.node("Concat", *(graph.node("Gather", h, graph.constant(k), axis=0) for k in (-2, -1)), axis=1)
    network = assert_reads(graph.model(graph.node("MatMul", value, graph.random(width, CLASSES))), steps=20)
    assert layers(network) == ["Bidirectional", "Bidirectional", tail, "Dense"]


@every_shape
@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional_layers_of_keras(shape: Any, operator: str, sequences: bool) -> None:
    """tf2onnx takes the two directions apart and joins them again."""
    graph = Graph({"x": shape}, opset=15)
    y, y_h, *_ = bidirectional(graph, graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, operator)
    whole, axis = (y, 1) if sequences else (y_h, 0)
    cuts = [graph.node("Slice", whole, *(graph.constant([n]) for n in (k, k + 1, axis))) for k in (0, 1)]
    halves = [graph.node("Squeeze", cut, graph.constant([axis])) for cut in cuts]
    value = graph.node("Concat", *halves, axis=-1)
    value = graph.node("Transpose", value, perm=[1, 0, 2]) if sequences else value
    network = assert_reads(graph.model(graph.node("MatMul", value, graph.random(2 * UNITS, CLASSES))), steps=20)
    assert layers(network) == ["Bidirectional", "every" if sequences else "final", "Dense"]


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("step", [0, -1])
def test_one_direction_of_two(half: int, step: int) -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y = bidirectional(graph, graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS)[0]
    value = graph.node("Gather", graph.node("Gather", y, graph.constant(half), axis=1), graph.constant(step), axis=0)
    model = graph.model(graph.node("MatMul", value, graph.random(UNITS, CLASSES)))
    if (half, step) == (0, 0):
        with pytest.raises(UnsupportedModel, match="takes step 0"):
            read_network(model)
        return
    network = assert_reads(model, steps=20)
    assert layers(network) == ["lstm", "final" if step == 0 else "last", "Dense"]
    assert network.recurrent[0].reverse == bool(half)


def test_halves_in_the_wrong_order_are_refused() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y_h = bidirectional(graph, graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS)[1]
    value = graph.node("Concat", *(graph.node("Gather", y_h, graph.constant(k), axis=0) for k in (1, 0)), axis=1)
    with pytest.raises(UnsupportedModel, match="several signals side by side"):
        read_network(graph.model(graph.node("MatMul", value, graph.random(2 * UNITS, CLASSES))))


def test_a_layer_that_runs_backwards_feeds_the_next_one() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y = graph.recurrent("GRU", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS, direction="reverse")[0]
    y_h = graph.recurrent("LSTM", graph.node("Squeeze", y, graph.constant([1])), UNITS, UNITS)[1]
    network = assert_reads(graph.model(graph.node("MatMul", graph.node("Squeeze", y_h, graph.constant([0])), graph.random(UNITS, CLASSES))))
    assert layers(network) == ["gru_reset_before", "lstm", "last", "Dense"]
    np.testing.assert_array_equal([layer.reverse for layer in network.recurrent], [True, False])
