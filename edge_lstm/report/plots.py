"""Plots as inline SVG that follow the page's light or dark theme.

Matplotlib draws in placeholder colours; each is replaced by a CSS variable of the page, so that one drawing serves both themes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.report.content import Accuracies, Gates, Latencies
from edge_lstm.report.units import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Placeholder colour -> CSS variable of the page.
_THEME = {
    "#010203": "var(--text)",
    "#020304": "var(--muted)",
    "#030405": "var(--line)",
    "#040506": "var(--accent)",
    "#050607": "var(--other)",
    "#060708": "var(--panel)",
}
TEXT, MUTED, LINE, ACCENT, OTHER, PANEL = _THEME
WIDTH = 11.0  # inches: at the width of the page, a point of the drawing is then about 1.2 pixels
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the page's own font
    "svg.hashsalt": "edge-lstm",  # equal drawings give equal bytes
    "font.size": 10,
    "text.color": TEXT,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.labelcolor": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


def _figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, 1, squeeze=False, **options)[:, 0]
    for one in axes:
        one.patch.set_alpha(0)
    return figure, axes


def as_svg(figure: Figure, description: str) -> str:
    """The drawing as an <svg> element, in theme colours, as wide as its place on the page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    for placeholder, variable in _THEME.items():
        svg = svg.replace(placeholder, variable)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    svg = re.sub(r"(font: [\d.]+px) [^;\"]*", r"\1 var(--font)", svg)  # how releases before 3.10 say it
    svg = re.sub(r'(<svg [^>]*?)width="[\d.]+pt" height="[\d.]+pt"', r"\1", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)


def styled(colours: Mapping[str, str] | None = None) -> Any:
    """The style of all plots; colours: real colours for placeholders, where a drawing is no part of a page."""
    from matplotlib import rc_context

    return rc_context({key: (colours or {}).get(value, value) if isinstance(value, str) else value for key, value in _STYLE.items()})


def accuracy_plot(accuracies: Accuracies) -> str:
    """One row a variant: a dot for each part, a bar at the mean."""
    variants = list(accuracies.variants)
    with styled():
        figure, (axes,) = _figure(WIDTH, 0.7 + 0.42 * len(variants))
        for row, variant in enumerate(variants):
            colour = ACCENT if variant.main else OTHER
            parts = 100 * np.array(variant.accuracy.parts)
            axes.scatter(parts, np.full(len(parts), row), s=34, color=colour, alpha=0.45, linewidths=0)
            mean = 100 * variant.accuracy.mean
            axes.plot([mean, mean], [row - 0.3, row + 0.3], color=colour, linewidth=2.6, solid_capstyle="round")
        axes.set_yticks(range(len(variants)), [variant.name for variant in variants])
        axes.set_ylim(len(variants) - 0.45, -0.55)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"accuracy, %  (dot: one {accuracies.part}, bar: mean)")
        axes.spines["left"].set_visible(False)
        return as_svg(figure, "Accuracy of each variant, one dot for each part")


def latency_plot(latencies: Latencies) -> str:
    """Horizontal bars of the medians, steps above windows, logarithmic."""
    panels: list[tuple[str, list[tuple[str, float, bool]]]] = []
    for title, kind in (("one step of a stream", "step"), (f"one window of {latencies.window_steps} steps", "window")):
        rows = [(row.name, timing.median, row.ours) for row in latencies.rows if (timing := getattr(row, kind)) is not None]
        if rows:
            panels.append((title, sorted(rows, key=lambda row: row[1])))
    with styled():
        figure, axes = _figure(
            WIDTH,
            0.6 + 0.36 * sum(len(rows) + 0.9 for _, rows in panels),
            len(panels),
            sharex=True,
            height_ratios=[len(rows) for _, rows in panels],
        )
        for panel, (title, rows) in zip(axes, panels, strict=True):
            _bars(panel, title, rows)
        axes[-1].set_xlabel("median time, logarithmic")
        return as_svg(figure, "Median latency of each engine for one step and for one window")


def _bars(axes: Axes, title: str, rows: Sequence[tuple[str, float, bool]]) -> None:
    values = [value for _, value, _ in rows]
    axes.barh(range(len(rows)), values, color=[ACCENT if ours else OTHER for _, _, ours in rows], height=0.62, alpha=0.85)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(10 ** (np.floor(np.log10(min(axes.get_xlim()[0], min(values) / 1.5)))), max(axes.get_xlim()[1], max(values) * 4))
    axes.set_title(title, loc="left", fontsize=10, color=TEXT)
    axes.xaxis.set_major_formatter(lambda value, _: seconds(value, digits=0))
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    for row, value in enumerate(values):
        axes.annotate(seconds(value), (value, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)


def gate_raster(gates: Gates) -> str:
    """Which gate of which unit is open when: a panel a gate, a row a unit, filled where open; below, the outputs that are not 0."""
    from matplotlib.patches import PathPatch

    picture = gates.picture
    if picture is None:
        return ""
    panels: list[tuple[str, npt.NDArray[np.bool_]]] = [
        (f"{name}: open" if name in picture.hard else f"{name}: more than half open", opening[0] > 0.5)
        for name, opening in picture.gates.items()
    ]
    panels.append(("output is not 0", picture.output[0] != 0))
    steps, units = panels[0][1].shape
    per_step = gates.step_seconds or 1.0
    with styled():
        figure, axes = _figure(WIDTH, 0.6 + (0.36 + 0.03 * min(units, 48)) * len(panels), len(panels), sharex=True)
        for index, (axis, (title, filled)) in enumerate(zip(axes, panels, strict=True)):
            colour = OTHER if index == len(panels) - 1 else ACCENT
            axis.add_patch(PathPatch(runs_as_path(filled, per_step * np.arange(steps + 1)), facecolor=colour, linewidth=0))
            axis.set_xlim(0, steps * per_step)
            axis.set_ylim(units, 0)
            axis.set_yticks([])
            axis.grid(visible=False)
            axis.set_title(f"{title}  ({100 * filled.mean():.0f} %)", loc="left", fontsize=9.5, color=TEXT)
            for side in ("left", "bottom"):
                axis.spines[side].set_visible(True)
        axes[-1].set_xlabel("seconds" if gates.step_seconds else "steps")
        return as_svg(figure, "Open gates of every unit over the steps of one recording")


def runs_as_path(filled: npt.NDArray[np.bool_], edges: npt.NDArray[np.float64], margin: float = 0.12) -> Any:
    """One compound path of a rectangle for every unbroken run of filled steps of a row.

    filled: [steps, rows]; edges: [steps + 1] places of the steps; margin: of a row that is left free above and below.
    """
    from matplotlib.path import Path

    vertices: list[tuple[float, float]] = []
    for unit, column in enumerate(filled.T):
        changes = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(np.int8), [0]])))
        for first, end in changes.reshape(-1, 2).tolist():
            left, right, top, bottom = float(edges[first]), float(edges[end]), unit + margin, unit + 1 - margin
            vertices += [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(vertices) // 5)
    return Path(np.array(vertices or [(0.0, 0.0)]), codes or [Path.MOVETO])
