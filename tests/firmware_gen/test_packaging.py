"""Packages: what the tools of an ecosystem ask of a folder holds, the examples compile, and what they print is what the reference says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import kconfiglib
import numpy as np
import pytest
import yaml
from random_networks import random_counts, random_integer

import edge_lstm
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import packaging
from firmware_gen.model import build
from firmware_gen.toolchain import Compiler, compilers

MODELS = Path(__file__).parents[2] / "models"
STUBS = Path(__file__).with_name("stubs")
STEPS, DECIMATION, WINDOWS = 5, 2, 4


@pytest.fixture(scope="module")
def imu() -> IntegerNetwork:
    """Six channels of an IMU, 100 samples a second, three classes, a decision every five steps of two samples."""
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 6, 8, "threshold", read_out="mean", decimation=DECIMATION, steps=STEPS, outputs=3)
    return replace(network, classes=("rest", "walk", "run & <jump>"), name="wrist", metadata={"rate_hz": "100"})


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


def as_read_from_the_imu(raw: np.ndarray, befalls: np.ndarray | None = None) -> bytes:
    """What the stubs take: for each sample a byte of what befalls (no answer: 128; after it so many samples fall due in vain), then 14
    bytes, big-endian, the temperature in the middle: the registers of an MPU-6050."""
    words = np.concatenate([raw[:, :3], np.full((len(raw), 1), 1234, np.int16), raw[:, 3:]], axis=1)
    befalls = np.zeros(len(raw), np.uint8) if befalls is None else befalls
    return np.concatenate([befalls[:, None], words.astype(">i2").view(np.uint8)], axis=1).tobytes()


LOST = "samples lost, a new sequence begins"


def pushed(raw: np.ndarray, befalls: np.ndarray, longest: int = 5) -> list[np.ndarray]:
    """The sequences of samples that a network is to get: up to `longest` lost ones in a row are the last one again."""
    sequences: list[list[np.ndarray]] = [[]]
    lost = longest
    for sample, what in zip(raw, befalls, strict=True):
        found = [None if what & 128 else sample] + [None] * int(what & 127)
        for one in found:
            lost = 0 if one is not None else lost + 1
            if lost > longest:
                sequences.append([])
                lost = longest
                break
            sequences[-1].append(sequences[-1][-1] if one is None else one)
    return [np.array(sequence, np.int16).reshape(-1, 6) for sequence in sequences]


@pytest.fixture(scope="module")
def disturbed(imu) -> tuple[bytes, list[str]]:
    """A stream with gaps, short ones and long ones, and what a sketch is to print about it."""
    rng = np.random.default_rng(11)
    raw = random_counts(rng, imu, 3 * WINDOWS, STEPS).reshape(-1, 6)
    befalls = np.zeros(len(raw), np.uint8)
    befalls[[3, 4, 11, *range(20, 25), 33, *range(40, 47), 70, 90]] = 128
    befalls[[8, 15, 60, 80, 100]] = [2, 5, 4, 7, 1]
    befalls[0] = 128  # not even the first one is there
    printed, window = [], STEPS * DECIMATION
    for k, sequence in enumerate(pushed(raw, befalls)):
        whole = sequence[: len(sequence) // window * window].reshape(-1, window, 6)
        printed += [LOST] * (k > 0) + [imu.classes[c] for c in (reference.run(imu, whole).scores.argmax(-1) if len(whole) else [])]
    assert printed.count(LOST) == 4
    assert len(set(printed)) > 2
    return as_read_from_the_imu(raw, befalls), printed


def lines_of(program: Path, sensor: bytes) -> list[str]:
    return subprocess.run([program], input=sensor, capture_output=True, check=True).stdout.decode().splitlines()


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


@pytest.mark.parametrize("name", ["wire", "Arduino", "classifier", "x" * 64, "stdint", "time"])
def test_a_name_that_other_files_have_or_that_is_too_long_is_refused(imu, tmp_path, name):
    with pytest.raises(UsageError, match=r"choose another|choose a shorter"):
        packaging.write(imu, tmp_path / "new", "arduino", prefix=name)
    assert not (tmp_path / "new").exists()
    if name in ("stdint", "time"):
        assert packaging.write(replace(imu, name=name), tmp_path / "new", "cmake")[0].name == f"{name}_net.h"


def test_between_windows_the_front_end_runs_on():
    """A network that remembers something in front of its window gets it from window to window, in every example."""
    model = build(edge_lstm.load(MODELS / "hapt-activity-9/model.int.onnx"), "waist")
    for packager, source in (
        ("arduino", "examples/StreamIMU/classifier.c"), ("zephyr", "samples/stream_imu/src/main.c"), ("cmake", "example/waist_example.c"),
    ):  # fmt: skip
        text = packaging.writing.render(model, packager)[source]
        assert text.count("waist_next_window(&state);") == 1
        assert text.count("waist_reset(&state);") == 1


@pytest.mark.parametrize("packager", packaging.writing.STREAMS)
def test_a_known_rate_is_in_the_header_and_paces_the_example(imu, packager):
    """Of a network that does not say its rate, the user has to."""
    for metadata, known in (({"rate_hz": "51.2"}, True), ({}, False)):
        model = build(replace(imu, metadata=metadata), "wrist")
        texts = packaging.writing.render(model, packager)
        header = next(text for path, text in texts.items() if path.endswith("/wrist.h"))
        assert ("#define WRIST_PERIOD_US 19531 " in header) == known
        assert ("51.2 samples a second" in header) == known
        assert sum("PERIOD_US 10000" in text or "PERIOD_US = 10000" in text for text in texts.values()) == (not known)
        assert ("`PERIOD_US`" in texts["README.md"]) == (not known)


@pytest.mark.parametrize("packager", packaging.PACKAGERS)
def test_numbers_are_called_numbers_and_printed_all(packager):
    rng = np.random.default_rng(4)
    network = random_integer(rng, "gru", 9, 3, "sigmoid", read_out="every", outputs=3)
    network = replace(network, metadata={"outputs": '["roll", "pitch */", "yaw"]'})
    texts = {Path(path).name: text for path, text in packaging.writing.render(build(network, "angle"), packager).items()}
    assert "9 channels, 3 numbers" in texts["README.md"]
    assert "roll, pitch * /, yaw" in texts["README.md"]
    assert "classes" not in texts["README.md"]
    for name, text in texts.items():
        if name.endswith((".ino", ".cpp", "main.c")):
            assert "roll, pitch * /, yaw" in text
            assert re.search(r"k < (CLASSIFIER_NUMBERS|ANGLE_OUTPUTS); k\+\+", text)


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
def test_the_sketch_prints_the_classes_of_what_the_imu_sends(imu, streamed, disturbed, with_cxx, tmp_path, packager):
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
        assert lines_of(program, as_read_from_the_imu(raw)) == classes, compiler.name
        assert lines_of(program, disturbed[0]) == disturbed[1], compiler.name


@pytest.mark.parametrize(
    ("name", "core", "cxx"),
    [
        ("arm-none-eabi", ("-mthumb", "-mcpu=cortex-m0plus"), True), ("arm-none-eabi", ("-mthumb", "-mcpu=cortex-m4"), True),
        ("avr", ("-mmcu=atmega328p",), False),
    ],
)
def test_the_sketch_compiles_for_boards_without_a_warning(imu, tmp_path, name, core, cxx):
    """As the Arduino tools call their compilers, but for warnings; the header in C++, too, which on an AVR has no word for flash."""
    if shutil.which(f"{name}-g++") is None:
        pytest.skip(f"no {name}-g++ here: apt install gcc-{name}")
    packaging.write(imu, tmp_path / "wrist", "arduino", prefix="wrist")
    sketch, header = tmp_path / "wrist/examples/StreamIMU", tmp_path / "wrist/src/wrist.h"
    use = "int due(wrist_state *s, const int16_t *raw) { return wrist_push(s, raw); }"
    (tmp_path / "header.cpp").write_text(f'#include "{header}"\n{use}\n')
    flags = (*core, "-Os", "-Wall", "-Wextra", "-Werror", f"-I{header.parent}", f"-I{STUBS}", "-c", "-o", str(tmp_path / "out.o"))
    cpp = ("-std=gnu++11", "-fno-exceptions", "-x", "c++")
    calls = [("gcc", ("-std=gnu11",), sketch / "classifier.c"), ("g++", cpp, sketch / "StreamIMU.ino")]
    for program, dialect, source in [*calls, *([("g++", cpp, tmp_path / "header.cpp")] if cxx else [])]:
        came = subprocess.run([f"{name}-{program}", *flags, *dialect, str(source)], capture_output=True, text=True, check=False)
        assert came.returncode == 0, came.stderr


def test_the_zephyr_sample_prints_the_classes_of_what_the_imu_sends(imu, streamed, disturbed, compiler, tmp_path):
    packaging.write(imu, tmp_path / "wrist", "zephyr", prefix="wrist")
    program, raw = tmp_path / "sample", streamed[0]
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I", str(STUBS), "-I", str(tmp_path / "wrist/include"))
    compiler.run([tmp_path / "wrist/samples/stream_imu/src/main.c"], program, *flags)
    assert lines_of(program, as_read_from_the_imu(raw)) == streamed[1]
    assert lines_of(program, disturbed[0]) == disturbed[1]


@pytest.mark.parametrize("name", ["wrist", "yes"])  # YAML takes a bare yes for a truth value
def test_the_zephyr_module_is_a_module_and_its_option_can_be_set(imu, tmp_path, name):
    packaging.write(imu, tmp_path / "module", "zephyr", prefix=name)
    folder = tmp_path / "module"
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    assert module == {"name": name, "build": {"cmake": ".", "kconfig": "Kconfig"}, "samples": ["samples"]}
    option = f"EDGE_LSTM_{name.upper()}"
    assert f"if(CONFIG_{option})" in (folder / module["build"]["cmake"] / "CMakeLists.txt").read_text()
    (sample,) = (folder / "samples").iterdir()
    test = yaml.safe_load((sample / "sample.yaml").read_text())
    assert test["sample"]["name"] == f"{name}_stream_imu"
    assert list(test["tests"]) == [f"sample.{name}.stream_imu"]
    # as Zephyr's zephyr_module.py includes it, beside options of Zephyr's own that the sample sets
    zephyr = f'config I2C\n\tbool "I2C"\nconfig MAIN_STACK_SIZE\n\tint "Stack"\nosource "{folder / module["build"]["kconfig"]}"\n'
    (tmp_path / "Kconfig").write_text(zephyr)
    options = kconfiglib.Kconfig(str(tmp_path / "Kconfig"), warn_to_stderr=False)
    assert options.syms[option].str_value == "n"
    options.load_config(str(sample / "prj.conf"))
    assert not options.warnings
    assert options.syms[option].str_value == "y"
    assert int(options.syms["MAIN_STACK_SIZE"].str_value) >= build(imu, name).stack_bound + 1024


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
    named = [f"{page}/"] if packager == "cmsis-pack" else [page]  # packchk asks for the slash
    for url, expected in ((page, named), (None, [""] if packager == "cmsis-pack" else [])):
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
