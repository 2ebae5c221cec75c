"""A smooth activation of a layer without a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int16Array = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Curve:
    """A smooth activation behind a rescaling: `operators.interpolate` with knots int16 [segments + 1]. kind: its text, for people."""

    kind: str
    knots: Int16Array
    segment_shift: int
    out_shift: int
