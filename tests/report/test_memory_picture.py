"""What holds is counted from the states; the picture says what the course holds, and is made for every cell, in every kind of file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_input, random_network

from edge_lstm.cells import cell, family
from edge_lstm.engine.gate_activity import GateCourse, course_and_features
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.report import float_course, memory_picture
from edge_lstm.report.holding import LayerHolding, holding
from edge_lstm.report.recording_course import Decisions, RecordingCourse, Signal


def piece(memory: list[list[float]], hard: tuple[str, ...] = ("i",), scale: float = 0.5) -> GateCourse:
    """A course of one sequence whose memory has these values [time + 1][units]; its only gate is open where the memory changes."""
    c = np.array(memory)[None]
    opening = (np.diff(c, axis=1) != 0).astype(float)
    return GateCourse({"i": opening}, hard, np.zeros_like(c[:, 1:]), {"c": c, "h": np.zeros_like(c)}, {"c": scale, "h": 1.0})


def test_a_hold_is_a_stretch_without_a_changed_bit_and_ends_with_a_reset() -> None:
    first = piece([[0, 0, 0], [4, 0, 1], [4, 0, 2], [4, 0, 2], [4, 0, 3]])
    second = piece([[0, 0, 0], [4, 0, 1], [4, 0, 1], [0, 0, 1]])
    found = holding([first, second])
    assert found.exact
    assert found.starts == (0, 4)
    # Unit 0 holds for 3 steps, then is reset; unit 1 never has anything to hold; unit 2 holds for 1 and for 2 steps.
    assert found.longest.tolist() == [3, 0, 2]
    assert found.order.tolist() == [0, 2, 1]
    assert found.still.tolist() == [False, False, True, False, False, True, False]
    assert found.value[0].tolist() == [2.0, 0.0, 0.5]


def test_a_memory_behind_soft_gates_holds_while_it_moves_less_than_a_hundredth_of_its_range() -> None:
    values = [[0.0], [1.0], [0.995], [0.99], [0.9]]
    assert holding([piece(values, hard=())]).longest.tolist() == [2]
    assert holding([piece(values)]).longest.tolist() == [0]


@pytest.mark.parametrize("name", [name for name in family() if cell(name).gates])
def test_integers_and_floats_are_followed_alike_in_every_cell(name: str) -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, name, inputs=4, units=8, gates="sigmoid", decimation=2, steps=8)
    raw = random_input(rng, network, 1, 8)
    ours, features = course_and_features(quantize(network, raw), raw)
    theirs, floats = float_course.course_and_features(network, raw)
    integer, real = holding([ours[0]]), holding([theirs[0]])
    assert integer.memory == real.memory != "h" or "c" not in network.recurrent[0].cell.states
    assert integer.value.shape == real.value.shape == (8, 8)
    spread = np.abs(real.value).max()
    assert np.abs(integer.value - real.value).max() < 0.1 * spread  # the scale is right: another one would be off by a factor
    assert set(integer.gates) == set(real.gates)
    assert features.shape == floats.shape


def made_course(layer: LayerHolding, classes: tuple[str, ...] = ("walk", "<b>run")) -> RecordingCourse:
    steps = len(layer.value)
    rng = np.random.default_rng(0)
    probability = rng.random((steps, 1))
    return RecordingCourse(
        "model & net on p1", "integers", 5, 0.1, Signal(rng.normal(size=(steps, 3)), ("ax", "ay", "wx"), ("g", "g", "rad/s")), (layer,),
        Decisions(np.hstack([probability, 1 - probability]), classes, True, (steps - 1,)), np.zeros(steps, np.int64),
    )  # fmt: skip


@pytest.fixture(scope="module")
def followed() -> RecordingCourse:
    rng = np.random.default_rng(4)
    network = random_network(rng, "lstm", inputs=3, units=6, gates="threshold", decimation=2, steps=20)
    raw = random_input(rng, network, 1, 20)
    return made_course(holding(course_and_features(quantize(network, raw), raw)[0]))


def test_each_kind_of_file_is_written(followed: RecordingCourse, tmp_path: Path) -> None:
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!DOCTYPE html>"}
    assert set(begins) == set(memory_picture.SUFFIXES)
    for suffix, magic in begins.items():
        path = tmp_path / f"gates{suffix}"
        memory_picture.write(followed, path)
        content = path.read_bytes()
        assert content.startswith(magic)
    again = (tmp_path / "gates.svg").read_bytes()
    memory_picture.write(followed, tmp_path / "gates.svg")
    assert (tmp_path / "gates.svg").read_bytes() == again  # equal courses give equal files
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"gates{suffix}" for suffix in begins)


def test_the_page_says_which_unit_holds_how_long_and_escapes_names(followed: RecordingCourse, tmp_path: Path) -> None:
    page = tmp_path / "gates.html"
    memory_picture.write(followed, page)
    text = page.read_text(encoding="utf-8")
    layer = followed.layers[0]
    first = int(layer.order[0])
    assert f'<tr><td>{first}</td><td class="n">{int(layer.longest[first])}</td>' in text
    for said in ("signal, g", "signal, rad/s", "i  open", "f  open", "o  open", "c  memory", "decision so far", "model &amp; net on p1"):
        assert said in text, said
    assert "<b>run" not in text
    assert "var(--muted)" in text
    assert "http" not in text.replace("http://www.w3.org", "")  # it fetches nothing


def test_a_binary_signal_has_one_row_a_channel_and_no_lines(followed: RecordingCourse) -> None:
    binary = Signal(np.eye(20, 3), ("a", "b", "store"))
    assert binary.is_binary
    drawn = memory_picture.svg(replace(followed, signal=binary))
    assert ">store<" in drawn
    assert "signal, g" not in drawn


def test_what_is_no_picture_is_refused(followed: RecordingCourse, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gates\.gif: a picture is one of \.png"):
        memory_picture.write(followed, tmp_path / "gates.gif")
    with pytest.raises(EdgeLstmError, match="folder"):
        memory_picture.write(followed, tmp_path / "absent" / "gates.png")
