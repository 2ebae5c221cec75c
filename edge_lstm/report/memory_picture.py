"""The picture of a memory: signal, gates, cell state and decision of one recording, one below the other on one time axis."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import UsageError
from edge_lstm.files import write_bytes, write_text
from edge_lstm.report import plots
from edge_lstm.report.holding import LayerHolding
from edge_lstm.report.recording_course import RecordingCourse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf", ".html")
# Colours of the rasters serve light and dark pages: what is closed or zero is transparent.
_GATES = {"i": "#2563eb", "f": "#0f766e", "z": "#0f766e", "o": "#c2620a", "r": "#7c3aed", "g": "#0f766e"}
_OTHER_GATE, _POSITIVE, _NEGATIVE, _PREDICTION = "#4b5563", "#1d4ed8", "#d1362f", "#6d28d9"
_LINES = ("#2563eb", "#d1362f", "#0f8a6d", "#c2620a", "#7c3aed", "#0891b2", "#a16207", "#be185d", "#4d7c0f", "#475569")
_STILL, _RIGHT, _WRONG = "#f5b301", "#15803d", "#d1362f"
_LIGHT = {plots.TEXT: "#1b2330", plots.MUTED: "#5d6878", plots.LINE: "#d9dee5", plots.PANEL: "#ffffff"}
_SHORTEST_BAND = 3  # steps: shorter stretches in which nothing moves are not shaded
_MOST_LABELS = 48  # units or classes whose names are written


@dataclass(frozen=True)
class _Panel:
    """One panel: what draws it, its title, what is said at its right end, its height in inches; shaded: where no memory moves."""

    draw: Any
    title: str
    note: str
    height: float
    shaded: bool = True


def write(course: RecordingCourse, path: str | os.PathLike[str], layer: int = 0) -> None:
    """Writes the picture atomically; the kind of file is that of the suffix, one of `SUFFIXES`.

    layer: which recurrent layer. Raises UsageError for another suffix, EdgeLstmError when `path` cannot be written.
    """
    suffix = require_suffix(path)
    if suffix == ".html":
        from edge_lstm.report.memory_page import render

        write_text(path, render(course, layer, svg(course, layer)))
        return
    figure = _figure(course, layer, _LIGHT)
    content = io.BytesIO()
    with plots.styled(_LIGHT):
        empty = {"png": {"Software": None}, "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "pdf": {"CreationDate": None}}
        figure.savefig(content, format=suffix[1:], dpi=110, facecolor=_LIGHT[plots.PANEL], metadata=empty[suffix[1:]])
    write_bytes(path, content.getvalue())


def require_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of `path`. Raises UsageError when no picture is made of that kind."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    return suffix


def svg(course: RecordingCourse, layer: int = 0) -> str:
    """The picture as an <svg> element in the colours of the report page."""
    figure = _figure(course, layer, {})
    with plots.styled():
        return plots.as_svg(figure, f"Signal, gates, memory and decision of {course.title}")


def _figure(course: RecordingCourse, layer: int, colours: dict[str, str]) -> Any:
    from matplotlib.figure import Figure

    panels = list(_panels(course, course.layers[layer]))
    muted = colours.get(plots.MUTED, plots.MUTED)
    with plots.styled(colours):
        figure = Figure(figsize=(plots.WIDTH, 0.85 + sum(panel.height + 0.3 for panel in panels)))
        if colours:  # the page has a heading of its own
            figure.suptitle(f"{course.title}, computed in {course.numbers}", x=0.02, ha="left", fontsize=12, fontweight="bold")
        figure.set_layout_engine("constrained", h_pad=0.02, hspace=0.0)
        figure.patch.set_alpha(1 if colours else 0)  # a file of its own brings its background along
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[panel.height for panel in panels])[:, 0]
        for axis, panel in zip(axes, panels, strict=True):
            axis.patch.set_alpha(0)
            axis.grid(visible=False)
            if panel.shaded:
                _shade_still(axis, course, course.layers[layer])
            panel.draw(axis)
            axis.set_title(panel.title, loc="left", fontsize=9.5, pad=3)
            axis.set_title(panel.note, loc="right", fontsize=8.5, pad=3, color=muted)
            axis.margins(x=0)
            for start in course.layers[layer].starts[1:]:
                axis.axvline(course.edges[start], color=muted, linewidth=0.6, linestyle=(0, (2, 2)))
        axes[-1].set_xlim(course.edges[0], course.edges[-1])
        axes[-1].set_xlabel("seconds" if course.step_seconds else "steps")
    return figure


def _panels(course: RecordingCourse, layer: LayerHolding) -> Iterator[_Panel]:
    yield from _signal_panels(course)
    order = layer.order
    units = len(order)
    height = float(np.clip(0.055 * units, 0.55, 2.2))
    for gate, opening in layer.gates.items():
        hard = gate in layer.hard
        colour = _GATES.get(gate, _OTHER_GATE)
        note = f"{100 * opening.mean():.1f} % {'open' if hard else 'mean opening'}"
        yield _Panel(_raster(course, opening[:, order], colour), f"{gate}  {'open' if hard else 'from closed to open'}", note, height)
    largest = float(np.abs(layer.value).max()) or 1.0
    yield _Panel(
        _heat(course, layer.value[:, order] / largest, order),
        f"{layer.memory}  memory, one row a unit; those that hold longest on top",
        f"blue +, red -, full colour ±{largest:.3g}; longest hold {int(layer.longest.max())} steps (unit {order[0]})",
        1.35 * height,
        shaded=False,  # its colours are to be compared
    )
    what = "not a bit of the memory changes" if layer.exact else "no unit moves by more than 1 % of its range"
    note = f"{100 * (1 - layer.moved.mean()):.1f} % of the units stand still"
    if _bands(layer):
        note += f"; shaded: {what}"
    yield _Panel(_moving(course, layer), "units whose memory moves, %", note, 0.5)
    yield from _decision_panels(course)


def _signal_panels(course: RecordingCourse) -> Iterator[_Panel]:
    signal = course.signal
    if signal.is_binary:
        names = list(signal.channels)
        yield _Panel(_raster(course, signal.values, _OTHER_GATE, names), "input", "", 0.16 * max(4, len(names)))
        return
    for unit, channels in signal.groups():
        names = [signal.channels[k] for k in channels]
        yield _Panel(_lines(course, signal.values[:, channels], names), f"signal, {unit}" if unit else "signal", "", 0.85)


def _decision_panels(course: RecordingCourse) -> Iterator[_Panel]:
    decisions = course.decisions
    if np.isnan(decisions.values).all():
        return
    outputs = decisions.values.shape[1]
    if not decisions.softmax or outputs > _MOST_LABELS:
        names = list(decisions.classes) or [f"y{k}" for k in range(outputs)]
        yield _Panel(_lines(course, decisions.values, names[:outputs]), "output", "", 0.85, False)
        return
    names = list(decisions.classes) or [str(k) for k in range(outputs)]
    known = [step for step in decisions.due if course.truth[step] >= 0]
    right = sum(int(decisions.values[step].argmax() == course.truth[step]) for step in known)
    note = f"outlined: true class; {right} of {len(known)} decisions right" if known else ""
    yield _Panel(_prediction(course, names), "decision so far, probability", note, max(0.6, 0.15 * outputs), False)


def _image(axis: Axes, course: RecordingCourse, alpha: npt.NDArray[np.float64], colours: npt.NDArray[np.float64]) -> None:
    """alpha: [steps, rows]; colours: [..., 3], broadcast."""
    steps, rows = alpha.shape
    rgba = np.empty((rows, steps, 4))
    rgba[..., :3] = colours
    rgba[..., 3] = np.clip(alpha.T, 0, 1)
    extent = (course.edges[0], course.edges[-1], rows, 0)
    axis.imshow(rgba, extent=extent, aspect="auto", interpolation="none", zorder=2)
    axis.set_ylim(rows, 0)
    if rows <= 2 * _MOST_LABELS:
        line = axis.spines["left"].get_edgecolor()
        axis.hlines(np.arange(1, rows), course.edges[0], course.edges[-1], color=line, linewidth=0.25, zorder=3)


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _named_rows(axis: Axes, names: Sequence[object]) -> None:
    """A name in the middle of each row, as many as can be read."""
    if len(names) <= _MOST_LABELS:
        axis.set_yticks(np.arange(len(names)) + 0.5, [str(name) for name in names], fontsize=8 if len(names) <= 12 else 5.5)
    else:
        axis.set_yticks([])


def _raster(course: RecordingCourse, values: npt.NDArray[np.float64], colour: str, names: Sequence[object] = ()) -> Any:
    def draw(axis: Axes) -> None:
        _image(axis, course, values * 0.92, _rgb(colour))
        _named_rows(axis, names)

    return draw


def _heat(course: RecordingCourse, values: npt.NDArray[np.float64], order: npt.NDArray[np.int64]) -> Any:
    """values: [steps, units] in [-1, 1]; the square root makes small memories visible."""

    def draw(axis: Axes) -> None:
        colours = np.where((values.T > 0)[..., None], _rgb(_POSITIVE), _rgb(_NEGATIVE))
        _image(axis, course, np.sqrt(np.abs(values)), colours)
        _named_rows(axis, order.tolist())

    return draw


def _moving(course: RecordingCourse, layer: LayerHolding) -> Any:
    def draw(axis: Axes) -> None:
        share = 100 * layer.moved.mean(1)
        axis.stairs(share, course.edges, fill=True, color=_OTHER_GATE, alpha=0.75, linewidth=0, zorder=2)
        axis.set_ylim(0, 100)
        axis.set_yticks([0, 50, 100])
        axis.tick_params(axis="y", labelsize=7.5)

    return draw


def _lines(course: RecordingCourse, values: npt.NDArray[np.float64], names: list[str]) -> Any:
    def draw(axis: Axes) -> None:
        middle = (course.edges[1:] + course.edges[:-1]) / 2
        for index, name in enumerate(names):
            axis.plot(middle, values[:, index], color=_LINES[index % len(_LINES)], linewidth=1.0, label=name, zorder=2)
        axis.tick_params(axis="y", labelsize=7.5)
        axis.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.05), frameon=False, fontsize=8, handlelength=1.0, labelspacing=0.25, borderaxespad=0.2
        )

    return draw


def _prediction(course: RecordingCourse, names: list[str]) -> Any:
    from matplotlib.patches import PathPatch

    def draw(axis: Axes) -> None:
        values, truth = course.decisions.values, course.truth
        _image(axis, course, values, _rgb(_PREDICTION))
        _named_rows(axis, names)
        inside = truth[:, None] == np.arange(len(names))
        axis.add_patch(
            PathPatch(plots.runs_as_path(inside, course.edges, 0.04), fill=False, edgecolor=axis.title.get_color(), linewidth=0.9, zorder=4)
        )
        for step in course.decisions.due:
            label = int(values[step].argmax())
            known = truth[step] >= 0
            colour = _PREDICTION if not known else _RIGHT if label == truth[step] else _WRONG
            axis.plot(
                course.edges[step + 1],
                label + 0.5,
                marker="o",
                markersize=4.5,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=5,
                clip_on=False,
            )

    return draw


def _shade_still(axis: Axes, course: RecordingCourse, layer: LayerHolding) -> None:
    """A band behind each longer stretch over which no memory moves."""
    for first, end in _bands(layer):
        axis.axvspan(course.edges[first], course.edges[end], color=_STILL, alpha=0.16, linewidth=0, zorder=0)


def _bands(layer: LayerHolding) -> list[tuple[int, int]]:
    """(first step, step behind the last) of each longer stretch over which no memory moves."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], layer.still.astype(np.int8), [0]])))
    return [(first, end) for first, end in edges.reshape(-1, 2).tolist() if end - first >= _SHORTEST_BAND]
