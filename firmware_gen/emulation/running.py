"""A header on an emulated core: fed with counts, block by block, as firmware would, and everything it computes read back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_gen.emulation.counting import Count
from firmware_gen.emulation.image import TEMPLATES, Image
from firmware_gen.emulation.machine import Machine, start
from firmware_gen.emulation.targets import Target
from firmware_gen.feed_forward import due_steps
from firmware_gen.header import render_header
from firmware_gen.model import Model


@dataclass(frozen=True)
class Recording:
    """Everything that a run computed.

    x: int8 [sequences, blocks, channels]; states: int32 [sequences, steps, units] for each state of each recurrent layer;
    scores: int32 [sequences, outputs], or [sequences, steps, outputs] when every step is read out; labels: int32, the class of each;
    read_out: [sequences, steps] the blocks whose step reached the read-out; last: [all states] of the first sequence at its end, run sample
    by sample.
    """

    x: npt.NDArray[np.int8]
    states: tuple[npt.NDArray[np.int32], ...]
    scores: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    read_out: npt.NDArray[np.intp]
    last: npt.NDArray[np.int32]

    def arrays(self) -> tuple[npt.NDArray[np.integer], ...]:
        """All of them, in a fixed order."""
        return (self.x, *self.states, self.scores, self.labels, self.read_out, self.last)


@dataclass
class Counts:
    """One count for each call of a kind (see `profiling.Profile`); stack: bytes of the deepest call."""

    step: list[Count] = field(default_factory=list)
    normalize: list[Count] = field(default_factory=list)
    sample: list[Count] = field(default_factory=list)
    decide: list[Count] = field(default_factory=list)
    reset: list[Count] = field(default_factory=list)
    stack: int = 0


def entries(model: Model) -> dict[str, str]:
    """Sources of the program that `record` runs."""
    p = model.prefix
    states = [(text.fields[state.name][1], text.layer.units) for text in model.layers for state in text.layer.states]
    text = TEMPLATES.get_template("entries.c.j2").render(
        p=p, P=p.upper(), decimation=model.network.normalize.decimation, features=model.features is not None, states=states,
        width=model.network.normalize.width, traced=sum(units for _, units in states), network=model.network,
    )  # fmt: skip
    return {f"{p}.h": render_header(model), "entries.c": text}


def record(target: Target, image: Image, model: Model, raw: npt.NDArray[np.int16]) -> tuple[Recording, Counts]:
    """Runs the program of `entries` over the counts raw: int16 [sequences, samples, channels].

    Every sequence is run in parts, so that each can be counted: normalization, step, decision. The first one is run once more sample by
    sample, as firmware does, for what lies between the parts.
    """
    machine = start(target, image)
    try:
        return _Run(machine, model).record(raw)
    finally:
        machine.close()


class _Run:
    def __init__(self, machine: Machine, model: Model):
        self.machine, self.model = machine, model
        self.counts = Counts()
        self.every = model.network.read_out.kind == "every"
        self.x: list[npt.NDArray[np.int32]] = []
        self.traces: list[npt.NDArray[np.int32]] = []
        self.scores: list[npt.NDArray[np.int32]] = []
        self.labels: list[int] = []
        self.read_out: list[list[int]] = []

    def record(self, raw: npt.NDArray[np.int16]) -> tuple[Recording, Counts]:
        front, sequences = self.model.network.normalize, len(raw)
        blocks = raw.shape[1] // front.decimation
        samples = raw[:, : blocks * front.decimation].reshape(sequences, blocks, front.decimation, front.inputs)
        for sequence in samples:
            self._sequence(sequence)
        last = self._sample_by_sample(samples[0])
        trace = np.stack(self.traces).reshape(sequences, blocks, -1)
        scores, labels = np.stack(self.scores), np.array(self.labels, np.int32)
        if self.every:
            scores, labels = scores.reshape(sequences, -1, scores.shape[-1]), labels.reshape(sequences, -1)
        x = np.stack(self.x).astype(np.int8).reshape(sequences, blocks, -1)
        return Recording(x, self._states(trace), scores, labels, np.array(self.read_out, np.intp), last), self.counts

    def _sequence(self, samples: npt.NDArray[np.int16]) -> None:
        """samples: [blocks, decimation, channels]."""
        self._call("reset", self.counts.reset)
        reached = []
        for block, counts in enumerate(samples):
            self._normalize(counts)
            made = self._call("step", self.counts.step)
            self._call("copy")
            self.traces.append(self._variable("trace", "<i4"))
            if made:
                reached.append(block)
                if self.every:
                    self._decide()
        if not self.every:
            self._decide()
        self.read_out.append(reached)

    def _normalize(self, counts: npt.NDArray[np.int16]) -> None:
        """One block: counts [decimation, channels]."""
        if len(counts) > 1:
            self.machine.write("entry_sums", counts.sum(0, dtype=np.int32).astype("<i4").tobytes())
        else:
            self.machine.write("entry_raw", counts[0].astype("<i2").tobytes())
        self._call("normalize", self.counts.normalize)
        self.x.append(self._variable("x", "i1"))

    def _decide(self) -> None:
        self.labels.append(self._call("decide", self.counts.decide))
        self._call("copy")
        self.scores.append(self._variable("scores", "<i4"))

    def _sample_by_sample(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
        """All states after the sequence samples: [blocks, decimation, channels]; what a block costs is added up."""
        self._call("reset")
        for counts in samples:
            calls: list[Count] = []
            for sample in counts:
                self.machine.write("entry_raw", sample.astype("<i2").tobytes())
                self._call("push", calls)
            self.counts.sample.append(sum(calls[1:], calls[0]))
        self._call("copy")
        return self._variable("trace", "<i4")

    def _call(self, function: str, counted: list[Count] | None = None) -> int:
        call = self.machine.call(f"entry_{function}")
        if counted is not None:
            counted.append(call.count)
            self.counts.stack = max(self.counts.stack, call.stack)
        return call.result

    def _variable(self, name: str, kind: str) -> npt.NDArray[np.int32]:
        return np.frombuffer(self.machine.read(f"entry_{name}"), kind).astype(np.int32)

    def _states(self, trace: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], ...]:
        """trace [sequences, blocks, all states]: each state, at the blocks where its layer made a step."""
        due, _ = due_steps(self.model.network, trace.shape[1])
        states, start = [], 0
        for layer, blocks in zip(self.model.network.recurrent, due, strict=True):
            for _ in layer.states:
                states.append(trace[:, blocks, start : start + layer.units])
                start += layer.units
        return tuple(states)
