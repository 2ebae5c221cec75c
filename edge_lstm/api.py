"""The public Python functions: small, documented with shapes and units, and doing exactly what the commands do.

network = edge_lstm.load("model.onnx")                         float or integer
integer = edge_lstm.quantize(network, x)                       calibrated on x
edge_lstm.export_c(integer, "firmware")                        a C header
edge_lstm.compare({"float": network, "int": integer}, "recordings.npz", "report.html")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_lstm import onnx_io
from edge_lstm.errors import UsageError
from edge_lstm.files import require_writable
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.network import Network

if TYPE_CHECKING:
    from edge_lstm.data import Dataset
    from edge_lstm.train.estimator import LSTMClassifier, LSTMRegressor

__all__ = ["LSTMClassifier", "LSTMRegressor", "compare", "export_c", "load", "quantize"]


def __getattr__(name: str) -> Any:
    """The estimators are imported when they are first asked for: they bring the trainer with them."""
    if name not in ("LSTMClassifier", "LSTMRegressor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edge_lstm.train import estimator

    return getattr(estimator, name)


def load(path: str | os.PathLike[str], *, start: str = "", end: str = "") -> Network | IntegerNetwork:
    """The network in a model file: a float one (ONNX from PyTorch, tf2onnx, or of our own; a `.keras` file) or an integer one.

    start, end: names of values between which the graph of an exporter is read ("" for its input and output), where what stands in
    front of the recurrent layers or behind them is not supported.

    It is callable: `network(x)` with x [batch, time, channels], floats in physical units, or integer sensor counts where the
    network preprocesses; gives [batch, outputs], or [batch, time, outputs] when every step is read out.

    Raises EdgeLstmError: the file is missing or damaged, or holds an operator that is not implemented (it names it).
    """
    return onnx_io.load(path, start=start, end=end)


def quantize(
    network: Network,
    calibration: npt.NDArray[np.generic],
    *,
    gates: str = "keep",
    untrained: bool = False,
    separate_rows: bool = False,
    input_bits: int = 8,
    cell_bits: int = 16,
) -> IntegerNetwork:
    """The integer network of a float network, its number formats chosen from the calibration input, proved not to overflow.

    calibration: [windows, time, channels] as `network(x)` takes it; a few hundred typical windows are enough.
    gates: "keep", "hard" (all thresholds) or "soft". Gates that the network was not trained with cost accuracy, often much:
        they are refused unless `untrained` is set. To train for them use LSTMClassifier, or `edge-lstm convert --finetune`.
    separate_rows: the weights of input and states have scales of their own (not those of threshold gates): for networks that were
        trained elsewhere on inputs of very different magnitudes. One rescaling more for each gate and unit.
    input_bits: 8, or 16 for inputs whose magnitudes span more than 8 bits resolve, such as spectra: twice the work for the input.
    cell_bits: 16, or 32 for cells that count, whose states grow far beyond 16.

    Raises EdgeLstmError where the input does not fit the network or holds NaN; UsageError for gates as above.
    """
    from edge_lstm.fixed_point.quantize import Options
    from edge_lstm.fixed_point.quantize import quantize as quantized
    from edge_lstm.jobs.conversion import refuse_untrained_gates, with_gates

    if not isinstance(network, Network):
        raise UsageError(f"{getattr(network, 'name', network)!r} is no float network; integers are made from these only")
    changed = with_gates(network, gates)
    refuse_untrained_gates(network, changed, untrained, "use LSTMClassifier or `edge-lstm convert --finetune`, or set untrained=True")
    return quantized(changed, calibration, Options(separate_rows=separate_rows, input_bits=input_bits, cell_bits=cell_bits))


def export_c(
    network: IntegerNetwork,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    self_test: npt.NDArray[np.int16] | None = None,
) -> list[Path]:
    """Writes the C header of an integer network into `folder`, which is made if it is missing; returns the files written.

    name: what the header and all names in it are called (None: the network's own). self_test: int16 counts
    [windows, samples, channels]; a program that runs them and compares every bit is written beside the header.

    Raises EdgeLstmError: the folder cannot be written, the name is no C name, the network is a float one.
    """
    import firmware_gen

    if not isinstance(network, IntegerNetwork):
        raise UsageError("C is made from integer networks only; quantize this one first")
    return firmware_gen.write(network, folder, self_test=self_test, prefix=name)


def compare(
    models: Mapping[str, Network | IntegerNetwork] | Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    ignore_rate: bool = False,
) -> dict[str, Any]:
    """Accuracy, latency and memory of several networks on the same recordings; with `output`, an HTML report too.

    models: name -> network, or paths of model files, or one path. data: recordings, or a path that `edge_lstm.data.load` reads.
    ignore_rate: take recordings of another rate than the models', sample for sample.
    Returns {"accuracy": {name: ...}, "latency_seconds": {engine: ...}, "bytes": {name: ...}, ...}.

    Raises EdgeLstmError where a file cannot be read or written, or the recordings do not fit a network.
    """
    from edge_lstm.data import Dataset
    from edge_lstm.data import load as load_data
    from edge_lstm.jobs.comparison import compare as compared
    from edge_lstm.jobs.comparison import summary
    from edge_lstm.report import page

    if output is not None:
        require_writable(output)
    if isinstance(models, (str, os.PathLike)):
        models = [models]
    named = models if isinstance(models, Mapping) else {Path(path).name: onnx_io.load(path) for path in models}
    report = compared(named, data if isinstance(data, Dataset) else load_data(data), ignore_rate=ignore_rate)
    if output is not None:
        page.write(report, output)
    return summary(report)
