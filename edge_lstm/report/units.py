"""Numbers with units, as people read them."""

from __future__ import annotations


def seconds(value: float, digits: int = 2) -> str:
    """A time with its unit and about three significant digits: "412 ns", "3.07 µs", "1.2 s". digits: decimals below 10."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9995:
            return _number(value / size, digits) + f" {unit}"
    return f"{_number(value / 1e-9, digits)} ns"


def _number(value: float, digits: int) -> str:
    decimals = digits if value < 9.995 else max(digits - 1, 0) if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def size(count: int) -> str:
    """Bytes: "212 bytes" below 1024, else in KB of 1024 bytes."""
    return f"{count} bytes" if count < 1024 else f"{count / 1024:.1f} KB"


def count(value: int) -> str:
    """A whole number with thin thousands: "1,234,567"."""
    return f"{value:,}"


def percent(fraction: float, decimals: int = 0) -> str:
    """A fraction as per cent."""
    return f"{100 * fraction:.{decimals}f} %"
