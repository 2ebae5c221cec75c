"""A report as one HTML page that needs nothing beside it: style and drawings are inside, and it fetches nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files

from edge_lstm import __version__
from edge_lstm.files import write_text
from edge_lstm.report import plots, units
from edge_lstm.report.content import Report


def render(report: Report) -> str:
    """The page's HTML. Text that came from outside (names of models, classes, files) is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("edge_lstm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(seconds=units.seconds, size=units.size, count=units.count, percent=units.percent)
    style = files("edge_lstm.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        style=Markup(style),
        accuracy_plot=Markup(plots.accuracy_plot(report.accuracies)) if report.accuracies else "",
        latency_plot=Markup(plots.latency_plot(report.latencies)) if report.latencies and report.latencies.rows else "",
        rasters=[Markup(plots.gate_raster(gates)) for gates in report.gates],
        heat=heat,
        spread_note=spread_note,
    )


def write(report: Report, path: str | os.PathLike[str]) -> None:
    """Writes the page atomically. Raises EdgeLstmError when `path` cannot be written."""
    write_text(path, render(report))


def heat(counts: Iterable[int]) -> list[int]:
    """Per cent of its row's sum, for each count of a row: how strongly its cell is tinted."""
    row = list(counts)
    total = sum(row)
    return [round(100 * value / total) if total else 0 for value in row]


def spread_note(part: str, parts: int) -> str:
    """What the ± of an accuracy table is."""
    plural = "people" if part == "person" else f"{part}s"
    return f"± is the standard deviation over the {parts} {plural}" if parts > 1 else f"one {part}, so there is no spread to give"
