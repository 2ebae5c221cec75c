"""A stack of layers made ready: packed weights and compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.batch import Int64Array, first_rows
from edge_lstm.engine.buffer import aligned
from edge_lstm.engine.emit import source
from edge_lstm.engine.entry_points import ENTRIES, Lists
from edge_lstm.engine.kernel_cache import kernels
from edge_lstm.engine.layout import ASKED_UNITS, LINE, Structure, Target
from edge_lstm.engine.packing import Packed, Stack, pack, structure_of
from edge_lstm.engine.plan import is_behind_gate, listed_segment, plan
from edge_lstm.engine.unit_layout import laid_out
from edge_lstm.fixed_point.integer_network import IntegerRecurrent

INPUT_BYTES = 2048  # inputs of one sequence that are made ready at once
AGAIN = 16  # batches from one count of what is not zero to the next


class Prepared:
    """A packed stack and its kernels. Nothing in it changes but the memory that it lends to runs: threads and streams share one."""

    def __init__(self, stack: Stack, target: Target):
        structure = structure_of(stack, target)
        self.target = target
        self.kernels = kernels(source(structure, target))
        stack, self._places = laid_out(stack)
        self.packed: Packed = pack(stack, structure, target)
        self.address = self.packed.model.ctypes.data
        self.layers = len(stack.recurrent)
        self.every_step = stack.read_out.kind == "every"
        self.inputs, self.outputs = stack.inputs, stack.outputs
        self.chunk = max(1, INPUT_BYTES // stack.inputs)
        self._scratch: list[_Scratch] = []
        self._watched = _watched(structure, self.packed)
        self._columns = any(layer.columns for layer in structure.layers)
        # How large batches leave out zeros, as the first block tells, and the end of every so many; None before the first.
        self.lists: Lists | None = None
        self._until_counted = AGAIN

    def run(self, x: npt.NDArray[np.int8], firsts: Int64Array, steps: Int64Array, states: bool) -> Results:
        """Runs sequences of int8 x: [rows, inputs], C-contiguous: sequence k is steps[k] rows from row firsts[k] on, the longest first.

        The caller has checked that all of them lie within x.
        """
        where = np.empty((len(steps), 4), np.int64)
        where[:, 0] = firsts
        where[:, 1] = steps
        if self.every_step or states:
            where[:, 2] = where[:, 3] = first_rows(steps)
        if not self.every_step:
            where[:, 2] = np.arange(len(steps))
        scores = np.empty((int(steps.sum()) if self.every_step else len(steps), self.outputs), np.int32)
        traces = [np.empty((int(steps.sum()), place.padded), np.int32) for place in self.packed.states] if states else None
        table = np.array([trace.ctypes.data for trace in traces], np.int64) if traces is not None else None
        self._run(x, where, int(steps[0]), scores, table.ctypes.data if table is not None else 0)
        return Results(scores, traces)

    def run_equal(self, x: npt.NDArray[np.int8], count: int, steps: int) -> npt.NDArray[np.int32]:
        """The scores of `run` for `count` sequences of `steps` rows each, one after the other."""
        where = np.empty((count, 4), np.int64)
        where[:, 0] = where[:, 2] = np.arange(0, count * steps, steps)
        where[:, 1] = steps
        if not self.every_step:
            where[:, 2] = np.arange(count)
        scores = np.empty((count * steps if self.every_step else count, self.outputs), np.int32)
        self._run(x, where, steps, scores, 0)
        return scores

    def _run(self, x: npt.NDArray[np.int8], where: Int64Array, longest: int, scores: npt.NDArray[np.int32], table: int) -> None:
        try:
            scratch = self._scratch.pop()
        except IndexError:  # all are in use by other threads, or none was made yet
            scratch = _Scratch(self)
        block = self.target.core.block
        memory = scratch.records, min(block, len(where)), scratch.inputs, min(longest, self.chunk)

        watches = self.may_list and len(where) >= block
        first = 0
        while first < len(where):
            last = block if watches and self.lists is None else len(where)
            entry = ENTRIES["run"][(self.lists or "") if watches else ""]
            self.kernels[entry](self.address, x, where, first, last, *memory, scores, table)
            if watches and (self.lists is None or self._until_counted <= 0):
                self.lists, self._until_counted = self.fewest(scratch.memory.reshape(block, -1)), AGAIN
            first = last
        self._until_counted -= 1
        self._scratch.append(scratch)

    @property
    def may_list(self) -> bool:
        """Whether there are zeros that a batch may leave out."""
        return bool(self._watched)

    def fewest(self, records: npt.NDArray[np.uint8]) -> Lists:
        """What takes the least time for a step like the last two of these records [sequences, bytes], by what is not zero in them."""
        zero = 0x80808080 if self.target.instructions.offset else 0  # a tile, whether of four bytes or of two int16
        tiles = single = count = 0
        for at, size in self._watched:
            sources = records[:, at : at + size]
            count += sources.size // 4
            tiles += int(np.count_nonzero(sources.view(np.uint32) != zero))
            if self._columns:
                single += int(np.count_nonzero(sources != zero & 0xFF))
        in_a_layer, core = count / len(records) / len(self._watched), self.target.core
        found: dict[Lists, float] = {"": core.most_busy - core.few / in_a_layer**2, "tiles": tiles / count}
        if self._columns:
            of_a_tile, more = core.batch_columns
            found["columns"] = (single / count + more / in_a_layer) / of_a_tile
        return min(found, key=lambda lists: found[lists])

    def named(self, arrays: list[npt.NDArray[np.int32]]) -> list[dict[str, npt.NDArray[np.int32]]]:
        """One dict per layer, state -> array [..., units], of arrays in the order in which kernels list the states."""
        layers: dict[int, dict[str, npt.NDArray[np.int32]]] = {}
        for place, values in zip(self.packed.states, arrays, strict=True):
            moved = self._places[place.layer]
            layers.setdefault(place.layer, {})[place.state] = values[..., : place.units] if moved is None else values[..., moved]
        return [layers[k] for k in sorted(layers)]


@dataclass(frozen=True)
class Results:
    """What a run leaves. scores: int32 [sequences, outputs], or [rows, outputs] of every step; traces: each state, [rows, padded units]."""

    scores: npt.NDArray[np.int32]
    traces: list[npt.NDArray[np.int32]] | None


class _Scratch:
    """What a run of one thread needs besides its results. records, inputs: addresses."""

    def __init__(self, prepared: Prepared):
        block = prepared.target.core.block
        inputs = block * (prepared.chunk * prepared.inputs * prepared.target.source_bytes + LINE)
        self.memory, self._inputs = aligned(block * len(prepared.packed.initial)), aligned(inputs)
        self.records, self.inputs = self.memory.ctypes.data, self._inputs.ctypes.data


def leaves_out_zeros(layer: IntegerRecurrent, target: Target) -> bool:
    """Whether one sequence of a layer is multiplied without the tiles of zeros behind threshold gates."""
    schedule = plan(layer)
    tiles = -(-layer.units // target.tile_sources)
    if listed_segment(schedule) is not None:
        return tiles >= target.core.listed_tiles
    behind = any(is_behind_gate(schedule, k) for k in range(len(schedule.segments)))
    return not target.instructions.offset and behind and tiles >= ASKED_UNITS // target.tile_sources


def _watched(structure: Structure, packed: Packed) -> list[tuple[int, int]]:
    """(offset in a record, bytes) of the tiles that batches may leave out."""
    listed = [(k, layer.listed) for k, layer in enumerate(structure.layers) if layer.listed is not None]

    def slot(name: str) -> int:
        at = structure.slot(name)
        return int(packed.model[at : at + 8].view(np.int64)[0])

    return [
        (slot(f"{k}.segments") + half * slot(f"{k}.half_bytes") + segment * slot(f"{k}.segment_bytes"), 4 * slot(f"{k}.unit_tiles"))
        for k, segment in listed
        for half in (0, 1)
    ]
