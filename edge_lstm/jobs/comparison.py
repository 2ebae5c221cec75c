"""Several models on the same recordings: accuracy, confusion, latency, memory, gates, bounds, as one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_lstm import data
from edge_lstm.engine.gate_activity import GateCourse, activity, course
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerReadOut, IntegerRecurrent
from edge_lstm.jobs import inputs
from edge_lstm.jobs.latency import latencies
from edge_lstm.jobs.memory import float_memory, memory
from edge_lstm.jobs.networks import gates_text
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.jobs.pruning import pruned
from edge_lstm.network import Network
from edge_lstm.report.content import Accuracies, Confusion, Gates, Headline, Proof, Report, Variant
from edge_lstm.report.metrics import accuracy, accuracy_by, confusion
from edge_lstm.report.timing import versions
from edge_lstm.report.units import seconds

PICTURE_STEPS = 400
MOST_ACTIVITY = 500  # windows

AnyNetwork = inputs.AnyNetwork


def compare(
    models: Mapping[str, AnyNetwork],
    dataset: data.Dataset,
    *,
    window: int | None = None,
    stride: int | None = None,
    rounds: int = 21,
    ignore_rate: bool = False,
    progress: Progress = silent,
) -> Report:
    """Compares networks on the windows of `dataset`. models: name -> network, float or integer; ignore_rate: as in `inputs.fitting`.

    Raises EdgeLstmError where the recordings do not fit a model, UsageError for no model at all or windows that differ between models.
    """
    if not models:
        raise UsageError("name at least one model to compare")
    lengths = {inputs.window_samples(network) for network in models.values()} - {0}
    if len(lengths) > 1 and not window:
        raise UsageError(f"the models decide on windows of {' and '.join(map(str, sorted(lengths)))} samples; give one for all")
    length = window or (lengths.pop() if lengths else None)
    fitted = {name: inputs.fitting(network, dataset, ignore_rate=ignore_rate) for name, network in models.items()}
    cuts = {name: inputs.cut(network, fitted[name], length, stride) for name, network in models.items()}
    x = {name: inputs.model_input(network, fitted[name], cuts[name].x) for name, network in models.items()}
    predicted = {}
    for done, (name, network) in enumerate(models.items()):
        progress("comparing", done, len(models) + 1, name)
        if not inputs.gives_numbers(network):
            predicted[name] = inputs.labels(network, x[name])
    integer = {name: network for name, network in models.items() if isinstance(network, IntegerNetwork)}
    floats = {name: network for name, network in models.items() if isinstance(network, Network)}
    progress("comparing", len(models), len(models) + 1, "latency")
    timed = latencies(integer, floats, {n: np.asarray(x[n][:1], np.int16) for n in integer}, {n: x[n][:1] for n in floats}, rounds=rounds)
    memories = [memory(network) if isinstance(network, IntegerNetwork) else float_memory(network) for network in models.values()]
    memories = [type(found)(name, found.parts, found.how) for name, found in zip(models, memories, strict=True)]
    cuttings = {name: found for name, network in integer.items() if (found := pruned(name, network.metadata)) is not None}
    memories = [one for found in memories for one in ([cuttings[found.name].before] if found.name in cuttings else []) + [found]]
    progress("comparing", len(models) + 1, len(models) + 1)
    first = next(iter(models))
    labelled = cuts[first].y >= 0
    accuracies, confusions = None, []
    if labelled.any() and len(predicted) == len(models):
        accuracies = _accuracies(models, cuts[first], fitted, cuts, predicted)
        confusions = [_confusion(name, network, cuts[name], predicted[name]) for name, network in models.items()]
    agreement = _agreement(predicted)
    return Report(
        title="Comparison of " + ", ".join(models),
        lead=f"{len(cuts[first])} windows of {cuts[first].x.shape[1]} samples from {dataset.name}. {agreement}".strip(),
        headlines=[Headline(str(v.accuracy), v.name, v.note) for v in accuracies.variants] if accuracies else [],
        accuracies=accuracies,
        confusions=confusions,
        latencies=timed,
        memory=memories,
        gates=[gates(name, network, fitted[name], np.asarray(x[name], np.int16)) for name, network in integer.items()],
        proofs=[proof(name, network) for name, network in integer.items()],
        facts=[
            *((name, "; ".join(found.remarks)) for name, found in cuttings.items()),
            ("recordings", dataset.source),
            ("versions", versions("numpy", "numba", "onnx", "onnxruntime")),
        ],
    )


def _accuracies(
    models: Mapping[str, AnyNetwork],
    windows: data.Windows,
    fitted: Mapping[str, data.Dataset],
    cuts: Mapping[str, data.Windows],
    predicted: Mapping[str, np.ndarray],
) -> Accuracies:
    """By person where all are known, else over everything at once."""
    labelled = windows.y >= 0
    people = windows.person[labelled]
    by_person = bool((people != "").all()) and len(set(people.tolist())) > 1
    variants: list[Variant] = []
    parts: tuple[str, ...] = ("all windows",)
    for name, network in models.items():
        keep = cuts[name].y >= 0
        y, p = cuts[name].y[keep], predicted[name][keep]
        if by_person:
            parts, found = accuracy_by(cuts[name].person[keep], y, p)
        else:
            found = accuracy([(y, p)])
        variants.append(Variant(name, _kind(network), found, isinstance(network, IntegerNetwork)))
    how = f"Measured here on {labelled.sum()} labelled windows; whether the models saw them in training is not known to this report."
    return Accuracies(variants, parts, "person" if by_person else "part", how)


def _confusion(name: str, network: AnyNetwork, windows: data.Windows, predicted: np.ndarray) -> Confusion:
    keep = windows.y >= 0
    names = network.classes or tuple(str(k) for k in range(network.outputs))
    counts = confusion(windows.y[keep], predicted[keep], len(names))
    return Confusion(name, names, counts, "Measured: number of windows. Rows: the true class; columns: what the network said.")


def _kind(network: AnyNetwork) -> str:
    numbers = "integers" if isinstance(network, IntegerNetwork) else "floats"
    return f"{numbers}, {gates_text(network)}"


def _agreement(predicted: Mapping[str, np.ndarray]) -> str:
    names = list(predicted)
    if len(names) < 2:
        return ""
    same = [f"{100 * float((predicted[names[0]] == predicted[other]).mean()):.1f} % with {other}" for other in names[1:]]
    return f"{names[0]} gives the same label in {', '.join(same)}."


def gates(name: str, network: IntegerNetwork, dataset: data.Dataset, raw: np.ndarray, how: str = "") -> Gates:
    """Activity over windows raw: int16 [windows, samples, channels], with a picture of the first one."""
    courses = course(network, raw[:MOST_ACTIVITY])
    first = courses[0]
    picture = GateCourse(
        {gate: opening[:1, :PICTURE_STEPS] for gate, opening in first.gates.items()}, first.hard, first.output[:1, :PICTURE_STEPS]
    )
    step = network.normalize.decimation / dataset.rate_hz if dataset.rate_hz else None
    activities = [activity(layer) for layer in courses]
    counted = f"Counted in the reference engine over {activities[0].steps:,} steps of {len(raw[:MOST_ACTIVITY])} windows. {how}".strip()
    return Gates(name, activities, picture if picture.gates else None, "The first window of the recordings.", step, counted)


def proof(name: str, network: IntegerNetwork) -> Proof:
    """The bounds of every layer, titled."""
    titles: list[str] = []
    for index, layer in enumerate(network.layers):
        if isinstance(layer, IntegerRecurrent):
            titles.append(f"layer {index + 1}: {layer.cell}, {layer.units} units")
        else:
            kind = type(layer).__name__.removeprefix("Integer").lower()
            titles.append(f"layer {index + 1}: {'read-out, ' + layer.kind if isinstance(layer, IntegerReadOut) else kind}")
    return Proof(name, list(zip(titles, prove_network(network), strict=True)))


def summary(report: Report) -> dict[str, object]:
    """The figures of a report, for machines: accuracy, latency in seconds, bytes."""
    result: dict[str, object] = {"title": report.title, "lead": report.lead}
    if report.accuracies:
        result["accuracy"] = {
            v.name: {
                "mean": v.accuracy.mean,
                "sd": v.accuracy.sd,
                "cases": v.accuracy.total,
                "parts": dict(zip(report.accuracies.parts, v.accuracy.parts, strict=True)),
            }
            for v in report.accuracies.variants
        }
    if report.latencies:
        result["latency_seconds"] = {
            row.name: {"step": row.step.median if row.step else None, "window": row.window.median if row.window else None}
            for row in report.latencies.rows
        }
    result["bytes"] = {found.name: dict(found.parts) for found in report.memory}
    if report.checks:
        result["values_compared"], result["values_differing"] = report.checks.values, report.checks.differing
    return result


def lines(report: Report) -> Sequence[tuple[str, str, str, str, str]]:
    """A row a model for the terminal: name, accuracy, time of a step, time of a window, bytes."""
    rows = []
    accuracy_of = {v.name: str(v.accuracy) for v in report.accuracies.variants} if report.accuracies else {}
    for found in report.memory:
        timings = [row for row in report.latencies.rows if row.name.startswith(f"{found.name}: ")] if report.latencies else []
        step = next((seconds(row.step.median) for row in timings if row.step), "–")
        window = next((seconds(row.window.median) for row in timings if row.window), "–")
        rows.append((found.name, accuracy_of.get(found.name, "no labels"), step, window, f"{sum(size for _, size in found.parts):,}"))
    return rows
