"""Trained networks for `bench_host`: what `firmware_models` left in a folder, windows of people they never saw, and the rivals' form.

The rivals hold the same weights: the integers times the real value of one unit, with sigmoid gates and tanh as their operators have them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import firmware_models
import numpy as np
import numpy.typing as npt

from edge_lstm import engine, onnx_io
from edge_lstm.cells import cell
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork, IntegerReadOut, IntegerRecurrent
from edge_lstm.fixed_point.unit_order import co_active
from edge_lstm.network import Dense, Network, ReadOut, Recurrent, RowWeights

CALIBRATION = 64  # sequences
INPUT_UNIT = 1 / 32  # what one unit of the int8 inputs is to the rivals
_NAME = re.compile(r"(?P<data>[a-z]+\d*)_(?P<size>\d+_\d+)_(?:work|hard)[\d.]+(?P<budget>i\d+)?_(?P<seed>\d+)")


@dataclass(frozen=True)
class Trained:
    """One network. integer: reads the last step, as the rivals do; x: int8 [sequences, steps, inputs] of people never seen.

    accuracies: of the whole windows, with the read-out it was trained with: {"integer", "float"}; control: those of soft gates, or None.
    """

    name: str
    integer: IntegerNetwork
    x: npt.NDArray[np.int8]
    accuracies: dict[str, float]
    control: dict[str, float] | None

    @property
    def layer(self) -> IntegerRecurrent:
        (layer,) = (one for one in self.integer.layers if isinstance(one, IntegerRecurrent))
        return layer

    def real(self) -> Network:
        """The same weights as float32, with soft gates, for inputs of INPUT_UNIT."""
        layer, last = self.layer, self.integer.layers[-1]
        assert isinstance(last, IntegerDense)
        member, rows = cell("lstm"), {}
        for name, row in layer.rows.items():
            assert row.W is not None
            unit = row.scale[:, None]
            W = row.W.astype(np.float64) * unit * (2.0**row.input_shift / INPUT_UNIT)
            R = row.R[0].astype(np.float64) * unit / layer.output_scale
            rows[name] = RowWeights(W.astype(np.float32), (R.astype(np.float32),), (row.bias * row.scale).astype(np.float32))
        unit = last.scale[:, None]
        dense = Dense((last.W * unit / layer.output_scale).astype(np.float32), (last.bias * last.scale).astype(np.float32))
        recurrent = Recurrent(member, member.default_activations(), rows)
        return Network((recurrent, ReadOut("last"), dense), window=self.x.shape[1])

    def activity(self) -> tuple[float, float, float]:
        """Shares of h, of its pairs and of its fours of neighbours that are not all zero, over at most 64 of the sequences."""
        return busy_shares(self.integer, self.x[:: max(1, len(self.x) // 64)])


def load(folder: Path, inputs: int, hidden: int, steps: int, batch: int) -> Trained:
    """The first network of this size with hard gates in `folder`; raises EdgeLstmError where there is none."""
    known: dict[str, dict[str, float]] = json.loads((folder / "accuracies.json").read_text(encoding="utf-8"))
    for name in sorted(known):
        match = _NAME.fullmatch(name)
        if match and match["size"] == f"{inputs}_{hidden}":
            break
    else:
        raise EdgeLstmError(f"{folder} holds no network of {inputs} inputs and {hidden} units with hard gates")
    found = onnx_io.load(folder / f"{name}.int.onnx")
    assert isinstance(found, IntegerNetwork)
    layers = tuple(IntegerReadOut("last", steps) if isinstance(one, IntegerReadOut) else one for one in found.layers)
    control = known.get(f"{match['data']}_{match['size']}_soft{match['budget'] or ''}_{match['seed']}")
    split = next(s for s in firmware_models.splits(match["data"].rstrip("0123456789")) if s.name == match["data"])
    network = _ordered(replace(found, layers=layers), sequences(found, split.x, inputs, steps, CALIBRATION))
    return Trained(name, network, sequences(found, split.test_x, inputs, steps, batch), known[name], control)


def _ordered(network: IntegerNetwork, x: npt.NDArray[np.int8]) -> IntegerNetwork:
    """The network with the order of units that windows of the training people ask for, as `quantize` gives it to a new network."""
    busy = engine.run_normalized(network, x, states=True).states[0]["h"] != 0
    order = co_active(busy.reshape(-1, busy.shape[-1]))
    layers = tuple(replace(one, order=order) if isinstance(one, IntegerRecurrent) else one for one in network.layers)
    return replace(network, layers=layers)


def busy_shares(network: IntegerNetwork, x: npt.NDArray[np.int8]) -> tuple[float, float, float]:
    """Shares of h, of its pairs and of its fours that are not all zero, neighbours being those of the kernels, for int8 x."""
    layer = network.recurrent[0]
    busy = engine.run_normalized(network, x, states=True).states[0]["h"] != 0
    busy = busy[:, :, list(layer.order or range(layer.units))]
    one, two, four = (float(busy.reshape(*busy.shape[:2], -1, k).any(-1).mean()) for k in (1, 2, 4))
    return one, two, four


def sequences(network: IntegerNetwork, windows: firmware_models.Counts, inputs: int, steps: int, batch: int) -> npt.NDArray[np.int8]:
    """int8 [batch, steps, inputs]: windows one behind another, cut at `steps`; spread over all windows."""
    x = np.asarray(reference.normalize(network.normalize, firmware_models.channels(windows, inputs)[0])).astype(np.int8)
    first = np.arange(batch) * len(x) // batch
    taken = (first[:, None] + np.arange(-(-steps // x.shape[1]))) % len(x)
    return np.ascontiguousarray(x[taken].reshape(batch, -1, x.shape[2])[:, :steps])
