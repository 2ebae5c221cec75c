"""Float network to integers: which gates, calibrated on what, fine-tuned or not; and a refusal to harm a network silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_lstm import cells, data
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.decisions import RATE
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import Options, harden, quantize
from edge_lstm.jobs import inputs
from edge_lstm.jobs.networks import gates_text
from edge_lstm.jobs.progress import Progress, silent
from edge_lstm.network import Network, Recurrent
from edge_lstm.report.metrics import Accuracy, Errors, accuracy, errors

GATES = ("keep", "hard", "soft")
MOST_CALIBRATION = 512  # windows; ranges are settled long before
STANDARD_SEQUENCES, STANDARD_STEPS = 64, 64


@dataclass(frozen=True)
class Conversion:
    """What came of it. accuracies: network -> accuracy on the labelled calibration windows (empty when there are no labels);
    errors: the same where the recordings hold numbers to be learned.

    remarks: what the user should know, one line each.
    """

    integer: IntegerNetwork
    accuracies: Mapping[str, Accuracy]
    remarks: tuple[str, ...]
    errors: Mapping[str, Errors] = field(default_factory=dict)


def with_gates(network: Network, gates: str) -> Network:
    """The same weights with other gates: "keep" (as they are), "hard" (all thresholds), "soft" (thresholds become sigmoids)."""
    if gates not in GATES:
        raise UsageError(f"unknown gates {gates!r}: choose one of {', '.join(GATES)}")
    if gates == "hard":
        return harden(network)
    if gates == "keep":
        return network
    layers = []
    for layer in network.layers:
        if isinstance(layer, Recurrent):
            softened = {gate: cells.activation("sigmoid") for gate in layer.hard_gates}
            layer = replace(layer, activations={**layer.activations, **softened})
        layers.append(layer)
    return network.with_layers(tuple(layers))


def convert(
    network: Network,
    calibration: data.Dataset | None = None,
    *,
    gates: str = "keep",
    finetune: bool = False,
    untrained: bool = False,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    separate_rows: bool = False,
    input_bits: int = 8,
    cell_bits: int = 16,
    tries: int = 1,
    prune: bool = False,
    checkpoint: Path | None = None,
    freeze: bool = True,
    ignore_rate: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """The integer network of `network`.

    calibration: recordings that the number formats are chosen from, and that fine-tuning learns from: their labels, or without any the
        outputs of `network`.
        None: only for a network with preprocessing, whose inputs are standardized; formats then come from standard normal input.
    gates: one of GATES. finetune: train on, with the integer arithmetic in the loop. untrained: accept the loss of gates that the
        network was not trained for.
    separate_rows: weights of the input and of the states have scales of their own; not together with `finetune`.
    input_bits: 8, or 16 for inputs whose magnitudes span more than 8 bits resolve; cell_bits: 16, or 32 for cells that count, whose states
        grow far beyond 16; neither together with `finetune`.
    prune: take out gates that never change and units that never give anything, proved or seen on these recordings (`jobs.pruning`).
    seed, tries: fine-tuning keeps the best of so many seeds, from `seed` on (see `hardening.finetune`).
    checkpoint: file beside which fine-tuning keeps its trainings, to go on from them after an interruption (see `hardening.finetune`).
    freeze: whether fine-tuning leaves the layers in front of the recurrent ones alone.
    window, stride: raw samples of a window, and from one to the next (None: as the model says, and half of it).
    ignore_rate: take recordings of another rate than the model's, which keeps its own.

    Raises UsageError for other gates than it was trained with, unless `finetune` or `untrained`; EdgeLstmError where data do not fit.
    """
    changed = with_gates(network, gates)
    advice = "add --finetune (with --calibration recordings), or --untrained to accept the loss"
    refuse_untrained_gates(network, changed, finetune or untrained, advice)
    if finetune and separate_rows:
        raise UsageError("fine-tuning trains with one scale for the weights of input and states: leave out --separate-rows, or --finetune")
    if finetune and input_bits != 8:
        raise UsageError(f"fine-tuning trains with inputs of 8 bits: leave out --input-bits {input_bits}, or --finetune")
    if finetune and cell_bits != 16:
        raise UsageError(f"fine-tuning here trains with cell states of 16 bits: leave out --cell-bits {cell_bits}, or --finetune")
    if checkpoint is not None and not finetune:
        raise UsageError("a checkpoint is for fine-tuning: add --finetune")
    options = Options(separate_rows=separate_rows, input_bits=input_bits, cell_bits=cell_bits)
    if calibration is None and prune:
        raise UsageError("pruning needs recordings on which units are seen to be dead: give them by --calibration")
    if calibration is None:
        return _convert_without_data(network, changed, finetune, options)
    dataset = inputs.fitting(network, calibration, ignore_rate=ignore_rate)
    if window:
        changed = inputs.with_window(changed, window)
    length = window or inputs.window_samples(changed) or None
    numbers = bool(dataset.targets)
    if numbers and len(dataset.targets) != network.outputs:
        raise UsageError(f"{len(dataset.targets)} targets ({', '.join(dataset.targets)}) for a network of {network.outputs} outputs")
    windows = inputs.cut(changed, dataset, length, stride or (max(length // 2, 1) if length else None), across=numbers)
    y = data.window_targets(dataset, windows, inputs.decimation(changed), network.read_out.kind, numbers)
    if numbers:
        teaches = np.asarray(data.known(y).reshape(len(y), -1).any(1))
        windows, y = windows.take(teaches), y[teaches]
    if not changed.window and network.read_out.kind != "every":
        changed = inputs.with_window(changed, windows.x.shape[1])
    labelled = windows.take(windows.y >= 0)
    progress("converting", 0, 1, "calibration")
    x = inputs.model_input(changed, dataset, windows.x)
    made = quantize(changed, _spread(x, MOST_CALIBRATION), options)
    names: dict[str, inputs.AnyNetwork] = {
        "float": network,
        f"integers, {gates_text(changed)}, not fine-tuned" if finetune else f"integers, {gates_text(changed)}": made,
    }
    learned: tuple[str, ...] = ()
    if finetune:
        from edge_lstm.jobs.hardening import finetune as finetuned

        trained = finetuned(
            network, changed, dataset, windows, tries=tries, seed=seed, progress=progress, numbers=y if numbers else None,
            checkpoint=checkpoint, freeze=freeze,
        )  # fmt: skip
        made, learned = trained.integer, trained.remarks
        names[f"integers, {gates_text(made)}, fine-tuned"] = made
    if prune:
        from edge_lstm.jobs.pruning import prune as pruned

        made, said = pruned(made, inputs.counts(made, dataset, windows.x))
        names[f"integers, {gates_text(made)}, pruned"] = made
        learned += said
    progress("converting", 1, 1)
    accuracies = {}
    wrong: dict[str, Errors] = {}
    if numbers:
        where = data.known(y)
        for name, one in names.items():
            given = inputs.outputs(one, inputs.model_input(one, dataset, windows.x))
            wrong[name] = errors([(y[where], given[where])])
    elif len(labelled) and not inputs.gives_numbers(network):
        for name, one in names.items():
            predicted = inputs.labels(one, inputs.model_input(one, dataset, labelled.x))
            accuracies[name] = accuracy([(labelled.y, predicted)])
    elif not inputs.gives_numbers(network):
        same = {name: inputs.labels(one, inputs.model_input(one, dataset, windows.x)) for name, one in names.items()}
        learned += tuple(
            f"{name}: the class of the float network in {(same[name] == same['float']).mean():.1%} of {len(windows):,} windows"
            for name in names
            if name != "float"
        )
    still = np.flatnonzero(np.asarray(windows.x == windows.x[0, 0]).all((0, 1)))
    if len(still) and network.preprocess is None:
        constant = ", ".join(dataset.channels[channel] for channel in still)
        learned += (f"never changing in these windows, so that its range is not known and other values may be clipped: {constant}",)
    if not network.classes and (accuracies or (finetune and not numbers)) and dataset.classes:
        order = ", ".join(f"{name} is {index}" for index, name in enumerate(dataset.classes))
        learned += (f"the network names no classes; taken in the order of the recordings: {order}; --classes gives another order",)
    remarks = [f"formats calibrated on {min(len(windows), MOST_CALIBRATION)} windows of {windows.x.shape[1]} samples from {dataset.name}"]
    if untrained and changed is not network and gates_text(changed) != gates_text(network):
        remarks.append(
            f"the network was trained with {gates_text(network)} and now has {gates_text(changed)}: expect to lose accuracy"
            if not accuracies
            else f"the network was trained with {gates_text(network)} and now has {gates_text(changed)}: measured, "
            f"{100 * (accuracies['float'].mean - accuracies[list(accuracies)[-1]].mean):+.1f} points of accuracy lost on these windows"
        )
    if RATE not in made.metadata:
        made = replace(made, metadata={**made.metadata, **inputs.rate_text(dataset)})
    return Conversion(made, accuracies, (*remarks, *learned), wrong)


def refuse_untrained_gates(network: Network, changed: Network, allowed: bool, advice: str) -> None:
    """Raises UsageError, with the advice, where `changed` has other gates than `network` was trained with, unless that is allowed."""
    before, after = gates_text(network), gates_text(changed)
    if before != after and not allowed:
        raise UsageError(f"trained with {before}, a network that is given {after} loses 2 to 40 points of accuracy: {advice}")


def _convert_without_data(network: Network, changed: Network, finetune: bool, options: Options) -> Conversion:
    if finetune:
        raise UsageError("fine-tuning needs recordings: give them by --calibration")
    if network.preprocess is None:
        raise UsageError("the range of this network's inputs is not known: give recordings by --calibration")
    if network.preprocess.features is not None:
        raise UsageError("the features of this network need real signals to find its formats: give recordings by --calibration")
    rng = np.random.default_rng(0)
    front = network.preprocess
    steps = network.window or STANDARD_STEPS
    z = rng.normal(0, 1, (STANDARD_SEQUENCES, steps, network.inputs)).repeat(front.decimation, axis=1)
    counts = np.clip(np.round(z / front.scale + front.offset), -32768, 32767).astype(np.int16)
    made = quantize(changed, counts, options)
    return Conversion(
        made,
        {},
        ("no calibration recordings: formats were chosen from standard normal input; check the accuracy with `edge-lstm compare`",),
    )


def _spread(x: inputs.Array, most: int) -> inputs.Array:
    """At most so many windows, evenly over all of them."""
    return x if len(x) <= most else x[np.linspace(0, len(x) - 1, most).round().astype(int)]


def describe(network: IntegerNetwork) -> str:
    """One line: "lstm, 32 units, threshold gates, mean read-out, 6 channels, 7 outputs"."""
    layers = " -> ".join(f"{layer.cell} {layer.units}" for layer in network.recurrent)
    return f"{layers} units, {gates_text(network)}, read-out {network.read_out.kind}, {network.inputs} channels, {network.outputs} outputs"
