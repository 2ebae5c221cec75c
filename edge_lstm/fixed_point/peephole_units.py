"""Units of rows to which the products of peepholes are added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.formats import Format
from edge_lstm.network import Recurrent


def peephole_floor(layer: Recurrent, formats: Mapping[str, Format], row: int, wide: bool) -> npt.NDArray[np.float64]:
    """Smallest accumulator unit, per unit, at which the peephole products that are added to the row still fit 32 bits.

    row: its operator; wide: whether a sum of W x and R s stands between.
    """
    floor = np.zeros(layer.units)
    sums = {row}
    for index, node in enumerate(layer.cell.ops):
        if node.code != "add" or not sums & set(node.args):
            continue
        if wide:
            sums.add(index)
        for product in (layer.cell.ops[a] for a in node.args if layer.cell.ops[a].code == "multiply"):
            for name in [layer.cell.ops[a].name for a in product.args if layer.cell.ops[a].code == "parameter"]:
                widest = max(f.limit * f.scale for f in formats.values())
                floor = np.maximum(floor, np.abs(np.asarray(layer.parameters[name], np.float64)) * widest / 2**29)
    return floor
