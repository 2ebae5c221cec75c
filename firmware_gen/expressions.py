"""The operators as C expressions: one table from operator code to text. Everything else about the generated step is in `layers.py`.

An expression carries its precedence, so that parentheses stand only where C needs them. All arithmetic is on int32_t, also where int has
16 bits: each leaf is an int32_t or a constant, and constants that need more than 16 bits are of type long there by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_lstm.fixed_point.integer_network import IntegerRecurrent, IntOp
from firmware_gen.tables import Tables

CHOICE, CONDITION, SUM, PRODUCT, UNARY, ATOM = range(6)  # precedence, loosest first


@dataclass(frozen=True)
class Expression:
    """C text of an int32_t value (a truth value where precedence is CONDITION and the operator is `positive`)."""

    text: str
    precedence: int = ATOM

    def within(self, precedence: int) -> str:
        """The text as an operand of an operator of this precedence."""
        return self.text if self.precedence >= precedence else f"({self.text})"


@dataclass(frozen=True)
class LayerNames:
    """Where the expressions of one layer find their constants. row_of: name of the row that feeds an operator, for readable names;
    clamps: rescaling -> its limit, where one serves all units."""

    layer: IntegerRecurrent
    tables: Tables
    infix: str
    row_of: Callable[[IntOp], str]
    clamps: Mapping[str, int]

    def add(self, names: tuple[str, ...], values: np.ndarray, comment: str, at_least: str = "int8_t") -> str:
        return self.tables.add(tuple(self.infix + name for name in names), values, comment, at_least=at_least)

    def per_unit(self, name: str, readable: str, comment: str) -> str:
        """Element u of the layer's vector `name`, or the number itself where all units share it."""
        values = self.layer.vectors[name]
        if (values == values[0]).all():
            return number(int(values[0])).within(ATOM)
        table = self.add((readable, name), values, f"[units] {comment}")
        return f"{table}[u]"


def number(value: int) -> Expression:
    """A constant."""
    return Expression(str(value), ATOM if value >= 0 else SUM)


def _sum(a: Expression, sign: str, b: Expression) -> Expression:
    return Expression(f"{a.within(SUM)} {sign} {b.within(PRODUCT)}", SUM)


def _call(names: LayerNames, helper: str, *arguments: object) -> Expression:
    return Expression(f"{names.tables.prefix}_{helper}({', '.join(map(str, arguments))})")


def _offset(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    return _sum(a[0], "+" if op.numbers[0] >= 0 else "-", number(abs(op.numbers[0])))


def _select(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    return Expression(f"{condition(a[0])} ? {a[1].within(SUM)} : 0", CHOICE)


def _multiply(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    product = Expression(f"{a[0].within(PRODUCT)} * {a[1].within(UNARY)}", PRODUCT)
    return _call(names, "round", product.text, op.numbers[0]) if op.numbers[0] else product


def _rescale(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    row = names.row_of(op)
    limit: object = names.clamps.get(op.name)
    if limit is None:
        limit = names.per_unit(op.name + ".limit", f"{row}_limit", f"rescaling of {row}: clamp before the multiplication")
    multiplier = names.per_unit(op.name + ".multiplier", f"{row}_multiplier", f"rescaling of {row}: factor * 2^{op.numbers[0]}")
    return _call(names, "rescale", a[0].text, limit, multiplier, op.numbers[0])


def _interpolate(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    knots = names.layer.tables[op.name]
    segment_shift, out_shift = op.numbers
    kind = op.name.strip("_").partition("_")[2] or op.name
    comment = f"curve {op.name}: {len(knots) - 1} segments of width 2^{segment_shift}"
    table = names.add((kind, op.name), knots, comment, at_least="int16_t")
    return _call(names, "curve", a[0].text, table, len(knots) - 1, segment_shift, out_shift)


def _vector(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    text = names.per_unit(op.name, op.name, f"parameter {op.name}")
    return Expression(f"(int32_t){text}", UNARY) if text.endswith("[u]") else Expression(text)


def _shift(op: IntOp, a: list[Expression], names: LayerNames) -> Expression:
    return _call(names, "round", a[0].text, op.numbers[0]) if op.numbers[0] else a[0]


EXPRESSION: dict[str, Callable[[IntOp, list[Expression], LayerNames], Expression]] = {
    "vector": _vector,
    "positive": lambda op, a, names: Expression(f"{a[0].within(SUM)} > 0", CONDITION),
    "select": _select,
    "add": lambda op, a, names: _sum(a[0], "+", a[1]),
    "subtract": lambda op, a, names: _sum(a[0], "-", a[1]),
    "complement": lambda op, a, names: _sum(number(op.numbers[0]), "-", a[0]),
    "offset": _offset,
    "clip": lambda op, a, names: _call(names, "clip", a[0].text, *op.numbers),
    "rescale": _rescale,
    "multiply": _multiply,
    "shift": _shift,
    # Not <<, which C leaves undefined for negative numbers.
    "raise": lambda op, a, names: Expression(f"{a[0].within(PRODUCT)} * {2 ** op.numbers[0]}", PRODUCT),
    "interpolate": _interpolate,
}


def condition(value: Expression) -> str:
    """The text of a value as a condition."""
    return value.text if value.precedence == CONDITION else f"{value.within(SUM)} != 0"


def as_number(value: Expression) -> Expression:
    """A truth value as an operand of arithmetic."""
    return Expression(f"(int32_t)({value.text})", UNARY) if value.precedence == CONDITION else value
