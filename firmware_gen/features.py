"""The feature program of a front end as C: one function from the block sums of the channels to the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_lstm.features import FeatureOp, Features
from firmware_gen.tables import Tables

TITLES = {
    "channels": "v{k} = channels {numbers}",
    "average": "v{k} = average of v{a} with weight 2^-{numbers}, beginning at its first value",
    "subtract": "v{k} = v{a} - v{b}",
    "difference": "v{k} = v{a} - v{a} a step before, beginning with 0",
    "magnitude": "v{k} = |v{a}|, by p - p/8 + q/2 of the larger p and the smaller q",
    "compand": "v{k} = companded v{a}: linear below {knee}, logarithmic above",
}


@dataclass(frozen=True)
class FeaturesText:
    """body: lines of the function; memories: (name, width, meaning) of the int32 arrays in the state; locals: bytes of its local arrays;
    uses: which helper functions it needs."""

    body: tuple[str, ...]
    memories: tuple[tuple[str, int, str], ...]
    local_bytes: int
    uses: frozenset[str]


def features_text(features: Features, prefix: str, source: str, tables: Tables) -> FeaturesText:
    """source: the parameter that holds the block sums, or the counts where a step is one sample."""
    return _Writer(features, prefix, source, tables).text()


def title(features: Features, index: int) -> str:
    """One operator in words."""
    op = features.ops[index]
    a, b = (op.args[0], op.args[-1]) if op.args else (0, 0)
    knee = 2 ** op.numbers[0] if op.code == "compand" else 0
    return TITLES[op.code].format(k=index, numbers=", ".join(map(str, op.numbers)), a=a, b=b, knee=knee)


class _Writer:
    def __init__(self, features: Features, prefix: str, source: str, tables: Tables):
        self.features, self.p, self.source, self.tables = features, prefix, source, tables
        starts = np.cumsum([0, *(features.widths[k] for k in features.outputs)])
        self.places = {k: int(start) for k, start in zip(reversed(features.outputs), reversed(starts[:-1]), strict=True)}
        self.lines: list[str] = []
        self.local_bytes = 0

    def text(self) -> FeaturesText:
        live = self._live()
        for index in live:
            self._write(index, self.features.ops[index])
        for position, index in enumerate(self.features.outputs):  # an output that is listed twice, and channels
            place = int(sum(self.features.widths[k] for k in self.features.outputs[:position]))
            if place != self.places[index] or self.features.ops[index].code == "channels":
                self._loop(self.features.widths[index], [f"f[{_at(place)}] = {self._value(index, 'k')};"])
        kept = [k for k in self.features.remembering if k in live]
        memories = tuple((f"{self.features.ops[k].code}{k}", self.features.widths[k], _meaning(self.features, k)) for k in kept)
        return FeaturesText(tuple(self.lines), memories, self.local_bytes, frozenset(self.features.ops[k].code for k in live))

    def _live(self) -> list[int]:
        """The operators that an output depends on."""
        live = set(self.features.outputs)
        for index in reversed(range(len(self.features.ops))):
            if index in live:
                live.update(self.features.ops[index].args)
        return sorted(live)

    def _value(self, index: int, k: str) -> str:
        """Element k of a value."""
        op = self.features.ops[index]
        if op.code == "channels":
            if op.numbers == tuple(range(op.numbers[0], op.numbers[0] + len(op.numbers))):
                return f"{self.source}[{_at(op.numbers[0], k)}]"
            return f"{self.source}[{self._channel_table(op)}[{k}]]"
        return f"f[{_at(self.places[index], k)}]" if index in self.places else f"v{index}[{k}]"

    def _channel_table(self, op: FeatureOp) -> str:
        return self.tables.add(("input_channels",), np.array(op.numbers), "channels of a vector", at_least="int16_t")

    def _write(self, index: int, op: FeatureOp) -> None:
        if op.code == "channels":
            return
        width = self.features.widths[index]
        if index not in self.places:
            self.lines.append(f"int32_t v{index}[{width}];")
            self.local_bytes += 4 * width
        result, argument = self._value(index, "k"), self._value(op.args[0], "k")
        memory = f"state->{op.code}{index}[k]"
        self.lines.append(f"/* {title(self.features, index)} */")
        if op.code == "average":
            shift = op.numbers[0]
            body = [
                "if (!state->started) {", f"    {memory} = {argument} * ((int32_t)1 << {shift});", "}",
                f"{memory} = {memory} - {self.p}_round({memory}, {shift}) + {argument};", f"{result} = {self.p}_round({memory}, {shift});",
            ]  # fmt: skip
        elif op.code == "difference":
            body = [f"{result} = state->started ? {argument} - {memory} : 0;", f"{memory} = {argument};"]
        elif op.code == "subtract":
            body = [f"{result} = {argument} - {self._value(op.args[1], 'k')};"]
        elif op.code == "compand":
            knee, bits, *knots = op.numbers
            table = self.tables.add(("input_curve",), np.array(knots), "knots of the companding curve", at_least="int16_t")
            largest = (1 << (knee + ((len(knots) - 1) >> bits))) - 1
            body = [f"{result} = {self.p}_compand({argument}, {table}, {largest}, {knee}, {bits});"]
        else:
            body = [f"m = {self.p}_longer(m, {self.p}_magnitude({argument}));"]
            self.lines += ["{", "    int32_t m = 0;"]
            self._loop(self.features.widths[op.args[0]], body, "    ")
            self.lines += [f"    {self._value(index, '0')} = m;", "}"]
            return
        self._loop(width, body)

    def _loop(self, width: int, body: list[str], indent: str = "") -> None:
        lines = [f"for (uint_fast8_t k = 0; k < {width}; k++) {{", *(f"    {line}" for line in body), "}"]
        self.lines += [indent + line for line in lines]


def _at(start: int, k: str = "k") -> str:
    if k.isdigit():
        return str(start + int(k))
    return f"{k} + {start}" if start else k


def _meaning(features: Features, index: int) -> str:
    op = features.ops[index]
    return f"v{op.args[0]} averaged, in units of 2^-{op.numbers[0]}" if op.code == "average" else f"v{op.args[0]} of the step before"
