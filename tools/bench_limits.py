"""What a core allows: the rates of its dot products and of its caches, and what they mean for the figures of `bench_host`.

No program that multiplies every weight with every input can be faster; one that leaves out zeros can. For a batch that is the number of
products (of the padded matrices) by the peak of the dot product; for one sequence also the time in which a step's weights come from the
caches, where they do not fit the first. Element-wise work, latencies and calls come on top and are not counted, so the true limit is
lower, for small networks much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from edge_lstm.engine import target
from edge_lstm.engine.code import Code
from edge_lstm.engine.layout import LANES, LINE, Target, padded

SIZES = ((6, 32), (9, 64), (32, 128), (64, 256))
# Fastest rival / ours that was aimed at, size by size: (mode, kernel of the limit, who) -> ratios.
BARS = {
    ("sequence", "fastest", "ours, hard"): (6.0, 4.5, 2.7, 1.7),
    ("bulk", "fastest", "ours, hard"): (8.5, 6.5, 4.4, 2.7),
    ("bulk", "fastest", "ours, soft"): (6.0, 5.0, 3.7, 2.4),
    ("bulk", "portable", "ours, hard, portable"): (5.0, 3.8, 2.2, 1.3),
}
FIRST_LEVEL = Path("/sys/devices/system/cpu/cpu0/cache/index0/size")


@dataclass(frozen=True)
class Limits:
    """peak, portable_peak: multiply-accumulates per second of the fastest and of the portable kernel's dot products;
    first_rate, second_rate: bytes per second from the first- and the second-level cache; first_bytes: size of the first."""

    peak: float
    portable_peak: float
    first_rate: float
    second_rate: float
    first_bytes: int

    def products(self, inputs: int, hidden: int, kernel: str) -> float:
        """Seconds of one step's products of an LSTM."""
        macs = 4 * padded(hidden) * (padded(inputs, 4) + padded(hidden, 4))
        return macs / (self.portable_peak if kernel == "portable" else self.peak)

    def weights(self, inputs: int, hidden: int) -> float:
        """Seconds in which one step's weights, a byte each, come from the caches; as many as fit stay in the first."""
        size = 4 * padded(hidden) * (padded(inputs, 4) + padded(hidden, 4))
        near = min(size, self.first_bytes)
        return near / self.first_rate + (size - near) / self.second_rate

    def seconds(self, mode: str, inputs: int, hidden: int, kernel: str, steps: int, batch: int) -> float:
        """The least time of one sequence, or of a batch."""
        if mode == "bulk":
            return batch * steps * self.products(inputs, hidden, kernel)
        return steps * max(self.products(inputs, hidden, kernel), self.weights(inputs, hidden))

    def asdict(self) -> dict[str, float]:
        return asdict(self)


