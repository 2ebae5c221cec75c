"""Symbolic vectors: what one step of an unrolled network computes, in a normal form in which equal formulas are equal.

A vector [width] is   sum_s M_s s  +  sum_k a_k (u v ...)_k   with
    sources s   whole vectors that a matrix multiplies: the input of a step, or the state of an earlier one
    atoms u, v  elementwise factors: an activation of a vector, or a vector that is kept as one symbol
Products are multiplied out, and a vector of an earlier step is always one symbol, so that f c + i g and n + z (h - n) look the same
however the exporter wrote them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation
from edge_lstm.onnx_io.read_refusals import Refusal

Float64Array = npt.NDArray[np.float64]
Monomial = tuple[int, ...]
_MOST_TERMS = 16
_DECIMALS = 9  # formulas that an exporter has folded in another order differ in the last bits


@dataclass(frozen=True, eq=False)
class Vector:
    """linear: source -> matrix [width, width of the source]; terms: sorted atoms -> coefficient [width]; () is the constant."""

    width: int
    linear: Mapping[int, Float64Array] = field(default_factory=dict)
    terms: Mapping[Monomial, Float64Array] = field(default_factory=dict)

    @property
    def is_constant(self) -> bool:
        return not self.linear and set(self.terms) <= {()}

    @property
    def is_linear(self) -> bool:
        """Whether it is a matrix product plus a constant."""
        return set(self.terms) <= {()}

    @property
    def bias(self) -> Float64Array:
        return self.terms.get((), np.zeros(self.width))


@dataclass(frozen=True, eq=False)
class Atom:
    """What a number stands for. level: the last step it depends on, -1 for none; value: the vector inside; activation: applied to it.

    An atom without a value is the input of step `level`; one with a value and no activation is that vector as one symbol.
    """

    level: int
    value: Vector | None = None
    activation: Activation | None = None


class Vectors:
    """The atoms of one graph, each stored once, and the algebra on vectors over them."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self._numbers: dict[object, int] = {}

    def level(self, v: Vector) -> int:
        """The last step that the vector depends on; -1 for a constant."""
        numbers = {*v.linear, *(atom for monomial in v.terms for atom in monomial)}
        return max((self.atoms[number].level for number in numbers), default=-1)

    def digest(self, v: Vector) -> tuple[object, ...]:
        """Equal for equal formulas."""

        def content(array: Float64Array) -> bytes:
            return bytes((np.round(array, _DECIMALS) + 0.0).tobytes())

        linear = tuple(sorted((number, content(matrix)) for number, matrix in v.linear.items()))
        return v.width, linear, tuple(sorted((monomial, content(factor)) for monomial, factor in v.terms.items()))

    def _number(self, key: object, atom: Atom) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.atoms)
            self.atoms.append(atom)
        return self._numbers[key]

    def input(self, name: tuple[object, ...], step: int, width: int) -> Vector:
        """The input of a step as a vector."""
        return Vector(width, {self._number(("input", name, step), Atom(step)): np.eye(width)})

    def unknown(self, name: tuple[object, ...], step: int, width: int) -> Vector:
        """A vector of step `step` of which nothing is known: one symbol."""
        return self.state(self._number(("unknown", name, step), Atom(step)), width)

    def symbol(self, v: Vector) -> int:
        """The vector as one symbol."""
        if not v.linear and len(v.terms) == 1:
            (monomial, factor), *_ = v.terms.items()
            if len(monomial) == 1 and (factor == 1).all() and self.atoms[monomial[0]].activation is None:
                return monomial[0]
        return self._number(("vector", self.digest(v)), Atom(self.level(v), v))

    def state(self, number: int, width: int) -> Vector:
        """The vector that is nothing but the symbol."""
        return Vector(width, {}, {(number,): np.ones(width)})

    def _settled(self, v: Vector, level: int) -> Vector:
        """A vector of an earlier step than `level` as one symbol; constants and plain matrix products stay."""
        if v.is_linear or not -1 < self.level(v) < level:
            return v
        return self.state(self.symbol(v), v.width)

    def add(self, a: Vector, b: Vector, sign: float = 1.0) -> Vector:
        """a + sign * b."""
        _check(a, b)
        level = max(self.level(a), self.level(b))
        a, b = self._settled(a, level), self._settled(b, level)
        linear = dict(a.linear)
        for number, matrix in b.linear.items():
            linear[number] = linear[number] + sign * matrix if number in linear else sign * matrix
        terms = dict(a.terms)
        for monomial, factor in b.terms.items():
            terms[monomial] = terms[monomial] + sign * factor if monomial in terms else sign * factor
        return _cleaned(a.width, linear, terms)

    def scale(self, v: Vector, factor: Float64Array | float) -> Vector:
        """Elementwise product with constants. A product of 1 but for the rounding of float32, as 6 * (1 / 6), is 1."""
        numbers = np.broadcast_to(np.asarray(factor, np.float64), (v.width,))
        terms = {k: _near_one(numbers * a) if k else numbers * a for k, a in v.terms.items()}
        return _cleaned(v.width, {s: numbers[:, None] * m for s, m in v.linear.items()}, terms)

    def multiply(self, a: Vector, b: Vector) -> Vector:
        """Elementwise product, multiplied out."""
        _check(a, b)
        if a.is_constant or b.is_constant:
            return self.scale(b, a.bias) if a.is_constant else self.scale(a, b.bias)
        level = max(self.level(a), self.level(b))
        terms: dict[Monomial, Float64Array] = {}
        for left, x in self._factors(a, level).items():
            for right, y in self._factors(b, level).items():
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms[monomial] + x * y if monomial in terms else x * y
        if len(terms) > _MOST_TERMS:
            raise Refusal("multiplies out to a formula that is no known cell")
        return _cleaned(a.width, {}, terms)

    def _factors(self, v: Vector, level: int) -> Mapping[Monomial, Float64Array]:
        v = self._settled(v, level)
        return v.terms if not v.linear else {(self.symbol(v),): np.ones(v.width)}

    def product(self, v: Vector, W: Float64Array) -> Vector:
        """W v for a matrix W [outputs, width]."""
        if W.shape[1] != v.width:
            raise Refusal(f"multiplies a vector of {v.width} by weights for {W.shape[1]}")
        if v.is_linear:
            return _cleaned(len(W), {s: W @ m for s, m in v.linear.items()}, {(): W @ v.bias})
        return Vector(len(W), {self.symbol(v): W})

    def activate(self, v: Vector, activation: Activation) -> Vector:
        """An activation function of the vector."""
        if v.is_constant:
            return _cleaned(v.width, {}, {(): np.asarray(activation(v.bias))})
        number = self._number(("activation", activation, self.digest(v)), Atom(self.level(v), v, activation))
        return Vector(v.width, {}, {(number,): np.ones(v.width)})

    def part(self, v: Vector, rows: slice) -> Vector:
        """Some elements of the vector."""
        width = len(range(*rows.indices(v.width)))
        if width == v.width:
            return v
        terms = {tuple(sorted(self._atom_part(atom, rows) for atom in monomial)): a[rows] for monomial, a in v.terms.items()}
        found = _cleaned(width, {s: m[rows] for s, m in v.linear.items()}, terms)
        if len(found.linear) == 1 and not found.terms:
            (number, matrix), *_ = found.linear.items()
            inner = self.atoms[number].value
            if inner is not None and matrix.shape[0] == matrix.shape[1] and (matrix == np.eye(width)).all():
                return inner
        return found

    def _atom_part(self, number: int, rows: slice) -> int:
        atom = self.atoms[number]
        if atom.value is None:
            raise Refusal("takes elements of an input that is multiplied elementwise")
        inner = self.part(atom.value, rows)
        if atom.activation is None:
            return self.symbol(inner)
        return next(iter(self.activate(inner, atom.activation).terms))[0]

    def join(self, parts: Sequence[Vector]) -> Vector:
        """The vectors one behind the other."""
        linear: dict[int, Float64Array] = {}
        width = sum(v.width for v in parts)
        bias, first = np.zeros(width), 0
        for v in parts:
            rows = slice(first, first + v.width)
            sources = v.linear if v.is_linear else {self.symbol(v): np.eye(v.width)}
            for number, matrix in sources.items():
                linear.setdefault(number, np.zeros((width, matrix.shape[1])))[rows] += matrix
            bias[rows] = v.bias if v.is_linear else 0
            first += v.width
        return _cleaned(width, linear, {(): bias})


def _check(a: Vector, b: Vector) -> None:
    if a.width != b.width:
        raise Refusal(f"combines vectors of {a.width} and {b.width}")


def _near_one(factor: Float64Array) -> Float64Array:
    return np.where(np.abs(np.abs(factor) - 1) < 2.0**-23, np.sign(factor), factor)


def _cleaned(width: int, linear: Mapping[int, Float64Array], terms: Mapping[Monomial, Float64Array]) -> Vector:
    return Vector(width, {s: m for s, m in linear.items() if m.any()}, {k: a for k, a in terms.items() if a.any()})
