"""An integer network comes back from its file equal in every field; any other file is refused in one line."""

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
from random_networks import every_member, random_deep, random_input, random_integer

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.onnx_io import integer_model, load, save_integer
from edge_lstm.onnx_io.integer_read import read_integer

MEMBERS = every_member()[::3]


def example(**options: object) -> IntegerNetwork:
    network = random_integer(np.random.default_rng(0), "lstm", 5, 6, "mixed", "last", hidden=4, decimation=2, **options)
    return replace(network, classes=("curl", "Strecken ×", "其他"), metadata={"licence": "CC0", "note": 'a "quoted"\nline'}, name="watch")


def deep(seed: int, streams: bool) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    network = random_deep(rng, "lstm", "mixed", ("final", "mean", "last")[seed], streams=streams)
    return quantize(network, random_input(rng, network, 6))


@pytest.mark.parametrize("index", range(len(MEMBERS)), ids=["-".join(member) for member in MEMBERS])
def test_a_network_comes_back_equal_in_every_field(index: int, tmp_path: Path) -> None:
    name, gates = MEMBERS[index]
    network = random_integer(
        np.random.default_rng(index), name, 5, 7, gates, ("last", "mean", "every")[index % 3], layers=1 + index % 2, hidden=4 * (index % 2),
        initial=True, squash="any",
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    save_integer(network, path)
    back = load(path)
    assert difference(network, back) is None
    assert isinstance(back, IntegerNetwork)
    save_integer(back, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_layers_around_the_cells_come_back_equal(seed: int, streams: bool, tmp_path: Path) -> None:
    network = deep(seed, streams)
    save_integer(network, tmp_path / "model.onnx")
    assert difference(network, load(tmp_path / "model.onnx")) is None


def test_classes_metadata_and_name_come_back(tmp_path: Path) -> None:
    save_integer(example(), tmp_path / "model.onnx")
    assert difference(example(), load(tmp_path / "model.onnx")) is None


def test_the_equality_of_these_tests_sees_one_bit_and_one_type() -> None:
    network = example()
    layer = network.layers[0]
    flipped = layer.input_scale.copy()
    flipped.view(np.int64)[0] ^= 1
    assert difference(network, replace(network, layers=(replace(layer, input_scale=flipped), *network.layers[1:])))
    wide = replace(layer, vectors={k: v.astype(np.int64) for k, v in layer.vectors.items()})
    assert difference(network, replace(network, layers=(wide, *network.layers[1:])))


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def edit_definition(label: str, change: Callable[[dict], None]) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        attribute = next(a for a in node(model, label).attribute if a.name == "definition")
        value = json.loads(attribute.s)
        change(value)
        attribute.s = json.dumps(value).encode()

    return edit


def read_later(definition: dict) -> None:
    op = definition["ops"][-1]
    op["args"] = [10**6] * len(op["args"])


def edit_array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))

    return edit


def filled(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: np.full_like(a, value)


def drop_initializer(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


def rename_node(model: onnx.ModelProto) -> None:
    for item in (node(model, "layer0"), model.functions[1]):
        item.ClearField("op_type") if isinstance(item, onnx.NodeProto) else item.ClearField("name")
    node(model, "layer0").op_type = model.functions[1].name = "Attention"


def set_version(model: onnx.ModelProto) -> None:
    next(p for p in model.metadata_props if p.key.endswith("version")).value = "99"


def shorten_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-3]


DAMAGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "no functions": (lambda m: m.ClearField("functions"), "function is missing"),
    "no nodes of ours": (lambda m: [m.graph.node.remove(n) for n in list(m.graph.node) if n.domain], "does not begin with a Normalize"),
    "no metadata": (lambda m: m.ClearField("metadata_props"), "lost its metadata"),
    "later version": (set_version, "version '99'"),
    "unknown layer": (rename_node, "unknown kind of layer"),
    "initializer gone": (drop_initializer, "is missing"),
    "data cut": (shorten_data, "cannot be read"),
    "definition gone": (lambda m: node(m, "layer0").ClearField("attribute"), "no valid JSON"),
    "field gone": (edit_definition("layer0", lambda d: d.pop("output")), "field 'output' holds nothing"),
    "field of another type": (edit_definition("layer0", lambda d: d.update(output_scale="one")), "expected float"),
    "truth value for a number": (edit_definition("layer0", lambda d: d.update(output=True)), "expected int"),
    "unknown operator": (edit_definition("layer0", lambda d: d["ops"][3].update(code="divide")), "is unknown"),
    "operator reads a later one": (edit_definition("layer0", read_later), "comes later"),
    "no such table": (edit_definition("layer0", lambda d: d.update(tables=[])), "names nothing"),
    "shift of 40": (edit_definition("normalize", lambda d: d.update(shift=40)), "shift 40"),
    "negative decimation": (edit_definition("normalize", lambda d: d.update(decimation=-1)), "decimation -1"),
    "state of 3 bits": (edit_definition("layer0", lambda d: d["states"][0].update(bits=3)), "in 3 bits"),
    "state renewed by nothing": (edit_definition("layer0", lambda d: d["states"][0].update(update=10**6)), "does not exist"),
    "unknown read-out": (edit_definition("layer1", lambda d: d.update(kind="median")), "unknown read-out"),
    "weight of -128": (edit_array("layer0.W.g", filled(-128)), "-128"),
    "weights of int16": (edit_array("layer0.W.g", lambda a: a.astype(np.int16)), "int16"),
    "matrix of another shape": (edit_array("layer0.W.g", lambda a: a[:, :-1]), "has a matrix"),
    "layers that do not fit": (edit_array("layer2.W", lambda a: a[:, :-1]), "expects 5 inputs"),
    "multiplier beyond 32 bits": (edit_array("normalize.multiplier", filled(2**31 - 1)), "beyond 32 bits"),
    "bias that can overflow": (edit_array("layer0.bias.g", filled(2**31 - 1)), "needs 33 bits"),
    "class too many": (lambda m: m.metadata_props[-1].CopyFrom(onnx.StringStringEntryProto(
        key=m.metadata_props[-1].key, value=m.metadata_props[-1].value.replace('["curl"', '["one","curl"'))), "4 class names for 3"),
}  # fmt: skip


