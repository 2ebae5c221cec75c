"""Where results go: tried before the work starts, not after."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.files import require_writable


def ready_files(results: Sequence[Path | None], sources: Sequence[Path | None] = ()) -> None:
    """Refuses files that cannot be written, or that would replace a file which the job reads. None stands for a file that is not asked for.

    Raises EdgeLstmError, UsageError for a file that is read or named twice.
    """
    read = {path.resolve() for path in sources if path is not None}
    written: set[Path] = set()
    for path in results:
        if path is None:
            continue
        if path.resolve() in read:
            raise UsageError(f"{path} is read and would be replaced by a result: name another file to write")
        if path.resolve() in written:
            raise UsageError(f"{path} is named twice for results: name another file")
        require_writable(path)
        written.add(path.resolve())


def ready_folder(folder: str | os.PathLike[str], make: bool = True) -> Path:
    """The folder, made if it is missing, after a file has been written there and removed again.

    With `make` false nothing is made: the nearest folder above that is there is tried.
    Raises EdgeLstmError when it cannot be made or written.
    """
    path = tried = Path(folder)
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        else:
            tried = next(place for place in (path, *path.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=tried):
            return path
    except OSError as error:
        raise EdgeLstmError(f"cannot write in the folder {path}: {error.strerror or error}; choose another place") from error
