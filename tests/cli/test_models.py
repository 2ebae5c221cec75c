"""convert, codegen, verify, compare and inspect: what they write is what the libraries under them make."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_integer
from toy_commands import CLASSES, DECIMATION, STEPS, Files, float_network, nothing_half_written

import firmware_gen.host
from edge_lstm import data, onnx_io
from edge_lstm.engine import reference, target
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs import verification


def raw_windows(files: Files) -> np.ndarray:
    return data.windows(data.load(files.npz), DECIMATION * STEPS, DECIMATION * STEPS).x


def test_convert_writes_what_quantize_makes(files: Files, edge_lstm, tmp_path) -> None:
    target = tmp_path / "m.int.onnx"
    came = edge_lstm("convert", files.soft, "-o", target, "-c", files.npz, "--stride", DECIMATION * STEPS, "--json")
    assert came.status == 0
    expected = quantize(float_network(), raw_windows(files))
    raw = raw_windows(files)
    np.testing.assert_array_equal(reference.run(onnx_io.load(target), raw).scores, reference.run(expected, raw).scores)
    accuracy = came.json["accuracy_on_calibration"]
    windows = data.windows(data.load(files.npz), DECIMATION * STEPS, DECIMATION * STEPS)
    right = (reference.run(expected, windows.x).scores.argmax(-1) == windows.y).mean()
    assert accuracy["integers, soft gates (sigmoid)"] == pytest.approx(right)
    assert set(accuracy) == {"float", "integers, soft gates (sigmoid)"}


def test_convert_refuses_gates_that_the_network_was_not_trained_for(files: Files, edge_lstm, tmp_path) -> None:
    target = tmp_path / "m.int.onnx"
    came = edge_lstm("convert", files.soft, "-o", target, "-c", files.npz, "--gates", "hard")
    assert came.status == 2
    assert "--finetune" in came.error
    assert "--untrained" in came.error
    nothing_half_written(tmp_path)


def test_convert_takes_the_users_word_and_says_what_to_expect(files: Files, edge_lstm, tmp_path) -> None:
    target = tmp_path / "m.int.onnx"
    came = edge_lstm("convert", files.soft, "-o", target, "-c", files.npz, "--gates", "hard", "--untrained")
    assert came.status == 0
    assert "measured" in came.err
    assert "points of accuracy lost on these windows" in came.err
    made = onnx_io.load(target)
    assert isinstance(made, IntegerNetwork)
    assert {made.recurrent[0].activations[gate] for gate in "ifo"} == {"threshold"}


def test_convert_keeps_threshold_gates_without_asking(files: Files, edge_lstm, tmp_path) -> None:
    assert edge_lstm("convert", files.hard, "-o", tmp_path / "m.int.onnx", "-c", files.npz).status == 0
    assert edge_lstm("convert", files.hard, "-o", tmp_path / "m.int.onnx", "-c", files.npz, "--gates", "hard").status == 0
    assert edge_lstm("convert", files.hard, "-o", tmp_path / "m.int.onnx", "-c", files.npz, "--gates", "soft").status == 2


def test_convert_without_recordings_warns(files: Files, edge_lstm, tmp_path) -> None:
    came = edge_lstm("convert", files.soft, "-o", tmp_path / "m.int.onnx")
    assert came.status == 0
    assert "no calibration recordings" in came.err
    assert "fine-tuning needs recordings" in edge_lstm("convert", files.soft, "-o", tmp_path / "n.onnx", "--finetune").error


def test_codegen_writes_a_header_that_gives_the_bits(files: Files, edge_lstm, tmp_path) -> None:
    came = edge_lstm("codegen", files.hard_int, "-o", tmp_path / "fw", "--name", "toy", "--self-test", "--json")
    assert came.status == 0
    nothing_half_written(tmp_path / "fw", "toy.h", "toy_selftest.c")
    text = (tmp_path / "fw" / "toy.h").read_text(encoding="utf-8")
    assert text == firmware_gen.header(onnx_io.load(files.hard_int), prefix="toy")
    assert came.json["bytes"]["state struct (RAM, yours)"] < 200


def test_verify_counts_every_value(files: Files, edge_lstm) -> None:
    came = edge_lstm("verify", files.hard_int, files.npz, "--sequences", 6, "--no-c", "--json")
    assert came.status == 0
    found = came.json
    assert found["same"]
    sequences = 6 + len(raw_windows(files))
    assert found["engines"]["ONNX Runtime"] == {"values": sequences * (STEPS * 2 * 8 + 3), "differing": 0}
    assert found["not_run"] == ["the generated C, as asked"]


@pytest.mark.slow
def test_verify_compiles_the_c_where_it_can(files: Files, edge_lstm) -> None:
    compilers = firmware_gen.toolchain.compilers()
    came = edge_lstm("verify", files.soft_int, "--sequences", 4, "--json").json
    names = {f"C, {compiler.name}" for compiler in compilers}
    assert names <= set(came["engines"])
    assert bool(came["not_run"]) == (not compilers)


def test_a_single_differing_bit_fails(files: Files, edge_lstm, monkeypatch: pytest.MonkeyPatch) -> None:
    run = verification.engine.run

    def flawed(network, raw, **options):
        ran = run(network, raw, **options)
        ran.states[0]["c"][-1, -1, -1] ^= 1
        return ran

    monkeypatch.setattr(verification.engine, "run", flawed)
    came = edge_lstm("verify", files.hard_int, "--no-c", "--json")
    assert came.status == 1
    assert not came.json["same"]
    assert came.json["engines"]["Numba, whole sequences"]["differing"] == 1
    assert "1 of" in came.error


def test_compare_writes_a_report_of_all_models(files: Files, edge_lstm, tmp_path) -> None:
    page = tmp_path / "compare.html"
    came = edge_lstm("compare", files.soft, files.hard_int, "--data", files.npz, "-o", page, "--json")
    assert came.status == 0
    windows = data.windows(data.load(files.npz), DECIMATION * STEPS, DECIMATION * STEPS)
    right = reference.run(onnx_io.load(files.hard_int), windows.x).scores.argmax(-1) == windows.y
    by_person = {person: right[windows.person == person].mean() for person in ("p0", "p1", "p2")}
    assert came.json["accuracy"]["hard.int.onnx"]["parts"] == pytest.approx(by_person)
    assert came.json["latency_seconds"]["soft.onnx: ONNX Runtime"]["window"] > 0
    html = page.read_text(encoding="utf-8")
    for said in ("soft.onnx", "hard.int.onnx", "Proved bounds", "Gates over time", *CLASSES):
        assert said in html
    nothing_half_written(tmp_path, "compare.html")


@pytest.mark.parametrize(("units", "gates", "left_out"), [(128, "threshold", True), (24, "threshold", False), (128, "sigmoid", False)])
def test_inspect_says_whether_zeros_are_left_out(edge_lstm, tmp_path, units, gates, left_out) -> None:
    onnx_io.save_integer(random_integer(np.random.default_rng(1), "lstm", 3, units, gates, outputs=3), tmp_path / "m.int.onnx")
    found = edge_lstm("inspect", tmp_path / "m.int.onnx", "--json").json
    assert ("columns of zeros behind threshold gates are left out of a sequence" in found["kernel"]) == left_out


def test_inspect_names_equations_formats_and_bounds(files: Files, edge_lstm) -> None:
    text = edge_lstm("inspect", files.hard_int).out
    for said in ("c' = f c + i g", "state c: int16", "i: threshold", "dense accumulator", "read-out: mean", "rest", "window steps: 10"):
        assert said in text
    assert f"kernel: {target.choose().name}: " in text
    assert re.search(r"size: [\d,]+ bytes of constants and [\d,]+ of state in C", text)
    assert "left out" not in text
    found = edge_lstm("inspect", files.soft, "--json").json
    assert found["parameters"] == 4 * 8 * (3 + 8 + 1) + 3 * (8 + 1)


def test_inspect_draws_the_gates_of_one_recording(files: Files, edge_lstm) -> None:
    text = edge_lstm("inspect", files.hard_int, files.npz, "--recording", "p1-run").out
    rows = re.findall(r"^  ([ifo]) \|([ ·░▒▓█]+)\| ([\d.]+) % open$", text, flags=re.MULTILINE)
    assert [gate for gate, _, _ in rows] == ["i", "f", "o"]
    found = edge_lstm("inspect", files.hard_int, files.npz, "--recording", "p1-run", "--json").json
    assert f"{100 * found['activity'][0]['open']['f']:.1f}" == rows[1][2]
    assert "no recording is called p9" in edge_lstm("inspect", files.hard_int, files.npz, "--recording", "p9").error


def test_inspect_draws_a_picture_of_float_and_integer_models(files: Files, edge_lstm, tmp_path: Path) -> None:
    for model in (files.soft, files.hard_int):
        picture = tmp_path / f"{model.stem}.svg"
        came = edge_lstm("inspect", model, files.npz, "--recording", "p1-run", "--picture", picture, "--part", "0.4:2.8", "--json").json
        assert came["picture"] == str(picture)
        assert 0 < came["memory"]["units_still_percent"] <= 100
        text = picture.read_text(encoding="utf-8")
        assert "on p1-run" in text
        assert ("i  open" in text) == (model == files.hard_int)
    wrong = {
        ("--picture", tmp_path / "a.gif"): ".png, .svg",
        ("--picture", tmp_path / "a.svg", "--part", "3"): "FROM:TO",
        ("--picture", tmp_path / "a.svg", "--layer", "2"): "no recurrent layer 2",
        ("--part", "0:1"): "--picture",
    }
    for options, said in wrong.items():
        came = edge_lstm("inspect", files.hard_int, files.npz, *options)
        assert (came.status, said in came.error) == (2, True), options
    assert edge_lstm("inspect", files.hard_int, "--picture", tmp_path / "a.svg").status == 2
    nothing_half_written(tmp_path, "hard.int.svg", "soft.svg")


def test_json_is_one_line_that_machines_can_read(files: Files, edge_lstm, tmp_path) -> None:
    for call in (
        ("run", files.hard_int, files.npz),
        ("verify", files.hard_int, "--no-c"),
        ("inspect", files.hard_int),
        ("codegen", files.hard_int, "-o", tmp_path),
        ("convert", files.hard, "-o", tmp_path / "m.onnx", "-c", files.npz),
    ):
        out = edge_lstm(*call, "--json").out
        assert out.count("\n") == 1, call
        json.loads(out)
