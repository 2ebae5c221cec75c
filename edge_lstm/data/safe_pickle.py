"""Reading pickles that others wrote. A pickle may run any code, so it is read by an unpickler that can build almost nothing."""

from __future__ import annotations

import codecs
import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_lstm.errors import EdgeLstmError

# _reconstruct has moved between NumPy's versions; an array tells where it is.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ARRAYS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # protocol 2 writes bytes as encode(text, "latin1")
}


class ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays, lists, tuples, dicts, strings and numbers; refuses every other name.

    file: the pickle. further: (module, name) as it stands in the pickle to what stands in for it here; nothing is ever imported.
    encoding: of the strings of Python 2; "latin1" where the pickle holds arrays, whose bytes are such strings.
    `load` raises EdgeLstmError for a name that is not allowed.
    """

    def __init__(self, file: io.BufferedIOBase, further: Mapping[tuple[str, str], Any] | None = None, encoding: str = "ASCII") -> None:
        # The names are those of the pickle: Python 3 would otherwise translate Python 2's, and hide what the file asked for.
        super().__init__(file, fix_imports=False, encoding=encoding)
        self._allowed = {**_ARRAYS, **(further or {})}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise EdgeLstmError(f"the pickle asks for {module}.{name}, which no array needs; refusing to read it") from None
