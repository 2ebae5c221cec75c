"""Random integer dataflows, beyond any cell: every operator, rows on rows, nested selects, gates that are constant by proof."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_networks import random_integer

from edge_lstm.fixed_point.bounds import INT32, op_interval, prove
from edge_lstm.fixed_point.integer_network import CODES, IntegerNetwork, IntegerRecurrent, IntegerRow, IntOp, StateFormat

INPUTS, UNITS, OPERATORS = 3, 5, 40
STATES = (("h", 8, 127), ("c", 16, 32767), ("s", 16, 120), ("d", 32, 2**20))


class RandomLayer:
    """Draws operators one by one and keeps those whose worst case fits 32 bits."""

    def __init__(self, rng: np.random.Generator, inputs: int):
        self.rng, self.inputs, self.ops, self.intervals = rng, inputs, [], []
        self.rows, self.vectors, self.tables = {}, {}, {}
        states = tuple(StateFormat(n, b, lim, 1.0, 0, rng.integers(-lim, lim + 1, UNITS).astype(np.int32)) for n, b, lim in STATES)
        parts = (self.rows, self.vectors, self.tables, states)
        self.layer = IntegerRecurrent("random", {}, ("y = random(x)",), (), *parts, 0, 1.0, np.ones(inputs))

    def emit(self, code: str, *args: int, name: str = "", numbers: tuple[int, ...] = ()) -> int | None:
        op = IntOp(code, args, name, numbers)
        result, widest = op_interval(op, self.layer, [self.intervals[a] for a in args])
        if max(-widest[0].min(), widest[1].max()) > INT32:
            return None
        self.ops.append(op)
        self.intervals.append(result)
        return len(self.ops) - 1

    def any(self) -> int:
        """An operator, preferably one of the last: long chains are what makes passes and nesting."""
        recent = max(0, len(self.ops) - 7) if self.rng.random() < 0.8 else 0
        return int(self.rng.integers(recent, len(self.ops)))

    def within(self, index: int, limit: int) -> int:
        low, high = self.intervals[index]
        return index if max(-low.min(), high.max()) <= limit else self.emit("clip", index, numbers=(-limit, limit))

    def draw(self, code: str) -> None:
        rng, name = self.rng, f"{code}{len(self.ops)}"
        if code == "state":
            self.emit("state", name=str(rng.choice([s[0] for s in STATES])))
        elif code == "vector":
            value = rng.integers(-300, 300, UNITS) if rng.random() < 0.7 else np.full(UNITS, rng.integers(-2, 3))
            self.vectors[name] = value.astype(np.int32)
            self.emit("vector", name=name)
        elif code == "row":
            count = rng.integers(0, 3)
            sources = [self.emit("state", name="h") if rng.random() < 0.5 else self.within(self.any(), 127) for _ in range(count)]
            W = rng.integers(-127, 128, (UNITS, self.inputs)).astype(np.int8) if rng.random() < 0.8 else None
            R = tuple(rng.integers(-127, 128, (UNITS, UNITS)).astype(np.int8) for _ in sources)
            bias = rng.integers(-3000, 3000, UNITS) if rng.random() < 0.8 else np.full(UNITS, 10**6)
            self.rows[name] = IntegerRow(name, W, R, bias.astype(np.int32), int(rng.integers(0, 4)), np.ones(UNITS))
            self.emit("row", *sources, name=name)
        elif code == "select":
            gate = self.emit("positive", self.any())
            if rng.random() < 0.3:
                gate = self.emit("complement", gate, numbers=(1,))
            self.emit("select", gate, self.any())
        elif code == "interpolate":
            self.tables[name] = rng.integers(-32767, 32768, 17).astype(np.int16)
            self.emit(code, self.any(), name=name, numbers=(int(rng.integers(0, 12)), int(rng.integers(0, 9))))
        elif code == "rescale":
            limit = rng.integers(1, 2**16, UNITS)
            self.vectors[f"{name}.limit"], self.vectors[f"{name}.multiplier"] = limit.astype(np.int32), (2**30 // limit).astype(np.int32)
            self.emit(code, self.any(), name=name, numbers=(int(rng.integers(0, 20)),))
        else:
            numbers = {
                "complement": (int(rng.integers(1, 40000)),), "offset": (int(rng.integers(-40000, 40000)),),
                "multiply": (int(rng.integers(0, 16)),), "shift": (int(rng.integers(0, 12)),), "raise": (int(rng.integers(0, 8)),),
                "clip": tuple(sorted(rng.integers(-50000, 50000, 2).tolist())),
            }.get(code, ())  # fmt: skip
            self.emit(code, *(self.any() for _ in range(2 if code in ("add", "subtract", "multiply") else 1)), numbers=numbers)

    def build(self) -> IntegerRecurrent:
        self.draw("state")
        while len(self.ops) < OPERATORS:
            self.draw(str(self.rng.choice([*CODES, "row", "select", "select", "state"])))
        updates = {name: self.within(self.any(), limit) for name, _, limit in STATES}
        output = updates["h"] if self.rng.random() < 0.5 else self.within(self.any(), 127)
        states = tuple(replace(s, update=updates[s.name]) for s in self.layer.states)
        layer = replace(self.layer, ops=tuple(self.ops), states=states, output=output)
        prove(layer)
        return layer


def random_dataflow(seed: int) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    network = random_integer(rng, "rnn", INPUTS, UNITS, read_out=("last", "mean", "every")[seed % 3], layers=2)
    return replace(network, layers=(RandomLayer(rng, INPUTS).build(), RandomLayer(rng, UNITS).build(), *network.layers[2:]))
