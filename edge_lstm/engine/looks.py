"""What is read from records between steps: the last layer's output, sources as numbers, and states into arrays.

As in `engine.sweeps`, each is a Numba intrinsic for one structure.
"""

from __future__ import annotations

from typing import Any

from edge_lstm.engine.code import Code
from edge_lstm.engine.control_code import Value
from edge_lstm.engine.layout import LANES, LINE, Structure, Target
from edge_lstm.engine.packed_words import PackedWords
from edge_lstm.engine.sweeps import Walk, as_intrinsic


def output_place(structure: Structure, target: Target) -> Any:
    """(model, parity) -> offset in a record of the last layer's output; parity: of the number of steps made."""

    def emit(code: Code, model: Value, parity: Value) -> Value:
        return Walk(code, structure, target, model).output(len(structure.layers) - 1, parity)

    return as_intrinsic(2, emit, target)


def source_to_int32(target: Target, add: bool) -> Any:
    """(source, values, groups): writes sources as int32 values, or adds them to what is there."""

    def emit(code: Code, source: Value, values: Value, groups: Value) -> None:
        def body(group: Value, _: list[Value]) -> list[Value]:
            lanes = code.source_lanes(code.plus(source, code.times(group, LANES * target.source_bytes)))
            at = code.plus(values, code.times(group, LINE))
            code.store(code.add(code.lanes_at(at), lanes) if add else lanes, at)
            return []

        code.loop(groups, [], body)

    return as_intrinsic(3, emit, target)


def trace(structure: Structure, target: Target, in_words: bool = False) -> Any:
    """(model, record, parity, table, index): copies the states of a record after a step into int32 arrays [index, padded units].

    table: addresses of the arrays, one for each state of each layer; parity: of the step, as in `advance`; in_words: as of `Tile`, parity
    is then more by 2 for the second record of two, where the structure steps in pairs.
    """

    def emit(code: Code, model: Value, record: Value, parity: Value, table: Value, index: Value) -> None:
        stack = Walk(code, structure, target, model)
        position = 0
        in_pairs = in_words and structure.steps_in_pairs
        if in_pairs:
            odd = code.quotient(parity, 2)
            parity = code.minus(parity, code.times(odd, 2))
            pair = code.minus(record, code.times(odd, stack.slot("record")))
        for k, layer in enumerate(structure.layers):
            following = code.plus(record, stack.segments(k, code.minus(1, parity)))
            units, groups = code.plus(record, stack.slot(f"{k}.units")), stack.slot(f"{k}.groups")
            for name in layer.plan.updates:
                to = code.plus(code.load64(code.plus(table, 8 * position)), code.times(index, code.times(groups, LINE)))
                position += 1
                if in_pairs and name in layer.word_states:
                    first = code.plus(pair, stack.slot(f"{k}.units"), LINE * layer.unit_names.index(f"state {name}"))
                    _copy_words(code, first, LINE * len(layer.unit_names), odd, to, groups)
                elif name in layer.plan.stored:
                    at = code.plus(units, LINE * layer.unit_names.index(f"state {name}"))
                    _copy(code, at, LINE * len(layer.unit_names), to, groups, 0)
                else:
                    segment = code.times(stack.slot(f"{k}.segment_bytes"), layer.plan.in_segment[name])
                    _copy(code, code.plus(following, segment), LANES * target.source_bytes, to, groups, target.source_bytes)

    return as_intrinsic(5, emit, target)


def _copy(code: Code, at: Value, step: int, to: Value, groups: Value, source_bytes: int) -> None:
    """Copies the lanes of each group, `step` bytes apart, to one array; source_bytes: how they are kept, 0 for int32."""

    def body(group: Value, _: list[Value]) -> list[Value]:
        address = code.plus(at, code.times(group, step))
        lanes = code.source_lanes(address) if source_bytes else code.lanes_at(address)
        code.store(lanes, code.plus(to, code.times(group, LINE)))
        return []

    code.loop(groups, [], body)


def _copy_words(code: Code, at: Value, step: int, odd: Value, to: Value, groups: Value) -> None:
    """The same for one of the two sequences whose words lie there."""

    def body(group: Value, _: list[Value]) -> list[Value]:
        PackedWords(code).copy_lanes(code.plus(at, code.times(group, step)), odd, code.plus(to, code.times(group, LINE)))
        return []

    code.loop(groups, [], body)
