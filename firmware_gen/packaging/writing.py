"""Packages written to disk: all texts first, then all files into a folder beside the wanted one, which takes its place in one step."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from edge_lstm import __version__
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.decisions import output_names
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import names
from firmware_gen.activity import LayerActivity
from firmware_gen.header import TEMPLATES as HEADER_TEMPLATES
from firmware_gen.header import render_header
from firmware_gen.model import Model, build
from firmware_gen.packaging import arduino, cmake, cmsis_pack, platformio, zephyr

PACKAGERS: Mapping[str, Mapping[str, str]] = {
    "arduino": arduino.FILES, "platformio": platformio.FILES, "zephyr": zephyr.FILES, "cmake": cmake.FILES, "cmsis-pack": cmsis_pack.FILES,
}  # fmt: skip
VERSION = "1.0.0"  # of a package; whoever publishes one counts on from here
STREAMS = ("arduino", "platformio", "zephyr")  # packages whose example reads an IMU
LONGEST_NAME = 63  # by the specification of Arduino libraries; nobody else allows fewer
TAKEN = frozenset({"arduino", "wire", "classifier"})  # headers beside that of the network, on file systems that see no capitals
URL = re.compile(r"https?://[^\s\"'<>&\\]+")  # one that stands in XML, JSON and properties as it is
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")), undefined=jinja2.StrictUndefined, trim_blocks=True,
    lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
)  # fmt: skip
TEMPLATES.filters |= {"comment": names.comment}


def write(
    network: IntegerNetwork, folder: str | os.PathLike[str], packager: str, *, prefix: str | None = None, strategy: str | None = None,
    target: str | None = None, activity: Sequence[LayerActivity] | None = None, url: str | None = None,
) -> list[Path]:  # fmt: skip
    """Writes `network` as a package of the ecosystem `packager`, one of PACKAGERS, into `folder`.

    prefix: name of header and package, the model's name when None; strategy, target, activity: as for `header`; url: page of the project,
    left out when None. A folder that holds nothing but an older package is replaced. Returns the paths, the header first.
    Raises UsageError for an unknown packager, prefix, strategy or target, or a url that is none, EdgeLstmError if the network has no C
    form, or if the folder cannot be written or holds other files. Nothing is written then.
    """
    if packager not in PACKAGERS:
        raise UsageError(f"there is no package {packager!r}; choose one of {', '.join(PACKAGERS)}")
    if url is not None and not URL.fullmatch(url):
        raise UsageError(f"{url!r} is no address of a page: it starts with https:// or http:// and has no spaces, quotes or angle brackets")
    _check_name(names.prefix_of(network.name, prefix))
    model = build(network, prefix, strategy, target=target, activity=activity)
    texts, place = render(model, packager, url), Path(folder)
    _replace(place, texts)
    return [place / name for name in sorted(texts, key=lambda name: not name.endswith(f"/{model.prefix}.h"))]


def _check_name(name: str) -> None:
    """Raises UsageError for a name that a file of the package, or the ecosystem's tools, have no room for."""
    if name.lower() in TAKEN:
        raise UsageError(f"a package cannot be called {name!r}: its files or those it includes have that name; choose another --name")
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name {name!r} of the package has {len(name)} letters, at most {LONGEST_NAME} work; choose a shorter --name")


def render(model: Model, packager: str, url: str | None = None) -> dict[str, str]:
    """Path within the folder -> text. url: page of the project, None to leave it out."""
    texts = {}
    for path, template in PACKAGERS[packager].items():
        if template == "header":
            text = render_header(model)
        elif template == "example":
            text = HEADER_TEMPLATES.get_template("example.c.j2").render(
                p=model.prefix, P=model.prefix.upper(), network=model.network, again=model.begin_window
            )
        else:
            text = TEMPLATES.get_template(template).render(
                p=model.prefix, P=model.prefix.upper(), model=model, network=model.network, version=VERSION, tool=__version__, url=url,
                cells=" + ".join(layer.layer.cell for layer in model.layers), again=model.begin_window, due=_due(model),
                what=_what(model.network), channels=f"{model.network.inputs} channel{'s' if model.network.inputs > 1 else ''}",
                output_names=output_names(model.network.metadata), streams=packager in STREAMS,
            )  # fmt: skip
        texts[path.format(name=model.prefix)] = text
    return texts


def _what(network: IntegerNetwork) -> str:
    """What the outputs are, to stand behind their number."""
    if network.gives_numbers:
        return "numbers" if network.outputs > 1 else "number"
    return "classes" if network.outputs > 1 else "score"


def _due(model: Model) -> str:
    """How often a decision is due, to stand behind "every"."""
    every = model.network.read_out.kind == "every"
    if model.waits:
        return "step of the read-out" if every else f"{model.due} steps of the read-out"
    samples = model.network.normalize.decimation * (1 if every else model.due)
    later = f", from the first {model.due} steps on" if every and model.due > 1 else ""
    return f"{'sample' if samples == 1 else f'{samples} samples'}{later}"


def _replace(place: Path, texts: Mapping[str, str]) -> None:
    """Puts `texts` into the folder `place` and nothing else, or leaves it as it is."""
    foreign = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) if place.is_dir() else []
    foreign = [name for name in foreign if name.replace(os.sep, "/") not in texts]
    if foreign or (place.exists() and not place.is_dir()):
        what = f"it holds {foreign[0]}, which is not of this package" if foreign else "it is a file"
        raise EdgeLstmError(f"cannot write the package to {place}: {what}; choose another folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as name:
            made, old = Path(name) / "new", Path(name) / "old"
            for path, text in texts.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_bytes(text.encode("utf-8"))
            if place.exists():
                place.rename(old)
            try:
                made.rename(place)
            except OSError:
                if old.exists():
                    old.rename(place)
                raise
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise EdgeLstmError(f"cannot write the package to {place}: {error.strerror or error}; choose another place") from error
