"""The whole job on the bundled recordings: train, convert, check every engine, write C, measure, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import firmware_gen
from edge_lstm import data, onnx_io, train
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import harden
from edge_lstm.jobs import demo_report
from edge_lstm.jobs.comparison import summary
from edge_lstm.jobs.folders import ready_folder
from edge_lstm.jobs.latency import latencies
from edge_lstm.jobs.memory import memory
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.jobs.training import Plan, Prepared, calibrated, fit_many, in_counts, predict, prepare
from edge_lstm.jobs.verification import random_counts, verify
from edge_lstm.network import Network
from edge_lstm.report import page

FOLDS = 5
PLAN = Plan(cell="lstm", hidden=32, read_out="mean", window=200, stride=100, decimation=4)
NAME = "watch"
SELF_TEST_VECTORS = 8


@dataclass(frozen=True, eq=False)
class Fold:
    """The networks of one fold and what they said of its unseen people. predicted: variant -> class [windows]."""

    unseen: tuple[str, ...]
    test: Prepared
    soft: Network
    soft_integer: IntegerNetwork
    hard: Network
    hard_integer: IntegerNetwork
    predicted: dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Demo:
    """What a demo leaves. files: (path, what it is); lines: results in words; examples: commands to go on with; summary: for machines."""

    report: Path
    files: Sequence[tuple[Path, str]]
    lines: Sequence[str]
    examples: Sequence[str]
    summary: dict[str, Any]


def demo(
    output: str | os.PathLike[str],
    *,
    seed: int = 0,
    plan: Plan = PLAN,
    dataset: data.Dataset | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> Demo:
    """Does the whole job and writes its results into the folder `output`, which is made if it is missing.

    seed: of the split by person, and of every training. plan, dataset: what is trained on what (the smart-watch recordings by default).
    Raises EdgeLstmError when the folder cannot be written, before anything is computed; or when two engines differ in a bit.
    """
    folder = ready_folder(output)
    start = time.perf_counter()
    plan = replace(plan, seed=seed)
    dataset = dataset or data.watch()
    prepared = prepare(dataset, plan)
    say(f"{dataset.name}: {len(dataset.recordings)} recordings, {len(prepared.windows):,} windows; {FOLDS} folds by person, soft and hard")
    folds = train_folds(prepared, plan, progress)
    trained = time.perf_counter() - start
    shipped = folds[0]
    unseen = in_counts(shipped.hard_integer, shipped.test)
    checks = verify(shipped.hard_integer, np.asarray(unseen, np.int16), seed=seed, progress=progress)
    for reason in checks.missing:
        say(f"not run: {reason}")
    progress("measuring", 0, 2, "latency")
    timed = latencies(
        {"threshold gates": shipped.hard_integer, "soft gates": shipped.soft_integer},
        {"float LSTM": shipped.soft},
        {"threshold gates": np.asarray(unseen[:1], np.int16), "soft gates": np.asarray(unseen[:1], np.int16)},
        {"float LSTM": in_counts(shipped.soft, shipped.test)[:1]},
    )
    progress("measuring", 1, 2, "memory")
    takes = memory(shipped.hard_integer)
    progress("measuring", 2, 2)
    report = demo_report.report(dataset, plan, folds, checks, timed, takes, trained, time.perf_counter() - start)
    files = _write(folder, shipped, dataset, seed, report)
    if checks.differing:
        raise EdgeLstmError(
            f"{checks.differing:,} of {checks.values:,} values differ between engines: this is a bug; see {folder / 'report.html'}"
        )
    took = time.perf_counter() - start
    examples = (
        f"edge-lstm run {folder / 'model.int.onnx'} {folder / 'unseen.npz'}",
        f"edge-lstm inspect {folder / 'model.int.onnx'} {folder / 'unseen.npz'}",
        f"edge-lstm compare {folder / 'soft.onnx'} {folder / 'model.int.onnx'} --data {folder / 'unseen.npz'}",
    )
    lines = [*demo_report.lines(report), f"done in {took:.0f} s"]
    figures = {**summary(report), "seconds": round(took, 1), "files": [str(path) for path, _ in files]}
    return Demo(folder / "report.html", files, lines, examples, figures)


def train_folds(prepared: Prepared, plan: Plan, progress: Progress = silent) -> list[Fold]:
    """Trains soft and hard gates on every fold, all at once, with the same budget."""
    parts = data.person_folds(prepared.windows.person, FOLDS, plan.seed)
    trainings = [(prepared.taken(part), replace(plan, gates=gates)) for part, _ in parts for gates in ("soft", "hard")]
    trained = fit_many(trainings, "training", progress)
    folds = []
    for index, (training, test) in enumerate(parts):
        progress("judging", index, len(parts))
        soft, hard = trained[2 * index], trained[2 * index + 1]
        folds.append(_judge(prepared.taken(training), prepared.taken(test), soft, hard))
    progress("judging", len(parts), len(parts))
    return folds


def _judge(training: Prepared, test: Prepared, soft: train.Result, hard: train.Result) -> Fold:
    """Every variant on the unseen people of a fold."""
    soft_network = replace(soft.network, name=f"{NAME}_soft")
    hard_network = replace(hard.network, name=NAME)
    soft_integer = calibrated(soft_network, training)
    if hard.integer is None:
        raise EdgeLstmError("training with threshold gates ended before the integers were in the loop: use more iterations")
    hard_integer = replace(hard.integer, name=NAME)
    thresholded = calibrated(harden(soft_network), training)
    variants: dict[str, Network | IntegerNetwork] = {
        demo_report.FLOAT_SOFT: soft_network,
        demo_report.INTEGER_SOFT: soft_integer,
        demo_report.FLOAT_HARD: hard_network,
        demo_report.INTEGER_HARD: hard_integer,
        demo_report.THRESHOLDED: thresholded,
    }
    predicted = {name: predict(network, test) for name, network in variants.items()}
    unseen = tuple(sorted(set(test.windows.person.tolist())))
    return Fold(unseen, test, soft_network, soft_integer, hard_network, hard_integer, predicted)


def _write(folder: Path, shipped: Fold, dataset: data.Dataset, seed: int, report: Any) -> list[tuple[Path, str]]:
    """Every file of the demo, the report last."""
    files = {
        "model.onnx": "float network with threshold gates",
        "model.int.onnx": "the same in integers: runs in any ONNX Runtime",
        "soft.onnx": "ordinary float LSTM of the same training, to compare with",
    }
    onnx_io.save_network(shipped.hard, folder / "model.onnx")
    onnx_io.save_integer(shipped.hard_integer, folder / "model.int.onnx")
    onnx_io.save_network(shipped.soft, folder / "soft.onnx")
    vectors = random_counts(shipped.hard_integer, SELF_TEST_VECTORS, shipped.hard_integer.read_out.window, seed)
    header, *rest = firmware_gen.write(shipped.hard_integer, folder, self_test=vectors, prefix=NAME)
    files[header.name] = "the C header"
    files |= {path.name: "a C program that runs test vectors and compares every bit" for path in rest}
    unseen = tuple(recording for recording in dataset.recordings if recording.person in shipped.unseen)
    data.save(replace(dataset, recordings=unseen), folder / "unseen.npz")
    files["unseen.npz"] = f"recordings of the people that these models never saw ({', '.join(shipped.unseen)})"
    page.write(report, folder / "report.html")
    return [(folder / name, what) for name, what in files.items()]
