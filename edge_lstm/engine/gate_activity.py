"""How much of a recurrent layer's work its threshold gates and its zeros leave over: counted by running, not estimated.

Counting. One multiply-accumulate is one product of a row: a step of a layer has units * sum over rows (inputs of the row) of them. A
product is left over when

    its column is not zero   the element of x, or of the vector that the row reads, differs from 0 at this step, and
    its row is needed        the row's value reaches a new state, a row or the output by a way on which every select is open.

So a candidate row is lazy exactly where its input gate is closed. The share left is the number of products left over, divided by all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.engine import reference
from edge_lstm.engine.whole import run_normalized
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent

Int64Array = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
CHUNK = 1 << 14  # steps that are looked at together: bounds the memory, changes no count


@dataclass(frozen=True)
class LayerActivity:
    """Activity of one recurrent layer over all sequences, steps and units.

    open: threshold gate -> how often it is 1; constant: threshold gate -> number of units where it never changes;
    nonzero: how often the output is not 0; changed: how often it differs from the step before (from the reset value at the first);
    untouched: how often no state but the output moves; products_left: share of the multiply-accumulates left, see above;
    dead: number of units whose output is always 0; units, steps: what was looked at, steps summed over the sequences.
    """

    open: dict[str, float]
    constant: dict[str, int]
    nonzero: float
    changed: float
    untouched: float
    products_left: float
    dead: int
    units: int
    steps: int


def activity(network: IntegerNetwork, raw: npt.NDArray[np.integer]) -> tuple[LayerActivity, ...]:
    """The activity of every recurrent layer, in order, for int16 counts raw: [batch, samples, channels], from reset states.

    Raises EdgeLstmError as `engine.run` does, and for networks whose recurrent layers are not the first layers, one upon the other.
    """
    layers = [layer for layer in network.layers if isinstance(layer, IntegerRecurrent)]
    if tuple(network.layers[: len(layers)]) != tuple(layers) or len(layers) != len(network.recurrent) or any(k.reverse for k in layers):
        raise EdgeLstmError("activity is counted for stacked recurrent layers at the input; this network has others before or between")
    v = reference.normalize(network.normalize, np.asarray(raw))
    traces = run_normalized(network, v, states=True).states
    found = []
    for layer, trace in zip(layers, traces, strict=True):
        counts = _Counts(layer)
        per_chunk = max(1, CHUNK // v.shape[1])
        outputs = []
        for first in range(0, len(v), per_chunk):
            part = slice(first, first + per_chunk)
            outputs.append(counts.add(v[part], {state: values[part] for state, values in trace.items()}))
        found.append(counts.result())
        v = np.concatenate(outputs)
    return tuple(found)


def threshold_gates(layer: IntegerRecurrent) -> dict[str, int]:
    """Name -> operator of each value that is the sign of a row (with or without a peephole); named after the row.

    Where several signs are taken of one row (the two of a three-level gate, say), the later ones are numbered.
    """
    found: dict[str, int] = {}
    for index, op in enumerate(layer.ops):
        if op.code == "positive":
            base = next(iter(_rows_behind(layer, op.args[0])), f"operator {index}")
            names = [base, *(f"{base} {k}" for k in range(2, len(layer.ops)))]
            found[next(name for name in names if name not in found)] = index
    return found


def _rows_behind(layer: IntegerRecurrent, index: int) -> list[str]:
    op = layer.ops[index]
    return [op.name] if op.code == "row" else [name for a in op.args for name in _rows_behind(layer, a)]


class _Counts:
    def __init__(self, layer: IntegerRecurrent):
        self.layer = layer
        self.gates = threshold_gates(layer)
        self.opened = {gate: np.zeros(layer.units, np.int64) for gate in self.gates}
        self.outputs = np.zeros(layer.units, np.int64)
        self.steps = self.changed = self.untouched = self.left = self.all = 0

    def add(self, x: npt.NDArray[np.int8], trace: dict[str, npt.NDArray[np.int32]]) -> npt.NDArray[np.int8]:
        """Counts the steps of x: [batch, time, inputs] with the states [batch, time, units] after each; returns the outputs."""
        layer = self.layer
        before = {state: _shifted(trace[state], start[:1]) for state, start in reference.initial_state(layer, 1).items()}
        flat = {state: values.reshape(-1, layer.units) for state, values in before.items()}
        inputs = x.reshape(-1, x.shape[2]).astype(np.int64)
        after, output, values = reference.step(layer, inputs, flat)
        self.steps += len(inputs)
        for gate, index in self.gates.items():
            self.opened[gate] += values[index].sum(0)
        self.outputs += (output != 0).sum(0)
        sequences = output.reshape(*x.shape[:2], layer.units)
        self.changed += int((sequences != _shifted(sequences, self._first_output())).sum())
        others = [state.name for state in layer.states if state.update != layer.output] or [state.name for state in layer.states]
        self.untouched += int(np.all([after[state] == flat[state] for state in others], 0).sum())
        self._count_products(inputs, values)
        return sequences.astype(np.int8)

    def _first_output(self) -> Int64Array:
        """The output before the first step: the state that it renews, or 0 where it is no state."""
        for state in self.layer.states:
            if state.update == self.layer.output:
                return state.initial.astype(np.int64)[None]
        return np.zeros((1, self.layer.units), np.int64)

    def _count_products(self, inputs: Int64Array, values: list[Int64Array]) -> None:
        needed = _needed(self.layer, values)
        columns = (inputs != 0).sum(1)
        for index, op in enumerate(self.layer.ops):
            if op.code == "row":
                reads_input = self.layer.rows[op.name].W is not None
                width = (self.layer.inputs if reads_input else 0) + self.layer.units * len(op.args)
                nonzero = (columns if reads_input else 0) + sum((values[a] != 0).sum(1) for a in op.args)
                self.all += len(inputs) * self.layer.units * width
                self.left += int((needed[index].sum(1) * nonzero).sum())

    def result(self) -> LayerActivity:
        cells = self.steps * self.layer.units
        return LayerActivity(
            {gate: float(opened.sum() / cells) for gate, opened in self.opened.items()},
            {gate: int(((opened == 0) | (opened == self.steps)).sum()) for gate, opened in self.opened.items()},
            float(self.outputs.sum() / cells),
            self.changed / cells,
            self.untouched / cells,
            self.left / self.all,
            int((self.outputs == 0).sum()),
            self.layer.units,
            self.steps,
        )


def _shifted(values: npt.NDArray[np.integer], start: Int64Array) -> Int64Array:
    """values [batch, time, units] one step later, beginning with start [1, units]."""
    first = np.broadcast_to(start[:, None], (len(values), 1, values.shape[2]))
    return np.concatenate([first, values[:, :-1]], 1).astype(np.int64)


def _needed(layer: IntegerRecurrent, values: list[Int64Array]) -> list[Mask]:
    """For each operator [steps, units] whether its value is needed: whether a way without a closed select leads to a result."""
    needed = [np.zeros(value.shape, np.bool_) for value in values]
    for index in {state.update for state in layer.states} | {layer.output} | {a for op in layer.ops if op.code == "row" for a in op.args}:
        needed[index][:] = True
    for index in reversed(range(len(layer.ops))):
        op = layer.ops[index]
        if op.code == "select":
            switch, value = op.args
            needed[switch] |= needed[index]
            needed[value] |= needed[index] & (values[switch] != 0)
        elif op.code != "row":
            for a in op.args:
                needed[a] |= needed[index]
    return needed
