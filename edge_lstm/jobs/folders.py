"""Folders that results go to."""

from __future__ import annotations

import os
from pathlib import Path

from edge_lstm.errors import EdgeLstmError


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if it is missing. Raises EdgeLstmError when it cannot be."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLstmError(f"cannot make the folder {path}: {error.strerror or error}") from error
    return path
