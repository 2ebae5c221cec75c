"""A network as a chain of stages: stacks of recurrent layers that one kernel runs, and the layers around them."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from functools import cached_property

from edge_lstm.engine.layout import Target
from edge_lstm.engine.packing import Stack
from edge_lstm.engine.prepared import Prepared
from edge_lstm.engine.target import choose
from edge_lstm.errors import UsageError
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    IntegerRecurrent,
)

EVERY = IntegerReadOut("every", 0)


@dataclass(frozen=True)
class StackStage:
    """Layers that one kernel runs. reverse: from the last step to the first."""

    prepared: Prepared
    reverse: bool = False


@dataclass(frozen=True)
class JoinedStage:
    """Two stacks over the same sequence, whose outputs are joined."""

    forward: StackStage
    backward: StackStage


Stage = StackStage | JoinedStage | IntegerConv1d | IntegerPool | IntegerDense | IntegerReadOut


@dataclass(frozen=True)
class Stages:
    """All stages of a network, in order. When the last is a stack, it holds the read-out and the dense layers behind."""

    stages: tuple[Stage, ...]

    @cached_property
    def whole(self) -> Prepared | None:
        """The stack, when one kernel runs the whole network."""
        only = self.stages[0]
        return only.prepared if isinstance(only, StackStage) and len(self.stages) == 1 and not only.reverse else None

    @cached_property
    def _stacks(self) -> list[Prepared]:
        ways = [way for stage in self.stages for way in ((stage.forward, stage.backward) if isinstance(stage, JoinedStage) else (stage,))]
        return [way.prepared for way in ways if isinstance(way, StackStage)]

    @cached_property
    def weights(self) -> int:
        """Bytes of all stacks, roughly the number of multiply-accumulates of a step."""
        return sum(stack.packed.model.nbytes for stack in self._stacks)

    @cached_property
    def block(self) -> int:
        """Sequences that step together in all stacks."""
        return max((stack.target.core.block for stack in self._stacks), default=1)


def _split(network: IntegerNetwork, target: Target) -> Stages:
    layers = list(network.layers)
    stages: list[Stage] = []
    while layers:
        count = 0
        while isinstance(layer := layers[count] if count < len(layers) else None, IntegerRecurrent) and not layer.reverse:
            count += 1
        if count:
            recurrent = tuple(layer for layer in layers[:count] if isinstance(layer, IntegerRecurrent))
            rest = layers[count:]
            dense = tuple(layer for layer in rest[1:] if isinstance(layer, IntegerDense))
            if rest and isinstance(rest[0], IntegerReadOut) and len(dense) == len(rest) - 1:
                kind = "last" if rest[0].kind == "final" else rest[0].kind
                stack = Stack(network.normalize, recurrent, replace(rest[0], kind=kind), dense)
                return Stages((*stages, StackStage(Prepared(stack, target))))
            stages.append(StackStage(Prepared(Stack(None, recurrent, EVERY, ()), target)))
            layers = rest
            continue
        layer = layers.pop(0)
        if isinstance(layer, IntegerRecurrent):
            stages.append(_one_way(layer, target))
        elif isinstance(layer, IntegerBidirectional):
            stages.append(JoinedStage(_one_way(layer.forward, target), _one_way(layer.backward, target)))
        else:
            stages.append(layer)
    return Stages(tuple(stages))


def _one_way(layer: IntegerRecurrent, target: Target) -> StackStage:
    return StackStage(Prepared(Stack(None, (layer,), EVERY, ()), target), layer.reverse)


_prepared: dict[tuple[int, Target], tuple[weakref.ref[IntegerNetwork], Stages]] = {}


def prepare(network: IntegerNetwork, kernel: str | None = None) -> Stages:
    """`network` made ready for this machine, or for the named kernel; made once for each network, and forgotten with it."""
    if not isinstance(network, IntegerNetwork):
        raise UsageError("the engine runs integer networks only; make one by edge_lstm.quantize or edge-lstm convert")
    target = choose(kernel)
    key = id(network), target
    found = _prepared.get(key)
    if found is not None and found[0]() is network:
        return found[1]
    made = _split(network, target)
    _prepared[key] = weakref.ref(network, lambda _: _prepared.pop(key, None)), made
    return made
