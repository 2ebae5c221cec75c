"""`.keras` files, as Keras 3 saves them, are read without Keras and give what Keras gives."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from read_graphs import layers

from edge_lstm import onnx_io
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.network import Network
from edge_lstm.onnx_io.read import UnsupportedModel
from edge_lstm.onnx_io.read_keras import read_keras

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch", reason="PyTorch, the backend of Keras here, is not installed: pip install '.[exporters]'")
keras = pytest.importorskip("keras", reason="Keras is not installed: pip install '.[exporters]'")
L = keras.layers

INPUTS, STEPS = 5, 13


def save(model: Any, path: Path, seed: int = 0) -> Path:
    """Saves the model with random numbers for all variables, biases and statistics too."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = rng.normal(0, 0.5, variable.shape)
        if "variance" in variable.path:
            value = rng.uniform(0.3, 2, variable.shape)
        if "seed" not in variable.path:
            variable.assign(value.astype(np.float32))
    model.save(path)
    return path


def assert_reads(model: Any, folder: Path) -> Network:
    network = onnx_io.load(save(model, folder / "model.keras"))
    assert isinstance(network, Network)
    x = np.random.default_rng(1).normal(0, 1.5, (3, STEPS, INPUTS)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(x))
    found = network(x)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=0, atol=1e-5)
    return network


def sequential(*stack: Any, steps: int | None = None) -> Any:
    return keras.Sequential([keras.Input((steps, INPUTS)), *stack])


MODELS: dict[str, tuple[Callable[[], list[Any]], list[str]]] = {
    "lstm": (lambda: [L.LSTM(6), L.Dense(3)], ["lstm", "last", "Dense"]),
    "softmax": (lambda: [L.LSTM(6, use_bias=False), L.Dense(3, activation="softmax", use_bias=False)], ["lstm", "last", "Dense"]),
    "stacked": (lambda: [L.LSTM(6, return_sequences=True), L.Dropout(0.3), L.LSTM(4), L.Dense(8, "relu"), L.Dense(3), L.Softmax()],
                ["lstm", "lstm", "last", "Dense", "Dense"]),
    "every step": (lambda: [L.LSTM(6, return_sequences=True), L.TimeDistributed(L.Dense(3)), L.Activation("sigmoid")],
                   ["lstm", "every", "Dense"]),
    "hard sigmoid": (lambda: [L.LSTM(6, recurrent_activation="hard_sigmoid", activation="softsign"), L.Dense(3)],
                     ["lstm", "last", "Dense"]),
    "bent": (lambda: [L.LSTM(6), L.Dense(5, "gelu"), L.Dense(5), L.LeakyReLU(0.1), L.Dense(5), L.ELU(0.5), L.Dense(4, "leaky_relu"),
                      L.Dense(3, "elu")],
             ["lstm", "last", "Dense", "Dense", "Dense", "Dense", "Dense"]),
    "gru": (lambda: [L.GRU(6), L.Dense(3)], ["gru", "last", "Dense"]),
    "gru, reset before": (lambda: [L.GRU(6, reset_after=False, recurrent_activation="hard_sigmoid"), L.Dense(3)],
                          ["gru_reset_before", "last", "Dense"]),
    "rnn": (lambda: [L.SimpleRNN(6, return_sequences=True), L.SimpleRNN(4, activation="relu"), L.Dense(3)],
            ["rnn", "rnn_relu", "last", "Dense"]),
    "backwards": (lambda: [L.LSTM(6, go_backwards=True), L.Dense(3)], ["lstm", "final", "Dense"]),
    "bidirectional": (lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Bidirectional(L.GRU(5)), L.Dense(3)],
                      ["Bidirectional", "Bidirectional", "final", "Dense"]),
    "convolutions": (lambda: [L.BatchNormalization(), L.Conv1D(7, 3, padding="causal", dilation_rate=2), L.BatchNormalization(), L.ReLU(),
                              L.MaxPooling1D(2), L.Conv1D(4, 2, padding="same", activation="tanh"), L.AveragePooling1D(2, 1), L.LSTM(6),
                              L.Dense(3)],
                     ["Dense", "Conv1d", "max", "Conv1d", "average", "lstm", "last", "Dense"]),
    "strided": (lambda: [L.Conv1D(7, 4, strides=2), L.BatchNormalization(scale=False), L.LSTM(6), L.BatchNormalization(center=False),
                         L.Dense(3)],
                ["Conv1d", "lstm", "last", "Dense"]),
    "mean over time": (lambda: [L.GRU(6, return_sequences=True), L.GlobalAveragePooling1D(), L.Dense(3)], ["gru", "mean", "Dense"]),
}  # fmt: skip


