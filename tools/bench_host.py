"""How fast is the host engine? Ours beside ONNX Runtime, LiteRT and PyTorch on the float model, contestants taking turns.

    python tools/bench_host.py                          all sizes on one core, a table on the screen
    python tools/bench_host.py --size 6,32 --json out.json --markdown docs/performance.md
    python tools/bench_host.py --threads 2 --mode bulk  the same in bulk with two threads on two cores
    python tools/bench_host.py --trained FOLDER         trained networks beside the random ones, FOLDER made by
        python tools/firmware_models.py FOLDER --data hapt --sizes 6,32 9,64 32,128 --work 0.25 --seeds 1
        python tools/firmware_models.py FOLDER --data hapt --sizes 64,256 --work 0.25 --seeds 1 --iterations 1000

LiteRT and PyTorch are the extras `rivals` and `torch`; what is not installed is left out, and the report says so. Every contestant runs the
same weights. The outputs of the rivals are checked against float inference before anything is timed, ours against the integer reference,
bit by bit. Each round times every contestant once; the figure is the median over the rounds, with its quartiles.
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
from itertools import cycle
from pathlib import Path

THREADS = int(sys.argv[sys.argv.index("--threads") + 1]) if "--threads" in sys.argv[:-1] else 1
if hasattr(os, "sched_setaffinity"):  # before any library makes its threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from bench_limits import DotProducts, Limits, limits_of_this_core, table_of_limits  # noqa: E402
from rivals import missing, rivals  # noqa: E402
from trained_models import INPUT_UNIT, Trained, busy_shares  # noqa: E402
from trained_models import load as load_trained  # noqa: E402

from edge_lstm import engine  # noqa: E402
from edge_lstm.cells import Activation, cell  # noqa: E402
from edge_lstm.engine import reference, target  # noqa: E402
from edge_lstm.errors import EdgeLstmError  # noqa: E402
from edge_lstm.fixed_point.integer_network import IntegerNetwork  # noqa: E402
from edge_lstm.fixed_point.quantize import harden, quantize  # noqa: E402
from edge_lstm.network import Dense, Network, ReadOut, Recurrent, RowWeights  # noqa: E402
from edge_lstm.report.timing import Timing, load, machine, versions  # noqa: E402

SIZES = ((6, 32), (9, 64), (32, 128), (64, 256))
STEPS, BATCH, CLASSES = 128, 1024, 7
PACKAGES = ("numpy", "numba", "llvmlite", "onnxruntime", "ai-edge-litert", "torch")
SLOW, SLOW_ROUNDS = 0.5, 3  # seconds of a call; such contestants are far behind, and would take hours
COMPILING = 3  # seconds that a first call may take because it compiles
TURN = 3e-3  # seconds of one turn: long against the clock, short against what else the machine does
# Seconds before each turn of several threads: pools of threads spin on for a while after a call, and would take a core from who comes next.
PAUSE = 0.05
OURS = ("ours, hard", "ours, hard, tanh", "ours, soft", "ours, hard, portable")
ONE_THREAD = "ours, hard, one thread"
ALONE = "as many dot products from registers"
FloatArray = npt.NDArray[np.float32]
Contestants = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Contest:
    """Timings of one size in one mode, a key of MODES."""

    inputs: int
    hidden: int
    mode: str
    timings: dict[str, Timing]

    def ratio(self, ours: str, others: tuple[str, ...]) -> float:
        return min(self.timings[name].median for name in others) / self.timings[ours].median


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


# ---- ours --------------------------------------------------------------------------------------------------------------------------


def our_networks(network: Network, calibration: FloatArray) -> dict[str, tuple[IntegerNetwork, str | None]]:
    """Label -> (integer network, kernel)."""
    soft, hard, clamps = (quantize(n, calibration) for n in (network, harden(network), with_hard_squashings(network)))
    return dict(zip(OURS, ((clamps, None), (hard, None), (soft, None), (clamps, "portable")), strict=True))


def check_ours(name: str, network: IntegerNetwork, kernel: str | None, x: npt.NDArray[np.int8]) -> None:
    came, wanted = engine.run_normalized(network, x, kernel=kernel), reference.run_normalized(network, x)
    if not np.array_equal(came.scores, wanted.scores):
        sys.exit(f"{name}: bits differ from the reference: nothing is timed")


def contest(inputs: int, hidden: int, mode: str, rounds: int, threads: int) -> Contest:
    """All contestants of one size: mode "step", "sequence" or "bulk"."""
    network = random_float(inputs, hidden)
    rng = np.random.default_rng(0)
    batch = BATCH if mode == "bulk" else 1
    x = rng.normal(0, 1, (batch, STEPS, inputs)).astype(np.float32)
    xq = np.clip(np.round(x * 32), -127, 127).astype(np.int8)
    ours = our_networks(network, rng.normal(0, 1, (4, STEPS, inputs)).astype(np.float32))
    others: Contestants = {}
    if mode == "bulk" and threads == 1:
        alone = DotProducts(target.choose())
        turns = round(products_of_a_batch(inputs, hidden) / alone.in_a_turn)
        others = {ALONE: lambda: alone(turns)}
    return Contest(inputs, hidden, mode, _timed(mode, network, ours, x, xq, rounds, threads, others))


def products_of_a_batch(inputs: int, hidden: int) -> int:
    """Multiply-accumulates of the LSTM, for all sequences and steps."""
    return 4 * hidden * (inputs + hidden) * STEPS * BATCH


def trained_contest(trained: Trained, mode: str, rounds: int, threads: int) -> Contest:
    """The same for a trained network on its own inputs."""
    xq = trained.x[: BATCH if mode == "bulk" else 1]
    ours: dict[str, tuple[IntegerNetwork, str | None]] = {OURS[0]: (trained.integer, None), OURS[3]: (trained.integer, "portable")}
    x = xq.astype(np.float32) * np.float32(INPUT_UNIT)
    return Contest(trained.layer.inputs, trained.layer.units, mode, _timed(mode, trained.real(), ours, x, xq, rounds, threads))


def _timed(mode: str, network: Network, ours: dict[str, tuple[IntegerNetwork, str | None]], x: FloatArray, xq: npt.NDArray[np.int8],
           rounds: int, threads: int, others: Contestants | None = None) -> dict[str, Timing]:  # fmt: skip
    """Everybody is checked, then timed. others: take turns with them."""
    contestants: Contestants = {}
    for name, (integer, kernel) in ours.items():
        check_ours(name, integer, kernel, xq[:8])
        contestants[name] = _ours(mode, integer, kernel, xq, threads)
        if threads > 1 and name == OURS[0]:
            contestants[ONE_THREAD] = _ours(mode, integer, kernel, xq, 1)
    contestants |= others or {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for rival in rivals(mode, network, x, Path(folder), threads):
                contestants[rival.name] = rival.call
        except ValueError as error:
            sys.exit(f"{error}: nothing is timed")
    return interleaved(contestants, rounds, time.perf_counter if threads > 1 else time.thread_time)


def _ours(mode: str, network: IntegerNetwork, kernel: str | None, x: npt.NDArray[np.int8], threads: int) -> Callable[[], object]:
    if mode == "bulk":
        return lambda: engine.run_normalized(network, x, kernel=kernel, threads=threads).scores
    stream = engine.Stream(network, kernel)
    if mode == "step":
        stream.step(x[0, 0].copy())  # loads the kernel; `stream.step` is then the direct call
        step, samples = stream.step, cycle([sample.copy() for sample in x[0]])  # other zeros in every step
        return lambda: step(next(samples))
    whole = x[0].copy()

    def sequence() -> object:
        stream.reset()
        stream.run(whole)
        return stream.scores

    return sequence


def busy_tiles(inputs: int, hidden: int) -> tuple[float, float, float]:
    """How often an output of "ours, hard" is not zero, and a tile of two and of four neighbours: what a kernel multiplies."""
    rng = np.random.default_rng(1)
    network = our_networks(random_float(inputs, hidden), rng.normal(0, 1, (4, STEPS, inputs)).astype(np.float32))[OURS[0]][0]
    x = np.clip(np.rint(rng.normal(0, 1, (16, STEPS, inputs)) * 32), -127, 127).astype(np.int8)
    return busy_shares(network, x)


# ---- the clock ---------------------------------------------------------------------------------------------------------------------


def interleaved(contestants: Contestants, rounds: int, clock: Callable[[], float] = time.thread_time) -> dict[str, Timing]:
    """Each contestant for some milliseconds in turn, round after round.

    With one thread the clock is the processor time of the calling thread, which does all the work: time in which another program had the
    core does not count. With more threads it is the clock on the wall, and each turn waits until the threads of the one before sleep.
    """
    pause = 0.0 if clock is time.thread_time else PAUSE

    def seconds(call: Callable[[], object], calls: int) -> float:
        start = clock()
        for _ in range(calls):
            call()
        return (clock() - start) / calls

    once = {}
    for name, call in contestants.items():  # the first call may compile something; of slow ones it tells enough
        first = seconds(call, 1)
        if first < COMPILING:
            first = seconds(call, 1)
        once[name] = first if first > SLOW else min(first, seconds(call, 1))
    calls = {name: max(1, round(TURN / max(time, 1e-7))) for name, time in once.items()}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    gc.disable()
    for k in range(rounds):
        for name, call in contestants.items():
            if once[name] > SLOW and k >= SLOW_ROUNDS:
                continue
            time.sleep(pause)
            found[name].append(seconds(call, calls[name]))
    gc.enable()
    quartiles = {name: np.quantile(values, [0.25, 0.5, 0.75]) for name, values in found.items()}
    return {name: Timing(float(q[1]), float(q[0]), float(q[2]), len(found[name]), calls[name]) for name, q in quartiles.items()}


# ---- report ------------------------------------------------------------------------------------------------------------------------

MODES = {
    "step": ("One step per call", 1e9, "ns"),
    "sequence": (f"One sequence of {STEPS} steps", 1e6, "µs"),
    "bulk": (f"{BATCH} sequences of {STEPS} steps", 1e3, "ms"),
}


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def limits_table(contests: list[Contest], limits: Limits) -> str:
    rivals = {(c.mode, c.inputs, c.hidden): min(t.median for name, t in c.timings.items() if name not in (*OURS, ALONE)) for c in contests}
    ours = {(c.mode, c.inputs, c.hidden, name): c.timings[name].median for c in contests for name in OURS}
    return table_of_limits(limits, rivals, ours, STEPS, BATCH)


def tables(contests: list[Contest], most: float | None, level: str = "##") -> str:
    """Markdown: one table for each mode, and the share of the peak, if given."""
    text = []
    ours = [name for name in OURS if contests and name in contests[0].timings]
    for mode, (title, scale, unit) in MODES.items():
        some = [c for c in contests if c.mode == mode]
        if not some:
            continue
        text.append(f"\n{level} {title} ({unit}: lower quartile - median - upper quartile)\n")
        text.append("| | " + " | ".join(f"{c.inputs}, {c.hidden}" for c in some) + " |\n|---|" + "---|" * len(some))
        for name in some[0].timings:
            cells = [" - ".join(_digits(v * scale) for v in (t.low, t.median, t.high)) for t in (c.timings[name] for c in some)]
            text.append(f"| {name} | " + " | ".join(cells) + " |")
        others = tuple(name for name in some[0].timings if name not in (*OURS, ONE_THREAD, ALONE))
        for name in ours:
            text.append(f"| **fastest rival / {name}** | " + " | ".join(f"{c.ratio(name, others):.1f} ×" for c in some) + " |")
            if mode == "step":
                against = " | ".join(f"{c.ratio(name, others[:1]):.1f} ×" for c in some)
                text.append(f"| ONNX Runtime float32 `run` / {name} | {against} |")
        if ONE_THREAD in some[0].timings:
            text.append("| speed-up over one thread | " + " | ".join(f"{c.ratio(OURS[0], (ONE_THREAD,)):.2f} ×" for c in some) + " |")
        elif mode == "bulk" and most is not None:
            for name in (*OURS[:3], ALONE):
                rates = [products_of_a_batch(c.inputs, c.hidden) / c.timings[name].median / most for c in some]
                text.append(f"| share of the peak, {name} | " + " | ".join(f"{100 * rate:.0f} %" for rate in rates) + " |")
            for name in OURS[:3]:
                shares = " | ".join(f"{100 * c.ratio(name, (ALONE,)):.0f} %" for c in some)
                text.append(f"| {ALONE} / {name} | {shares} |")
    return "\n".join(text)


def trained_part(found: list[Trained], contests: list[Contest]) -> str:
    """The second set of tables."""
    lines = []
    for one in found:
        share, pairs, fours = one.activity()
        control = f"; the control with soft gates {one.control['integer']:.2%}" if one.control else ""
        lines.append(
            f"| `{one.name}` | {one.layer.inputs}, {one.layer.units} | {share:.0%} | {pairs:.0%} | {fours:.0%} | "
            f"{one.accuracies['integer']:.2%} | {one.accuracies['float']:.2%}{control} |"
        )
    return f"""
