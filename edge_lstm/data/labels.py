"""From label texts to class numbers."""

from __future__ import annotations

from collections.abc import Iterable


def class_order(texts: Iterable[str]) -> tuple[str, ...]:
    """The distinct texts, sorted: as numbers when all of them are whole numbers ("2" before "10"). "" (no label) is left out."""
    distinct = {text for text in texts if text}
    try:
        return tuple(sorted(distinct, key=lambda text: (int(text), text)))
    except ValueError:
        return tuple(sorted(distinct))
