"""`train`: what it writes is what it judged, split by person, and the same for the same seed."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from toy_commands import CLASSES, Files, nothing_half_written, recordings

from edge_lstm import data, onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs import hardening, inputs, training


@pytest.fixture
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of nine people: enough to learn what they have in common."""
    path = tmp_path_factory.mktemp("people") / "nine.npz"
    data.save(recordings(people=9), path)
    return path


SMALL = ("--hidden", 6, "--window", 40, "--decimation", 2, "--iterations", 500, "--folds", 3)


def test_hard_gates_give_a_float_and_an_integer_model(people: Path, edge_lstm, tmp_path: Path) -> None:
    came = edge_lstm("train", people, "-o", tmp_path / "m.onnx", *SMALL, "--json")
    assert came.status == 0, came.err
    nothing_half_written(tmp_path, "m.onnx", "m.int.onnx")
    network, integer = onnx_io.load(tmp_path / "m.onnx"), onnx_io.load(tmp_path / "m.int.onnx")
    assert isinstance(integer, IntegerNetwork)
    assert integer.classes == CLASSES
    assert inputs.window_samples(integer) == inputs.window_samples(network) == 40
    x = data.windows(data.load(people), 40, 20)
    assert (inputs.labels(integer, x.x) == x.y).mean() > 0.8  # three rhythms that a small network tells apart
    accuracy = came.json["accuracy"]["integers"]
    assert accuracy["mean"] > 0.8
    assert accuracy["cases"] == len(x)
    assert set(came.json["by_person"]["integers"]) == {f"p{k}" for k in range(9)}


def test_soft_gates_give_a_standard_onnx_lstm(files: Files, edge_lstm, tmp_path: Path) -> None:
    import onnx

    came = edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", *SMALL[:-2], "--folds", 0, "--gates", "soft")
    assert came.status == 0, came.err
    nothing_half_written(tmp_path, "m.onnx")
    assert "edge-lstm convert" in came.out
    assert "LSTM" in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}


def test_the_same_seed_gives_the_same_files(files: Files, edge_lstm, tmp_path: Path) -> None:
    options = ("--hidden", 4, "--window", 40, "--iterations", 20, "--folds", 0)
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        assert edge_lstm("train", files.npz, "-o", tmp_path / folder / "m.onnx", *options, "--seed", seed).status == 0
    assert (tmp_path / "a/m.int.onnx").read_bytes() == (tmp_path / "b/m.int.onnx").read_bytes()
    assert (tmp_path / "a/m.int.onnx").read_bytes() != (tmp_path / "c/m.int.onnx").read_bytes()


def test_recordings_in_floats_train_too(edge_lstm, tmp_path: Path) -> None:
    """Floats get counts of their own; the integer network labels them through these."""
    dataset = recordings(people=9)
    x = np.stack([recording.samples for recording in dataset.recordings]) / 1024.0
    np.savez(
        tmp_path / "floats.npz",
        x=x,
        y=np.array([r.label for r in dataset.recordings]),
        person=np.array([r.person for r in dataset.recordings]),
    )
    came = edge_lstm("train", tmp_path / "floats.npz", "-o", tmp_path / "m.onnx", *SMALL, "--json")
    assert came.status == 0, came.err
    assert came.json["accuracy"]["integers"]["mean"] > 0.8
    rows = edge_lstm("run", tmp_path / "m.int.onnx", tmp_path / "floats.npz", "--json").json
    assert rows["right"] / rows["labelled"] > 0.8


def test_finetuning_wins_back_what_thresholding_lost(files: Files, edge_lstm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "ITERATIONS", 150)
    assert edge_lstm("train", files.npz, "-o", tmp_path / "soft.onnx", *SMALL[:-2], "--folds", 0, "--gates", "soft").status == 0
    options = ("-c", files.npz, "--gates", "hard", "--finetune", "--json")
    came = edge_lstm("convert", tmp_path / "soft.onnx", "-o", tmp_path / "m.int.onnx", *options)
    assert came.status == 0, came.err
    accuracy = came.json["accuracy_on_calibration"]
    tuned = accuracy["integers, threshold gates, fine-tuned"]
    assert tuned >= accuracy["integers, threshold gates, not fine-tuned"]
    assert tuned > 0.8
    made = onnx_io.load(tmp_path / "m.int.onnx")
    assert isinstance(made, IntegerNetwork)
    assert {made.recurrent[0].activations[gate] for gate in "ifo"} == {"threshold"}


IMU = ("--features", "imu", "--imu", "acc=0,1,2:g")


def test_the_features_of_an_imu_are_part_of_the_model(people: Path, edge_lstm, tmp_path: Path) -> None:
    """From --features to the header and the checks of every engine."""
    came = edge_lstm("train", people, "-o", tmp_path / "m.onnx", *SMALL, *IMU, "--json")
    assert came.status == 0, came.err
    accuracy = came.json["accuracy"]
    assert set(accuracy) == {"float", "integers", "integers, front end running on"}
    assert min(found["mean"] for found in accuracy.values()) > 0.45  # of three classes
    integer = onnx_io.load(tmp_path / "m.int.onnx")
    assert isinstance(integer, IntegerNetwork)
    assert integer.normalize.features is not None
    assert (integer.inputs, integer.normalize.outputs) == (3, 6)
    assert integer.metadata["recipe"].count('"rotation": 0.1') == 1
    assert integer.metadata["rate_hz"] == "50"
    model = tmp_path / "m.int.onnx"
    assert edge_lstm("verify", model, people).status == 0
    assert edge_lstm("run", model, people).status == 0
    assert edge_lstm("codegen", model, "-o", tmp_path / "firmware").status == 0
    header = next((tmp_path / "firmware").glob("*.h")).read_text(encoding="utf-8")
    assert "average1[3]" in header
    assert "_PERIOD_US 20000 /*" in header
    assert edge_lstm("convert", tmp_path / "m.onnx", "-o", tmp_path / "again.int.onnx", "-c", people).status == 0
    assert "real signals" in edge_lstm("convert", tmp_path / "m.onnx", "-o", tmp_path / "blind.int.onnx").error


