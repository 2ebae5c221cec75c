"""The demo's report: what was found, in a page and in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_lstm import data
from edge_lstm.jobs import comparison
from edge_lstm.jobs.memory import flash, state
from edge_lstm.jobs.training import Plan, in_counts
from edge_lstm.report.content import Accuracies, Checks, Confusion, Headline, Latencies, Memory, Report, Variant
from edge_lstm.report.metrics import Accuracy, accuracy, confusion
from edge_lstm.report.timing import machine, versions
from edge_lstm.report.units import seconds, size

if TYPE_CHECKING:
    from edge_lstm.jobs.demo import Fold

FLOAT_SOFT, INTEGER_SOFT = "float, soft gates", "integers, soft gates"
FLOAT_HARD, INTEGER_HARD = "float, threshold gates", "integers, threshold gates"
THRESHOLDED = "integers, thresholded without training"
_NOTES = {
    FLOAT_SOFT: "the ordinary LSTM, 32-bit floats",
    INTEGER_SOFT: "the same network, quantized after training",
    FLOAT_HARD: "trained with threshold gates, the same budget",
    INTEGER_HARD: "the same training, integers in the loop: what is shipped",
    THRESHOLDED: "the ordinary LSTM with its gates cut to thresholds: why training matters",
}


def report(
    dataset: data.Dataset,
    plan: Plan,
    folds: Sequence[Fold],
    checks: Checks,
    timed: Latencies,
    takes: Memory,
    trained_seconds: float,
    all_seconds: float,
) -> Report:
    """The page's content. folds[0] holds the models that are written to files."""
    shipped, network = folds[0], folds[0].hard_integer
    found = {name: accuracy([(fold.test.windows.y, fold.predicted[name]) for fold in folds]) for name in _NOTES}
    windows = found[INTEGER_HARD].total
    seen = sorted({r.person for r in dataset.recordings} - set(shipped.unseen))
    lead = (
        f"{len(dataset.recordings)} recordings of {len({r.person for r in dataset.recordings})} people, {len(dataset.classes)} exercises, "
        f"a smart-watch at {dataset.rate_hz:g} Hz. An LSTM with {plan.hidden} units was trained to name the exercise from {plan.window} "
        "samples, once with soft and once with threshold gates, and turned into integers. Everything is judged on people it never saw."
    )
    raw = np.asarray(in_counts(network, shipped.test), np.int16)
    return Report(
        title="Smart-watch exercises, named in integers with threshold gates",
        lead=lead,
        headlines=_headlines(found, checks, timed, takes),
        accuracies=Accuracies(
            [Variant(name, note, found[name], name == INTEGER_HARD) for name, note in _NOTES.items()],
            ["without " + ", ".join(fold.unseen) for fold in folds],
            "fold",
            f"Measured: {len(folds)} folds; each leaves {len(shipped.unseen)} people out, trains on the others, is judged on them; "
            f"{windows:,} windows in all, one seed ({plan.seed}). {difference(found)}",
        ),
        confusions=[_confusion(dataset, folds)],
        checks=checks,
        latencies=timed,
        memory=[takes],
        gates=[comparison.gates("model.int.onnx", network, dataset, raw, f"Windows of the unseen people {', '.join(shipped.unseen)}.")],
        proofs=[comparison.proof("model.int.onnx", network)],
        facts=[
            ("recordings", dataset.source),
            (
                "network",
                f"{plan.recipe().cell}, {plan.hidden} units, read-out: {plan.recipe().read_out} over the window, then one dense layer",
            ),
            (
                "input",
                f"windows of {plan.window} samples every {plan.stride}; means of {plan.decimation}; standardized on training people",
            ),
            ("recipe", recipe_text(plan)),
            (
                "model files",
                f"those of the first fold: trained on people {', '.join(seen)}; people {', '.join(shipped.unseen)} were left out",
            ),
            (
                "time",
                f"{trained_seconds:.0f} s for {2 * len(folds)} trainings, {all_seconds:.0f} s in all, compilation of kernels included",
            ),
            ("machine", machine()),
            ("versions", versions("numpy", "numba", "onnx", "onnxruntime")),
        ],
    )


