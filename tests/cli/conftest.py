"""Small models and recordings for the commands, and a way to call them in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy_commands import DECIMATION, STEPS, Called, Files, float_network, recordings

from edge_lstm import data, onnx_io
from edge_lstm.cli.program import call
from edge_lstm.fixed_point.quantize import harden, quantize


@pytest.fixture
def edge_lstm(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Calls a command as the shell would, but in this process."""

    def run(*arguments: object) -> Called:
        status = call([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Called(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("models")
    found = Files(folder, *(folder / name for name in ("soft.onnx", "hard.onnx", "soft.int.onnx", "hard.int.onnx", "toy.npz", "one.csv")))
    dataset = recordings()
    data.save(dataset, found.npz)
    x = data.windows(dataset, DECIMATION * STEPS, DECIMATION * STEPS).x
    for network, path, integer in (
        (float_network(), found.soft, found.soft_int),
        (harden(float_network()), found.hard, found.hard_int),
    ):
        onnx_io.save_network(network, path)
        onnx_io.save_integer(quantize(network, x), integer)
    rows = ["ax,ay,az,label", *(",".join(map(str, sample)) + ",walk" for sample in dataset.recordings[1].samples.tolist())]
    found.csv.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return found
