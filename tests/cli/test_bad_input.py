"""What a user may get wrong: one clear line, the right exit status, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from toy_commands import CLASSES, Files, nothing_half_written, recordings

from edge_lstm import data, onnx_io

ROOT = Path(__file__).resolve().parents[2]


def with_every_model_command(files: Files, model: Path, out: Path) -> list[tuple[object, ...]]:
    return [
        ("run", model, files.npz),
        ("convert", model, "-o", out / "m.int.onnx", "-c", files.npz),
        ("codegen", model, "-o", out),
        ("verify", model),
        ("compare", model, "--data", files.npz, "-o", out / "c.html"),
        ("inspect", model),
    ]


def test_a_missing_model(files: Files, edge_lstm, tmp_path: Path) -> None:
    for call in with_every_model_command(files, files.folder / "absent.onnx", tmp_path):
        came = edge_lstm(*call)
        assert came.status == 1, call
        assert "absent.onnx does not exist" in came.error
    nothing_half_written(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is no model at all", None])
def test_a_malformed_model(content: bytes | None, files: Files, edge_lstm, tmp_path: Path) -> None:
    model, out = tmp_path / "bad.onnx", tmp_path / "out"
    out.mkdir()
    model.write_bytes(files.soft_int.read_bytes()[:5000] if content is None else content)
    for call in with_every_model_command(files, model, out):
        came = edge_lstm(*call)
        assert came.status == 1, call
        assert "bad.onnx" in came.error
    nothing_half_written(out)


def test_a_model_with_another_operator_names_it(files: Files, edge_lstm, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="the_determinant")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "det.onnx")
    came = edge_lstm("convert", tmp_path / "det.onnx", "-o", tmp_path / "m.int.onnx", "-c", files.npz)
    assert came.status == 1
    assert "Det" in came.error
    nothing_half_written(tmp_path, "det.onnx")


@pytest.mark.parametrize("command", ["run", "codegen", "verify", "convert"])
def test_a_model_of_the_other_kind_is_a_wrong_call(command: str, files: Files, edge_lstm, tmp_path: Path) -> None:
    calls = {
        "run": ("run", files.soft, files.npz, "--stream"),
        "codegen": ("codegen", files.soft, "-o", tmp_path),
        "verify": ("verify", files.soft),
        "convert": ("convert", files.soft_int, "-o", tmp_path / "m.onnx", "-c", files.npz),
    }
    came = edge_lstm(*calls[command])
    assert came.status == 2
    assert "model" in came.error
    nothing_half_written(tmp_path)


def with_every_data_command(files: Files, recording: Path, out: Path) -> list[tuple[object, ...]]:
    return [
        ("run", files.hard_int, recording),
        ("run", files.hard_int, recording, "--stream"),
        ("verify", files.hard_int, recording),
        ("compare", files.soft, files.hard_int, "--data", recording, "-o", out / "c.html"),
        ("inspect", files.hard_int, recording),
        ("convert", files.soft, "-o", out / "m.int.onnx", "-c", recording),
        ("train", recording, "-o", out / "m.onnx"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.npz", None, "no such file"),
        ("bad.npz", "no archive", "bad.npz"),
        ("text.csv", "ax,ay,az\n1,2,3\n1,two,3\n", "'two'"),
        ("ragged.csv", "ax,ay,az\n1,2,3\n1,2\n", "line 3"),
        ("nan.csv", "ax,ay,az\n" + "1.5,2.5,3.5\n" * 300 + "1.5,nan,3.5\n", "ay is nan at sample 300"),
        ("channels.csv", "ax,ay\n" + "1,2\n" * 300, "3 channels expected, 2 came"),
        ("short.csv", "ax,ay,az\n" + "1,2,3\n" * 15, "longer than every recording"),
    ],
)
def test_recordings_that_cannot_be_used(name: str, content: str | None, said: str, files: Files, edge_lstm, tmp_path: Path) -> None:
    recording, out = tmp_path / name, tmp_path / "out"
    out.mkdir()
    if content is not None:
        recording.write_text(content, encoding="utf-8")
    for call in with_every_data_command(files, recording, out):
        if "longer" in said and (call[0] == "inspect" or "--stream" in call):
            continue  # these follow whatever there is
        came = edge_lstm(*call)
        assert came.status == 1, call
        if call[0] == "train" and name == "channels.csv":
            assert "label" in came.error  # any number of channels may be trained on, but these have no labels
        elif call[0] == "train" and name == "short.csv":
            assert "200 samples is longer" in came.error
        else:
            assert said in came.error, call
    nothing_half_written(out)


def test_a_kind_of_file_that_is_not_read_is_a_wrong_call(files: Files, edge_lstm, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("RIFF")
    came = edge_lstm("run", files.hard_int, tmp_path / "x.wav")
    assert came.status == 2
    assert ".npz, .npy, .csv and .parquet" in came.error


def test_a_class_that_never_occurs_cannot_be_learned(edge_lstm, tmp_path: Path) -> None:
    dataset = replace(recordings(), classes=(*CLASSES, "fly"))
    data.save(dataset, tmp_path / "d.npz")
    came = edge_lstm("train", tmp_path / "d.npz", "-o", tmp_path / "m.onnx", "--window", 40, "--decimation", 2, "--folds", 3)
    assert came.status == 1
    assert "never occurs in the training part: fly" in came.error
    nothing_half_written(tmp_path, "d.npz")


def test_a_class_that_the_model_does_not_know(files: Files, edge_lstm, tmp_path: Path) -> None:
    data.save(recordings(classes=("rest", "walk", "swim")), tmp_path / "d.npz")
    came = edge_lstm("run", files.hard_int, tmp_path / "d.npz")
    assert came.status == 1
    assert "'swim'" in came.error


def test_more_folds_than_people(files: Files, edge_lstm, tmp_path: Path) -> None:
    came = edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", "--window", 40, "--decimation", 2, "--folds", 5)
    assert came.status == 1
    assert "5 folds need at least 5 people, there are 3" in came.error
    nothing_half_written(tmp_path)


def test_a_seed_below_zero_is_a_wrong_call(files: Files, edge_lstm, tmp_path: Path) -> None:
    for call in (
        ("train", files.npz, "-o", tmp_path / "m.onnx"),
        ("convert", files.soft, "-o", tmp_path / "m.int.onnx", "-c", files.npz),
        ("verify", files.hard_int),
        ("profile", files.hard_int),
        ("demo", "-o", tmp_path / "demo"),
    ):
        came = edge_lstm(*call, "--seed", "-1")
        assert came.status == 2, call
        assert "--seed" in came.error
    nothing_half_written(tmp_path)


@pytest.mark.parametrize("units", ["0", "-1", "nan", "inf"])
def test_counts_of_no_size_are_a_wrong_call(units: str, files: Files, edge_lstm, tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("ax,ay,az\n" + "1,2,3\n" * 40)
    for call in (("run", files.hard_int), ("verify", files.hard_int)):
        came = edge_lstm(*call, tmp_path / "counts.csv", "--units-per-count", units)
        assert came.status == 2, call
        assert "units_per_count must be positive" in came.error


@pytest.mark.parametrize("option", [("--cell", "lstn"), ("--window", "1"), ("--hidden", "0"), ("--gates", "firm"), ("--decimation", "30")])
def test_a_wrong_option_of_train_is_a_wrong_call(option: tuple[str, str], files: Files, edge_lstm, tmp_path: Path) -> None:
    came = edge_lstm("train", files.npz, "-o", tmp_path / "m.onnx", "--window", "40", *option)
    assert came.status == 2
    assert came.error
    nothing_half_written(tmp_path)


@pytest.mark.parametrize("place", ["file", "proc"])
def test_an_output_folder_that_cannot_be_written(
    place: str, files: Files, edge_lstm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission bits do not stop root, but these two places do."""
    if place == "proc" and not Path("/proc/self").exists():
        place = "file"
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "out" if place == "file" else Path("/proc/edge-lstm-out")
    keep = tmp_path / "kept"
    calls = [
        ("convert", files.soft, "-o", folder / "m.int.onnx", "-c", files.npz),
        ("convert", files.soft, "-o", keep / "m.int.onnx", "-c", files.npz, "--finetune", "--checkpoint", folder / "c.npz"),
        ("run", files.hard_int, files.npz, "-o", folder / "labels.csv"),
        ("codegen", files.hard_int, "-o", folder),
        ("codegen", files.hard_int, "-o", folder / "package", "--package", "cmake"),
        ("compare", files.hard_int, "--data", files.npz, "-o", folder / "c.html"),
        ("inspect", files.hard_int, files.npz, "--picture", folder / "p.png"),
        ("train", files.npz, "-o", folder / "m.onnx", "--window", 40, "--folds", 3),
        ("train", files.npz, "-o", keep / "m.onnx", "--window", 40, "--folds", 3, "--checkpoint", folder / "c.npz"),
        ("demo", "--output", folder),
    ]
    keep.mkdir()

    def work(*_: object, **__: object) -> None:
        raise AssertionError("refused after the work, not before it")

    for what in ("options.read_data", "options.open_data"):
        monkeypatch.setattr(f"edge_lstm.cli.{what}", work)
    monkeypatch.setattr("edge_lstm.onnx_io.load", work)
    for call in calls:
        came = edge_lstm(*call)
        assert came.status == 1, call
        assert str(folder) in came.error
    nothing_half_written(keep)
    nothing_half_written(tmp_path, "file", "kept")


