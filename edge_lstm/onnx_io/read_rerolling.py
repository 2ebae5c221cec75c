"""From the formulas of an unrolled network back to a recurrent layer.

The last step's formula is compared with the shape of the known cells, which gives weights and names of the earlier states. Then the
cell's own dataflow is evaluated on symbols, for every step with the same weights, and must give every step's formula exactly; the first
step must be the cell with states of zero. What passes is that cell, however the exporter wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_lstm.cells import Activation, cell
from edge_lstm.network import FloatArray, Recurrent, RowWeights
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_vectors import Vector, Vectors


@dataclass(frozen=True)
class Guess:
    """One step taken for a step of `layer`. x: source of its input; states: state -> symbol of its value before the step."""

    layer: Recurrent
    x: int
    states: Mapping[str, int]


@dataclass(frozen=True)
class Rolled:
    """A layer found. inputs: for each step the number of the source that is its input."""

    layer: Recurrent
    inputs: tuple[int, ...]


def reroll(vectors: Vectors, outputs: Sequence[Vector]) -> Rolled:
    """The recurrent layer whose hidden states after each step are `outputs`. Raises Refusal when no known cell gives these formulas."""
    last = len(outputs) - 1
    guess = guess_cell(vectors, outputs[last], last)
    inputs, expected = [guess.x], {guess.layer.cell.output: outputs[last]}
    for step in range(last, 0, -1):
        if step < last:
            guess = _same_cell(vectors, guess_cell(vectors, outputs[step], step), guess, step)
            inputs.append(guess.x)
        before = {s: vectors.state(number, guess.layer.units) for s, number in guess.states.items()}
        _check_step(vectors, guess.layer, guess.x, before, expected, step)
        expected = {s: _inside(vectors, number) for s, number in guess.states.items()}
        if vectors.digest(expected[guess.layer.cell.output]) != vectors.digest(outputs[step - 1]):
            raise Refusal(f"step {step} does not continue step {step - 1}")
    zero = {s: Vector(guess.layer.units) for s in guess.layer.cell.states}
    first = _input_of(vectors, expected[guess.layer.cell.output], 0)
    _check_step(vectors, guess.layer, first, zero, expected, 0)
    return Rolled(guess.layer, (first, *inputs[::-1]))


def unrolled_outputs(vectors: Vectors, output: Vector, steps: int) -> list[Vector]:
    """The hidden states after each step, from the one after the last: each formula names the one before it."""
    found = [output]
    for step in range(steps - 1, 0, -1):
        guess = guess_cell(vectors, found[0], step)
        found.insert(0, _inside(vectors, guess.states[guess.layer.cell.output]))
    return found


def _inside(vectors: Vectors, number: int) -> Vector:
    value = vectors.atoms[number].value
    if value is None:
        raise Refusal("an earlier state is an input of the graph")
    return value


def _same_cell(vectors: Vectors, found: Guess, wanted: Guess, step: int) -> Guess:
    """The guess of another step, whose weights must be the same."""
    same = found.layer.cell.name == wanted.layer.cell.name and found.layer.activations == wanted.layer.activations
    for name, row in wanted.layer.rows.items():
        other = found.layer.rows.get(name)
        same = same and other is not None and _equal([row.W, *row.R, row.b], [other.W, *other.R, other.b])
    if not same:
        raise Refusal(f"step {step} of the unrolled loop is not the same as the step behind it")
    return found


def _equal(left: Sequence[FloatArray | None], right: Sequence[FloatArray | None]) -> bool:
    pairs = zip(left, right, strict=True)
    return all((a is b) if a is None or b is None else a.shape == b.shape and np.allclose(a, b, 0, 1e-7) for a, b in pairs)


def _check_step(
    vectors: Vectors, layer: Recurrent, x: int, states: Mapping[str, Vector], expected: Mapping[str, Vector], step: int
) -> None:
    """Refuses a step whose formulas are not those of the layer."""
    after = evaluate(vectors, layer, x, states)
    if any(vectors.digest(after[s]) != vectors.digest(value) for s, value in expected.items()):
        raise Refusal(f"step {step} of the unrolled loop computes something other than {layer.cell.name} from the step before it")


def evaluate(vectors: Vectors, layer: Recurrent, x: int, states: Mapping[str, Vector]) -> dict[str, Vector]:
    """The cell's dataflow on symbols: state -> its formula after the step."""
    values: list[Vector] = []
    source = Vector(layer.inputs, {x: np.eye(layer.inputs)})
    for op in layer.cell.ops:
        arguments = [values[a] for a in op.args]
        if op.code == "row":
            row = layer.rows[op.name]
            total = Vector(layer.units, {}, {(): np.asarray(row.b, np.float64)} if np.any(row.b) else {})
            if row.W is not None:
                total = vectors.add(total, vectors.product(source, np.asarray(row.W, np.float64)))
            for R, argument in zip(row.R, arguments, strict=True):
                total = vectors.add(total, vectors.product(argument, np.asarray(R, np.float64)))
            values.append(total)
        elif op.code == "state":
            values.append(states[op.name])
        elif op.code == "activate":
            values.append(vectors.activate(arguments[0], layer.activations[op.name]))
        elif op.code == "multiply":
            values.append(vectors.multiply(*arguments))
        elif op.code in ("add", "subtract"):
            values.append(vectors.add(arguments[0], arguments[1], -1.0 if op.code == "subtract" else 1.0))
        else:
            raise Refusal(f"{layer.cell.name} uses {op.code}, which is not compared with unrolled loops")
    return {name: values[update] for name, update in layer.cell.updates}


