"""How fast is the host engine? Ours beside ONNX Runtime on the float model, one core, contestants taking turns.

    python tools/bench_host.py                          all sizes, a table on the screen
    python tools/bench_host.py --size 6,32 --json out.json --markdown docs/performance.md

Every contestant runs the same weights. The outputs of the rivals are checked against float inference before anything is timed, ours against
the integer reference, bit by bit. Each round times every contestant once, by the processor time of the thread; the figure is the median
over the rounds, with its quartiles.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

CORE = sorted(os.sched_getaffinity(0))[-1] if hasattr(os, "sched_getaffinity") else None
if CORE is not None:
    os.sched_setaffinity(0, {CORE})  # before any library makes its threads

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from numba import njit, types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edge_lstm import engine  # noqa: E402
from edge_lstm.cells import Activation, cell  # noqa: E402
from edge_lstm.engine import reference, target  # noqa: E402
from edge_lstm.engine.code import Code  # noqa: E402
from edge_lstm.fixed_point.integer_network import IntegerNetwork  # noqa: E402
from edge_lstm.fixed_point.quantize import harden, quantize  # noqa: E402
from edge_lstm.float_inference import run as run_float  # noqa: E402
from edge_lstm.network import Dense, Network, ReadOut, Recurrent, RowWeights  # noqa: E402
from edge_lstm.report.timing import Timing, load, machine, versions  # noqa: E402

SIZES = ((6, 32), (9, 64), (32, 128), (64, 256))
STEPS, BATCH, CLASSES = 128, 1024, 7
TURN = 3e-3  # seconds of one turn: long against the clock, short against what else the machine does
OURS = ("ours, hard", "ours, hard, tanh", "ours, soft", "ours, hard, portable")
FloatArray = npt.NDArray[np.float32]
Contestants = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Contest:
    """Timings of one size in one mode, a key of MODES."""

    inputs: int
    hidden: int
    mode: str
    timings: dict[str, Timing]

    def ratio(self, ours: str, rivals: tuple[str, ...]) -> float:
        return min(self.timings[name].median for name in rivals) / self.timings[ours].median


def random_float(inputs: int, hidden: int) -> Network:
    """A soft-gated LSTM that reads the last step, float32, with random weights."""
    rng = np.random.default_rng(inputs * 1000 + hidden)

    def normal(scale: float, *shape: int) -> FloatArray:
        return rng.normal(0, scale, shape).astype(np.float32)

    member = cell("lstm")
    from_x, from_h = 1 / np.sqrt(inputs), 1 / np.sqrt(hidden)
    rows = {
        row.name: RowWeights(normal(from_x, hidden, inputs), (normal(from_h, hidden, hidden),), normal(0.2, hidden)) for row in member.rows
    }
    recurrent = Recurrent(member, member.default_activations(), rows)
    dense = Dense(normal(1 / np.sqrt(hidden), CLASSES, hidden), normal(0.1, CLASSES))
    return Network((recurrent, ReadOut("last"), dense), window=STEPS)


def with_hard_squashings(network: Network) -> Network:
    """The network with hard gates, and clamps in place of both tanh."""
    hard = harden(network)
    layers = tuple(
        replace(layer, activations={**layer.activations, "g": Activation("hard_tanh"), "h": Activation("hard_tanh")})
        if isinstance(layer, Recurrent)
        else layer
        for layer in hard.layers
    )
    return hard.with_layers(layers)


# ---- rivals ------------------------------------------------------------------------------------------------------------------------


def onnx_lstm(network: Network, folder: Path, *, classify: bool) -> Path:
    """The float network as ONNX: x [time, batch, inputs] with the state in and out, or (classify) to scores of the last step."""
    layer, dense = network.recurrent[0], network.layers[-1]
    assert isinstance(dense, Dense)
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
        outs = [value("scores", "n", CLASSES)]
    else:
        ins += [value("h0", 1, "n", layer.units), value("c0", 1, "n", layer.units)]
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    graph = helper.make_graph(nodes, "lstm", ins, outs, initializers)
    path = folder / f"{'sequence' if classify else 'step'}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def sessions(network: Network, folder: Path, *, classify: bool) -> dict[str, onnxruntime.InferenceSession]:
    """ONNX Runtime on the float model, and on its dynamically quantized form (int8 weights, float gates)."""
    from onnxruntime.quantization import quantize_dynamic

    path = onnx_lstm(network, folder, classify=classify)
    small = path.with_name("q8_" + path.name)
    quantize_dynamic(str(path), str(small), op_types_to_quantize=["LSTM", "MatMul"])
    return {"ONNX Runtime float32": session(path), "ONNX Runtime int8 weights": session(small)}


def check_rival(name: str, came: FloatArray, wanted: FloatArray) -> None:
    bound = 1e-4 if "float32" in name else 0.35
    worst = float(np.abs(came - wanted).max())
    if worst > bound:
        sys.exit(f"{name} is off by {worst:g} from float inference: nothing is timed")


# ---- ours --------------------------------------------------------------------------------------------------------------------------


def our_networks(network: Network, calibration: FloatArray) -> dict[str, tuple[IntegerNetwork, str | None]]:
    """Label -> (integer network, kernel)."""
    soft, hard, clamps = (quantize(n, calibration) for n in (network, harden(network), with_hard_squashings(network)))
    return dict(zip(OURS, ((clamps, None), (hard, None), (soft, None), (clamps, "portable")), strict=True))


def check_ours(name: str, network: IntegerNetwork, kernel: str | None, x: npt.NDArray[np.int8]) -> None:
    came, wanted = engine.run_normalized(network, x, kernel=kernel), reference.run_normalized(network, x)
    if not np.array_equal(came.scores, wanted.scores):
        sys.exit(f"{name}: bits differ from the reference: nothing is timed")


def contest(inputs: int, hidden: int, mode: str, rounds: int) -> Contest:
    """All contestants of one size: mode "step", "sequence" or "bulk"."""
    network = random_float(inputs, hidden)
    rng = np.random.default_rng(0)
    batch = BATCH if mode == "bulk" else 1
    x = rng.normal(0, 1, (batch, STEPS, inputs)).astype(np.float32)
    xq = np.clip(np.round(x * 32), -127, 127).astype(np.int8)
    contestants: Contestants = {}
    for name, (integer, kernel) in our_networks(network, rng.normal(0, 1, (4, STEPS, inputs)).astype(np.float32)).items():
        check_ours(name, integer, kernel, xq[:8])
        contestants[name] = _ours(mode, integer, kernel, xq)
    with tempfile.TemporaryDirectory() as folder:
        for name, ran in sessions(network, Path(folder), classify=mode != "step").items():
            _add_rival(contestants, name, ran, mode, network, x)
    return Contest(inputs, hidden, mode, interleaved(contestants, rounds))


def _ours(mode: str, network: IntegerNetwork, kernel: str | None, x: npt.NDArray[np.int8]) -> Callable[[], object]:
    if mode == "bulk":
        return lambda: engine.run_normalized(network, x, kernel=kernel, threads=1).scores
    stream = engine.Stream(network, kernel)
    if mode == "step":
        stream.step(x[0, 0].copy())  # loads the kernel; `stream.step` is then the direct call
        step, sample = stream.step, x[0, 0].copy()
        return lambda: step(sample)
    whole = x[0].copy()

    def sequence() -> object:
        stream.reset()
        stream.run(whole)
        return stream.scores

    return sequence


def _add_rival(contestants: Contestants, name: str, ran: onnxruntime.InferenceSession, mode: str, network: Network, x: FloatArray) -> None:
    time_first = np.ascontiguousarray(x.transpose(1, 0, 2))
    if mode != "step":
        check_rival(name, ran.run(None, {"x": time_first})[0][:8], run_float(network, x[:8]))
        contestants[name] = lambda: ran.run(None, {"x": time_first})
        return
    units = network.recurrent[0].units
    h = c = np.zeros((1, 1, units), np.float32)
    for t in range(8):
        h, c = ran.run(None, {"x": time_first[t : t + 1], "h0": h, "c0": c})
    last = network.layers[-1]
    assert isinstance(last, Dense)
    check_rival(name, h[0] @ last.W.T + last.b, run_float(network, x[:, :8]))
    feed = {"x": time_first[:1], "h0": h, "c0": c}
    contestants[name] = lambda: ran.run(None, feed)
    binding = ran.io_binding()
    values = {key: onnxruntime.OrtValue.ortvalue_from_numpy(value) for key, value in feed.items()}
    for key, value in values.items():
        binding.bind_ortvalue_input(key, value)
    for key in ("h", "c"):
        binding.bind_ortvalue_output(key, onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((1, 1, units), np.float32)))
    contestants[f"{name}, IO binding"] = lambda: ran.run_with_iobinding(binding)


# ---- the clock ---------------------------------------------------------------------------------------------------------------------


def interleaved(contestants: Contestants, rounds: int) -> dict[str, Timing]:
    """Each contestant for some milliseconds in turn, round after round, by the processor time of this thread.

    All contestants run in the calling thread, so this is their whole work; time in which another program had the core does not count.
    """

    def seconds(call: Callable[[], object], calls: int) -> float:
        start = time.thread_time()
        for _ in range(calls):
            call()
        return (time.thread_time() - start) / calls

    calls = {name: max(1, round(TURN / max(min(seconds(call, 1) for _ in range(3)), 1e-7))) for name, call in contestants.items()}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    gc.disable()
    for _ in range(rounds):
        for name, call in contestants.items():
            found[name].append(seconds(call, calls[name]))
    gc.enable()
    quartiles = {name: np.quantile(values, [0.25, 0.5, 0.75]) for name, values in found.items()}
    return {name: Timing(float(q[1]), float(q[0]), float(q[2]), rounds, calls[name]) for name, q in quartiles.items()}


# ---- the core's peak ---------------------------------------------------------------------------------------------------------------


def peak(repeats: int = 200_000) -> float:
    """Multiply-accumulates per second of this core when nothing but dot products from registers runs, by the machine's own kernel."""
    width = target.choose().source_bytes

    def typing(typing_context: object, count: types.Integer, seed: types.Integer) -> object:
        def emit(context: object, builder: object, signature: object, values: list[object]) -> object:
            code = Code(builder, target.choose().instructions)
            sources = code.tile_sources(values[1])
            weights = [code.tile_weights(code.plus(values[1], 64 * k)) for k in range(2)]

            def body(_: object, sums: list[object]) -> list[object]:
                return [code.dot(total, sources, weights[k % 2]) for k, total in enumerate(sums)]

            sums = code.loop(values[0], [code.lanes_at(values[1])] * 16, body)
            total = sums[0]
            for value in sums[1:]:
                total = code.add(total, value)
            code.store(total, values[1])
            return Code.integer(0)

        return types.intp(types.intp, types.intp), emit

    dots: Any = intrinsic(typing)
    memory = np.zeros(256, np.uint8)
    kernel = njit("intp(intp, intp)")(lambda count, address: dots(count, address))
    timing = interleaved({"peak": lambda: kernel(repeats, memory.ctypes.data)}, 11)["peak"]
    return repeats * 16 * 16 * (4 if width == 1 else 2) / timing.median


