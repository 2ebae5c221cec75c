"""What a report says, as plain data. Every section is optional; every figure has a `how`: measured, counted or computed, on what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.gate_activity import Activity, GateCourse
from edge_lstm.fixed_point.bounds import Bound
from edge_lstm.report.metrics import Accuracy
from edge_lstm.report.timing import Timing


@dataclass(frozen=True)
class Headline:
    """A figure for the top of the page."""

    value: str
    label: str
    how: str


@dataclass(frozen=True)
class Variant:
    """The accuracy of one network or one way of making it. main: the one that the report is about."""

    name: str
    note: str
    accuracy: Accuracy
    main: bool = False


@dataclass(frozen=True)
class Accuracies:
    """Accuracies on the same cases. parts: what a part of each accuracy is called (one name a part)."""

    variants: Sequence[Variant]
    parts: Sequence[str]
    part: str  # "fold", "person"
    how: str


@dataclass(frozen=True)
class Confusion:
    """counts[t, p] of network `name`. classes: names of rows and columns."""

    name: str
    classes: Sequence[str]
    counts: npt.NDArray[np.int64]
    how: str


@dataclass(frozen=True)
class Check:
    """One engine compared with the reference: number of values compared and how many of them differ. sequences: what was run, in words."""

    engine: str
    values: int
    differing: int
    note: str = ""


@dataclass(frozen=True)
class Checks:
    """Same bits: every engine against the NumPy reference. missing: engines that could not be run, and why."""

    checks: Sequence[Check]
    missing: Sequence[str]
    how: str

    @property
    def values(self) -> int:
        return sum(check.values for check in self.checks)

    @property
    def differing(self) -> int:
        return sum(check.differing for check in self.checks)


@dataclass(frozen=True)
class Latency:
    """How long one step of a stream and one whole window take. ours: whether it is an engine of this project."""

    name: str
    step: Timing | None
    window: Timing | None
    note: str
    ours: bool = False


@dataclass(frozen=True)
class Latencies:
    """Latencies measured side by side. window_steps: steps of a window."""

    rows: Sequence[Latency]
    window_steps: int
    how: str


@dataclass(frozen=True)
class Memory:
    """Bytes of one network. how: measured (compiled) or counted."""

    name: str
    parts: Sequence[tuple[str, int]]
    how: str


@dataclass(frozen=True)
class Gates:
    """Activity of each recurrent layer, and the course of one recording for a picture (batch of one; None for no picture)."""

    network: str
    layers: Sequence[Activity]
    picture: GateCourse | None
    picture_title: str
    step_seconds: float | None
    how: str


@dataclass(frozen=True)
class Proof:
    """The bounds of every layer of one network, with a title for each layer."""

    network: str
    layers: Sequence[tuple[str, Sequence[Bound]]]


@dataclass(frozen=True)
class Report:
    """One page. facts: (what, value) pairs about data, recipe, machine and versions, for its foot."""

    title: str
    lead: str
    headlines: Sequence[Headline] = ()
    accuracies: Accuracies | None = None
    confusions: Sequence[Confusion] = ()
    checks: Checks | None = None
    latencies: Latencies | None = None
    memory: Sequence[Memory] = ()
    gates: Sequence[Gates] = ()
    proofs: Sequence[Proof] = ()
    facts: Sequence[tuple[str, str]] = field(default=())