def recipe_text(plan: Plan) -> str:
    """The recipe of both trainings in one line."""
    hard = replace(plan, gates="hard").recipe()
    left_out = ("cell", "hidden", "layers", "gates", "read_out", "integer_from", "sparse_gates", "evaluations", "seed")
    settings = {name: value for name, value in vars(hard).items() if name not in left_out and value not in (None, {}, 0.0)}
    start = f"threshold gates have the integers in the loop from iteration {hard.integers_start}"
    return ", ".join([*(f"{name.replace('_', ' ')} {value}" for name, value in settings.items()), start])


def difference(found: dict[str, Accuracy]) -> str:
    """Integers with threshold gates minus ordinary float LSTM, paired by fold."""
    points = 100 * (np.array(found[INTEGER_HARD].parts) - np.array(found[FLOAT_SOFT].parts))
    return f"Integers with threshold gates minus the float LSTM, fold by fold: {points.mean():+.1f} ± {points.std(ddof=1):.1f} points."


def _headlines(found: dict[str, Accuracy], checks: Checks, timed: Latencies, takes: Memory) -> list[Headline]:
    hard, soft = found[INTEGER_HARD], found[FLOAT_SOFT]
    ours = next(row for row in timed.rows if row.name == "threshold gates: Numba")
    rival = next(row for row in timed.rows if "ONNX Runtime" in row.name)
    assert ours.step is not None
    against = f"ONNX Runtime on the float LSTM: {seconds(rival.step.median)}" if rival.step else ""
    return [
        Headline(
            f"{100 * hard.mean:.1f} %",
            "right, in integers with threshold gates",
            f"measured on unseen people; float LSTM: {100 * soft.mean:.1f} %",
        ),
        Headline(
            f"{checks.differing:,}",
            "differing values between engines",
            f"measured: {checks.values:,} compared, in {len(checks.checks)} engines",
        ),
        Headline(size(flash(takes)), "of flash for the header", _flash_note(takes)),
        Headline(size(state(takes)), "of RAM for the state", "computed from the header"),
        Headline(seconds(ours.step.median), "for one step on this computer", f"measured; {against}"),
    ]


def _flash_note(takes: Memory) -> str:
    if any("code" in what for what, _ in takes.parts):
        return "measured: code and constants, -Os, on the host"
    return "counted: constants only; no compiler to measure the code"


def _confusion(dataset: data.Dataset, folds: Sequence[Fold]) -> Confusion:
    y = np.concatenate([fold.test.windows.y for fold in folds])
    predicted = np.concatenate([fold.predicted[INTEGER_HARD] for fold in folds])
    counts = confusion(y, predicted, len(dataset.classes))
    how = "Measured: windows of all folds, integers with threshold gates. Rows: the exercise done; columns: the exercise named."
    return Confusion(INTEGER_HARD, dataset.classes, counts, how)


def lines(found: Report) -> list[str]:
    """The results in a few lines for the terminal."""
    assert found.accuracies is not None
    assert found.checks is not None
    width = max(len(variant.name) for variant in found.accuracies.variants)
    text = ["accuracy on people never seen (mean ± sd over folds):"]
    text += [f"  {variant.name:{width}}  {variant.accuracy}" for variant in found.accuracies.variants]
    engines = ", ".join(check.engine for check in found.checks.checks)
    text.append(f"same bits: {found.checks.differing:,} of {found.checks.values:,} values differ in {engines}")
    text += [f"not run: {reason}" for reason in found.checks.missing]
    text.append("; ".join(f"{what}: {count:,} bytes" for what, count in found.memory[0].parts))
    return text
