"""Files out of a pinned package of the Debian archive, fetched by apt as the machine is set up to, opened and never installed."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_lstm.data.fetch import cache_folder
from edge_lstm.files import write_bytes

_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class DebianFile:
    """One version of a package, the checksum of its file, and what is wanted from it: path within the package -> sha256."""

    name: str
    version: str
    sha256: str
    members: Mapping[str, str]


def fetch(package: DebianFile) -> dict[str, Path]:
    """The wanted members, as files in the cache: member -> path. Downloads only what the cache does not hold whole.

    Skips the test, and says why, where there is no apt or where its archive does not have that version.
    """
    folder = cache_folder() / f"{package.name}-{package.version}"
    paths = {member: folder / member.rpartition("/")[2] for member in package.members}
    if not all(path.exists() and _sha256(path.read_bytes()) == package.members[member] for member, path in paths.items()):
        contents = _contents(package)
        folder.mkdir(parents=True, exist_ok=True)
        for member, path in paths.items():
            write_bytes(path, contents[member])
    return paths


def _contents(package: DebianFile) -> dict[str, bytes]:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.skip(f"{package.name} {package.version} comes from the Debian archive, and this machine has no {program}")
    with tempfile.TemporaryDirectory() as folder:
        command = ["apt-get", "download", "-qq", f"{package.name}={package.version}"]
        done = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
        )
        found = list(Path(folder).glob("*.deb"))
        if done.returncode or len(found) != 1:
            words = [line for line in done.stderr.splitlines() if line.startswith("E: ")] or ["nothing came"]
            pytest.skip(f"apt cannot get {package.name} {package.version} ({words[-1].removeprefix('E: ')}); try apt-get update")
        assert _sha256(found[0].read_bytes()) == package.sha256, f"{found[0].name} is not the pinned file"
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(found[0])], check=True, capture_output=True, timeout=_TIMEOUT_SECONDS)
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as archive:
        for member, sha256 in package.members.items():
            file = archive.extractfile(f"./{member}")
            assert file is not None, f"{member} is no file"
            contents[member] = file.read()
            assert _sha256(contents[member]) == sha256, f"{member} is not the pinned file"
    return contents


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
