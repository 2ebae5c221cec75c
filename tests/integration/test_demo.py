"""The demo: its files agree with its report, on toy recordings; and on the real ones it is good, exact, and quick enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toy_commands import recordings

import firmware_gen
from edge_lstm import data, onnx_io
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs.demo import demo
from edge_lstm.jobs.training import Plan

ROOT = Path(__file__).resolve().parents[2]
FILES = {"model.onnx", "model.int.onnx", "soft.onnx", "watch.h", "watch_selftest.c", "unseen.npz", "report.html"}
ITERATIONS = 450  # of the real demo, which makes 2000: a quarter of the processor time, and every bound below holds
PLAN = Plan(hidden=5, window=40, stride=20, decimation=2, iterations=60)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    said: list[str] = []
    done = demo(folder, plan=PLAN, dataset=recordings(people=5), say=said.append)
    assert "toy: 15 recordings" in said[0]
    return folder, done.summary


def test_the_demo_leaves_its_files_and_nothing_else(toy: tuple[Path, dict]) -> None:
    folder, summary = toy
    assert {path.name for path in folder.iterdir()} == FILES
    assert {Path(path).name for path in summary["files"]} == FILES - {"report.html"}


def test_the_models_reach_the_reported_accuracy_on_the_people_left_out(toy: tuple[Path, dict]) -> None:
    folder, summary = toy
    network = onnx_io.load(folder / "model.int.onnx")
    unseen = data.load(folder / "unseen.npz")
    windows = data.windows(unseen, PLAN.window, PLAN.stride)
    right = (reference.run(network, windows.x).scores.argmax(-1) == windows.y).mean()
    parts = summary["accuracy"]["integers, threshold gates"]["parts"]
    people = ", ".join(sorted({recording.person for recording in unseen.recordings}))
    assert parts[f"without {people}"] == pytest.approx(right)
    assert len(parts) == 5


def test_the_float_model_is_the_one_that_became_integers(toy: tuple[Path, dict]) -> None:
    folder, _ = toy
    floats, integers = onnx_io.load(folder / "model.onnx"), onnx_io.load(folder / "model.int.onnx")
    assert isinstance(integers, IntegerNetwork)
    x = data.windows(data.load(folder / "unseen.npz"), PLAN.window, PLAN.stride).x
    assert (floats(x).argmax(-1) == reference.run(integers, x).scores.argmax(-1)).mean() > 0.8
    assert (folder / "watch.h").read_text(encoding="utf-8") == firmware_gen.header(integers, prefix="watch")


def test_every_engine_gave_the_same_bits(toy: tuple[Path, dict]) -> None:
    _, summary = toy
    assert summary["values_differing"] == 0
    assert summary["values_compared"] > 10_000


def test_the_report_says_how_and_names_the_people_left_out(toy: tuple[Path, dict]) -> None:
    folder, summary = toy
    html = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("Measured:", "folds", "seed", "were left out", "The same bits", "Proved bounds", "Gates over time", "ONNX Runtime"):
        assert said in html
    mean = summary["accuracy"]["integers, threshold gates"]["mean"]
    assert f"{100 * mean:.1f} %" in html


def test_folds_are_those_of_the_seed(toy: tuple[Path, dict]) -> None:
    _, summary = toy
    folds = data.person_folds([r.person for r in recordings(people=5).recordings], 5, 0)
    names = [recordings(people=5).recordings[test[0]].person for _, test in folds]
    assert list(summary["accuracy"]["float, soft gates"]["parts"]) == [f"without {name}" for name in names]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_demo(tmp_path: Path) -> None:
    """The command itself, with fewer iterations. Time is measured as processor time: what else runs here must not decide."""
    code = (
        "import os, sys\n"
        "from dataclasses import replace\n"
        "from edge_lstm.cli.program import call\n"
        "from edge_lstm.jobs import demo\n"
        f"demo.demo.__kwdefaults__['plan'] = replace(demo.PLAN, iterations={ITERATIONS})\n"
        "status = call(['demo', '--output', 'demo', '--json'])\n"
        "print(sum(os.times()[:4]), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {path.name for path in (tmp_path / "demo").iterdir()} == FILES
    accuracy = {name: found["mean"] for name, found in summary["accuracy"].items()}
    assert accuracy["integers, threshold gates"] > 0.80
    assert accuracy["float, soft gates"] > 0.80
    assert accuracy["integers, threshold gates"] > accuracy["integers, thresholded without training"] + 0.03
    assert abs(accuracy["integers, soft gates"] - accuracy["float, soft gates"]) < 0.01
    assert all(found["cases"] == 2229 for found in summary["accuracy"].values())
    assert summary["values_differing"] == 0
    takes = next(iter(summary["bytes"].values()))
    assert takes["state struct (RAM, yours)"] <= 400
    assert sum(size for what, size in takes.items() if "flash" in what) <= 9 * 1024
    assert float(done.stderr.strip().splitlines()[-1]) < 2 * 180 * ITERATIONS / 2000  # three minutes on two cores


def test_a_dataset_of_too_few_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match="5 folds need at least 5 people"):
        demo(tmp_path / "out", plan=replace(PLAN, iterations=5), dataset=recordings(people=3))
    assert list((tmp_path / "out").iterdir()) == []
