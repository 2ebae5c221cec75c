"""The header of a network: the templates filled with the texts of `model.py` and `banner.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jinja2

from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerNetwork
from firmware_gen import names
from firmware_gen.activity import LayerActivity
from firmware_gen.banner import banner
from firmware_gen.feed_forward import FeedForwardText, curve_call
from firmware_gen.layer_text import LayerText
from firmware_gen.model import Field, Model, build, stage_length
from firmware_gen.tables import signed_type

TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("firmware_gen"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, autoescape=False,
)  # fmt: skip
TEMPLATES.tests["recurrent"] = lambda stage: isinstance(stage, LayerText)
TEMPLATES.filters |= {"comment": names.comment, "string_literal": names.string_literal}


X_KERNEL = re.compile(r"(added|kept)(_signs)?_x\d+")  # sums of states and of x, by its shift


def header(
    network: IntegerNetwork, *, prefix: str | None = None, strategy: str | None = None, target: str | None = None,
    activity: Sequence[LayerActivity] | None = None,
) -> str:  # fmt: skip
    """The C header of `network`, complete in itself; the same text on every machine.

    prefix: starts every name in it, the model's name in lower case when None; strategy: how rows are summed (`columns.STRATEGIES`), when
    None chosen for each layer by a cost model: for `target` (one of `choice.TARGETS`, all alike when None), from `activity` (what
    `activity.measure` found in recordings; assumed when None). It runs on every target with the same bits, whatever is chosen.
    Raises EdgeLstmError for a network that has no C form or that 32 bits do not suffice for, UsageError for an unusable prefix or an
    unknown strategy or target.
    """
    return render_header(build(network, prefix, strategy, target=target, activity=activity))


def render_header(model: Model) -> str:
    """The header of a network whose C text is made already."""
    network = model.network
    exact = {kind for text in model.layers if text.column_plan.groups for kind in text.columns.kinds}
    with_x = {kind: kind.rpartition("_x") for kind in exact if X_KERNEL.fullmatch(kind)}
    plain_kinds = exact - set(with_x)
    # Targets that keep x in bytes need one kernel for sums with x and without it.
    column_kinds = plain_kinds | {name for name, _, _ in with_x.values()} | ({"gather"} if with_x else set())
    x_kernels = sorted(
        (("add_changes" if "kept" in name else "add_columns", int(shift)), "signs" in name) for name, _, shift in with_x.values()
    )  # fmt: skip
    gathering = [line for text in model.layers if text.vectors for line in text.vectors.gather]
    seldom = any(f"{model.prefix}_seldom(u)" in line for text in model.layers for part in text.passes for line in part.body)
    return TEMPLATES.get_template("header.h.j2").render(
        model=model, network=network, host_function=network.host_function, p=model.prefix, P=model.prefix.upper(), banner=banner(model),
        sum_type=signed_type(-127 * max(network.read_out.window, 1), 127 * max(network.read_out.window, 1)),
        has_curves=model.has_curves, half_bits=HALF_BITS,
        packed=sorted(one for one in model.tables.packed if one[0] in ("dot", "dot_sum")),
        column_kinds=column_kinds, x_kernels=x_kernels, plain_kinds=plain_kinds, narrow="lists" in column_kinds and model.narrow,
        index_type=f"uint{8 * model.index_bytes}_t",
        seldom=seldom, with_vectors=any(text.vectors for text in model.layers),
        gathers={kind for kind in ("round", "whole") if any(f"_vectors_{kind}(" in line for line in gathering)},
        lists=any(kernel.listed for text in model.layers if text.vectors for kernel in text.vectors.kernels),
        kernels=[kernel for text in model.layers if text.vectors for kernel in text.vectors.kernels],
        layer_title=_layer_title, activation_lines=_activation_lines, function_of=function_of,
        reset_lines=_kept(model, _reset_lines(model.fields)),
        next_window_lines=_kept(model, _reset_lines([f for f in model.fields if not f.front])),
        front_lines=_kept(model, _reset_lines([f for f in model.fields if f.front])), step_lines=_step_lines(model),
        scores_lines=_kept(model, _scores_lines(model)),
    )  # fmt: skip


def function_of(text: LayerText) -> str:
    """Name of the function of a recurrent layer, without prefix."""
    return text.infix.strip("_") or "recurrent"


def _loop(index: str, length: str, *body: str) -> list[str]:
    return [f"for (uint_fast16_t {index} = 0; {index} < {length}; {index}++) {{", *(f"    {line}" for line in body), "}"]


def _kept(model: Model, lines: list[str]) -> list[str]:
    """Lines whose loops stay loops: they run once a decision or once a sequence, which is not worth the flash."""
    keep = f"{model.prefix.upper()}_KEEP_LOOP"
    return [each for line in lines for each in ((keep, line) if line.lstrip().startswith("for ") else (line,))]


def _layer_title(text: LayerText) -> str:
    return f"{'recurrent layer' if not text.infix else f'recurrent {function_of(text)}'}: {text.layer.cell}"


def _activation_lines(text: LayerText) -> list[str]:
    roles = ", ".join(f"{role}: {kind}" for role, kind in text.layer.activations.items())
    lines = [f"Activations: {roles}."]
    if text.lazy_rows:
        lines.append(f"Computed only where its gate is open: row {', row '.join(text.lazy_rows)}.")
    return lines


def _reset_lines(fields: Sequence[Field]) -> list[str]:
    grouped: dict[tuple[str, ...], list[str]] = {}
    for field in fields:
        index = "".join(f"[{name}]" for name in ("t", "k")[2 - len(field.lengths) :])
        grouped.setdefault(field.lengths, []).append(f"state->{field.name}{index} = {field.start};")
    lines: list[str] = []
    for lengths, body in sorted(grouped.items(), key=lambda group: -len(group[0])):
        for name, length in zip(("k", "t"), reversed(lengths), strict=False):
            body = _loop(name, length, *body)
        lines += body
    return lines


def _step_lines(model: Model) -> list[str]:
    """The stages in order; the output of each is the input of the next."""
    p, source, arrays, lines = model.prefix, "x", [], []
    for number, stage in enumerate(model.stages, 1):
        last, units = number == len(model.stages), stage_length(p, stage)
        made = "state->output" if last else f"y{number}"
        if isinstance(stage, FeedForwardText):
            call = f"{p}_{stage.name}({'state, ' if stage.kept else ''}{source}, {made})"
            lines += [f"if (!{call}) {{", "    return 0;", "}"] if stage.kept else [f"{call};"]
        else:
            lines.append(f"{p}_{function_of(stage)}(state, {source});")
            if stage.output_field is not None:
                source = f"state->{stage.output_field}"
                continue
            if not last:
                lines += _loop("u", units, f"{made}[u] = (int8_t){stage.output};")
        if not last:
            name = stage.name if isinstance(stage, FeedForwardText) else function_of(stage)
            arrays.append(f"int8_t {made}[{units}]; /* output of {name} */")
        source = made
    return arrays + lines


def _scores_lines(model: Model) -> list[str]:
    P, p, units = model.prefix.upper(), model.prefix, model.output_length
    lines: list[str] = []
    source = "state->sum" if model.mean else f"state->{model.output_field}"
    if model.averages:
        lines += [f"int8_t y[{units}];", *_loop("u", units, f"y[u] = {p}_average(state->sum[u], (int32_t)state->steps);")]
        source = "y"
    if not model.mean and model.output_field is None:
        lines += [f"int8_t y[{units}];", *_loop("u", units, f"y[u] = (int8_t){model.output};")]
        source = "y"
    if not model.dense:
        return lines + _loop("k", f"{P}_OUTPUTS", f"scores[k] = {source}[k];")
    length, steps = units, " * (int32_t)state->steps" if model.network.read_out.sums else ""
    for dense in model.dense:
        value = f"{dense.bias}[k]{steps} + {p}_{dense.dot}({dense.W}[k], {source}, {length})"
        last = dense is model.dense[-1]
        size = f"{P}_OUTPUTS" if last else f"{P}_{dense.name.upper()}"
        if dense.limit is None:
            lines += _loop("k", size, f"scores[k] = {value};")
            continue
        body = [
            f"const int32_t a = {value};",
            f"const int32_t y_k = {p}_rescale(a, {dense.limit}[k], {dense.multiplier}[k], {dense.layer.shift});",
            f"{'scores' if last else dense.name}[k] = {'' if last else '(int8_t)'}"
            f"{p}_clip({curve_call(dense.layer, 'y_k', dense.curve, p)}, {dense.layer.low}, {dense.layer.high});",
        ]
        if not last:
            lines.insert(0, f"int8_t {dense.name}[{size}];")
        lines += _loop("k", size, *body)
        source, length, steps = dense.name, size, ""
    return lines