# ---- report ------------------------------------------------------------------------------------------------------------------------

MODES = {
    "step": ("One step per call", 1e9, "ns"),
    "sequence": (f"One sequence of {STEPS} steps", 1e6, "µs"),
    "bulk": (f"{BATCH} sequences of {STEPS} steps", 1e3, "ms"),
}


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def tables(contests: list[Contest], most: float) -> str:
    """Markdown: one table for each mode, and the share of the peak."""
    text = []
    for mode, (title, scale, unit) in MODES.items():
        some = [c for c in contests if c.mode == mode]
        if not some:
            continue
        text.append(f"\n## {title} ({unit}: lower quartile - median - upper quartile)\n")
        text.append("| | " + " | ".join(f"{c.inputs}, {c.hidden}" for c in some) + " |\n|---|" + "---|" * len(some))
        for name in some[0].timings:
            cells = [" - ".join(_digits(v * scale) for v in (t.low, t.median, t.high)) for t in (c.timings[name] for c in some)]
            text.append(f"| {name} | " + " | ".join(cells) + " |")
        rivals = tuple(name for name in some[0].timings if name not in OURS)
        for name in OURS:
            text.append(f"| **fastest rival / {name}** | " + " | ".join(f"{c.ratio(name, rivals):.1f} ×" for c in some) + " |")
            if mode == "step":
                against = " | ".join(f"{c.ratio(name, rivals[:1]):.1f} ×" for c in some)
                text.append(f"| ONNX Runtime float32 `run` / {name} | {against} |")
        if mode == "bulk":
            for name in OURS[:3]:
                rates = [4 * c.hidden * (c.inputs + c.hidden) * STEPS * BATCH / c.timings[name].median / most for c in some]
                text.append(f"| share of the peak, {name} | " + " | ".join(f"{100 * rate:.0f} %" for rate in rates) + " |")
    return "\n".join(text)


