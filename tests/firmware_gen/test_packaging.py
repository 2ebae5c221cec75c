"""Packages: what the tools of an ecosystem ask of a folder holds, the examples compile, and what they print is what the reference says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import packaging
from firmware_gen.toolchain import Compiler, compilers

STUBS = Path(__file__).with_name("stubs")
STEPS, DECIMATION, WINDOWS = 5, 2, 4


@pytest.fixture(scope="module")
def imu() -> IntegerNetwork:
    """Six channels of an IMU, three classes, a decision every five steps of two samples."""
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 6, 8, "threshold", read_out="mean", decimation=DECIMATION, steps=STEPS, outputs=3)
    return replace(network, classes=("rest", "walk", "run & <jump>"), name="wrist")


@pytest.fixture(scope="module")
def streamed(imu) -> tuple[np.ndarray, list[str]]:
    """Counts [samples, 6] of some windows, and the names of their classes, which are not all the same."""
    raw = random_counts(np.random.default_rng(5), imu, WINDOWS, STEPS)
    classes = [imu.classes[k] for k in reference.run(imu, raw).scores.argmax(-1)]
    assert len(set(classes)) > 1
    return raw.reshape(-1, 6), classes


@pytest.fixture(scope="module")
def with_cxx() -> list[Compiler]:
    found = [one for one in compilers() if one.cxx]
    if not found:
        pytest.skip("no C++ compiler here")
    return found


def as_read_from_the_imu(raw: np.ndarray) -> bytes:
    """14 bytes a sample, big-endian, the temperature in the middle: the registers of an MPU-6050."""
    words = np.concatenate([raw[:, :3], np.full((len(raw), 1), 1234, np.int16), raw[:, 3:]], axis=1)
    return words.astype(">i2").tobytes()


@pytest.mark.parametrize("packager", packaging.PACKAGERS)
def test_a_package_is_whole_and_the_same_each_time(imu, tmp_path, packager):
    first = packaging.write(imu, tmp_path / "one", packager, prefix="wrist")
    again = packaging.write(imu, tmp_path / "two", packager, prefix="wrist")
    assert first[0].name == "wrist.h"
    assert {path.relative_to(tmp_path / "one") for path in first} == {path.relative_to(tmp_path / "two") for path in again}
    assert all(path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes() for path in first)
    assert {path for path in (tmp_path / "one").rglob("*") if path.is_file()} == set(first)
    assert all("{{" not in path.read_text() and "{%" not in path.read_text() for path in first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_only_an_older_package_is_replaced(imu, tmp_path):
    folder = tmp_path / "wrist"
    packaging.write(imu, folder, "cmake", prefix="wrist")
    (folder / "include/wrist.h").write_text("damaged")
    packaging.write(imu, folder, "cmake", prefix="wrist")
    assert "damaged" not in (folder / "include/wrist.h").read_text()
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(EdgeLstmError, match=r"it holds notes\.txt, which is not of this package"):
        packaging.write(imu, folder, "cmake", prefix="wrist")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["wrist"]


def test_an_unknown_package_is_refused_with_those_that_exist(imu, tmp_path):
    with pytest.raises(UsageError, match=r"no package 'mbed'; choose one of arduino, platformio, zephyr, cmake, cmsis-pack"):
        packaging.write(imu, tmp_path / "new", "mbed")
    assert not (tmp_path / "new").exists()


def test_the_arduino_library_keeps_the_specification(imu, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "arduino", prefix="wrist", url="https://wrist.test/a?b=1")
    lines = (tmp_path / "wrist/library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"} <= set(properties)
    assert len(properties) == len(lines)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", properties["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    categories = {"Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
                  "Data Processing", "Other"}  # fmt: skip
    assert properties["category"] in categories
    assert (tmp_path / "wrist/src" / properties["includes"]).is_file()
    for sketch in (tmp_path / "wrist/examples").iterdir():
        assert (sketch / f"{sketch.name}.ino").is_file()
    for line in (tmp_path / "wrist/keywords.txt").read_text().splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"\w+\t(KEYWORD[12]|LITERAL1)", line)


@pytest.mark.parametrize("packager", ["arduino", "platformio"])
def test_the_sketch_prints_the_classes_of_what_the_imu_sends(imu, streamed, with_cxx, tmp_path, packager):
    folder = tmp_path / "wrist"
    packaging.write(imu, folder, packager, prefix="wrist")
    sketch = folder / ("examples/StreamIMU/StreamIMU.ino" if packager == "arduino" else "examples/stream_imu/src/main.cpp")
    include = ("-I", str(folder / ("src" if packager == "arduino" else "include")), "-I", str(sketch.parent), "-I", str(STUBS))
    raw, classes = streamed
    for compiler in with_cxx:
        source, c, program = tmp_path / "sketch.cpp", tmp_path / "classifier.o", tmp_path / "sketch"
        source.write_bytes(sketch.read_bytes())
        strict = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", *include)
        compiler.run([sketch.with_name("classifier.c")], c, "-std=c99", "-c", *strict)
        compiler.run([source, STUBS / "board.cpp", c], program, "-std=c++11", *strict, cxx=True)
        printed = subprocess.run([program], input=as_read_from_the_imu(raw), capture_output=True, check=True).stdout
        assert printed.decode().splitlines() == classes, compiler.name


def test_the_zephyr_sample_prints_the_classes_of_what_the_imu_sends(imu, streamed, compiler, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "zephyr", prefix="wrist")
    program, raw = tmp_path / "sample", streamed[0]
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I", str(STUBS), "-I", str(tmp_path / "wrist/include"))
    compiler.run([tmp_path / "wrist/samples/stream_imu/src/main.c"], program, *flags)
    printed = subprocess.run([program], input=as_read_from_the_imu(raw), capture_output=True, check=True).stdout
    assert printed.decode().splitlines() == streamed[1]


def test_the_zephyr_module_names_files_that_are_there(imu, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "zephyr", prefix="wrist")
    folder = tmp_path / "wrist"
    module = (folder / "zephyr/module.yml").read_text()
    assert re.fullmatch(r"name: wrist\nbuild:\n  cmake: (\S+)\n  kconfig: (\S+)\nsamples:\n  - (\S+)\n", module)
    cmake, kconfig, samples = re.findall(r"(?:cmake:|kconfig:|-) (\S+)", module)
    assert (folder / cmake / "CMakeLists.txt").is_file()
    assert (folder / kconfig).read_text().startswith("config WRIST\n\tbool ")
    assert "CONFIG_WRIST" in (folder / cmake / "CMakeLists.txt").read_text()
    assert list((folder / samples).glob("*/sample.yaml"))


def test_the_platformio_library_lists_files_that_are_there(imu, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "platformio", prefix="wrist")
    folder = tmp_path / "wrist"
    manifest = json.loads((folder / "library.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("wrist", packaging.writing.VERSION)
    assert (folder / manifest["build"]["includeDir"] / manifest["headers"]).is_file()
    for example in manifest["examples"]:
        assert all((folder / example["base"] / file).is_file() for file in example["files"])


def test_the_pack_describes_files_that_are_there(imu, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "cmsis-pack", prefix="wrist")
    folder = tmp_path / "wrist"
    (description,) = folder.glob("*.pdsc")
    package = ElementTree.parse(description).getroot()
    vendor, name = package.findtext("vendor"), package.findtext("name")
    assert description.name == f"{vendor}.{name}.pdsc"
    order = [child.tag for child in package]
    assert order == sorted(order, key=["vendor", "name", "description", "url", "releases", "keywords", "components"].index)
    (release,) = package.iter("release")
    (component,) = package.iter("component")
    assert component.get("Cversion") == release.get("version")
    assert all((folder / file.get("name")).exists() for file in package.iter("file"))


@pytest.mark.parametrize(
    ("packager", "file", "pattern"),
    [
        ("arduino", "library.properties", r"^url=(.*)$"), ("platformio", "library.json", r'"homepage": "(.*)"'),
        ("cmsis-pack", "edge-lstm.wrist.pdsc", r"<url>(.*)</url>"),
    ],
)  # fmt: skip
def test_a_page_is_named_where_one_is_given_and_nowhere_else(imu, tmp_path, packager, file, pattern):
    page = "https://wrist.test/a?b=1"
    for url, expected in ((page, [page]), (None, [""] if packager == "cmsis-pack" else [])):
        packaging.write(imu, tmp_path / "wrist", packager, prefix="wrist", url=url)
        text = (tmp_path / "wrist" / file).read_text()
        assert re.findall(pattern, text, re.MULTILINE) == expected
        assert "example.com" not in text
    for wrong in ("wrist.test", "https://", 'https://a"b', "https://a&b", "javascript:x"):
        with pytest.raises(UsageError, match="is no address of a page"):
            packaging.write(imu, tmp_path / "none", packager, prefix="wrist", url=wrong)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("way", ["found in place", "installed", "subdirectory"])
def test_a_cmake_project_finds_builds_and_runs_it(imu, streamed, tmp_path, way):
    if shutil.which("cmake") is None:
        pytest.skip("no cmake here: apt install cmake")

    def cmake(*arguments: object) -> None:
        subprocess.run(["cmake", *map(str, arguments)], capture_output=True, check=True)

    folder, consumer, build = tmp_path / "wrist", tmp_path / "consumer", tmp_path / "build"
    packaging.write(imu, folder, "cmake", prefix="wrist")
    if way == "found in place":
        cmake("-S", folder / "example", "-B", build)
    else:
        shutil.copytree(folder / "example", consumer)
        find = f"add_subdirectory({folder} package)" if way == "subdirectory" else "find_package(wrist 1.0 CONFIG REQUIRED)"
        text = (consumer / "CMakeLists.txt").read_text()
        (consumer / "CMakeLists.txt").write_text(re.sub(r"find_package\(.*?\)", find, text))
        if way == "installed":
            cmake("-S", folder, "-B", tmp_path / "package", f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'prefix'}")
            cmake("--install", tmp_path / "package")
            shutil.rmtree(folder)
        cmake("-S", consumer, "-B", build, f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
    cmake("--build", build)
    raw, classes = streamed
    text = "\n".join(" ".join(map(str, sample)) for sample in raw)
    printed = subprocess.run([build / "wrist_example"], input=text, text=True, capture_output=True, check=True).stdout
    assert printed.splitlines() == classes