def limits_of_this_core() -> Limits:
    """Measured where this runs."""
    first = int(FIRST_LEVEL.read_text().strip().removesuffix("K")) << 10 if FIRST_LEVEL.exists() else 32 << 10
    return Limits(_peak(target.choose()), _peak(target.choose("portable")), _rate(first // 2), _rate(8 * first), first)


def _compiled(emit: Callable[[Code, Any, Any], None], chosen: Target) -> Callable[[int, int], int]:
    """A function of a count and an address that runs what `emit` writes."""

    def typing(typing_context: object, count: types.Integer, address: types.Integer) -> object:
        def write(context: object, builder: object, signature: object, values: list[Any]) -> object:
            emit(Code(builder, chosen), values[0], values[1])
            return Code.integer(0)

        return types.intp(types.intp, types.intp), write

    made: Any = intrinsic(typing)
    kernel: Any = njit("intp(intp, intp)")(lambda count, address: made(count, address))
    called: Callable[[int, int], int] = kernel
    return called


def _best(call: Callable[[], object], rounds: int = 101) -> float:
    """Seconds of a call, in processor time of the thread; the smallest of some rounds."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return min(found)


class DotProducts:
    """Nothing but dot products from registers. in_a_turn: multiply-accumulates of one."""

    def __init__(self, chosen: Target):
        self.in_a_turn = 16 * LANES * chosen.tile_sources
        self._kernel = _dot_products(chosen)
        self._memory = np.zeros(4 * LINE, np.uint8)

    def __call__(self, turns: int) -> None:
        self._kernel(turns, self._memory.ctypes.data)


def _dot_products(chosen: Target) -> Callable[[int, int], int]:
    """Runs `count` turns of sixteen; address: of four lines of zeros."""

    def emit(code: Code, count: Any, address: Any) -> None:
        weights = [code.tile_weights(code.plus(address, LINE * k)) for k in range(4)]

        def again(index: Any, sums: list[Any]) -> list[Any]:
            # Four sources by four weights, others in each turn: products that occur twice would be made once.
            at = code.plus(address, code.builder.and_(index, code.integer(LINE - 1)))
            sources = [code.tile_sources(code.plus(at, 4 * k)) for k in range(4)]
            return [code.dot(total, sources[k // 4], weights[k % 4]) for k, total in enumerate(sums)]

        _keep(code, code.loop(count, [code.lanes_at(address)] * 16, again), address)

    return _compiled(emit, chosen)


def _peak(chosen: Target, turns: int = 50_000) -> float:
    """Multiply-accumulates per second of `DotProducts`."""
    run = DotProducts(chosen)
    return turns * run.in_a_turn / _best(lambda: run(turns))


def _rate(size: int) -> float:
    """Bytes per second that loads of whole lines bring from `size` bytes that are read again and again."""
    at_once = 8

    def emit(code: Code, count: Any, address: Any) -> None:
        def again(_: Any, sums: list[Any]) -> list[Any]:
            def lines(index: Any, sums: list[Any]) -> list[Any]:
                at = code.plus(address, code.times(index, LINE * at_once))
                return [code.add(total, code.lanes_at(code.plus(at, LINE * k))) for k, total in enumerate(sums)]

            return code.loop(code.integer(size // (LINE * at_once)), sums, lines)

        _keep(code, code.loop(count, [code.constant(0)] * at_once, again), address)

    memory = np.zeros(size + LINE, np.uint8)
    repeats = (1 << 26) // size
    kernel, address = _compiled(emit, target.choose("portable")), memory.ctypes.data + -memory.ctypes.data % LINE
    return repeats * size / _best(lambda: kernel(repeats, address))


def _keep(code: Code, sums: list[Any], address: Any) -> None:
    """Stores a value that depends on all sums, so that none is left out."""
    total = sums[0]
    for value in sums[1:]:
        total = code.add(total, value)
    code.store(total, address)


def table_of_limits(limits: Limits, rivals: Mapping[tuple[str, int, int], float], ours: Mapping[tuple[str, int, int, str], float],
                    steps: int, batch: int) -> str:  # fmt: skip
    """Markdown: what the core allows beside what was aimed at.

    rivals: (mode, inputs, hidden) -> seconds of the fastest; ours: (mode, inputs, hidden, who) -> seconds.
    """
    sizes = [size for size in SIZES if all((mode, *size) in rivals for mode in ("sequence", "bulk"))]
    if not sizes:
        return ""
    lines = [
        "\n## What this core allows\n",
        f"Measured on this core: {limits.peak / 1e9:.0f} billion int8 and {limits.portable_peak / 1e9:.0f} billion int16 "
        f"multiply-accumulates per second from registers; {limits.first_rate / 1e9:.0f} GB/s from the first-level cache "
        f"({limits.first_bytes >> 10} KB), {limits.second_rate / 1e9:.0f} GB/s from the second.",
        "\nThe least time is that of the products of the padded matrices at the peak, for one sequence also that of loading each step's",
        "weights, as many as fit from the first-level cache. Element-wise work, latencies and calls come on top. A ratio that was aimed at",
        "and lies above the possible one is out of reach of a program that multiplies all weights on this core. Leaving out zeros is not",
        "bound by it: what is reached may exceed it.\n",
        "| | " + " | ".join(f"{i}, {h}" for i, h in sizes) + " |\n|---|" + "---|" * len(sizes),
    ]
    beyond = []
    for (mode, kernel, who), bars in BARS.items():
        least = [limits.seconds(mode, i, h, kernel, steps, batch) for i, h in sizes]
        most = [rivals[mode, i, h] / seconds for (i, h), seconds in zip(sizes, least, strict=True)]
        wanted = [bars[SIZES.index(size)] for size in sizes]
        reached = [rivals[mode, i, h] / ours[mode, i, h, who] for i, h in sizes]
        unit, scale = ("ms", 1e3) if mode == "bulk" else ("µs", 1e6)
        lines.append(f"| {mode}, {who}: least time, {unit} | " + " | ".join(f"{seconds * scale:.3g}" for seconds in least) + " |")
        cells = [f"{a:.1f} / {b:.2f} / {c:.1f}" for a, b, c in zip(reached, most, wanted, strict=True)]
        lines.append("| fastest rival: reached / possible / aimed at | " + " | ".join(cells) + " |")
        out = [f"({i}, {h})" for (i, h), a, b in zip(sizes, most, wanted, strict=True) if a < b]
        if out:
            beyond.append(f"{mode}, {who}: {', '.join(out)}")
    lines.append("\nOut of reach here of a program that multiplies all weights: " + ("; ".join(beyond) if beyond else "none") + ".")
    return "\n".join(lines)
