"""What a command shows: results on stdout, as text or as JSON; notes and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edge_lstm.jobs.progress import Progress


_RULE = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


def console(stderr: bool = False) -> Console:
    """A Rich console. Numbers and paths are left as they are: colour is for what a command marks itself."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line for people, beside the result."""
    sys.stderr.write(text + "\n")


def line(text: str = "") -> None:
    """One line of the result."""
    sys.stdout.write(text + "\n")


def as_json(value: Any) -> None:
    """The result as one JSON document on one line. NaN is refused by json, since it is no JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    utf = (sys.stdout.encoding or "").lower().startswith("utf")  # in any other encoding machines could not tell what it is
    line(text if utf and showable(text) else json.dumps(value, allow_nan=False, default=_plain))


def showable(text: str) -> bool:
    """Whether the encoding of stdout has all characters of the text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays, and paths, as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def table(*columns: str, numbers: int = 0) -> Table:
    """A borderless table; the last `numbers` columns are right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index >= len(columns) - numbers else "left")
    return made


def long_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> None:
    """The same for thousands of rows, whatever the width of the terminal: Rich takes half a second for a thousand of them."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    left = len(columns) - numbers
    rule = _RULE if showable(_RULE) else "-"
    for cells in (columns, [rule * width for width in widths], *rows):
        aligned = [cell.ljust(width) if k < left else cell.rjust(width) for k, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        line("   ".join(aligned).rstrip())


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """Progress bars on stderr; the context gives what jobs report to. Nothing is drawn where stderr is no terminal."""
    from edge_lstm.jobs.progress import silent

    if not (shown and sys.stderr.isatty()):
        yield silent
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[info]}"),
    )
    with Bars(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int, info: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, info=info)
            bars.update(tasks[what], completed=done, total=total, info=info)

        yield report
