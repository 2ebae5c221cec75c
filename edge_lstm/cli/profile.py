"""`edge-lstm profile`: what a model costs on microcontrollers, emulated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_lstm.cli import options
from edge_lstm.cli.console import as_json, console, line, table
from edge_lstm.errors import EdgeLstmError, UsageError

if TYPE_CHECKING:
    from firmware_gen.emulation import Cost, Profile

OPTIMIZATIONS = ("O1", "O2", "O3", "Os")


def command(
    model: options.IntegerModel,
    data: Annotated[
        Path | None,
        typer.Argument(help="Recordings to run: .npz, .csv, .parquet, a folder, or the word `watch`. Random counts if left out.",
                       show_default=False),
    ] = None,
    target: Annotated[list[str] | None, typer.Option(
        "--target", "-t", help="cortex-m0plus, -m3, -m4, -m4f, -m7, -m33, -m55, rv32imc or atmega328p; may be given several times. "
        "Default: cortex-m4.",
        show_default=False,
    )] = None,
    sequences: Annotated[int, typer.Option(min=1, help="Number of windows to run.")] = 4,
    strategy: Annotated[str | None, typer.Option(
        help="How the header sums rows: rows, dense, event or delta; event-packed and delta-packed put weights of few bits in common "
        "words, event-bytes and delta-bytes do not. Default: what suits each target and the recordings.",
        show_default=False,
    )] = None,
    optimization: Annotated[str, typer.Option(help="What the compiler optimizes for: O1, O2, O3, or Os for size.")] = "O2",
    compiler: Annotated[str | None, typer.Option(
        help="gcc, clang, or best: of those installed, the one whose step takes the fewest instructions. Default: gcc where there is one.",
        show_default=False,
    )] = None,
    picojoules_per_cycle: Annotated[
        float | None, typer.Option(min=0.0, help="What your part takes per cycle, for the energy of a step.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random counts.")] = 0,
    label_column: options.LabelColumn = None,
    labels: options.Labels = None,
    person_column: options.PersonColumn = None,
    recording_column: options.RecordingColumn = None,
    channels: options.Channels = None,
    units_per_count: options.UnitsPerCount = None,
    ignore_rate: options.IgnoreRate = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Measure a model on microcontrollers without a board: instructions, modelled cycles, flash, RAM and stack.

    The header is compiled for each target and run in an emulator; every score and state is compared with the NumPy reference. Exit status 1
    if a single bit differs. Needs the extra `mcu`; for cortex-m55 and atmega328p also packages of the system, which a message names.

    Example: [bold]edge-lstm profile edge-lstm-demo/model.int.onnx watch -t cortex-m0plus -t cortex-m4[/bold]
    """
    import numpy as np

    from edge_lstm.jobs import inputs
    from edge_lstm.jobs.networks import load_integer
    from edge_lstm.jobs.verification import random_counts, sequence_steps
    from firmware_gen import emulation

    if optimization not in OPTIMIZATIONS:
        raise UsageError(f"--optimization is one of {', '.join(OPTIMIZATIONS)}, not {optimization!r}")
    targets = [emulation.target(name) for name in dict.fromkeys(target or ["cortex-m4"])]
    network = load_integer(model)
    if data is None:
        raw = random_counts(network, max(sequences, 2), sequence_steps(network), seed)[:sequences]
    else:
        dataset = options.read_data(data, options.Reading(label_column, labels, person_column, recording_column, channels, units_per_count))
        dataset = inputs.fitting(network, dataset, ignore_rate=ignore_rate)
        windows = inputs.cut(network, dataset).x
        chosen = np.unique(np.linspace(0, len(windows) - 1, sequences).round().astype(int))  # spread over all recordings
        raw = inputs.counts(network, dataset, windows[chosen])
    found = emulation.profiles(network, raw, targets, strategy=strategy, compiler=compiler, optimization=f"-{optimization}")
    how = _how(found, "random counts, on which gates behave otherwise than on recordings" if data is None else f"windows of {data}")
    if json:
        as_json({"targets": {one.target.name: _plain(one, picojoules_per_cycle) for one in found}, "how": how})
    else:
        _show(found, picojoules_per_cycle)
        line(how)
    if wrong := {one.target.name: one.differing for one in found if one.differing}:
        raise EdgeLstmError(f"values that differ from the NumPy reference: {wrong}: this is a bug, please report it")


def _how(found: tuple[Profile, ...], source: str) -> str:
    one = found[0]
    compilers = ", ".join(dict.fromkeys(profile.compiler for profile in found))
    strategies = ", ".join(dict.fromkeys(profile.strategy for profile in found))
    return (
        f"Emulated: {one.sequences} sequences of {one.steps // one.sequences} steps of {source}; "
        f"{one.values:,} values of each target compared with the NumPy reference. Strategy {strategies}, compiled with {compilers}, "
        f"{one.optimization}. Instructions are counted; cycles are a model for memory without wait states, lower to upper bound."
    )  # fmt: skip


def _plain(profile: Profile, picojoules: float | None) -> dict[str, Any]:
    def cost(one: Cost) -> dict[str, Any]:
        bounds = vars(one.cycles)
        return {
            "instructions": one.instructions, "worst_instructions": one.worst_instructions, "cycles": bounds,
            "worst_cycles": one.worst_cycles, "kinds": one.kinds,
            **({} if picojoules is None else {"microjoules": vars(one.microjoules(picojoules))}),
        }  # fmt: skip

    timing = profile.target.timing
    return {
        **{name: cost(getattr(profile, name)) for name in ("step", "normalize", "sample", "decide", "reset")},
        "flash_bytes": vars(profile.flash) | {"total": profile.flash.total}, "ram_bytes": vars(profile.ram),
        "values": profile.values, "differing": profile.differing, "steps": profile.steps, "strategy": profile.strategy,
        "compiler": profile.compiler,
        "cycle_model": timing.source, "uncertain": timing.uncertain,
    }  # fmt: skip


def _show(found: tuple[Profile, ...], picojoules: float | None) -> None:
    rows = table("", *(profile.target.name for profile in found), numbers=len(found))

    def row(what: str, values: list[str]) -> None:
        rows.add_row(what, *values)

    row("strategy", [one.strategy for one in found])
    row("step: instructions, mean", [f"{one.step.instructions:,.0f}" for one in found])
    row("      instructions, worst", [f"{one.step.worst_instructions:,}" for one in found])
    row("      cycles, modelled", [_bounds(one.step) for one in found])
    if picojoules is not None:
        row(f"      µJ at {picojoules:g} pJ a cycle", [f"{one.step.microjoules(picojoules).nominal:.3g}" for one in found])
    row("normalization: instructions", [f"{one.normalize.instructions:,.0f}" for one in found])
    row("all of a step, from its samples", [f"{one.sample.instructions:,.0f}" for one in found])
    row("decision: instructions", [f"{one.decide.instructions:,.0f}" for one in found])
    row("flash: code", [f"{one.flash.code:,}" for one in found])
    row("       weights", [f"{one.flash.weights:,}" for one in found])
    row("       other tables", [f"{one.flash.tables:,}" for one in found])
    row("RAM: state of a sequence", [f"{one.ram.state:,}" for one in found])
    row("     static", [f"{one.ram.static:,}" for one in found])
    row("     stack, deepest", [f"{one.ram.stack:,}" for one in found])
    row("values that differ", [f"{one.differing:,}" for one in found])
    console().print(rows)


def _bounds(cost: Cost) -> str:
    low, high = round(cost.cycles.low), round(cost.cycles.high)
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"
