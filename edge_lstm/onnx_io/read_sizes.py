"""Sizes of axes that are known only as symbols: polynomials over names such as `batch` and `time`.

Exporters compute shapes inside the graph (Shape, Gather, Mul, Concat ...). Doing the same arithmetic on symbols folds all of it away, so
that a graph with dynamic axes reads like one with fixed axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_lstm.onnx_io.read_refusals import Refusal

Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Symbolic:
    """A sum of products of axis sizes, at least one of them unknown. terms: (sorted names, coefficient), sorted, no zero coefficient."""

    terms: tuple[tuple[Monomial, int], ...]

    def _combine(self, other: object, sign: int) -> Size:
        total = dict(self.terms)
        for names, factor in _terms(other).items():
            total[names] = total.get(names, 0) + sign * factor
        return _size(total)

    def __add__(self, other: object) -> Size:
        return self._combine(other, 1)

    def __sub__(self, other: object) -> Size:
        return self._combine(other, -1)

    def __neg__(self) -> Size:
        return _size({names: -factor for names, factor in self.terms})

    def __rsub__(self, other: object) -> Size:
        return Symbolic(tuple((names, -factor) for names, factor in self.terms))._combine(other, 1)

    def __mul__(self, other: object) -> Size:
        total: dict[Monomial, int] = {}
        for mine, a in self.terms:
            for theirs, b in _terms(other).items():
                names = tuple(sorted(mine + theirs))
                total[names] = total.get(names, 0) + a * b
        return _size(total)

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Size:
        """The exact quotient by a single product. Raises Refusal where it leaves a rest that depends on the symbols."""
        divisor = _terms(other)
        if len(divisor) != 1:
            raise Refusal(f"the size {self} // {other} depends on the input")
        (names, factor), quotient = next(iter(divisor.items())), {}
        for mine, a in self.terms:
            rest = list(mine)
            for name in names:
                if name not in rest:
                    raise Refusal(f"the size ({self}) // ({other}) depends on the input")
                rest.remove(name)
            if a % factor:
                raise Refusal(f"the size ({self}) // ({other}) depends on the input")
            quotient[tuple(rest)] = a // factor
        return _size(quotient)

    def __rfloordiv__(self, other: object) -> Size:
        raise Refusal(f"the size {other} // ({self}) depends on the input")

    @property
    def smallest(self) -> int | None:
        """The value when every unknown size is 1, which no other sizes can fall below; None where a term is subtracted."""
        return sum(factor for _, factor in self.terms) if all(factor > 0 or not names for names, factor in self.terms) else None

    def __str__(self) -> str:
        products = ["*".join(([str(factor)] if factor != 1 or not names else []) + list(names)) for names, factor in self.terms]
        return " + ".join(products)

    __repr__ = __str__


Size = int | Symbolic


def symbol(name: str) -> Symbolic:
    """The unknown size called `name`."""
    return Symbolic((((name,), 1),))


def product(sizes: Iterable[Size]) -> Size:
    """Product of the sizes; 1 when there are none."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def _terms(value: object) -> Mapping[Monomial, int]:
    if isinstance(value, Symbolic):
        return dict(value.terms)
    number = int(value)  # type: ignore[call-overload]
    return {(): number} if number else {}


def _size(terms: Mapping[Monomial, int]) -> Size:
    kept = {names: factor for names, factor in terms.items() if factor}
    if all(names == () for names in kept):
        return kept.get((), 0)
    return Symbolic(tuple(sorted(kept.items())))
