"""Numbers as targets, and targets of every step, from the recordings to integers, labels and C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_commands import nothing_half_written

from edge_lstm import data, onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs import hardening, inputs, training

SMALL = ("--hidden", 6, "--window", 20, "--iterations", 300)
PEOPLE, SAMPLES = 6, 120


@pytest.fixture(scope="module")
def ride(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table: counts of two channels, a speed that follows from them (unknown in places), what was done at each sample."""
    rng = np.random.default_rng(0)
    lines = ["a,b,speed,doing,who"]
    for person in range(PEOPLE):
        level = np.repeat(rng.normal(0, 1, SAMPLES // 20), 20)
        counts = np.round(1000 * level[:, None] * [1, -0.5] + rng.normal(0, 60, (SAMPLES, 2))).astype(int)
        for k, (a, b) in enumerate(counts):
            speed = "" if k % 30 == 29 else f"{30 + 4 * level[k]:.3f}"
            lines.append(f"{a},{b},{speed},{'fast' if level[k] > 0 else 'slow'},p{person}")
    path = tmp_path_factory.mktemp("ride") / "ride.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WHO = ("--person-column", "who", "--recording-column", "who")
NUMBERS = ("--target", "speed", "--channels", "a,b", *WHO)


def test_numbers_of_every_step_are_learned_judged_and_computed_alike_in_c(ride: Path, edge_lstm, tmp_path: Path) -> None:
    model, integer = tmp_path / "m.onnx", tmp_path / "m.int.onnx"
    came = edge_lstm("train", ride, "-o", model, *SMALL, *NUMBERS, "--read-out", "every", "--folds", 3, "--json")
    assert came.status == 0, came.err
    nothing_half_written(tmp_path, "m.onnx", "m.int.onnx")
    windows = (PEOPLE * SAMPLES) // 10 - PEOPLE  # half a window apart
    assert came.json["windows"] == windows
    errors = came.json["errors"]["integers"]
    unknown = sum(k % 30 == 29 for start in range(0, SAMPLES - 19, 10) for k in range(start, start + 20))
    assert errors["cases"] == windows * 20 - unknown * PEOPLE
    assert np.mean(errors["r2"]) > 0.8
    assert set(came.json["by_person"]["integers"]) == {f"p{k}" for k in range(PEOPLE)}
    made = onnx_io.load(integer)
    assert isinstance(made, IntegerNetwork)
    assert (made.inputs, made.outputs, made.read_out.kind, made.classes, made.softmax) == (2, 1, "every", (), False)
    dataset = data.load(ride, targets=["speed"], channels=["a", "b"], person_column="who", recording_column="who")
    cut = data.windows(dataset, 20, 10)
    y = data.window_targets(dataset, cut, 1, "every", True)
    off = (inputs.outputs(made, cut.x) - y)[np.isfinite(y)]
    assert came.json["training"]["loss"] == pytest.approx((off**2).mean(), rel=1e-4)  # the loss reported is the integer network's
    plain = tmp_path / "plain.npz"
    np.savez(plain, x=np.stack([one.samples for one in dataset.recordings]))
    assert edge_lstm("verify", integer, plain).status == 0  # every engine and the C, bit by bit
    header = edge_lstm("codegen", integer, "-o", tmp_path / "firmware")
    assert header.status == 0
    assert "speed" in next((tmp_path / "firmware").glob("*.h")).read_text(encoding="utf-8")
    rows = edge_lstm("run", integer, plain, "--window", 20, "--json").json["windows"]
    expected = inputs.outputs(made, dataset.recordings[0].samples[None, :20])[0, -1, 0]
    assert rows[0]["speed"] == pytest.approx(float(expected), rel=1e-6)
    steps = edge_lstm("run", integer, plain, "--stream").out.splitlines()
    assert float(steps[19].split("\t")[2]) == pytest.approx(float(expected), rel=1e-4)
    assert edge_lstm("run", integer, plain, "--window", 20, "-o", tmp_path / "speed.csv").status == 0
    assert (tmp_path / "speed.csv").read_text().splitlines()[0] == "recording,start,speed"


def test_numbers_of_a_window_survive_conversion_and_finetuning(
    ride: Path, edge_lstm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardening, "ITERATIONS", 150)
    came = edge_lstm("train", ride, "-o", tmp_path / "m.onnx", *SMALL, *NUMBERS, "--gates", "soft", "--folds", 0)
    assert came.status == 0, came.err
    assert "float, trained on all: R² 0." in came.out
    options = ("-c", ride, *NUMBERS, "--gates", "hard", "--finetune", "--json")
    came = edge_lstm("convert", tmp_path / "m.onnx", "-o", tmp_path / "m.int.onnx", *options)
    assert came.status == 0, came.err
    errors = {name: found["r2"] for name, found in came.json["errors_on_calibration"].items()}
    assert errors["float"] > 0.9
    assert errors["integers, threshold gates, fine-tuned"] > max(0.7, errors["integers, threshold gates, not fine-tuned"] - 0.01)
    made = onnx_io.load(tmp_path / "m.int.onnx")
    assert inputs.output_names(made) == ("speed",)


def test_a_class_for_every_step_may_change_within_a_window(ride: Path, edge_lstm, tmp_path: Path) -> None:
    options = ("--label-column", "doing", "--channels", "a,b", *WHO, "--read-out", "every", "--folds", 2)
    came = edge_lstm("train", ride, "-o", tmp_path / "m.onnx", *SMALL, *options, "--json")
    assert came.status == 0, came.err
    accuracy = came.json["accuracy"]["integers"]
    assert accuracy["mean"] > 0.9
    assert accuracy["cases"] == 20 * came.json["windows"]
    made = onnx_io.load(tmp_path / "m.int.onnx")
    dataset = data.load(ride, label_column="doing", channels=["a", "b"], person_column="who", recording_column="who")
    cut = data.windows(dataset, 20, 10, across=True)
    y = data.window_targets(dataset, cut, 1, "every", False)
    assert (y.min(1) < y.max(1)).any()
    right = (inputs.outputs(made, cut.x).argmax(-1) == y).mean()
    assert came.json["training"]["accuracy"] == pytest.approx(right)


def test_targets_of_an_npz_file_are_read_kept_and_averaged_over_blocks(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-99, 99, (4, 30, 2)).astype(np.int16)
    steps = np.random.default_rng(1).normal(0, 1, (4, 30, 2)).astype(np.float32)
    steps[0, 3] = np.nan
    np.savez(tmp_path / "r.npz", x=x, targets=steps, target_names=np.array(["p", "q"]), units_per_count=np.array([0.5, 2.0]))
    dataset = data.load(tmp_path / "r.npz")
    assert dataset.targets == ("p", "q")
    data.save(dataset, tmp_path / "again.npz")
    again = data.load(tmp_path / "again.npz")
    np.testing.assert_array_equal(again.recordings[2].targets, steps[2])
    assert data.open_recordings(tmp_path / "again.npz").channels == dataset.channels
    windows = data.windows(dataset, 30, 30)
    every = data.window_targets(dataset, windows, 4, "every", True)
    np.testing.assert_allclose(every[1, 2], steps[1, 8:12].mean(0), rtol=1e-6)
    assert np.isnan(every[0, 0]).all()
    assert np.isfinite(every[0, 1:]).all()
    np.testing.assert_allclose(data.window_targets(dataset, windows, 4, "last", True)[3], steps[3, 24:28].mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.window_targets(dataset, windows, 4, "mean", True)[3], steps[3, :28].mean(0), rtol=1e-6)
    other = data.load(tmp_path / "r.npz", targets=["q", "channel1"])
    assert (other.channels, other.targets) == (("channel0",), ("q", "channel1"))
    np.testing.assert_array_equal(other.recordings[1].targets[:, 1], 2.0 * x[1, :, 1])
    np.savez(tmp_path / "one.npz", x=x, targets=np.arange(4.0))
    assert [one.targets[7, 0] for one in data.load(tmp_path / "one.npz").recordings] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--target", "height"), "no column 'height' (a target)"),
        (("--target", "speed", "--label-column", "speed"), "'speed' cannot be a target and something else"),
        (("--target", "doing", "--channels", "a,b"), "line 2, column doing: "),
        (("--channels", "a,b"), "the numbers to be learned by --target"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(options: tuple[str, ...], complaint: str, ride: Path, edge_lstm, tmp_path) -> None:
    came = edge_lstm("train", ride, "-o", tmp_path / "m.onnx", "--window", 20, "--folds", 0, *options)
    assert complaint in came.error
    assert came.status in (1, 2)
    nothing_half_written(tmp_path)


def test_a_plan_of_numbers_asks_for_targets() -> None:
    with pytest.raises(Exception, match="no numbers to be learned"):
        training.require_task(data.watch(), training.Plan(numbers=True))
    assert data.with_targets(data.watch(), ["wx"]).channels == ("ax", "ay", "az", "wy", "wz")
