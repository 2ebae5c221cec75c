"""Writing files so that a reader sees the old content or the new content, never half of it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_lstm.errors import EdgeLstmError

_PLAIN_FILE_MODE = 0o666  # what open() asks for; the process's umask is taken off it
_STEM = 40  # characters of a name in that of its temporary file, which is no longer than a file system allows where the name is not
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # raised by write() without a file name


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` on success, remove it on any failure (Ctrl-C included).

    The temporary file exists (empty) and keeps the suffix of `path`, since some writers append a suffix they do not find.

    Raises:
        EdgeLstmError: the folder is missing or read-only, `path` is a folder, the disk is full.
        Whatever the body raises, unchanged, unless it is an OSError about the temporary file itself.
    """
    target = _no_folder(path)
    temporary = _temporary_beside(target)
    try:
        try:
            yield temporary
        except OSError as error:
            if _is_about(error, temporary):
                raise _cannot_write(target, error) from error
            raise
        try:
            temporary.chmod(_mode_for(target))
            os.replace(temporary, target)
        except OSError as error:
            raise _cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Refuses a file that could not be written, before the work whose result goes there. Leaves nothing behind.

    Raises EdgeLstmError as `atomic_path` does before its body runs.
    """
    _temporary_beside(_no_folder(path)).unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path` atomically. Raises EdgeLstmError as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8 with the line ends it has (the same bytes on every system)."""
    write_bytes(path, content.encode("utf-8"))


def stem(path: str | os.PathLike[str]) -> str:
    """The name of a file without its suffix, as a text that can be written anywhere: bytes that are no UTF-8 become question marks."""
    return Path(path).stem.encode("utf-8", "replace").decode()


def _no_folder(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    try:
        folder = target.is_dir()
    except OSError as error:  # a folder above may not be entered
        raise _cannot_write(target, error) from error
    if folder:
        raise EdgeLstmError(f"cannot write {target}: it is a folder; name a file in it")
    return target


def _temporary_beside(target: Path) -> Path:
    try:
        # The same folder, so that the rename stays within one file system and is atomic.
        descriptor, name = tempfile.mkstemp(prefix=f".{target.stem[:_STEM]}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise _cannot_write(target, error) from error
    os.close(descriptor)
    return Path(name)


def _mode_for(target: Path) -> int:
    """The mode `target` has now, or the one a plain open() would give it: mkstemp's private 0600 must not leak into results."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return _PLAIN_FILE_MODE & ~umask


def _is_about(error: OSError, temporary: Path) -> bool:
    if error.filename is None:
        return error.errno in DISK_ERRORS
    return isinstance(error.filename, str | bytes | os.PathLike) and Path(os.fsdecode(error.filename)) == temporary


def _cannot_write(target: Path, error: OSError) -> EdgeLstmError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return EdgeLstmError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return EdgeLstmError(f"cannot write {target}: no permission to write in {target.parent}; choose another place")
    return EdgeLstmError(f"cannot write {target}: {error.strerror or error}")
