"""What is demanded of every third-party model, and measured on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from end_to_end import assert_streams_agree
from numpy.typing import NDArray

from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.fixed_point.operators import join
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.network import Network

ROWS: list[tuple[str, ...]] = []
HEADER = ("model", "float: largest error", "integers: RMS error", "largest error", "float on rounded input: RMS error", "streamed samples")

Array = NDArray[np.floating]


def measure(
    name: str, network: Network, calibration: Array, x: Array, expected: Array, stated: float, *, streamed: int,
    options: Options | None = None, tolerance: float = 1e-5,
    last: Callable[[Array], Array] = lambda y: y, also: Callable[[Array, Array], str] | None = None,
) -> None:  # fmt: skip
    """Holds the float network to `expected`, the integers to `stated`, and the stream in C to the one in Numba; adds a row to the table.

    calibration, x: [batch, time, inputs], of different stretches of the recordings; expected: what the model gives for x.
    stated: the largest RMS error of the integers' output that is accepted, as a part of the range of `expected`.
    options: how it is quantized. tolerance: of the float network. streamed: number of samples of x that are fed to the streams.
    also: a further figure from (integers' output, expected). last: what the model does with the output of the part that is read, and
    the host with the integers'.
    """
    found = last(network(x))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    integer = quantize(network, calibration, options)
    raw = engine.counts(integer.normalize, x)
    halves = np.stack([reference.normalize(integer.normalize, one) for one in raw])
    rounded = (join(halves) if integer.normalize.wide else halves) * integer.normalize.scale
    error, of_input = (last(y) - expected for y in (engine.outputs(integer, x), network(rounded.astype(np.float32))))
    span = float(np.ptp(expected))
    rms, rms_of_input = (float(np.sqrt(np.mean(e**2))) / span for e in (error, of_input))
    further = f" ({also(error + expected, expected)})" if also else ""
    assert assert_streams_agree(integer, raw[0, :streamed]) == streamed
    in_percent = (f"{100 * rms:.2f} %{further}", f"{100 * np.abs(error).max() / span:.1f} %", f"{100 * rms_of_input:.2f} %")
    ROWS.append((name, f"{np.abs(found - expected).max():.0e}", *in_percent, str(streamed)))
    assert rms <= stated, f"{name}: RMS error {rms:.5f} of the range, stated are {stated}"


def table() -> str:
    """The rows as Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEADER, ("---",) * len(HEADER), *sorted(ROWS)))
