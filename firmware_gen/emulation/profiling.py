"""A network on a target: its header compiled and run over recordings, every bit checked, what it takes counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.activity import measure
from firmware_gen.emulation import cross
from firmware_gen.emulation.counting import Count
from firmware_gen.emulation.image import link
from firmware_gen.emulation.memory import Flash, Ram, firmware, memory
from firmware_gen.emulation.running import Recording, entries, record
from firmware_gen.emulation.targets import Target, target
from firmware_gen.emulation.timing import NOTHING, Cycles
from firmware_gen.feed_forward import due_steps
from firmware_gen.model import Model, build
from firmware_gen.toolchain import Compiler

OPTIMIZATION = "-O2"


@dataclass(frozen=True)
class Cost:
    """What calls of one kind cost. calls: how many were measured; instructions: exact, mean and worst; cycles: of the model, mean of the
    calls and, for the worst call, the nominal figure; kinds: mean number of instructions of each kind."""

    calls: int
    instructions: float
    worst_instructions: int
    cycles: Cycles
    worst_cycles: float
    kinds: dict[str, float]

    def microjoules(self, picojoules_per_cycle: float) -> Cycles:
        """Energy of one call in µJ: the modelled cycles times what the part takes per cycle, which its data sheet or a measurement says."""
        return self.cycles * (picojoules_per_cycle * 1e-6)


@dataclass(frozen=True)
class Profile:
    """What a network costs on a target.

    step: one step for an input that is normalized already; normalize: from counts to that input, once a step; sample: everything that a
    firmware calls from one step to the next, all samples of a block with their sums, normalization and step; decide: dense layers and
    class; reset: start of a sequence. values: compared with the reference engine; differing: those that differ, 0 unless there is a
    defect; sequences, steps: on how much it was measured.
    """

    target: Target
    strategy: str
    compiler: str
    optimization: str
    step: Cost
    normalize: Cost
    sample: Cost
    decide: Cost
    reset: Cost
    flash: Flash
    ram: Ram
    values: int
    differing: int
    sequences: int
    steps: int


def profile(
    network: IntegerNetwork,
    raw: npt.NDArray[np.int16],
    on: Target | str,
    *,
    strategy: str | None = None,
    compiler: Compiler | str | None = None,
    optimization: str = OPTIMIZATION,
) -> Profile:
    """Compiles the header of `network` for the target `on`, runs it over the counts raw: int16 [sequences, samples, channels], counts.

    strategy: how the header sums rows (`columns.STRATEGIES`), None for what suits the target and the activity on `raw`;
    compiler: the first of `cross.compilers` when None; by name "gcc" or "clang", or "best" for the one whose step takes the fewest
    instructions; optimization: its flag.
    Raises EdgeLstmError when a package or a compiler is missing, or the network has no C form or does not take `raw`; UsageError for
    an unknown target. Differing bits are reported in the result, not raised.
    """
    return profiles(network, raw, [on], strategy=strategy, compiler=compiler, optimization=optimization)[0]


def profiles(
    network: IntegerNetwork,
    raw: npt.NDArray[np.int16],
    on: Sequence[Target | str],
    *,
    strategy: str | None = None,
    compiler: Compiler | str | None = None,
    optimization: str = OPTIMIZATION,
) -> tuple[Profile, ...]:
    """`profile` for several targets; the reference runs once."""
    if raw.dtype != np.int16 or raw.ndim != 3 or raw.shape[2] != network.inputs or not len(raw):
        raise EdgeLstmError(f"expected int16 counts [sequences, samples, {network.inputs}], got {raw.dtype} {list(raw.shape)}")
    targets = [target(one) if isinstance(one, str) else one for one in on]
    chosen = [(compiler,) if isinstance(compiler, Compiler) else cross.chosen(one, compiler) for one in targets]
    activity = measure(network, raw)
    models = [build(network, "model", strategy, target=one.name, activity=activity) for one in targets]
    expected = _expected(network, raw)
    tried = [
        [_profile(model, raw, expected, one, by, optimization) for by in compilers]
        for model, one, compilers in zip(models, targets, chosen, strict=True)
    ]
    # One with wrong bits is never passed over.
    return tuple(min(found, key=lambda one: (one.differing == 0, one.step.instructions)) for found in tried)


def _profile(
    model: Model, raw: npt.NDArray[np.int16], expected: Recording, on: Target, compiler: Compiler, optimization: str
) -> Profile:  # fmt: skip
    recorded, costs = record(on, link(compiler, entries(model), optimization), model, raw)
    values, differing = _compare(expected, recorded)
    bare = ("-nostartfiles",) if on.architecture == "avr" else ()  # what boots is not the header's
    flash, ram = memory(model, link(compiler, firmware(model), optimization, *bare), costs.stack)
    step, normalize, sample, decide, reset = (
        _cost(counts) for counts in (costs.step, costs.normalize, costs.sample, costs.decide, costs.reset)
    )
    strategy = ", ".join(dict.fromkeys(text.strategy for text in model.layers))
    return Profile(
        on, strategy, compiler.version, optimization, step, normalize, sample, decide, reset, flash, ram, values, differing, len(raw),
        step.calls,
    )  # fmt: skip


def _cost(counts: Sequence[Count]) -> Cost:
    total, kinds = NOTHING, Counter[str]()
    for count in counts:
        total += count.cycles
        kinds.update(count.kinds)
    calls = len(counts)
    return Cost(
        calls, sum(count.instructions for count in counts) / calls, max(count.instructions for count in counts), total * (1 / calls),
        max(count.cycles.nominal for count in counts), {kind: number / calls for kind, number in sorted(kinds.items())},
    )  # fmt: skip


def _expected(network: IntegerNetwork, raw: npt.NDArray[np.int16]) -> Recording:
    """What the reference engine computes."""
    run = reference.run(network, raw, states=True)
    x = reference.normalize(network.normalize, raw)
    _, read_out = due_steps(network, x.shape[1])
    states = tuple(values for layer in run.states for values in layer.values())
    last = np.concatenate([state[0, -1] for state in states])
    labels = np.zeros_like(run.labels) if network.gives_numbers else run.labels
    return Recording(x, states, run.scores, labels.astype(np.int32), np.tile(read_out, (len(raw), 1)), last)


def _compare(expected: Recording, recorded: Recording) -> tuple[int, int]:
    """(values compared, values that differ)."""
    pairs = list(zip(expected.arrays(), recorded.arrays(), strict=True))
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return sum(ours.size for ours, _ in pairs), sum(ours.size for ours, theirs in pairs if ours.shape != theirs.shape)
    return sum(ours.size for ours, _ in pairs), sum(int((ours != theirs).sum()) for ours, theirs in pairs)