def guess_cell(vectors: Vectors, output: Vector, step: int) -> Guess:
    """The cell whose hidden state has the form of `output`. Raises Refusal when none has."""
    for form in (_lstm, _gru, _rnn):
        found = form(vectors, output, step)
        if found is not None:
            return found
    raise Refusal("the operators of the unrolled loop are no LSTM, GRU or RNN cell that is known")


def _activation(vectors: Vectors, number: int) -> tuple[Activation, Vector] | None:
    atom = vectors.atoms[number]
    return (atom.activation, atom.value) if atom.activation is not None and atom.value is not None else None


def _sources(vectors: Vectors, v: Vector, step: int) -> tuple[int, int] | None:
    """The sources of a row: (input, state before). The input belongs to this step, the state to the one before."""
    inputs = [number for number in v.linear if vectors.atoms[number].level == step]
    states = [number for number in v.linear if -1 < vectors.atoms[number].level < step]
    return (inputs[0], states[0]) if len(inputs) == 1 and len(states) == 1 and len(v.linear) == 2 else None


def _input_of(vectors: Vectors, output: Vector, step: int) -> int:
    """The only source of step 0, where states have vanished."""
    found: set[int] = set()

    def collect(v: Vector) -> None:
        found.update(v.linear)
        for monomial in v.terms:
            for number in monomial:
                value = vectors.atoms[number].value
                if value is not None:
                    collect(value)

    collect(output)
    if len(found) != 1:
        raise Refusal(f"step {step} of the unrolled loop does not start from states of zero")
    return found.pop()


def _row(v: Vector, x: int, h: int) -> RowWeights:
    return RowWeights(v.linear[x].copy(), (v.linear[h].copy(),), v.bias.copy())


def _units_factor(v: Vector, count: int) -> bool:
    """Whether the vector is a sum of `count` products with coefficients 1 or -1, and nothing else."""
    return not v.linear and len(v.terms) == count and all((np.abs(a) == 1).all() and k for k, a in v.terms.items())


def _lstm(vectors: Vectors, output: Vector, step: int) -> Guess | None:
    """h = o squash(c), c = f c' + i g."""
    if not _units_factor(output, 1):
        return None
    (factors,) = output.terms
    for o, squashed in (factors, factors[::-1]) if len(factors) == 2 else ():
        outer, inner = _activation(vectors, o), _activation(vectors, squashed)
        if outer is None or inner is None or not outer[1].is_linear or not _units_factor(inner[1], 2):
            continue
        sources = _sources(vectors, outer[1], step)
        kept = [k for k in inner[1].terms if len(k) == 2 and any(_is_state(vectors, n, step) for n in k)]
        entering = [k for k in inner[1].terms if len(k) == 2 and k not in kept]
        if sources is None or len(kept) != 1 or len(entering) != 1:
            continue
        f, c = sorted(kept[0], key=lambda n: _is_state(vectors, n, step))
        gate = _activation(vectors, f)
        pair = [_activation(vectors, n) for n in entering[0]]
        if gate is None or pair[0] is None or pair[1] is None:
            continue
        # Input gate and candidate stand side by side; the input gate has the activation of the forget gate.
        i, g = (pair[0], pair[1]) if pair[0][0] == gate[0] else (pair[1], pair[0])
        rows = {"i": i[1], "f": gate[1], "o": outer[1], "g": g[1]}
        if any(not v.is_linear or _sources(vectors, v, step) != sources for v in rows.values()):
            continue
        x, h = sources
        roles = {"i": i[0], "f": gate[0], "o": outer[0], "g": g[0], "h": inner[0]}
        return Guess(Recurrent(cell("lstm"), roles, {name: _row(v, x, h) for name, v in rows.items()}), x, {"h": h, "c": c})
    return None


