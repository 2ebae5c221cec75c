"""Other runtimes on the weights of one float network: ONNX Runtime, LiteRT and PyTorch, each checked against float inference.

A rival that is not installed is left out, and `missing` says so. Every call does what a user's call does: arrays in, arrays out, and for
a sequence the state reset before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.float_inference import run as run_float
from edge_lstm.network import Dense, Network

FloatArray = npt.NDArray[np.float32]
CHECKED = 8  # sequences, or steps of a stream, that are compared with float inference


@dataclass(frozen=True)
class Rival:
    """call: what is timed; came: its scores, or its outputs h of CHECKED steps; bound: how far from float inference they may be."""

    name: str
    call: Callable[[], object]
    came: FloatArray
    bound: float


def missing() -> tuple[str, ...]:
    """One line for each rival that is not installed."""
    packages = {"ai_edge_litert": "LiteRT: pip install 'edge-lstm[rivals]'", "torch": "PyTorch: pip install 'edge-lstm[torch]'"}
    return tuple(line for package, line in packages.items() if find_spec(package) is None)


def rivals(mode: str, network: Network, x: FloatArray, folder: Path, threads: int) -> Iterator[Rival]:
    """All installed rivals on x [batch, time, inputs], in mode "step", "sequence" or "bulk"; each is checked before it is given.

    Raises ValueError for a rival whose outputs are not those of the network.
    """
    found = [_onnx_runtime]
    found += [_litert] if find_spec("ai_edge_litert") else []
    found += [_torch] if find_spec("torch") else []
    wanted = _outputs(network, x[:1, :CHECKED]) if mode == "step" else run_float(network, x[:CHECKED])
    size = max(1.0, float(np.abs(wanted).max()))  # bounds are for values about one
    for make in found:
        for rival in make(mode, network, x, folder, threads):
            worst = float(np.abs(rival.came - wanted).max())
            if not worst <= rival.bound * size:
                raise ValueError(f"{rival.name} is off by {worst:g} from float inference, {rival.bound * size:g} at most was expected")
            yield rival


def _outputs(network: Network, x: FloatArray) -> FloatArray:
    """h [time, units] of the first sequence, in float64: an LSTM in its textbook form, independent of the engine and of the rivals."""
    layer = network.recurrent[0]
    h = c = np.zeros(layer.units)
    course = []
    for values in x[0].astype(np.float64):
        z = {k: np.asarray(row.W) @ values + row.R[0] @ h + row.b for k, row in layer.rows.items()}
        i, f, o = (1 / (1 + np.exp(-z[k])) for k in "ifo")
        c = f * c + i * np.tanh(z["g"])
        h = o * np.tanh(c)
        course.append(h)
    return np.array(course, np.float32)


def _dense(network: Network) -> Dense:
    last = network.layers[-1]
    assert isinstance(last, Dense)
    return last


# ---- ONNX Runtime ------------------------------------------------------------------------------------------------------------------


def onnx_lstm(network: Network, folder: Path, *, classify: bool) -> Path:
    """The float network as ONNX: x [time, batch, inputs] with the state in and out, or (classify) to scores of the last step."""
    layer, dense = network.recurrent[0], _dense(network)
    order = ("i", "o", "f", "g")  # the order of gates that the operator asks for
    W = np.concatenate([np.asarray(layer.rows[k].W) for k in order])[None]
    R = np.concatenate([layer.rows[k].R[0] for k in order])[None]
    B = np.concatenate([*(layer.rows[k].b for k in order), np.zeros(4 * layer.units, np.float32)])[None]
    weights = {"W": W, "R": R, "B": B.astype(np.float32), "D": dense.W.T.copy(), "b": dense.b}
    inputs = ["x", "W", "R", "B"] if classify else ["x", "W", "R", "B", "", "h0", "c0"]
    nodes = [helper.make_node("LSTM", inputs, ["", "h", "c"] if not classify else ["", "h"], hidden_size=layer.units)]

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    ins, outs = [value("x", "t", "n", layer.inputs)], [value("h", 1, "n", layer.units), value("c", 1, "n", layer.units)]
    if classify:
        nodes.append(helper.make_node("Squeeze", ["h", "zero"], ["last"]))
        nodes.append(helper.make_node("MatMul", ["last", "D"], ["product"]))
        nodes.append(helper.make_node("Add", ["product", "b"], ["scores"]))
        outs = [value("scores", "n", len(dense.b))]
    else:
        ins += [value("h0", 1, "n", layer.units), value("c0", 1, "n", layer.units)]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    graph = helper.make_graph(nodes, "lstm", ins, outs, initializers)
    path = folder / f"{'sequence' if classify else 'step'}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def _onnx_runtime(mode: str, network: Network, x: FloatArray, folder: Path, threads: int) -> Iterator[Rival]:
    from onnxruntime.quantization import quantize_dynamic

    path = onnx_lstm(network, folder, classify=mode != "step")
    small = path.with_name("q8_" + path.name)
    quantize_dynamic(str(path), str(small), op_types_to_quantize=["LSTM", "MatMul"])
    time_first = np.ascontiguousarray(x.transpose(1, 0, 2))
    for name, file, bound in (("ONNX Runtime float32", path, 1e-4), ("ONNX Runtime int8 weights", small, 0.35)):
        session = _session(file, threads)
        if mode == "step":
            yield from _onnx_steps(name, session, network, time_first, bound)
        else:
            came = session.run(None, {"x": time_first})[0][:CHECKED]
            yield Rival(name, partial(session.run, None, {"x": time_first}), came, bound)


def _onnx_steps(
    name: str, session: onnxruntime.InferenceSession, network: Network, time_first: FloatArray, bound: float
) -> Iterator[Rival]:
    units = network.recurrent[0].units
    h = c = np.zeros((1, 1, units), np.float32)
    course = []
    for t in range(CHECKED):
        h, c = session.run(None, {"x": time_first[t : t + 1], "h0": h, "c0": c})
        course.append(h[0, 0])
    feed = {"x": time_first[:1], "h0": h, "c0": c}
    yield Rival(name, lambda: session.run(None, feed), np.array(course), bound)
    binding = session.io_binding()
    for key, value in feed.items():
        binding.bind_ortvalue_input(key, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for key in ("h", "c"):
        binding.bind_ortvalue_output(key, onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 1, units), np.float32)))
    yield Rival(f"{name}, IO binding", lambda: session.run_with_iobinding(binding), np.array(course), bound)


# ---- LiteRT ------------------------------------------------------------------------------------------------------------------------


def _litert(mode: str, network: Network, x: FloatArray, folder: Path, threads: int) -> Iterator[Rival]:
    import litert_models
    from ai_edge_litert.interpreter import Interpreter

    layer, dense = network.recurrent[0], _dense(network)
    W, R, b = ({k: np.asarray(value, np.float32) for k, value in values} for values in (
        ((k, layer.rows[k].W) for k in litert_models.GATES), ((k, layer.rows[k].R[0]) for k in litert_models.GATES),
        ((k, layer.rows[k].b) for k in litert_models.GATES),
    ))  # fmt: skip
    step = mode == "step"
    largest = float(np.abs(run_float(network, x[:CHECKED])).max()) * 1.25 / 127
    weights = litert_models.Weights(W, R, b, None if step else dense.W, None if step else dense.b, largest)
    for form, label, bound in (("float32", "float32", 1e-4), ("hybrid", "int8 weights", 0.35), ("int8", "all int8", 0.35)):
        model = litert_models.build(weights, len(x), 1 if step else x.shape[1], form)
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
        into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        given = np.clip(np.rint(x / litert_models.INPUT_SCALE), -127, 127).astype(np.int8) if form == "int8" else x
        unit = np.float32((litert_models.HIDDEN_SCALE if step else largest) if form == "int8" else 1)

        def call(interpreter: Any = interpreter, into: int = into, out: int = out, values: npt.NDArray[Any] = given) -> npt.NDArray[Any]:
            if not step:
                interpreter.reset_all_variables()
            interpreter.set_tensor(into, values)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(out))

        if step:
            interpreter.reset_all_variables()
            came = np.array([call(values=given[:1, t : t + 1])[0, 0] for t in range(CHECKED)])
            yield Rival(f"LiteRT {label}", partial(call, values=given[:1, :1].copy()), came * unit, bound)
        else:
            yield Rival(f"LiteRT {label}", call, call()[:CHECKED] * unit, bound)


# ---- PyTorch -----------------------------------------------------------------------------------------------------------------------


def _torch(mode: str, network: Network, x: FloatArray, folder: Path, threads: int) -> Iterator[Rival]:
    import warnings

    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layer, dense = network.recurrent[0], _dense(network)
    order = ("i", "f", "g", "o")

    def fill(module: Any, suffix: str) -> None:
        with torch.no_grad():
            getattr(module, "weight_ih" + suffix).copy_(torch.tensor(np.concatenate([np.asarray(layer.rows[k].W) for k in order])))
            getattr(module, "weight_hh" + suffix).copy_(torch.tensor(np.concatenate([layer.rows[k].R[0] for k in order])))
            getattr(module, "bias_ih" + suffix).copy_(torch.tensor(np.concatenate([layer.rows[k].b for k in order])))
            getattr(module, "bias_hh" + suffix).zero_()

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.dense = nn.LSTM(layer.inputs, layer.units, batch_first=True), nn.Linear(layer.units, len(dense.b))

        def forward(self, values: Any) -> Any:
            return self.dense(self.lstm(values)[0][:, -1])

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantize_dynamic is to move to another package
        if mode == "step":
            cell: Any = nn.LSTMCell(layer.inputs, layer.units)
            fill(cell, "")
            some = {"PyTorch float32": (cell, 1e-4), "PyTorch int8 weights": (_quantized(cell, nn.LSTMCell), 0.35)}
            for name, (module, bound) in some.items():
                state, course = (torch.zeros(1, layer.units), torch.zeros(1, layer.units)), []
                for t in range(CHECKED):
                    state = module(torch.from_numpy(x[:1, t]), state)
                    course.append(state[0][0].numpy())
                yield Rival(name, _inference(module, x[0, :1].copy(), state), np.array(course), bound)
            return
        whole: Any = Classifier().eval()
        fill(whole.lstm, "_l0")
        whole.dense.weight.copy_(torch.tensor(dense.W))
        whole.dense.bias.copy_(torch.tensor(dense.b))
        small = _quantized(whole, nn.LSTM, nn.Linear)
        for name, module, bound in (("PyTorch float32", whole, 1e-4), ("PyTorch int8 weights", small, 0.35)):
            call = _inference(module, x)
            yield Rival(name, call, np.asarray(call())[:CHECKED], bound)


def _quantized(module: Any, *kinds: type) -> Any:
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(module.eval(), set(kinds))


def _inference(module: Any, values: FloatArray, *more: Any) -> Callable[[], object]:
    import torch

    def call() -> object:
        with torch.inference_mode():
            result = module(torch.from_numpy(values), *more)
            return result.numpy() if isinstance(result, torch.Tensor) else [part.numpy() for part in result]

    return call
