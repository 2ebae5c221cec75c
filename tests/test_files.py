"""Files are written whole or not at all, and a failure is one clear line."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError, UsageError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_content_arrives_and_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    files.write_bytes(target, b"old")
    files.write_text(target, "Größe\n")
    assert contents(tmp_path) == {"model.onnx": "Größe\n".encode()}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, EdgeLstmError])
@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path, failure: type[BaseException], existed: bool) -> None:
    target = tmp_path / "model.onnx"
    if existed:
        target.write_bytes(b"old")
    before = contents(tmp_path)

    def write_and_fail() -> None:
        with files.atomic_path(target) as temporary:
            temporary.write_bytes(b"half of the new cont")
            raise failure("stop")

    with pytest.raises(failure, match="stop"):
        write_and_fail()
    assert contents(tmp_path) == before


def test_the_target_is_untouched_until_the_end_and_the_suffix_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with files.atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".onnx")
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_modes_are_those_of_a_plain_file(tmp_path: Path) -> None:
    plain, written, kept = tmp_path / "plain", tmp_path / "written", tmp_path / "kept"
    plain.touch()
    kept.touch()
    kept.chmod(0o640)
    files.write_text(written, "x")
    files.write_text(kept, "x")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match=r"cannot write .*model.h: the folder .*absent does not exist"):
        files.write_text(tmp_path / "absent" / "model.h", "x")


def test_a_file_in_place_of_the_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EdgeLstmError, match="cannot write"):
        files.write_text(tmp_path / "file" / "model.h", "x")


def test_what_can_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    longest = tmp_path / ("n" * 250 + ".onnx")
    for target in (tmp_path / "old", tmp_path / "new", longest):
        files.require_writable(target)
    assert contents(tmp_path) == {"old": b"old"}
    files.write_bytes(longest, b"x")
    assert longest.read_bytes() == b"x"
    for wrong in (tmp_path, tmp_path / "absent" / "x", tmp_path / "old" / "x"):
        with pytest.raises(EdgeLstmError, match="cannot write"):
            files.require_writable(wrong)


def test_a_folder_as_the_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match="it is a folder"):
        files.write_text(tmp_path, "x")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_read_only_folder_is_one_clear_line() -> None:
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, whose parents only their owner may enter
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:  # root may write anywhere: be nobody for a moment
            os.seteuid(65534)
        with pytest.raises(EdgeLstmError, match="no permission to write"):
            files.write_text(folder / "model.h", "x")
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        folder.rmdir()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_refusal_of_the_system_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(**_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(EdgeLstmError, match=r"no permission to write in .*; choose another place") as caught:
        files.write_text(tmp_path / "model.h", "x")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(EdgeLstmError, match=r"cannot write .*model.h: No space left"), files.atomic_path(tmp_path / "model.h"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert contents(tmp_path) == {}


def test_an_error_about_another_file_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / "model.h"):
        (tmp_path / "input.csv").read_bytes()
    assert contents(tmp_path) == {}


def test_a_usage_error_is_a_user_facing_error() -> None:
    assert issubclass(UsageError, EdgeLstmError)