def document(contests: list[Contest], most: float, rounds: int, busy: str) -> str:
    return f"""# Performance on the host

Made by `tools/bench_host.py` on {machine()}; {versions("numpy", "numba", "llvmlite", "onnxruntime")}. {target.why(target.choose())}.

One process on one core, one thread each. All contestants have the same random weights (an LSTM and a dense layer of {CLASSES} outputs) and
take turns; the figures are medians over {rounds} rounds with their quartiles, in processor time of the thread. {busy}
Sizes are inputs, hidden units. Peak of the core, measured in the same run: {most / 1e9:.0f} billion int8 multiply-accumulates per second.

- The rivals' gates are float sigmoids. **"ours, soft"** is the like-for-like row: the same gates in integers.
- "ours, hard" has threshold gates and clamps in place of both tanh; "hard, tanh" has threshold gates and tanh curves; "portable" is the
  kernel for machines without VNNI, forced.
- A step is one Python call with the state kept by the engine; ONNX Runtime is fed the state back, by `run` or through IO binding.
- A sequence ends with its scores; so does every sequence in bulk. Ours starts from int8 inputs, the rivals from float32.
{tables(contests, most)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="inputs,hidden (default: the four sizes)")
    parser.add_argument("--mode", action="append", choices=list(MODES), help="default: all")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the report here")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in options.size] if options.size else SIZES
    before = load()
    most = peak()
    contests = []
    for inputs, hidden in sizes:
        for mode in options.mode or MODES:
            print(f"{inputs}, {hidden}: {mode} ...", file=sys.stderr, flush=True)
            contests.append(contest(inputs, hidden, mode, options.rounds))
    text = document(contests, most, options.rounds, f"Before: {before}; after: {load()}.")
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        found = {"machine": machine(), "peak_macs": most, "contests": [asdict(c) for c in contests]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
