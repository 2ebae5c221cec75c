"""Folders that results go to: made and tried before the work starts, not after."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edge_lstm.errors import EdgeLstmError


def ready_folder(folder: str | os.PathLike[str], make: bool = True) -> Path:
    """The folder, made if it is missing (unless `make` is false), after a file has been written there and removed again.

    Raises EdgeLstmError when it cannot be made or written.
    """
    path = Path(folder)
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except FileNotFoundError as error:
        raise EdgeLstmError(f"the folder {path} does not exist; create it first") from error
    except OSError as error:
        raise EdgeLstmError(f"cannot write in the folder {path}: {error.strerror or error}; choose another place") from error
