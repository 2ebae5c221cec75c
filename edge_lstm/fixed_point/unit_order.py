"""In which order engines lay out the units of a recurrent layer: those that are zero at the same steps lie side by side.

Behind a threshold gate many outputs are exactly zero, and a kernel leaves out what they would be multiplied with: by twos or fours of
neighbours, all of which must be zero. Any order of the units gives the same bits, since sums of integers do not depend on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm import float_inference
from edge_lstm.network import Network, Recurrent

TILE = 4  # neighbours that one dot product of bytes takes; in each, the first two and the last two are one of words
FEWEST_UNITS = 32  # smaller layers are multiplied whole
MOST_BUSY = 0.8  # share of outputs that are not zero, from which on too few tiles are
SEQUENCES, STEPS, SAMPLES, CELLS = 16, 512, 2048, 1 << 20  # what is looked at: at most so much of each, and of samples times units

Busy = npt.NDArray[np.bool_]
Orders = tuple[tuple[int, ...], ...]


def unit_orders(network: Network, v: npt.NDArray[np.floating]) -> Orders:
    """For each layer of `network` the order of its units, () for the natural one; v: preprocessed inputs [batch, time, channels]."""
    v = np.asarray(v[looked_at(len(v))], np.float64)
    if isinstance(network.layers[0], Recurrent):  # a convolution may need all of them for its first step
        v = v[:, :STEPS]
    orders: list[tuple[int, ...]] = [()] * len(network.layers)
    wanted = [k for k, layer in enumerate(network.layers) if isinstance(layer, Recurrent) and layer.units >= FEWEST_UNITS]
    for k in range(max(wanted, default=-1) + 1):
        v = float_inference.apply(network, k, v)
        if k in wanted:
            orders[k] = co_active(v.reshape(-1, v.shape[2]) != 0)
    return tuple(orders)


def looked_at(count: int) -> npt.NDArray[np.int64]:
    """Which of so many sequences `unit_orders` looks at."""
    return np.linspace(0, count - 1, min(count, SEQUENCES)).astype(np.int64)


def co_active(busy: Busy) -> tuple[int, ...]:
    """An order in which few tiles of neighbours are not all zero; () where nearly everything is always busy.

    busy: [steps, units], whether an output is not zero. Each tile begins with the unit that is busy least of those that are left, and
    takes in turn the one that adds the fewest steps.
    """
    if busy.mean() > MOST_BUSY:
        return ()
    most = max(1, min(SAMPLES, CELLS // busy.shape[1]))
    some = np.ascontiguousarray(busy[np.linspace(0, len(busy) - 1, min(len(busy), most)).astype(int)].T)
    left = np.argsort(some.sum(1), kind="stable")
    order: list[int] = []
    while len(left):
        tile = [int(left[0])]
        left = left[1:]
        together = some[tile[0]]
        while len(tile) < TILE and len(left):
            position = int(np.argmin((some[left] & ~together).sum(1)))
            tile.append(int(left[position]))
            together = together | some[left[position]]
            left = np.delete(left, position)
        order += tile
    return tuple(order)
