"""Draws random networks for the Cortex-M55 and compares every bit of their emulated headers with the reference.

    python tools/stress_vectors.py [--seeds FIRST:LAST] [--compiler gcc|clang] [--optimization -O2]

One line for each network whose bits differ or that does not run, one at the end with the sums; exit status 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from random_networks import GATES, random_counts, random_integer  # type: ignore[import-not-found]

from edge_lstm.cells import cell, family
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import emulation
from firmware_gen.emulation import cross
from firmware_gen.emulation.targets import BY_NAME

STEPS = 5


def drawn(seed: int) -> tuple[str, IntegerNetwork, npt.NDArray[np.int16]]:
    """What is drawn, the network, counts [1, samples, inputs]: dense, extreme or with most of the inputs at rest."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(family())))
    inputs, units = int(rng.integers(1, 50)), int(rng.integers(1, 140))
    gates = str(rng.choice(GATES)) if cell(name).gates else "sigmoid"
    read_out = str(rng.choice(["last", "mean", "every"]))
    options = {"layers": int(rng.integers(1, 3)), "decimation": int(rng.integers(1, 3)), "cell_bits": int(rng.choice([16, 32]))}
    if rng.integers(2):  # few units: vectors that are not full
        units = 1 + units % 12
    options["input_bits"] = int(rng.choice([8, 16]))
    network = random_integer(rng, name, inputs, units, gates, read_out, **options)
    activity = str(rng.choice(["dense", "extremes", "sparse"]))
    raw = random_counts(rng, network, 1, STEPS, extremes=activity == "extremes")
    if activity == "sparse":
        front = network.normalize
        rest = np.round(front.offset / front.decimation).astype(np.int16)
        raw = np.where(rng.random(raw.shape) < 0.1, raw, rest).astype(np.int16)
    return f"{name} {inputs} {units} {gates} {read_out} {options} {activity}", network, raw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0:50", help="FIRST:LAST, LAST not among them")
    parser.add_argument("--compiler", choices=["gcc", "clang"], help="both, if not given")
    parser.add_argument("--optimization", default="-O2")
    chosen = parser.parse_args()
    target = BY_NAME["cortex-m55"]
    compilers = cross.chosen(target, chosen.compiler) if chosen.compiler else cross.compilers(target)
    ran = wrong = 0
    for seed in range(*map(int, chosen.seeds.split(":"))):
        label, network, raw = drawn(seed)
        for compiler in compilers:
            ran += 1
            try:
                found = emulation.profile(network, raw, target, strategy="event", compiler=compiler, optimization=chosen.optimization)
                said = f"{found.differing} of {found.values} values differ" if found.differing else ""
            except EdgeLstmError as error:
                said = str(error).splitlines()[0]
            if said:
                wrong += 1
                print(f"seed {seed}, {compiler.version}: {label}: {said}", flush=True)
    print(f"{ran} headers, {wrong} with other bits than the reference or that did not run")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
