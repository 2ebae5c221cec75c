"""The reference models load, give the same bits in every engine, and their cards are what the files beside them say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_lstm import float_inference, onnx_io
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs.verification import random_counts, verify
from edge_lstm.network import Network

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "models"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/facts.json"))
MOST_BYTES = 64 * 1024  # of all files of one model


@pytest.fixture(scope="module")
def model_cards() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("model_cards")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def integer_model(folder: Path) -> IntegerNetwork:
    network = onnx_io.load(folder / "model.int.onnx")
    assert isinstance(network, IntegerNetwork)
    return network


def test_every_folder_is_a_model() -> None:
    assert FOLDERS
    assert {path.name for path in MODELS.iterdir() if path.is_dir()} == {folder.name for folder in FOLDERS}
    assert all(sum(file.stat().st_size for file in folder.iterdir()) < MOST_BYTES for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_cards_are_what_the_files_say(folder: Path, model_cards: ModuleType) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8") == model_cards.card(folder), "run python tools/make_models.py --cards"


def test_the_list_is_what_the_folders_hold(model_cards: ModuleType) -> None:
    assert (MODELS / "README.md").read_text(encoding="utf-8") == model_cards.listing(MODELS), "run python tools/make_models.py --cards"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_bit_differs_between_the_engines(folder: Path) -> None:
    checks = verify(integer_model(folder), sequences=4, compilers=False)
    assert checks.values > 1000
    assert checks.differing == 0
    assert {"Numba, whole sequences", "Numba, streamed", "ONNX Runtime"} <= {check.engine for check in checks.checks}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_float_network_is_the_one_that_the_integers_came_from(folder: Path) -> None:
    network, integer = onnx_io.load(folder / "model.onnx"), integer_model(folder)
    assert isinstance(network, Network)
    assert network.name == integer.name == folder.name
    assert network.classes == integer.classes
    assert network.recurrent[0].hard_gates == tuple(g for g in network.recurrent[0].cell.gates)  # three thresholds, two where coupled
    raw = random_counts(integer, 96, integer.read_out.window, 1)
    agree = float_inference.run(network, raw).argmax(1) == integer(raw).argmax(1)
    assert agree.mean() > 1 / 3  # random counts lie near no class; a network of other weights would agree in one of seven, +- 0.04
    found = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    assert np.array(found["confusion"]).sum() == found["tested"]
