"""A float network comes back from its file equal in every field and bit; an edited or damaged file is refused in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from network_equality import difference
from onnx import numpy_helper
from random_networks import every_member, random_input, random_network, random_recurrent

from edge_lstm import float_inference
from edge_lstm.cells import Activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Conv1d, Dense, Network, Pool, ReadOut
from edge_lstm.onnx_io import load, network_model, save_network

MEMBERS = every_member()


def example(name: str = "lstm", **options: object) -> Network:
    network = random_network(np.random.default_rng(0), name, 5, 6, hidden=4, decimation=2, initial=True, dtype=np.float32, **options)
    return replace(network, classes=("curl", "Strecken ×", "其他"), metadata={"licence": "CC0", "note": 'a "quoted"\nline'}, name="watch")


@pytest.mark.parametrize("index", range(len(MEMBERS)), ids=["-".join(member) for member in MEMBERS])
def test_a_network_comes_back_equal_in_every_field_and_bit(index: int, tmp_path: Path) -> None:
    name, gates = MEMBERS[index]
    network = random_network(
        np.random.default_rng(index), name, 5, 7, gates, ("last", "mean", "every", "final")[index % 4], layers=1 + index % 2,
        decimation=(1, 4)[index % 2], hidden=4 * (index % 2), initial=bool(index % 3), squash="any" if index % 7 else "own",
        clip=(None, 0.7)[index // 2 % 2], dtype=(np.float32, np.float64)[index // 4 % 2],
    )  # fmt: skip
    save_network(network, tmp_path / "model.onnx")
    back = load(tmp_path / "model.onnx")
    assert difference(network, back) is None
    assert isinstance(back, Network)
    save_network(back, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


@pytest.mark.parametrize("name", ["lstm", "lstm_1999", "lstm_2000", "lstm_peephole", "lstm_coupled", "lstm_coupled_peephole", "gru",
                                  "gru_reset_before", "rnn", "rnn_relu", "mgu"])  # fmt: skip
def test_operators_of_onnx_come_back_equal_too(name: str, tmp_path: Path) -> None:
    save_network(example(name), tmp_path / "model.onnx")
    assert difference(example(name), load(tmp_path / "model.onnx")) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_around_the_cells_come_back_equal(dtype: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(dtype)

    forward, backward = (random_recurrent(rng, "lstm", 6, units, dtype=dtype) for units in (7, 4))
    layers = (Conv1d(normal(6, 5, 3), normal(6), 2, (2, 1), 2, Activation("hard_sigmoid", 0.3, 0.4)), Pool("max", 2, 3, 6),
              Dense(normal(6, 6), normal(6), Activation("tanh")), Bidirectional(forward, replace(backward, reverse=True)), ReadOut("final"),
              Dense(normal(3, 11), normal(3)))  # fmt: skip
    network = Network(layers, window=17)
    save_network(network, tmp_path / "model.onnx")
    assert difference(network, load(tmp_path / "model.onnx")) is None


def test_a_standard_model_without_our_metadata_is_read_as_any_exporters(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    network = random_network(rng, "lstm", 5, 6, layers=2, initial=True, dtype=np.float32)
    model = network_model(network)
    model.ClearField("metadata_props")
    model.ClearField("producer_name")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    read = load(tmp_path / "model.onnx")
    assert isinstance(read, Network)
    x = random_input(rng, network).astype(np.float32)
    np.testing.assert_allclose(float_inference.run(read, x), float_inference.run(network, x), atol=1e-5)


def edit(change: Callable[[dict], object]) -> Callable[[onnx.ModelProto], None]:
    def edit_model(model: onnx.ModelProto) -> None:
        entry = next(p for p in model.metadata_props if p.key == "edge_lstm.network")
        value = json.loads(entry.value)
        change(value)
        entry.value = json.dumps(value)

    return edit_model


def edit_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    def edit_model(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))

    return edit_model


DAMAGES: dict[str, tuple[str, Callable[[onnx.ModelProto], object], str]] = {
    "no function": ("janet", lambda m: m.ClearField("functions"), "function of node 'janet_layer0' is missing"),
    "no weights": ("lstm", lambda m: m.graph.ClearField("initializer"), "are missing"),
    "no metadata": ("lstm", lambda m: m.ClearField("metadata_props"), "lost its metadata"),
    "unknown format": ("lstm", lambda m: setattr(m.metadata_props[0], "value", "spiking"), "'spiking'"),
    "unknown cell": ("lstm", edit(lambda d: d["layers"][0].update(cell="gpt")), "unknown cell 'gpt'"),
    "unknown activation": ("janet", edit(lambda d: d["layers"][0]["activations"]["f"].update(kind="step")), "unknown activation 'step'"),
    "flat slope": ("lstm", edit(lambda d: d["layers"][0]["activations"]["f"].update(kind="hard_sigmoid", alpha=-1)), "positive slope"),
    "no activation": ("lstm", edit(lambda d: d["layers"][0]["activations"].pop("g")), "nothing given for g"),
    "unknown layer": ("lstm", edit(lambda d: d["layers"][0].update(kind="attention")), "unknown kind of layer 'attention'"),
    "another cell": ("lstm", edit(lambda d: d["layers"][0].update(cell="gru")), "has shape"),
    "no read-out": ("lstm", edit(lambda d: d["layers"].pop(1)), "missing"),
    "two classes too many": ("lstm", edit(lambda d: d["classes"].extend(["a", "b"])), "5 class names for 3"),
    "negative decimation": ("lstm", edit(lambda d: d["preprocess"].update(decimation=-2)), "decimation -2"),
    "units of other channels": ("lstm", edit(lambda d: d["preprocess"].update(units_per_count=[1.0])), "number of channels"),
    "W cut": ("lstm", edit_array("layer0.W", lambda a: a[:, :-1]), "has shape"),
    "W of integers": ("lstm", edit_array("layer0.W", lambda a: a.astype(np.int32)), "int32"),
    "row cut": ("janet", edit_array("layer0.W.f", lambda a: a[:, :-1]), "its rows read"),
    "bias cut": ("janet", edit_array("layer0.bias.g", lambda a: a[:-1]), "weight shapes"),
    "initial state cut": ("janet", edit_array("layer0.initial.h", lambda a: a[:-1]), "does not fit the cell"),
    "dense bias cut": ("lstm", edit_array("layer2.b", lambda a: a[:-1]), "biases for"),
    "layers that do not fit": ("lstm", edit_array("layer2.W", lambda a: a[:, :-1]), "expects 5 inputs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_in_one_line_that_names_the_file(damage: str, tmp_path: Path) -> None:
    name, change, reason = DAMAGES[damage]
    model = network_model(example(name))
    before = model.SerializeToString(deterministic=True)
    change(model)
    assert model.SerializeToString(deterministic=True) != before
    path = tmp_path / "damaged.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EdgeLstmError) as caught:
        load(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = network_model(example("janet")).SerializeToString(deterministic=True)
    path = tmp_path / "cut.onnx"
    for length in range(0, len(whole) - 1, len(whole) // 100):
        path.write_bytes(whole[:length])
        with pytest.raises(EdgeLstmError, match=r"cut\.onnx"):
            load(path)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_network(example(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_json_has_not_are_refused() -> None:
    network = example("janet")
    layer = replace(network.recurrent[0], clip=float("nan"))
    with pytest.raises(EdgeLstmError, match="cannot be saved"):
        network_model(replace(network, layers=(layer, *network.layers[1:])))