# Trained networks

The same contest with networks that were trained to leave out work, on windows of people they never saw, laid end to end to {STEPS} steps;
{BATCH} sequences begin at as many places of the test windows. Made by `tools/firmware_models.py`, see `python tools/bench_host.py --help`.
The rivals hold the same weights in float, or quantized by their own tools, with sigmoid gates and tanh, which ask the same work of them
as any other weights. All read the last step; the accuracies are of whole windows with the read-out of the training.
A step takes the next sample of the recording. The order of their units was counted on windows of the training people.

| network | size | of h not zero | of pairs | of fours | accuracy in integers | of the float network |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}
{tables(contests, None)}
"""


def document(contests: list[Contest], limits: Limits, rounds: int, busy: str) -> str:
    clock = "processor time of the thread" if THREADS == 1 else "time on the wall"
    counted = {(c.inputs, c.hidden): busy_tiles(c.inputs, c.hidden) for c in contests}
    held = "; ".join(
        f"({i}, {h}): {one:.0%} of the outputs are not zero, {two:.0%} of the pairs, {four:.0%} of the fours"
        for (i, h), (one, two, four) in counted.items()
    )
    core = target.choose().core
    absent = "".join(f"\n- Not installed: {line}." for line in missing())
    return f"""# Performance on the host

