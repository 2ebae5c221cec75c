"""How long does it take to start? Four times of a user's first minute with the engine, each in processes of its own.

    python tools/bench_start.py [--rounds 7] [--json start.json]

import      `import edge_lstm`, which must not load Numba
ready       from the start of the process to a cached kernel that has made one step
cold        compiling one entry point, for each entry point, in an empty cache; without Numba's own start
run         `edge-lstm run` on a recording of 1,000 windows, from the second run on

Times are on the wall; medians over the rounds with the smallest and the largest. Processor time is given too: on a busy machine it is
the one to read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BARS = {"import": 0.15, "ready": 0.6, "cold": 1.5, "run": 1.5}
CHANNELS, WINDOWS, STEPS = 6, 1000, 128

MODEL = """
import sys
from bench_host import our_networks, random_float
import numpy as np
from edge_lstm import onnx_io
network = random_float(6, 32)
integer = our_networks(network, np.random.default_rng(0).normal(0, 1, (4, 128, 6)).astype(np.float32))
for name in ("ours, hard, tanh", "ours, soft"):
    onnx_io.save_integer(integer[name][0], f"{name.split()[-1]}.onnx")
"""
IMPORT = "import edge_lstm, sys; assert 'numba' not in sys.modules"
READY = """
import numpy as np, edge_lstm
from edge_lstm import engine
engine.Stream(edge_lstm.load("soft.onnx")).step(np.zeros(6, np.int8))
"""
COLD = """
import json, sys, time
import numba, edge_lstm
from edge_lstm.engine.stages import prepare
numba.njit("int64(int64)")(lambda k: k + 1)  # Numba's own start
whole = prepare(edge_lstm.load(sys.argv[1])).whole
found = {}
for entry in whole.kernels.signatures:
    wall, processor = time.perf_counter(), time.process_time()
    whole.kernels[entry]
    found[entry] = time.perf_counter() - wall, time.process_time() - processor
print(json.dumps(found))
"""
RUN = "import sys; from edge_lstm.cli import main; sys.argv[0] = 'edge-lstm'; main()"


def call(code: str, folder: Path, *arguments: str, cache: str = "cache") -> tuple[float, float, str]:
    """(seconds on the wall, of the processor, output) of a Python process."""
    environment = {**os.environ, "EDGE_LSTM_CACHE": str(folder / cache), "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have their bytecode
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(done.stderr)
    return wall, after.children_user + after.children_system - before.children_user - before.children_system, done.stdout


def measure(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What -> (wall, processor) seconds of each round."""
    call(MODEL, folder)
    values = np.sin(np.cumsum(np.random.default_rng(0).normal(0, 0.05, (WINDOWS * STEPS, CHANNELS)), 0))
    np.savetxt(folder / "recording.csv", values, delimiter=",", header="a,b,c,d,e,f", comments="", fmt="%.4f")
    jobs = {"bare Python": ("", ()), "import": (IMPORT, ()), "ready": (READY, ()), "run": (RUN, ("run", "tanh.onnx", "recording.csv"))}
    found: dict[str, list[tuple[float, float]]] = {}
    for code, arguments in jobs.values():
        call(code, folder, *arguments)
    for _ in range(rounds):
        for name, (code, arguments) in jobs.items():
            found.setdefault(name, []).append(call(code, folder, *arguments)[:2])
    for k in range(rounds):
        for model in ("tanh", "soft"):
            for entry, times in json.loads(call(COLD, folder, f"{model}.onnx", cache=f"cold {model} {k}")[2]).items():
                found.setdefault(f"cold {model} {entry}", []).append((times[0], times[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all times here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.rounds)
    print(f"| | wall, s: median (smallest - largest of {options.rounds}) | processor, s | bar, s |\n|---|---|---|---|")
    for name, times in found.items():
        wall, processor = ([pair[k] for pair in times] for k in (0, 1))
        bar = BARS.get(name.split()[0], "")
        print(f"| {name} | {median(wall):.3f} ({min(wall):.3f} - {max(wall):.3f}) | {median(processor):.3f} | {bar} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