def test_one_class_alone_is_refused(edge_lstm, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("ax,ay,what\n" + "".join(f"{k % 7},{k % 5},walk\n" for k in range(90)))
    came = edge_lstm("train", tmp_path / "one.csv", "-o", tmp_path / "m.onnx", "--label-column", "what", "--window", 20, "--folds", 0)
    assert came.status == 1
    assert "there is only the class walk" in came.error
    nothing_half_written(tmp_path, "one.csv")


def test_a_network_has_the_name_of_its_file_and_the_next_command_is_whole(edge_lstm, tmp_path: Path) -> None:
    """Two headers of one size would otherwise have one name; and a command that is printed works as it stands."""
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "two.csv").write_text("ax,ay,what\n" + "".join(f"{k % 7},{k % 5},{'walk' if k < 45 else 'run'}\n" for k in range(90)))
    given = ("--label-column", "what", "--window", 20, "--folds", 0, "--iterations", 2, "--hidden", 3)
    came = edge_lstm("train", folder / "two.csv", "-o", folder / "gait.onnx", *given, "--gates", "soft")
    program, *arguments = shlex.split(came.out.splitlines()[-1].partition(": ")[2])
    assert program == "edge-lstm"
    assert edge_lstm(*arguments).status == 0
    assert edge_lstm("codegen", folder / "gait.int.onnx", "-o", folder / "c").status == 0
    nothing_half_written(folder / "c", "gait.h")


def test_a_sensor_that_nothing_uses_is_refused(files: Files, edge_lstm, tmp_path: Path) -> None:
    came = edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", *SMALL, "--imu", "acc=0,1,2")
    assert came.status == 2
    assert "not used" in came.error
    nothing_half_written(tmp_path)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--imu", "acc=0,1"), "expected acc=0,1,2"),
        (("--imu", "acc=0,1,7"), "channel 7, but the recordings have 3"),
        (("--imu", "acc=0,1,2:inch"), "unknown unit 'inch'"),
        (("--rate", "10"), "sampled at 50 Hz, not at 10"),
    ],
)
def test_a_sensor_that_does_not_fit_is_refused(options: tuple[str, str], complaint: str, files: Files, edge_lstm, tmp_path: Path) -> None:
    came = edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", "--features", "imu", *SMALL, *options)
    assert complaint in came.error
    assert came.status in (1, 2)
    nothing_half_written(tmp_path)


def test_options_of_the_recipe_and_a_checkpoint(files: Files, edge_lstm, tmp_path: Path) -> None:
    options = ("--weights", "gates=ternary,candidates=4", "--work-target", 0.4)
    kept = tmp_path / "training.npz"
    outputs = []
    for name, more in (("plain", ()), ("kept", ("--checkpoint", kept))):
        (tmp_path / name).mkdir()
        came = edge_lstm(
            "train",
            files.npz,
            "-o",
            tmp_path / name / "m.onnx",
            *SMALL[:4],
            "--decimation",
            2,
            "--iterations",
            30,
            "--folds",
            3,
            *options,
            *more,
        )
        assert came.status == 0, came.err
        outputs.append((tmp_path / name / "m.int.onnx").read_bytes())
    assert outputs[0] == outputs[1]
    assert not list(tmp_path.glob("training*"))
    made = onnx_io.load(tmp_path / "kept" / "m.int.onnx")
    assert isinstance(made, IntegerNetwork)
    assert np.abs(made.recurrent[0].rows["f"].R[0]).max() == 1
    assert np.abs(made.recurrent[0].rows["g"].R[0]).max() <= 7
    assert edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", "--gates", "stiff").status == 2
    assert edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", "--weights", "gates=3").status == 2
    assert training.of_fold(kept, 2).name == "training.fold2.npz"


def test_a_convolution_in_front_is_trained_verified_and_finetuned_on(people: Path, edge_lstm, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hardening, "ITERATIONS", 60)
    model, options = tmp_path / "m.onnx", (*SMALL[:4], "--decimation", 2, "--iterations", 200, "--folds", 0, "--front", "conv6x4/2")
    came = edge_lstm("train", people, "-o", model, *options, "--json")
    assert came.status == 0, came.err
    integer = onnx_io.load(tmp_path / "m.int.onnx")
    assert isinstance(integer, IntegerNetwork)
    assert (integer.layers[0].W.shape, integer.read_out.window) == ((6, 3, 4), 10)
    x = data.windows(data.load(people), 40, 20)
    assert (inputs.labels(integer, x.x) == x.y).mean() == pytest.approx(came.json["training"]["accuracy"])
    tuned = ("convert", model, "-c", people, "--finetune", "--window", 40)
    frozen, free = tmp_path / "frozen.int.onnx", tmp_path / "free.int.onnx"
    assert edge_lstm(*tuned, "-o", frozen).status == 0
    assert edge_lstm(*tuned, "-o", free, "--freeze", "nothing").status == 0
    first = [onnx_io.load(path).layers[0].W for path in (frozen, free)]
    assert (first[0] != first[1]).any()
    assert "expected conv16x5" in edge_lstm("train", people, "-o", model, *SMALL, "--front", "cnn").error