def drop_backward(model: onnx.ModelProto) -> None:
    model.graph.node.remove(node(model, "layer3.backward"))


# In the layers around the cells; "average" where the pooling is one.
DEEP_DAMAGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "stride 0": (edit_definition("layer0", lambda d: d.update(stride=0)), "stride 0"),
    "padding of one side": (edit_definition("layer0", lambda d: d.update(padding=[1])), "no two sides"),
    "negative padding": (edit_definition("layer0", lambda d: d.update(padding=[-1, 0])), "padding [-1, 0]"),
    "unknown pooling": (edit_definition("layer1", lambda d: d.update(kind="median")), "'median' pooling"),
    "average beyond 8 bits": (
        edit_definition("layer1", lambda d: d.update(kind="average", size=9, multiplier=2**20, shift=20)),
        "beyond 127",
    ),
    "kernel of -128": (edit_array("layer0.W", filled(-128)), "-128"),
    "no backward direction": (drop_backward, "needs its two directions"),
    "both directions forward": (edit_definition("layer3.backward", lambda d: d.update(reverse=False)), "not forward and backward"),
    "32 bits in the middle": (edit_definition("layer2", lambda d: d.update(requantized=False)), "gives 32 bits"),
}


@pytest.mark.parametrize("damage", [*DAMAGES, *DEEP_DAMAGES])
def test_a_damaged_model_is_refused_in_one_line_that_names_the_file(damage: str, tmp_path: Path) -> None:
    change, reason = (DAMAGES | DEEP_DAMAGES)[damage]
    model = integer_model(example() if damage in DAMAGES else deep(0, False))
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
    whole = integer_model(example()).SerializeToString(deterministic=True)
    path = tmp_path / "cut.onnx"
    for length in range(0, len(whole) - 1, len(whole) // 150):
        path.write_bytes(whole[:length])
        with pytest.raises(EdgeLstmError, match=r"cut\.onnx"):
            load(path)


def test_a_file_with_a_wrong_byte_gives_a_network_or_one_clear_error() -> None:
    rng = np.random.default_rng(1)
    whole = integer_model(example()).SerializeToString(deterministic=True)
    refused = 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        model = onnx.ModelProto()
        try:
            model.ParseFromString(bytes(damaged))
        except Exception:  # noqa: BLE001 - protobuf's own refusal, whatever its type in this release
            continue
        try:
            read_integer(model)
        except EdgeLstmError:
            refused += 1
    assert refused > 0


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("a,b,c\n1,2,3\n", encoding="utf-8")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "zeros.onnx").write_bytes(bytes(100))
    for name in ("text.onnx", "empty.onnx", "zeros.onnx", "missing.onnx", "."):
        with pytest.raises(EdgeLstmError) as caught:
            load(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_integer(example(), path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_integer(example(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match="does not exist"):
        save_integer(example(), tmp_path / "no" / "model.onnx")
