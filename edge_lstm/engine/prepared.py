"""A stack of layers made ready: packed weights and compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.batch import Int64Array, first_rows
from edge_lstm.engine.emit import source
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.engine.layout import LINE, Target
from edge_lstm.engine.packing import Packed, Stack, aligned, pack, structure_of

INPUT_BYTES = 2048  # inputs of one sequence that are made ready at once
BLOCK = 32  # sequences of a block: their records and one group's weights fit the first-level cache


class Prepared:
    """A packed stack and its kernels. Nothing in it changes: threads and streams share one."""

    def __init__(self, stack: Stack, target: Target):
        structure = structure_of(stack, target)
        self.target = target
        self.kernels = kernels(source(structure, target))
        self.packed: Packed = pack(stack, structure, target)
        self.address = self.packed.model.ctypes.data
        self.layers = len(stack.recurrent)
        self.every_step = stack.read_out.kind == "every"
        self.inputs, self.outputs = stack.inputs, stack.outputs

    def run(self, x: npt.NDArray[np.int8], firsts: Int64Array, steps: Int64Array, states: bool) -> Results:
        """Runs sequences of int8 x: [rows, inputs], C-contiguous: sequence k is steps[k] rows from row firsts[k] on, the longest first.

        The caller has checked that all of them lie within x.
        """
        where = np.empty((len(steps), 4), np.int64)
        where[:, 0] = firsts * x.shape[1] + x.ctypes.data
        where[:, 1] = steps
        if self.every_step or states:
            where[:, 2] = where[:, 3] = first_rows(steps)
        if not self.every_step:
            where[:, 2] = np.arange(len(steps))
        scores = np.empty((int(steps.sum()) if self.every_step else len(steps), self.outputs), np.int32)
        traces = [np.empty((int(steps.sum()), place.padded), np.int32) for place in self.packed.states] if states else None
        block = min(BLOCK, len(steps))
        records = aligned(block * len(self.packed.initial))
        chunk = min(int(steps[0]), max(1, INPUT_BYTES // x.shape[1]))
        inputs = aligned(block * (chunk * x.shape[1] * self.target.source_bytes + LINE))
        table = np.array([trace.ctypes.data for trace in traces], np.int64) if traces is not None else None
        memory = records.ctypes.data, block, inputs.ctypes.data, chunk
        self.kernels["run"](
            self.address, where.ctypes.data, 0, len(steps), *memory, scores.ctypes.data, table.ctypes.data if table is not None else 0
        )
        return Results(scores, traces)

    def named(self, arrays: list[npt.NDArray[np.int32]]) -> list[dict[str, npt.NDArray[np.int32]]]:
        """One dict per layer, state -> array [..., units], of arrays in the order in which kernels list the states."""
        layers: dict[int, dict[str, npt.NDArray[np.int32]]] = {}
        for place, values in zip(self.packed.states, arrays, strict=True):
            layers.setdefault(place.layer, {})[place.state] = values[..., : place.units]
        return [layers[k] for k in sorted(layers)]


@dataclass(frozen=True)
class Results:
    """What a run leaves. scores: int32 [sequences, outputs], or [rows, outputs] of every step; traces: each state, [rows, padded units]."""

    scores: npt.NDArray[np.int32]
    traces: list[npt.NDArray[np.int32]] | None
