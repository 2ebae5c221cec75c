"""A stack of layers made ready: packed weights and compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.emit import source
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.engine.layout import LINE, Target
from edge_lstm.engine.packing import Packed, Stack, aligned, pack, structure_of

INPUT_BYTES = 2048  # inputs of one sequence that are made ready at once
BLOCK = 32  # sequences of a block: their records and one group's weights fit the first-level cache


class Prepared:
    """A packed stack and its kernels. Nothing in it changes: threads and streams share one."""

    def __init__(self, stack: Stack, target: Target):
        structure = structure_of(stack)
        self.target = target
        self.kernels = kernels(source(structure, target))
        self.packed: Packed = pack(stack, structure, target)
        self.address = self.packed.model.ctypes.data
        self.every_step = stack.read_out.kind == "every"
        self.outputs = stack.outputs

    def run(self, x: npt.NDArray[np.int8], first: int, last: int, results: Results) -> None:
        """Runs the sequences first ... last - 1 of x [batch, time, inputs], which is C-contiguous and checked by the caller."""
        block = min(BLOCK, last - first)
        records = aligned(block * len(self.packed.initial))
        chunk = min(x.shape[1], max(1, INPUT_BYTES // x.shape[2]))
        inputs = aligned(block * (chunk * x.shape[2] * self.target.source_bytes + LINE))
        table = np.array([trace.ctypes.data for trace in results.traces or ()], np.int64)
        traces = table.ctypes.data if results.traces is not None else 0
        memory = records.ctypes.data, block, inputs.ctypes.data, chunk
        self.kernels["run"](self.address, x.ctypes.data, first, last, x.shape[1], *memory, results.scores.ctypes.data, traces)

    def results(self, batch: int, steps: int, states: bool) -> Results:
        """Arrays for a run."""
        shape = (batch, steps, self.outputs) if self.every_step else (batch, self.outputs)
        traces = [np.empty((batch, steps, place.padded), np.int32) for place in self.packed.states] if states else None
        return Results(np.empty(shape, np.int32), traces)

    def named(self, arrays: list[npt.NDArray[np.int32]]) -> list[dict[str, npt.NDArray[np.int32]]]:
        """One dict per layer, state -> array [..., units], of arrays in the order in which kernels list the states."""
        layers: dict[int, dict[str, npt.NDArray[np.int32]]] = {}
        for place, values in zip(self.packed.states, arrays, strict=True):
            layers.setdefault(place.layer, {})[place.state] = values[..., : place.units]
        return [layers[k] for k in sorted(layers)]


@dataclass(frozen=True)
class Results:
    """What a run fills. scores: int32 [batch, (time,) outputs]; traces: int32 [batch, time, padded units] of every state, or None."""

    scores: npt.NDArray[np.int32]
    traces: list[npt.NDArray[np.int32]] | None
