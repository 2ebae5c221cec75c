"""A training on disk: everything that the rest of it depends on, so that it ends with the same bytes whether it was interrupted or not."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Ranges

Array = npt.NDArray[Any]
_VERSION = 1


def fingerprint(*parts: Any) -> str:
    """What tells one training from another: a digest of texts and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(str(part).encode())
    return digest.hexdigest()


class Checkpoint:
    """The file of one training. Written whole or not at all."""

    def __init__(self, path: Path, training: str) -> None:
        self.path, self.training = Path(path), training

    def save(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """values: what JSON can hold. Raises EdgeLstmError where the file cannot be written."""
        text = json.dumps({"version": _VERSION, "training": self.training, **values})
        buffer = io.BytesIO()
        np.savez(buffer, **{"values": np.array(text), **arrays})  # type: ignore[arg-type]
        files.write_bytes(self.path, buffer.getvalue())

    def load(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """(arrays, values) as they were saved; None where there is no file yet.

        Raises EdgeLstmError for a file that is no checkpoint, is damaged, or is that of another recipe, network or data.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            values = json.loads(str(arrays.pop("values")))
            version, training = values["version"], values["training"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise EdgeLstmError(f"{self.path} is no checkpoint of a training, or is damaged: remove it to start anew") from error
        if version != _VERSION or training != self.training:
            raise EdgeLstmError(
                f"{self.path} is the checkpoint of another training (recipe, network or data differ): remove it to start anew"
            )
        return arrays, values


def ranges_as_values(ranges: Ranges | None) -> Any:
    """Calibrated ranges for JSON, whose floats are exact."""
    if ranges is None:
        return None
    return {"input": ranges.input.tolist(), "states": list(ranges.states), "outputs": list(ranges.outputs), "mean": ranges.mean}


def ranges_from_values(values: Any) -> Ranges | None:
    """The reverse."""
    if values is None:
        return None
    return Ranges(np.array(values["input"], np.float64), tuple(values["states"]), tuple(values["outputs"]), values.get("mean", 0.0))
