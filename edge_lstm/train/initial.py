"""The network before training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import cell
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Dense, Layer, Network, Preprocess, ReadOut, Recurrent, RowWeights, steps_before, steps_through
from edge_lstm.train.front_text import initial_front, parse
from edge_lstm.train.recipe import Recipe

# FastGRNN's mixture (zeta (1 - z) + nu): sigmoid(1) and sigmoid(-4), as Kusupati et al. 2018 start it.
_PARAMETERS = {"zeta": 0.731, "nu": 0.018}


def orthogonal(rng: np.random.Generator, units: int) -> npt.NDArray[np.float64]:
    """A random orthogonal matrix (Saxe, McClelland & Ganguli 2014)."""
    q, r = np.linalg.qr(rng.standard_normal((units, units)))
    return np.asarray(q * np.sign(np.diag(r)))


def initial_layer(recipe: Recipe, rng: np.random.Generator, inputs: int) -> Recurrent:
    """One recurrent layer: W uniform within 0.6 sqrt(3 / inputs), R orthogonal per row times the recipe's scale, its biases."""
    member, units = cell(recipe.cell), recipe.hidden
    bound = 0.6 * np.sqrt(3 / max(inputs, 3))
    rows, biases = {}, {"f": recipe.forget_bias, "i": recipe.input_bias}
    for row in member.rows:
        W = rng.uniform(-bound, bound, (units, inputs)).astype(np.float32) if row.input else None
        R = tuple((recipe.recurrent_scale * orthogonal(rng, units)).astype(np.float32) for _ in row.sources)
        rows[row.name] = RowWeights(W, R, np.full(units, biases.get(row.name, 0.0), np.float32))
    parameters = {name: np.full(units, _PARAMETERS.get(name, 0.0), np.float32) for name in member.parameters}
    return Recurrent(member, recipe.activations(), rows, parameters)


def initial_network(
    recipe: Recipe, inputs: int, outputs: int, classes: tuple[str, ...], steps: int, preprocess: Preprocess | None
) -> Network:
    """The untrained network of `recipe`; steps: length of its window after decimation; classes: names of the outputs, none for numbers."""
    rng = np.random.default_rng([recipe.seed, 0])
    front, inputs = initial_front(parse(recipe.front), rng, inputs)
    layers: list[Layer] = []
    for _ in range(recipe.layers):
        forward = initial_layer(recipe, rng, inputs)
        if recipe.bidirectional:
            layers.append(Bidirectional(forward, replace(initial_layer(recipe, rng, inputs), reverse=True)))
        else:
            layers.append(forward)
        inputs = recipe.hidden * (2 if recipe.bidirectional else 1)
    bound = np.sqrt(3 / inputs)
    head = Dense(rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32), np.zeros(outputs, np.float32))
    made = steps_through(front, steps)
    if front and made < 1:
        raise EdgeLstmError(f"a sequence of {steps} steps is shorter than what {recipe.front} in front spans")
    window = 0 if recipe.read_out == "every" else steps_before(front, made)
    return Network(
        (*front, *layers, ReadOut(recipe.read_out), head), preprocess, softmax=bool(classes), classes=classes, window=window,
        name=f"{recipe.cell}_{recipe.hidden}", metadata={"recipe": recipe.as_text()},
    )  # fmt: skip