@pytest.mark.parametrize("steps", [None, STEPS])
@pytest.mark.parametrize(("stack", "expected"), MODELS.values(), ids=MODELS)
def test_sequential_models(stack: Callable[[], list[Any]], expected: list[str], steps: int | None, tmp_path: Path) -> None:
    network = assert_reads(sequential(*stack(), steps=steps), tmp_path)
    assert layers(network) == expected
    assert network.window == (steps or 0)


def test_a_functional_model_that_is_a_chain(tmp_path: Path) -> None:
    x = keras.Input((None, INPUTS))
    h = L.LSTM(4, name="first")(L.Dense(7, "relu", name="front")(x))
    model = keras.Model(x, L.Dense(3, name="scores")(L.Dense(5, "relu", name="hidden")(h)))
    assert layers(assert_reads(model, tmp_path)) == ["Dense", "lstm", "last", "Dense", "Dense"]


def test_a_keras_file_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model\.keras: a \.keras file is read as a whole"):
        onnx_io.load(tmp_path / "model.keras", end="dense")


def test_branches_are_refused(tmp_path: Path) -> None:
    x = keras.Input((None, INPUTS))
    h = L.LSTM(4, return_sequences=True)(x)
    model = keras.Model(x, L.Dense(3)(L.Concatenate()([h, L.LSTM(4, return_sequences=True)(h)])))
    with pytest.raises(UnsupportedModel, match="reads 2 tensors; only a chain"):
        read_keras(save(model, tmp_path / "model.keras"))


REFUSED: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "class": (lambda: [L.LSTM(6), L.LayerNormalization()], r"\(LayerNormalization\): layers of this class are not read"),
    "masking": (lambda: [L.Masking(), L.LSTM(6)], "Masking"),
    "activation": (lambda: [L.LSTM(6), L.Dense(3, activation="silu")], "activation silu is not read"),
    "candidate": (lambda: [L.LSTM(6, activation="elu")], "activation elu is not read in a recurrent layer"),
    "stateful": (lambda: [L.LSTM(6, stateful=True)], "stateful = True"),
    "reversed sequence": (lambda: [L.GRU(6, go_backwards=True, return_sequences=True)], "reverse order"),
    "sum of directions": (lambda: [L.Bidirectional(L.LSTM(4), merge_mode="sum")], "merge_mode = sum"),
    "flatten": (lambda: [L.LSTM(4, return_sequences=True), L.Flatten(), L.Dense(3)], "Flatten"),
    "no recurrent layer": (lambda: [L.Dense(3)], "no recurrent layer"),
    "padding": (lambda: [L.Conv1D(4, 3, padding="same", strides=2), L.LSTM(4)], "padding = same with strides"),
}


@pytest.mark.parametrize(("stack", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_refused_by_name(stack: Callable[[], list[Any]], reason: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, INPUTS), batch_size=3), *stack()])
    with pytest.raises(UnsupportedModel, match=reason) as error:
        read_keras(save(model, tmp_path / "model.keras"))
    assert "\n" not in str(error.value)


def test_every_reason_is_listed(tmp_path: Path) -> None:
    model = sequential(L.LSTM(6, activation="elu"), L.LayerNormalization(), L.Dense(3))
    with pytest.raises(UnsupportedModel) as error:
        read_keras(save(model, tmp_path / "model.keras"))
    assert [reason.partition(":")[0].partition("(")[2] for reason in error.value.reasons] == ["LSTM)", "LayerNormalization)"]


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The file with its configuration changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(class_name="MyModel"), "MyModel"),
    (lambda c: c.update(config=[]), "holds no model"),
    (lambda c: c["config"]["layers"][1]["config"].update(units=9), "expected"),
    (lambda c: c["config"]["layers"][1]["config"].update(units="many"), "damaged"),
    (lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, None, None]), "fixed number of channels"),
])  # fmt: skip
def test_a_damaged_configuration_is_one_line(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path) -> None:
    path = rewritten(save(sequential(L.LSTM(6), L.Dense(3)), tmp_path / "model.keras"), change)
    with pytest.raises(EdgeLstmError, match=message) as error:
        read_keras(path)
    assert "\n" not in str(error.value)


def test_a_file_of_another_kind_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"no archive")
    with pytest.raises(EdgeLstmError, match="no Keras 3 model file"):
        read_keras(tmp_path / "model.keras")
    with pytest.raises(EdgeLstmError, match="does not exist"):
        read_keras(tmp_path / "nothing.keras")