Made by `tools/bench_host.py` on {machine()}; {versions(*PACKAGES)}.
Kernel {target.why(target.choose())}.

One process; {THREADS} core{"s" * (THREADS > 1)}, as many threads each. All contestants have the same random weights
(an LSTM and a dense layer of {CLASSES} outputs) and take turns; the figures are medians over {rounds} rounds with their quartiles
({SLOW_ROUNDS} rounds for calls of more than {SLOW:g} s), in {clock}. {busy}
Sizes are inputs, hidden units. Peak of the core, measured in the same run: {limits.peak / 1e9:.0f} billion int8 multiply-accumulates per
second.

- The rivals' gates are float sigmoids. **"ours, soft"** is the like-for-like row: the same gates in integers.
- "ours, hard" has threshold gates and clamps in place of both tanh; "hard, tanh" has threshold gates and tanh curves; "portable" is the
  kernel for machines without VNNI, forced.
- A step is one Python call with the state kept by the engine, as LiteRT keeps it; ONNX Runtime is fed the state back, by `run` or
  through IO binding, PyTorch by `LSTMCell`. LiteRT is `set_tensor`, `invoke`, `get_tensor`; "all int8" is its 8x8_16 kernel with
  int16 gates.
- Kernels leave out what is multiplied by zeros behind threshold gates: tiles of four neighbours with int8 dot products (VNNI), of two
  with the int16 ones ("portable"); VNNI also single columns, any four of which make a tile, where that is less work
  (on this core {core.batch_columns[0]:g} columns take as long as a tile in a batch, {core.step_columns[0]:g} for one sequence).
  One sequence does so, step by step or at once, from {core.listed_tiles} tiles on;
  a batch does where few enough tiles, or columns instead of them, hold anything:
  a share of {core.most_busy:g} - {core.few:g} / tiles² at most.
  The others multiply everything. `quantize` orders the units so that those which are zero at the same steps are neighbours, as the
  calibration input shows it, which is not what is timed here. Counted on these: {held}.
