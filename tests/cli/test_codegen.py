"""`codegen`: the strategy is named, or chosen from recordings for a target."""

from __future__ import annotations

import pytest
from toy_commands import Files


@pytest.mark.parametrize("strategy", ["rows", "dense", "event", "delta"])
def test_a_named_strategy_is_the_one_in_the_header(files: Files, edge_lstm, tmp_path, strategy) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path, "--name", "toy", "--strategy", strategy)
    assert came.status == 0, came.error
    assert f"strategy {strategy}: " in (tmp_path / "toy.h").read_text()


def test_recordings_decide_for_a_target(files: Files, edge_lstm, tmp_path) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path, "--name", "toy", "--data", files.npz, "--target", "cortex-m0plus")
    assert came.status == 0, came.error
    text = (tmp_path / "toy.h").read_text()
    assert "chosen for cortex-m0plus" in text
    assert "activity measured over" in text


@pytest.mark.parametrize(("option", "value", "message"), [("--strategy", "fast", "no strategy"), ("--target", "z80", "no cost model")])
def test_what_does_not_exist_is_refused_and_nothing_is_written(files: Files, edge_lstm, tmp_path, option, value, message) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path / "new", option, value)
    assert came.status == 2
    assert message in came.error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("package", ["arduino", "cmsis-pack"])
def test_a_package_is_written_under_its_name(files: Files, edge_lstm, tmp_path, package) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path / "new", "--name", "toy", "--package", package, "--json")
    assert came.status == 0, came.error
    assert came.json["files"][0].endswith("/toy.h")
    assert (tmp_path / "new" / ("library.properties" if package == "arduino" else "edge-lstm.toy.pdsc")).is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--package", "mbed"), "no package 'mbed'"), (("--package", "cmake", "--self-test"), "--self-test goes with"),
        (("--url", "https://a.test"), "--url goes with"),
    ],
)  # fmt: skip
def test_a_package_that_does_not_exist_or_cannot_be_is_refused(files: Files, edge_lstm, tmp_path, options, message) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path / "new", *options)
    assert came.status == 2
    assert message in came.error
    assert not (tmp_path / "new").exists()
