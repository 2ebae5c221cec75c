"""The self-test of a header: sequences of raw counts, and what the reference makes of them, as C that runs on any target."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm import __version__
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from firmware_gen.feed_forward import due_steps
from firmware_gen.header import TEMPLATES
from firmware_gen.model import Model
from firmware_gen.tables import Table

FNV_START, FNV_PRIME, MASK = 2166136261, 16777619, 2**32 - 1


def selftest(model: Model, raw: npt.NDArray[np.int16]) -> str:
    """The text of the self-test. raw: int16 counts [vectors, samples, channels], each vector a sequence from a reset state.

    Raises EdgeLstmError for vectors of another type or shape, without a whole step, or longer than the window of a mean.
    """
    network = model.network
    if raw.dtype != np.int16 or raw.ndim != 3 or raw.shape[2] != network.inputs or not len(raw):
        wanted = f"int16 counts [vectors, samples, {network.inputs}]"
        raise EdgeLstmError(f"self-test vectors must be {wanted}, got {raw.dtype} {list(raw.shape)}")
    expected = reference.run(network, raw, states=True)
    # Of layers that step more often than the read-out, the steps at which both do.
    made, due = due_steps(network, raw.shape[1] // network.normalize.decimation)
    layers = zip(expected.states, model.layers, made, strict=True)
    traces = [trace[s.name][:, np.isin(steps, due)] for trace, text, steps in layers for s in text.layer.states]
    fields = [(text.fields[s.name][1], text.layer.units) for text in model.layers for s in text.layer.states]
    scores = expected.scores[:, -1] if network.read_out.kind == "every" else expected.scores
    checksums = [_wrapped(_checksums(np.concatenate([trace[k] for trace in traces], axis=1))) for k in range(len(raw))]
    tables = [
        Table(f"{model.prefix}_selftest_raw", "int16_t", raw, ""),
        Table(f"{model.prefix}_selftest_scores", "int32_t", scores, ""),
    ]
    return TEMPLATES.get_template("selftest.c.j2").render(
        p=model.prefix, P=model.prefix.upper(), version=__version__, vectors=len(raw), samples=raw.shape[1], steps=len(traces[0][0]),
        tables=tables, checksums=checksums, states=fields,
    )  # fmt: skip


def _checksums(values: npt.NDArray[np.int32]) -> list[int]:
    """FNV-1a over the 32-bit words of each step [steps, values], carried on; its value after every step."""
    state, after = FNV_START, []
    for step in values.tolist():
        for value in step:
            state = ((state ^ (value & MASK)) * FNV_PRIME) & MASK
        after.append(state)
    return after


def _wrapped(numbers: list[int], per_line: int = 9) -> str:
    words = [f"0x{number:08x}" for number in numbers]
    return ",\n      ".join(", ".join(words[k : k + per_line]) for k in range(0, len(words), per_line))