def test_no_result_replaces_what_is_read(files: Files, edge_lstm, tmp_path: Path) -> None:
    """`-o` with the name of the model or of the recordings is a slip that would cost the user a file."""
    model, recording = tmp_path / "m.onnx", tmp_path / "r.csv"
    model.write_bytes(files.soft.read_bytes())
    recording.write_bytes(files.csv.read_bytes())
    for call in (
        ("convert", model, "-o", tmp_path / "." / "m.onnx", "-c", files.npz),
        ("run", model, recording, "-o", recording, "--channels", "ax,ay,az"),
        ("compare", files.soft_int, model, "--data", files.npz, "-o", model),
        ("inspect", model, recording, "--picture", recording),
        ("convert", model, "-c", files.npz, "--finetune", "--checkpoint", tmp_path / "m.int.onnx"),
    ):
        came = edge_lstm(*call)
        assert came.status == 2, call
        assert "name another file" in came.error
    assert model.read_bytes() == files.soft.read_bytes()
    assert recording.read_bytes() == files.csv.read_bytes()
    nothing_half_written(tmp_path, "m.onnx", "r.csv")


def test_recordings_of_another_rate_need_a_word(files: Files, edge_lstm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lstm.jobs.comparison.latencies", lambda *_, **__: None)  # measuring is what takes time
    for name in ("soft", "hard_int"):
        network = onnx_io.load(getattr(files, name))
        slower = replace(network, metadata={**network.metadata, "rate_hz": "25"})
        save = onnx_io.save_network if name == "soft" else onnx_io.save_integer
        save(slower, tmp_path / f"{name}.onnx")
    soft, hard = tmp_path / "soft.onnx", tmp_path / "hard_int.onnx"
    for call in (
        ("run", hard, files.npz),
        ("verify", hard, files.npz, "--no-c"),
        ("compare", hard, "--data", files.npz, "-o", tmp_path / "c.html"),
        ("inspect", hard, files.npz, "--picture", tmp_path / "p.svg"),
        ("convert", soft, "-o", tmp_path / "m.int.onnx", "-c", files.npz),
        ("codegen", hard, "-o", tmp_path / "c", "--data", files.npz),
    ):
        came = edge_lstm(*call)
        assert came.status == 1, call
        assert "toy has 50 samples a second, the model learned from 25" in came.error
        assert "--ignore-rate" in came.error
        assert edge_lstm(*call, "--ignore-rate").status == 0, call
    assert onnx_io.load(tmp_path / "m.int.onnx").metadata["rate_hz"] == "25"


# Where the tests run in the background of a shell, interrupts come ignored.
SAY_WHEN_TRAINING = """
import os
import signal
from edge_lstm.train import loop
signal.signal(signal.SIGINT, signal.default_int_handler)
run = loop._Training.run
def talking(self, progress, checkpoint):
    def report(done, total, loss):
        if done == 1:
            os.write(1, b"training\\n")  # at once, since threads train side by side
        progress(done, total, loss)
    return run(self, report, checkpoint)
loop._Training.run = talking
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="interrupts are sent as POSIX signals")
def test_ctrl_c_in_training_leaves_nothing(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["train", files.npz, "-o", out / "m.onnx", "--window", 40, "--decimation", 2, "--folds", 3, "--iterations", 1_000_000]
    code = SAY_WHEN_TRAINING + "from edge_lstm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "interrupted: nothing was left half-written"
    assert "Traceback" not in err
    nothing_half_written(out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_one_line(unbuffered: str, files: Files) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", "from edge_lstm.cli import main; main()", "--version"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No space left on device; is the disk")


def test_what_the_system_refuses_is_one_line(files: Files, edge_lstm, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", refuse)
        assert "secret/r.npz: cannot be read (Permission denied)" in edge_lstm("run", files.hard_int, Path("secret/r.npz")).error
    refused = PermissionError(13, "Permission denied", "x.npz")
    for error, said in ((refused, "x.npz: Permission denied"), (MemoryError(), "memory is too small")):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("edge_lstm.cli.options.open_data", fail)
        came = edge_lstm("run", files.hard_int, files.npz)
        assert came.status == 1
        assert said in came.error


def test_a_reader_that_leaves_early_is_no_error(files: Files) -> None:
    code = "from edge_lstm.cli import main; main()"
    command = f'"{sys.executable}" -c "{code}" run "{files.hard_int}" "{files.npz}" --stream | head -n 1'
    done = subprocess.run(
        command, shell=True, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120
    )
    assert done.stdout.startswith("p0-rest\t1")
    assert done.stderr == ""


def test_counts_beyond_the_model_are_clipped_not_wrapped(files: Files, edge_lstm, tmp_path: Path) -> None:
    """A recording in g that is far beyond what 16-bit counts hold is taken as the largest count."""
    huge = np.full((40, 3), 1e6)
    (tmp_path / "huge.csv").write_text("ax,ay,az\n" + "\n".join(",".join(f"{v:.1f}" for v in row) for row in huge + 0.5) + "\n")
    largest = np.full((40, 3), 32767 / 1024)
    (tmp_path / "large.csv").write_text("ax,ay,az\n" + "\n".join(",".join(f"{v:.6f}" for v in row) for row in largest) + "\n")
    first, second = (edge_lstm("run", files.hard_int, tmp_path / f"{name}.csv", "--json").json["windows"] for name in ("huge", "large"))
    assert [row["label"] for row in first] == [row["label"] for row in second]
