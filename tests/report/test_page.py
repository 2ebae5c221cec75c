"""The page is one well-formed file that loads nothing, says everything it was given, and follows light and dark themes."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm.engine.gate_activity import GateCourse, activity, course
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.report import content, page, plots
from edge_lstm.report.metrics import Accuracy, confusion
from edge_lstm.report.timing import Timing

VOID = {"meta", "br", "hr", "img", "use", "path", "input"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed without being open, and lists what stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report() -> content.Report:
    rng = np.random.default_rng(5)
    network = random_integer(rng, "lstm", 4, 9, "threshold", "mean", outputs=3, steps=12)
    layers = course(network, random_counts(rng, network, 3, 12))
    first = GateCourse({k: v[:1] for k, v in layers[0].gates.items()}, layers[0].hard, layers[0].output[:1])
    timing = Timing(1.5e-6, 1.4e-6, 1.7e-6, 21, 100)
    y = rng.integers(0, 3, 60)
    return content.Report(
        title="Title <of> a report",
        lead="What the lead & nothing else says.",
        headlines=[content.Headline("42 %", "a headline", "headline how")],
        accuracies=content.Accuracies(
            [
                content.Variant("float one", "variant note", Accuracy((7, 8), (10, 10))),
                content.Variant("integer one", "", Accuracy((9, 6), (10, 10)), True),
            ],
            ["fold A", "fold B"],
            "fold",
            "accuracy how",
        ),
        confusions=[content.Confusion("integer one", ["walk", "<run>", "sit"], confusion(y, rng.permutation(y), 3), "confusion how")],
        checks=content.Checks(
            [content.Check("engine X", 12345, 0, "check note"), content.Check("engine Y", 77, 3)], ["missing engine"], "checks how"
        ),
        latencies=content.Latencies(
            [content.Latency("fast", timing, timing, "latency note", True), content.Latency("slow", None, timing.per(1), "")],
            12,
            "latency how",
        ),
        memory=[content.Memory("integer one", [("weights", 4321)], "memory how")],
        gates=[content.Gates("integer one", [activity(layer) for layer in layers], first, "picture title", 0.08, "gates how")],
        proofs=[content.Proof("integer one", [(f"layer {k}", bounds) for k, bounds in enumerate(prove_network(network))])],
        facts=[("a fact", "its value")],
    )


def parse(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(html)
    parser.close()
    return parser


def test_the_page_is_well_formed_and_says_everything(report: content.Report) -> None:
    parser = parse(page.render(report))
    assert parser.open == []
    text = " ".join(" ".join(parser.text).split())
    for said in (
        "Title <of> a report",
        "What the lead & nothing else says.",
        "42 %",
        "headline how",
        "accuracy how",
        "variant note",
        "75.0 ± 7.1 %",
        "fold B",
        "<run>",
        "confusion how",
        "engine X",
        "12,345",
        "check note",
        "missing engine",
        "checks how",
        "1.50 µs",
        "latency note",
        "latency how",
        "4,321",
        "memory how",
        "gates how",
        "picture title",
        "running sum",
        "dense accumulator",
        "a fact",
        "its value",
        "edge-lstm",
    ):
        assert said in text, said


def test_the_page_loads_nothing_and_runs_nothing(report: content.Report) -> None:
    html = page.render(report)
    assert not re.search(r"<(script|link|iframe|img|object)\b|\b(src|action)=|@import|url\((?!#)", html)
    addresses = set(re.findall(r"https?://[^\"'\s<]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names of the drawing's dialect, fetched by nobody


def test_drawings_take_their_colours_from_the_theme(report: content.Report) -> None:
    html = page.render(report)
    assert "prefers-color-scheme: dark" in html
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert drawings.count("<svg") == 3
    assert re.findall(r"#[0-9a-f]{6}\b(?![\w-])", re.sub(r'(href|id|clip-path)="[^"]*"', "", drawings)) == []
    assert {f"var(--{name})" in drawings for name in ("text", "muted", "accent", "other")} == {True}


def test_equal_reports_give_equal_bytes(report: content.Report) -> None:
    assert page.render(report) == page.render(report)


@pytest.mark.parametrize("section", [field.name for field in fields(content.Report) if field.name not in ("title", "lead")])
def test_every_section_may_be_left_out(report: content.Report, section: str) -> None:
    empty = None if section in ("accuracies", "checks", "latencies") else ()
    assert parse(page.render(replace(report, **{section: empty}))).open == []


def test_bars_of_the_raster_cover_what_is_open() -> None:
    filled = np.random.default_rng(1).random((20, 6)) < 0.4
    path = plots.runs_as_path(filled, 0.5 * np.arange(21))
    corners = path.vertices.reshape(-1, 5, 2)
    widths = corners[:, 1, 0] - corners[:, 0, 0]
    assert widths.sum() == pytest.approx(0.5 * filled.sum())
    assert len(corners) == sum((np.diff(column.astype(int), prepend=0) == 1).sum() for column in filled.T)


def test_a_page_that_cannot_be_written_is_one_clear_line(report: content.Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeLstmError, match=r"cannot write .*report\.html: the folder .*file does not exist"):
        page.write(report, tmp_path / "file" / "report.html")
