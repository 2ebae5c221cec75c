"""The course of a float network's gates and states over sequences: a walk over its dataflow, as `activity.course` is for integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm import float_inference
from edge_lstm.engine.gate_activity import GateCourse, in_order
from edge_lstm.network import Bidirectional, FloatArray, Network, ReadOut, Recurrent


def course_and_features(network: Network, x: npt.NDArray[np.generic]) -> tuple[list[GateCourse], FloatArray]:
    """The course of every recurrent layer for x: [batch, samples, channels] as `network(x)` takes it, from reset states; and what reaches
    the read-out: [batch, time, features]."""
    x = np.asarray(x)
    float_inference.check_input(x, network.inputs)
    prepared = float_inference.preprocess(network.preprocess, x) if network.preprocess is not None else x
    v: FloatArray = np.asarray(prepared, next(iter(network.recurrent[0].rows.values())).b.dtype)
    found: list[GateCourse] = []
    for index, layer in enumerate(network.layers):
        if isinstance(layer, ReadOut):
            break
        if isinstance(layer, Recurrent):
            found.append(_layer_course(layer, v))
            v = found[-1].output.astype(v.dtype)
        elif isinstance(layer, Bidirectional):
            both = [_layer_course(layer.forward, v), _layer_course(layer.backward, v)]
            found += both
            v = np.concatenate([one.output for one in both], axis=2)
        else:
            v = float_inference.apply(network, index, v)
    return found, v


def _layer_course(layer: Recurrent, x: FloatArray) -> GateCourse:
    state = float_inference.initial_state(layer, len(x), x.dtype)
    states = {name: [value] for name, value in state.items()}
    output = np.empty((*x.shape[:2], layer.units), x.dtype)
    gates = {gate: np.empty(output.shape) for gate in layer.cell.gates}
    order = range(x.shape[1])
    for t in reversed(order) if layer.reverse else order:
        state, values = float_inference.step(layer, x[:, t], state)
        output[:, t] = state[layer.cell.output]
        for name, value in state.items():
            states[name].append(value)
        for op, value in zip(layer.cell.ops, values, strict=True):
            if op.code == "activate" and op.name in gates:
                gates[op.name][:, t] = value
    courses = {name: in_order(values, layer.reverse) for name, values in states.items()}
    return GateCourse(gates, layer.hard_gates, output, courses, dict.fromkeys(courses, 1.0))
