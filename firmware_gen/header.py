"""The header of a network: the templates filled with the texts of `model.py` and `banner.py`."""

from __future__ import annotations

import jinja2

from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen import names
from firmware_gen.banner import banner
from firmware_gen.layers import LayerText
from firmware_gen.model import Field, Model, build
from firmware_gen.tables import signed_type

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("firmware_gen"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, autoescape=False,
)  # fmt: skip
TEMPLATES.filters |= {"comment": names.comment, "string_literal": names.string_literal}


def header(network: IntegerNetwork, *, prefix: str | None = None) -> str:
    """The C header of `network`, complete in itself; the same text on every machine.

    prefix: starts every name in it, the model's name in lower case when None.
    Raises EdgeLstmError for a network that has no C form or that 32 bits do not suffice for, UsageError for an unusable prefix.
    """
    return render_header(build(network, prefix))


def render_header(model: Model) -> str:
    """The header of a network whose C text is made already."""
    network, last = model.network, model.layers[-1]
    return TEMPLATES.get_template("header.h.j2").render(
        model=model, network=network, p=model.prefix, P=model.prefix.upper(), banner=banner(model), last=last,
        sum_type=signed_type(-127 * max(network.read_out.window, 1), 127 * max(network.read_out.window, 1)),
        has_curves=any(op.code == "interpolate" for text in model.layers for op in text.flow.ops.values()),
        layer_title=_layer_title, activation_lines=_activation_lines, function_of=function_of, reset_lines=_reset_lines(model),
        step_lines=_step_lines(model), scores_lines=_scores_lines(model),
    )  # fmt: skip


def function_of(text: LayerText) -> str:
    """Name of the function of a recurrent layer, without prefix."""
    return text.infix.strip("_") or "recurrent"


def _units(model: Model, text: LayerText) -> str:
    return f"{model.prefix.upper()}_{text.infix.upper()}UNITS"


def _loop(index: str, length: str, *body: str) -> list[str]:
    return [f"for (uint_fast16_t {index} = 0; {index} < {length}; {index}++) {{", *(f"    {line}" for line in body), "}"]


def _layer_title(text: LayerText) -> str:
    return f"{'recurrent layer' if not text.infix else f'recurrent {function_of(text)}'}: {text.layer.cell}"


def _activation_lines(text: LayerText) -> list[str]:
    roles = ", ".join(f"{role}: {kind}" for role, kind in text.layer.activations.items())
    lines = [f"Activations: {roles}."]
    if text.lazy_rows:
        lines.append(f"Computed only where its gate is open: row {', row '.join(text.lazy_rows)}.")
    return lines


def _reset_lines(model: Model) -> list[str]:
    starts = {text.fields[state.name][1]: (text, state) for text in model.layers for state in text.layer.states}
    by_length: dict[str, list[str]] = {}
    scalars = []
    for field in model.fields:
        value = "0"
        if field.name in starts and starts[field.name][1].initial.any():
            table = model.initial[field.name]
            value = f"({field.type}){table}[k]" if field.type != "int32_t" else f"{table}[k]"
        if field.shape is None:
            scalars.append(f"state->{field.name} = 0;")
        else:
            by_length.setdefault(field.length, []).append(f"state->{field.name}[k] = {value};")
    return [line for length, body in by_length.items() for line in _loop("k", length, *body)] + scalars


def _step_lines(model: Model) -> list[str]:
    lines, source = [], "x"
    for number, text in enumerate(model.layers):
        lines.append(f"{model.prefix}_{function_of(text)}(state, {source});")
        if number + 1 < len(model.layers):
            source = f"state->{text.output_field}"
            if text.output_field is None:
                source = f"y{number + 1}"
                lines.insert(0, f"int8_t {source}[{_units(model, text)}]; /* output of {function_of(text)} */")
                lines += _loop("u", _units(model, text), f"{source}[u] = (int8_t){text.output};")
    return lines


def _scores_lines(model: Model) -> list[str]:
    P, p, text = model.prefix.upper(), model.prefix, model.layers[-1]
    lines: list[str] = []
    units = _units(model, text)
    source = "state->sum" if model.mean else f"state->{text.output_field}"
    if not model.mean and text.output_field is None:
        lines += [f"int8_t y[{units}];", *_loop("u", units, f"y[u] = (int8_t){text.output};")]
        source = "y"
    if not model.dense:
        return lines + _loop("k", f"{P}_OUTPUTS", f"scores[k] = {source}[k];")
    length, dot, steps = units, "dot_sum" if model.mean else "dot", " * (int32_t)state->steps" if model.mean else ""
    for dense in model.dense:
        value = f"{dense.bias}[k]{steps} + {p}_{dot}({dense.W}[k], {source}, {length})"
        last = dense is model.dense[-1]
        size = f"{P}_OUTPUTS" if last else f"{P}_{dense.name.upper()}"
        if dense.limit is None:
            lines += _loop("k", size, f"scores[k] = {value};")
            continue
        body = [
            f"const int32_t a = {value};",
            f"const int32_t y_k = {p}_rescale(a, {dense.limit}[k], {dense.multiplier}[k], {dense.layer.shift});",
            f"{'scores' if last else dense.name}[k] = {'' if last else '(int8_t)'}{p}_clip(y_k, {dense.layer.low}, {dense.layer.high});",
        ]
        if not last:
            lines.insert(0, f"int8_t {dense.name}[{size}];")
        lines += _loop("k", size, *body)
        source, length, dot, steps = dense.name, size, "dot", ""
    return lines


__all__ = ["TEMPLATES", "Field", "function_of", "header", "render_header"]