- The peak is the best of 101 rounds of a tenth of a millisecond, in which nothing else may run; a turn of a batch takes 3 to 150 ms, and
  other programs on the machine slow some of each. "{ALONE}" is the loop of the peak, as often as the LSTM
  has products and timed as everybody else: what its own share of the peak lacks, no kernel could reach by these medians.
- A sequence ends with its scores; so does every sequence in bulk. Ours starts from int8 inputs, as "all int8" does, the others from
  float32.{absent}
{tables(contests, limits.peak)}
{limits_table(contests, limits) if THREADS == 1 else ''}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="inputs,hidden (default: the four sizes)")
    parser.add_argument("--mode", action="append", choices=list(MODES), help="default: all")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1, help="cores, and threads of each contestant; speed-up is shown for more than one")
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="of networks that tools/firmware_models.py made")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the report here")
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split(","))) for size in options.size] if options.size else SIZES
    before = load()
    limits = limits_of_this_core()
    contests = []
    for inputs, hidden in sizes:
        for mode in options.mode or MODES:
            print(f"{inputs}, {hidden}: {mode} ...", file=sys.stderr, flush=True)
            contests.append(contest(inputs, hidden, mode, options.rounds, options.threads))
    trained, real_contests = [], []
    for inputs, hidden in sizes if options.trained else ():
        try:
            trained.append(load_trained(options.trained, inputs, hidden, STEPS, BATCH))
        except (EdgeLstmError, OSError) as error:
            sys.exit(f"--trained: {error}")
        for mode in options.mode or MODES:
            print(f"trained {inputs}, {hidden}: {mode} ...", file=sys.stderr, flush=True)
            real_contests.append(trained_contest(trained[-1], mode, options.rounds, options.threads))
    text = document(contests, limits, options.rounds, f"Before: {before}; after: {load()}.")
    text += trained_part(trained, real_contests) if trained else ""
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        head = {"machine": machine(), "threads": options.threads, "kernel": target.choose().name, "limits": limits.asdict()}
        found = head | {"contests": [asdict(c) for c in contests], "trained": [asdict(c) for c in real_contests]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
