"""Compiled kernels that nobody has used for long leave the cache folder: each version of the package and of its libraries has its own.

The files of one kernel, in the folder or in one below it, begin with its name, which holds a hash; the youngest of them says when the
kernel was last used. Whoever loads one makes it young again, and whoever has compiled one looks for old ones, once a process. Several
processes may do so at once: a file that is gone is compiled anew. Nothing else in the folder is touched.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

logger = logging.getLogger("edge_lstm.engine")
UNUSED_DAYS = 30
_DAY = 86400.0
_PLACES = (".", "__pycache__", "train", "train/__pycache__")
# kernels_<hash> of this folder, forward_<hash> and so on of `train`; a dot in front: the temporary file of a process that was killed.
_NAME = re.compile(r"\.?((?:kernels_[0-9a-f]{24}|(?:forward|backward|forward_integers)_[0-9a-f]{20}))\..*(?:o|pyc?|nbi|nbc)(?:\.tmp\.\w+)?")


def used(path: Path) -> None:
    """Says that the kernel of this file is in use: written down once a day, where the folder can be written."""
    try:
        if time.time() - path.stat().st_mtime > _DAY:
            os.utime(path)
    except OSError as error:
        logger.debug("kernel cache: %s", error)


@cache
def remove_unused(folder: Path) -> None:
    """Removes the kernels in the cache folder that nobody has used for UNUSED_DAYS."""
    kernels: defaultdict[str, list[tuple[float, Path]]] = defaultdict(list)
    for place in _PLACES:
        try:
            names = os.listdir(folder / place)
        except OSError as error:  # there is no such place, or it may not be read
            logger.debug("kernel cache: %s", error)
            continue
        for kernel, path in ((found[1], folder / place / name) for name in names if (found := _NAME.fullmatch(name))):
            try:
                written = path.lstat().st_mtime
            except OSError as error:  # another process has just removed it
                logger.debug("kernel cache: %s", error)
            else:
                kernels[kernel].append((written, path))
    oldest = time.time() - UNUSED_DAYS * _DAY
    for files in kernels.values():
        if max(files)[0] > oldest:
            continue
        for _, path in files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.debug("kernel cache: %s", error)
