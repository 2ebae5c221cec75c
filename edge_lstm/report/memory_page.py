"""The picture of a memory as one HTML page: the drawing, how long each unit holds, and what the picture shows."""

from __future__ import annotations

from importlib.resources import files

from edge_lstm import __version__
from edge_lstm.report.recording_course import RecordingCourse


def render(course: RecordingCourse, layer: int, svg: str) -> str:
    """The page's HTML. Names of models, recordings, channels and classes are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("edge_lstm.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = files("edge_lstm.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    held = course.layers[layer]
    longest, moved = held.longest, held.moved.mean(0)
    opening = {gate: values.mean(0) for gate, values in held.gates.items()}
    return environment.get_template("memory.html.j2").render(
        course=course,
        held=held,
        layer=layer + 1,
        layers=len(course.layers),
        rows=[(int(unit), int(longest[unit]), float(moved[unit]), [float(mean[unit]) for mean in opening.values()]) for unit in held.order],
        version=__version__,
        style=Markup(style),
        picture=Markup(svg),
    )
