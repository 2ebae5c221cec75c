"""The generated C on this machine: compiled into a shared library and called through ctypes, on whole batches or sample by sample."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.reference import Run, check_steps
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.feed_forward import due_steps
from firmware_gen.header import TEMPLATES, render_header
from firmware_gen.model import Model, build
from firmware_gen.toolchain import Compiler, compiler

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def _pointer(array: npt.NDArray[np.generic] | None) -> ctypes.c_void_p | None:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


class HostModel:
    """The header of `network`, compiled for this machine. The library lives as long as this object.

    compiler: the first one found when None; flags: for the compiler; strategy: how rows are summed (`columns.STRATEGIES`).
    Raises EdgeLstmError when there is no compiler or the header does not compile.
    """

    def __init__(
        self, network: IntegerNetwork, compiler: Compiler | None = None, flags: Sequence[str] = ("-O2",), *, strategy: str = "dense"
    ):  # fmt: skip
        model = build(network, "model", strategy)
        self._attach(model, _Library([model], compiler, flags))

    @classmethod
    def several(
        cls, networks: Sequence[IntegerNetwork], compiler: Compiler | None = None, flags: Sequence[str] = ("-O2",), *,
        strategy: str = "dense",
    ) -> list[HostModel]:  # fmt: skip
        """Many networks in one library: much faster to compile than one by one."""
        models = [build(network, f"model{k}", strategy) for k, network in enumerate(networks)]
        library, hosts = _Library(models, compiler, flags), []
        for model in models:
            host = cls.__new__(cls)
            host._attach(model, library)
            hosts.append(host)
        return hosts

    def _attach(self, model: Model, library: _Library) -> None:
        self.network, self._library = model.network, library
        p = model.prefix
        self.state_bytes = int(library.function(f"{p}_host_state_bytes", ctypes.c_int32)())
        self._run = library.function(f"{p}_host_run", ctypes.c_int32)
        self._reset, self._push = library.function(f"{p}_host_reset", None), library.function(f"{p}_host_push", ctypes.c_int32)
        self._class = library.function(f"{p}_host_class", ctypes.c_int32)
        self._next_window = library.function(f"{p}_host_next_window", None)

    def run(self, raw: npt.NDArray[np.int16], *, states: bool = False) -> Run:
        """Whole sequences of counts raw: int16 [batch, samples, channels] from reset states; the same as `engine.reference.run`."""
        network = self.network
        counts = _checked(raw, network)
        steps = check_steps(network, counts.shape[1] // network.normalize.decimation)
        batch, every = len(counts), network.read_out.kind == "every"
        scores = np.empty((batch, steps, network.outputs) if every else (batch, network.outputs), np.int32)
        widths = [[layer.units for _ in layer.states] for layer in network.recurrent]
        entered = counts.shape[1] // network.normalize.decimation
        trace = np.empty((batch, entered, sum(map(sum, widths))), np.int32) if states else None
        ready = np.empty((batch, steps), np.int8)
        agreed = self._run(
            _pointer(counts), ctypes.c_int32(batch), ctypes.c_int32(counts.shape[1]), ctypes.c_int32(steps), ctypes.c_int32(every),
            _pointer(scores), _pointer(trace), _pointer(ready),
        )  # fmt: skip
        if not agreed:
            raise EdgeLstmError(f"the compiled model made another number of steps than {steps}: this is a defect, please report it")
        return Run(scores, () if trace is None else _split(network, trace))

    def stream(self) -> HostStream:
        """One sequence, sample by sample, with a state of its own."""
        return HostStream(self)


class HostStream:
    """One sequence on the compiled header. state: the bytes of the struct."""

    def __init__(self, host: HostModel):
        self._host = host
        # An array of int32, so that the struct is aligned.
        self.state = np.zeros(-(-host.state_bytes // 4), np.int32)
        self.reset()

    def reset(self) -> None:
        """Back to the state before the first step."""
        self._host._reset(_pointer(self.state))

    def next_window(self) -> None:
        """The network as before its first step, while the front end runs on (where it remembers something; else a reset)."""
        self._host._next_window(_pointer(self.state))

    def push(self, raw: npt.NDArray[np.int16]) -> bool:
        """One sample of counts, int16 [channels]. True if it completed a step."""
        counts = _checked(raw[None, None], self._host.network)
        return bool(self._host._push(_pointer(self.state), _pointer(counts)))

    def decide(self) -> tuple[int, npt.NDArray[np.int32]]:
        """(class, scores int32 [outputs]) as of now; -1 is the class of numbers, which have none."""
        scores = np.empty(self._host.network.outputs, np.int32)
        return int(self._host._class(_pointer(self.state), _pointer(scores))), scores


class _Library:
    """A shared library around the headers of `models`, in a folder of its own that goes when the library does."""

    def __init__(self, models: Sequence[Model], chosen: Compiler | None, flags: Sequence[str]):
        self._folder = tempfile.TemporaryDirectory(prefix="edge-lstm-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        for model in models:
            (folder / f"{model.prefix}.h").write_text(render_header(model), encoding="utf-8")
        source, library = folder / "host.c", folder / f"host{SUFFIX}"
        source.write_text(TEMPLATES.get_template("host.c.j2").render(models=models), encoding="utf-8")
        position = () if sys.platform == "win32" else ("-fPIC",)
        # Hidden names: a symbol of the header can never be taken for one of libc (there is a `step` in it).
        (chosen or compiler()).run([source], library, "-std=c99", "-fvisibility=hidden", "-shared", *position, *flags)
        self._library = ctypes.CDLL(str(library))

    def function(self, name: str, result: type[ctypes.c_int32] | None) -> ctypes._NamedFuncPointer:
        found = getattr(self._library, name)
        found.restype = result
        return found


def _checked(raw: npt.NDArray[np.integer], network: IntegerNetwork) -> npt.NDArray[np.int16]:
    if raw.dtype != np.int16 or raw.ndim != 3 or raw.shape[2] != network.inputs:
        raise EdgeLstmError(f"expected int16 counts [batch, samples, {network.inputs}], got {raw.dtype} {list(raw.shape)}")
    return np.ascontiguousarray(raw)


def _split(network: IntegerNetwork, trace: npt.NDArray[np.int32]) -> tuple[dict[str, npt.NDArray[np.int32]], ...]:
    """trace [batch, input steps, all states] as one dictionary per layer, of the steps that the layer made."""
    layers, start = [], 0
    for layer, due in zip(network.recurrent, due_steps(network, trace.shape[1])[0], strict=True):
        states = {}
        for state in layer.states:
            states[state.name] = np.ascontiguousarray(trace[:, due, start : start + layer.units])
            start += layer.units
        layers.append(states)
    return tuple(layers)