def _is_state(vectors: Vectors, number: int, step: int) -> bool:
    atom = vectors.atoms[number]
    return atom.activation is None and atom.level < step


def _gru(vectors: Vectors, output: Vector, step: int) -> Guess | None:
    """h = n + z h' - z n, with the reset gate behind or before the matrix product of the candidate."""
    if not _units_factor(output, 3):
        return None
    single = [k[0] for k in output.terms if len(k) == 1]
    pairs = [k for k in output.terms if len(k) == 2]
    if len(single) != 1 or len(pairs) != 2:
        return None
    n, before = _activation(vectors, single[0]), [k for k in pairs if single[0] not in k]
    if n is None or len(before) != 1:
        return None
    states = [number for number in before[0] if _is_state(vectors, number, step)]
    if len(states) != 1:
        return None
    h = states[0]
    z = _activation(vectors, next(number for number in before[0] if number != h))
    sources = None if z is None or not z[1].is_linear else _sources(vectors, z[1], step)
    if z is None or sources is None or sources[1] != h:
        return None
    x = sources[0]
    candidate = n[1]
    if candidate.is_linear:
        return _reset_before(vectors, candidate, (n[0], z, x, h), step)
    products = [k for k in candidate.terms if len(k) == 2]
    if set(candidate.linear) != {x} or len(products) != 1 or set(candidate.terms) - {(), products[0]}:
        return None
    for reset, recurrent in (products[0], products[0][::-1]):
        r, inner = _activation(vectors, reset), vectors.atoms[recurrent].value
        if r is None or vectors.atoms[recurrent].activation is not None or inner is None or set(inner.linear) != {h}:
            continue
        if _sources(vectors, r[1], step) != (x, h):
            continue
        rows = {
            "z": _row(z[1], x, h), "r": _row(r[1], x, h), "n": RowWeights(candidate.linear[x].copy(), (), candidate.bias.copy()),
            "n_recurrent": RowWeights(None, (inner.linear[h].copy(),), inner.bias.copy()),
        }  # fmt: skip
        return Guess(Recurrent(cell("gru"), {"z": z[0], "r": r[0], "n": n[0]}, rows), x, {"h": h})
    return None


def _reset_before(
    vectors: Vectors, candidate: Vector, known: tuple[Activation, tuple[Activation, Vector], int, int], step: int
) -> Guess | None:
    """The GRU whose candidate multiplies r h' by its matrix. known: candidate's activation, update gate, input, state."""
    squash, z, x, h = known
    others = [number for number in candidate.linear if number != x]
    inner = vectors.atoms[others[0]].value if len(others) == 1 and x in candidate.linear else None
    if inner is None or not _units_factor(inner, 1):
        return None
    (factors,) = inner.terms
    gates = [number for number in factors if number != h]
    r = _activation(vectors, gates[0]) if len(factors) == 2 and len(gates) == 1 else None
    if r is None or not r[1].is_linear or _sources(vectors, r[1], step) != (x, h):
        return None
    rows = {
        "z": _row(z[1], x, h), "r": _row(r[1], x, h),
        "n": RowWeights(candidate.linear[x].copy(), (candidate.linear[others[0]].copy(),), candidate.bias.copy()),
    }  # fmt: skip
    return Guess(Recurrent(cell("gru_reset_before"), {"z": z[0], "r": r[0], "n": squash}, rows), x, {"h": h})


def _rnn(vectors: Vectors, output: Vector, step: int) -> Guess | None:
    """h = squash(W x + R h' + b)."""
    if not _units_factor(output, 1):
        return None
    (factors,) = output.terms
    found = _activation(vectors, factors[0]) if len(factors) == 1 else None
    sources = _sources(vectors, found[1], step) if found is not None and found[1].is_linear else None
    if found is None or sources is None:
        return None
    x, h = sources
    name = "rnn_relu" if found[0].kind == "relu" else "rnn"
    return Guess(Recurrent(cell(name), {"h": found[0]}, {"h": _row(found[1], x, h)}), x, {"h": h})
