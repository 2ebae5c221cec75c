"""Writing LLVM code: addresses, memory, loops and branches. Vectors are `engine.code`.

Addresses are integers; callers guarantee that what they name is alive and large enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

_I32, _I64 = ir.IntType(32), ir.IntType(64)

Value = Any  # an llvmlite.ir.Value; llvmlite has no types
Body = Callable[[Value, list[Value]], Sequence[Value]]


class ControlCode:
    """Appends instructions to a function under construction. Addresses and counts are int64."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    # ---- scalars ----------------------------------------------------------------------------------------------------------

    @staticmethod
    def integer(value: int) -> ir.Constant:
        return ir.Constant(_I64, value)

    def _wide(self, value: Value | int) -> Value:
        return self.integer(value) if isinstance(value, int) else value

    def plus(self, *terms: Value | int) -> Value:
        total = self._wide(terms[0])
        for term in terms[1:]:
            if not (isinstance(term, int) and term == 0):
                total = self.builder.add(total, self._wide(term))
        return total

    def times(self, a: Value | int, b: Value | int) -> Value:
        return self.builder.mul(self._wide(a), self._wide(b))

    def minus(self, a: Value | int, b: Value | int) -> Value:
        return self.builder.sub(self._wide(a), self._wide(b))

    def quotient(self, a: Value, b: int) -> Value:
        """a / b for a that is not negative."""
        return self.builder.udiv(a, self.integer(b))

    def either(self, condition: Value, a: Value | int, b: Value | int) -> Value:
        """a where the condition, an int64, is not 0, else b."""
        return self.builder.select(self.builder.icmp_signed("!=", condition, self.integer(0)), self._wide(a), self._wide(b))

    def either_less(self, a: Value, b: int) -> Value:
        """1 where a < b, else 0."""
        return self.builder.zext(self.is_less(a, b), _I64)

    def is_zero(self, a: Value) -> Value:
        """One bit."""
        return self.builder.icmp_signed("==", a, self.integer(0))

    # ---- what LLVM is not to see through --------------------------------------------------------------------------------------

    def opaque(self, address: Value) -> Value:
        """The same address. Of addresses in loops within a loop LLVM else keeps one running copy for each, most of them in memory."""
        return self._same(address, "r")

    def rolled(self, address: Value) -> Value:
        """The same address; a loop that goes through here is not unrolled."""
        return self._same(address, "r", attrs=("convergent",))

    def whole(self, vector: Value) -> Value:
        """The same vector. What LLVM stores in parts it else makes part by part."""
        return self._same(vector, "v")

    def pinned(self, vector: Value) -> Value:
        """The same vector, computed here: LLVM else moves what makes it down to where it is read, and spills what that reads.

        What is loaded behind is loaded anew, too.
        """
        return self._same(vector, "v", side_effect=True)

    def _same(self, value: Value, register: str, side_effect: bool = False, attrs: Sequence[str] = ()) -> Value:
        function = ir.FunctionType(value.type, [value.type])
        return self.builder.call(ir.InlineAsm(function, "", f"={register},0", side_effect), [value], attrs=attrs)

    # ---- memory -----------------------------------------------------------------------------------------------------------

    def load(self, kind: Any, address: Value) -> Value:
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=1)

    def store(self, value: Value, address: Value) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=1)

    def load64(self, address: Value) -> Value:
        return self.load(_I64, address)

    def load_index(self, address: Value) -> Value:
        """The number that `store_index` stored."""
        return self.builder.zext(self.load(_I32, address), _I64)

    def upper_half(self, pair: Value) -> Value:
        """Bits 32 to 63 of an int64."""
        return self.builder.lshr(pair, self.integer(32))

    def store_index(self, index: Value, address: Value) -> None:
        self.store(self.builder.trunc(index, _I32), address)

    # ---- loops ------------------------------------------------------------------------------------------------------------

    def loop(self, count: Value, carried: Sequence[Value], body: Body) -> list[Value]:
        """Runs body(index, carried) -> carried `count` times; returns what it carried last (as given when count is 0)."""
        b = self.builder
        before = b.block
        head, done = b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed(">", count, self.integer(0)), head, done)
        b.position_at_end(head)
        index = b.phi(_I64)
        index.add_incoming(self.integer(0), before)
        phis = [b.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        renewed = body(index, list(phis))
        last = b.block
        following = b.add(index, self.integer(1))
        index.add_incoming(following, last)
        for phi, value in zip(phis, renewed, strict=True):
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", following, count), head, done)
        b.position_at_end(done)
        results = []
        for value, after in zip(carried, renewed, strict=True):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(after, last)
            results.append(phi)
        return results

    def where(self, condition: Value, carried: Sequence[Value], body: Callable[[], Sequence[Value]]) -> list[Value]:
        """What the body gives where the condition, one bit, holds; otherwise `carried`. A branch: the body's loads are left out too."""
        b = self.builder
        before = b.block
        inside, joined = b.append_basic_block("inside"), b.append_basic_block("joined")
        b.cbranch(condition, inside, joined)
        b.position_at_end(inside)
        renewed = body()
        last = b.block
        b.branch(joined)
        b.position_at_end(joined)
        results = []
        for value, other in zip(carried, renewed, strict=True):
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(other, last)
            results.append(phi)
        return results

    def is_positive(self, a: Value) -> Value:
        """One bit."""
        return self.builder.icmp_signed(">", a, self.integer(0))

    def is_less(self, a: Value, b: int) -> Value:
        """One bit."""
        return self.builder.icmp_signed("<", a, self.integer(b))

    def is_busy(self, address: Value, always: Value) -> Value:
        """Whether any of the 4 bytes of sources at an address is not zero, or `always` holds; one bit."""
        return self.builder.or_(self.builder.icmp_unsigned("!=", self.load(_I32, address), ir.Constant(_I32, 0)), always)
