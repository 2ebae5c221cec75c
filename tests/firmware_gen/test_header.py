"""The text of the header: what it says, what it must never contain, and that it is the same everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_integer

import edge_lstm
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.bounds import prove
from firmware_gen import footprint, header, write
from firmware_gen.columns import STRATEGIES
from firmware_gen.digest import sha256
from firmware_gen.host import HostModel
from firmware_gen.tables import filled
from firmware_gen.toolchain import WARNINGS

ROOT = Path(__file__).parents[2]


def code_of(text: str) -> str:
    """The text without comments and string literals."""
    return re.sub(r'/\*.*?\*/|"[^"\n]*"', " ", text, flags=re.DOTALL)


def test_no_float_division_wide_integer_or_library_in_any_header(family):
    static = r"\bstatic (?!const|inline|\w+_APART|(void|uint32_t) \w+_(add|keep|\w*rows\d|\w*listed_))"
    forbidden = r"\b(float|double|\w*int64_t|long|malloc|calloc|free|alloca|goto)\b|[/%]|<math\.h>|" + static
    for number, sample in enumerate(family):
        code = code_of(header(sample.network, strategy=STRATEGIES[number % len(STRATEGIES)]))
        included = re.findall(r"#include\s+(\S+)", code)
        assert included in (["<stdint.h>", "<arm_acle.h>"], ["<stdint.h>", "<arm_acle.h>", "<arm_mve.h>"]), sample.what
        assert re.findall(forbidden, code) == [], sample.what


def test_every_name_carries_the_prefix(family):
    for number, sample in enumerate(family):
        code = code_of(header(sample.network, prefix="my_model", strategy=STRATEGIES[number % len(STRATEGIES)]))
        functions = r"static (?:inline|\w+_APART).*?(\w+)\("
        kinds = (r"static const.*?(\w+)(?:\[\w+\])+ =", functions, r"#define (\w+)", r"} (\w+);", r"typedef char (\w+)")
        names = {name for kind in kinds for name in re.findall(f"^{kind}", code, re.MULTILINE)}
        assert len(names) > 15
        assert {name for name in names if not name.lower().startswith("my_model_")} == set(), sample.what


def test_the_banner_states_model_formats_bounds_and_costs(watch):
    text = header(watch, prefix="watch")
    banner = text[: text.index("*/")]
    layer = watch.recurrent[0]
    assert sha256(watch) in banner
    assert f"edge-lstm {edge_lstm.__version__}" in banner
    for equation in layer.equations:
        assert equation in banner
    for role, kind in layer.activations.items():
        assert f"{role}: {kind}" in banner
    for bound, op in zip(prove(layer), layer.ops, strict=True):
        if op.code == "row":
            assert re.search(rf"accumulator of row {op.name} +{bound.low} to {bound.high}$", banner, re.MULTILINE)
    assert re.search(r"c +int16 +Q\d+\.\d+", banner)
    assert "skipped where a gate is closed: row g" in banner
    # 4 rows of 32 units over 6 inputs and 32 units; the dense layer once per decision.
    assert f"{4 * 32 * (6 + 32)} multiply-accumulates per step, and {7 * 32} per decision" in banner


def test_the_banner_says_why_a_layer_does_not_run_on_vectors():
    rng = np.random.default_rng(2)
    wide, bytes_ = (random_integer(rng, "rnn", 3, 4, input_bits=bits) for bits in (16, 8))
    layer = wide.recurrent[0]
    rows = {name: replace(row, input_shift=2 if row.W is not None else 0) for name, row in layer.rows.items()}
    shifted = replace(wide, layers=(replace(layer, rows=rows), *wide.layers[1:]))
    reason = "not on vectors (MVE): its input of 16 bits leaves them once it is shifted"
    assert reason in header(shifted)
    assert not any("not on vectors" in header(one) for one in (wide, bytes_))
    assert reason not in header(shifted, target="cortex-m4")


def test_the_banner_states_the_size_that_the_compiler_finds(family, compiler):
    sampled = [*family[::6], *(s for s in family if "cell_bits': 32" in s.what)]
    for sample, host in zip(sampled, HostModel.several([s.network for s in sampled], compiler, ("-O0",)), strict=True):
        assert f"{host.state_bytes} bytes of state per sequence" in header(sample.network), sample.what
    sampled = family[::9]
    hosts = HostModel.several([s.network for s in sampled], compiler, ("-O0",), strategy="delta")
    for sample, host in zip(sampled, hosts, strict=True):
        assert f"{host.state_bytes} bytes of state per sequence" in header(sample.network, strategy="delta"), sample.what


def test_the_constants_take_what_the_banner_says(watch, compiler):
    stated = int(re.search(r"flash +(\d+) bytes of constants", header(watch)).group(1))
    tables = header(watch).count("static const")
    assert stated <= footprint(watch, compiler).rodata <= stated + 32 * tables  # compilers align large tables


def test_the_same_network_gives_the_same_bytes_in_another_process():
    script = (
        "import numpy as np, sys; sys.path.insert(0, 'tests'); from random_networks import random_integer; from firmware_gen import header;"
        "print(header(random_integer(np.random.default_rng(5), 'lstm_2000', 3, 6, 'mixed')))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(ROOT)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert "#endif" in runs[0]
    assert runs[0] == runs[1]


def test_another_weight_gives_another_fingerprint_and_metadata_does_not(watch):
    changed = random_integer(np.random.default_rng(7), "lstm", 6, 32, "threshold", read_out="mean", decimation=4, steps=50, outputs=7)
    assert sha256(changed) == sha256(watch)
    assert sha256(replace(changed, metadata={"note": "x"})) == sha256(watch)
    changed.recurrent[0].rows["f"].R[0][3, 5] ^= 1
    assert sha256(changed) != sha256(watch)


def test_hostile_names_and_classes_cannot_break_out_of_their_place(compiler, tmp_path):
    classes = ('*/ #error "no"', 'what??/\n"\\', "Übung /* 3")
    network = random_integer(np.random.default_rng(2), "lstm", 2, 3, "threshold", outputs=3)
    network = replace(network, classes=classes, name='7 days */ "x"\n#error', metadata={"a": "*/"})
    (path,) = write(network, tmp_path)
    assert path.name == "n7_days_x_error.h"
    source, program = tmp_path / "names.c", tmp_path / "names"
    source.write_text(
        f'#include "{path.name}"\n#include <stdio.h>\nint main(void) {{ int k; for (k = 0; k < 3; k++) '
        'printf("%s|", n7_days_x_error_class_name(k)); return 0; }\n'
    )
    compiler.run([source], program, *WARNINGS)
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout.decode() == "".join(f"{name}|" for name in classes)


@pytest.mark.parametrize("prefix", ["", "1st", "a-b", "while", "_x", "a__b", "é"])
def test_a_prefix_that_c_cannot_use_is_refused(watch, prefix):
    with pytest.raises(UsageError, match="prefix"):
        header(watch, prefix=prefix)


def test_layers_in_another_order_are_refused(watch):
    recurrent, read_out, dense = watch.layers
    with pytest.raises(EdgeLstmError, match="IntegerReadOut, IntegerRecurrent, IntegerDense"):
        header(replace(watch, layers=(read_out, recurrent, dense)))


def test_a_network_that_could_overflow_is_refused(watch):
    front = replace(watch.normalize, multiplier=np.full(6, 2**30, np.int32))
    with pytest.raises(EdgeLstmError, match=r"input rescaling: .* more than 32"):
        header(replace(watch, normalize=front))
    layer = watch.recurrent[0]
    row = replace(layer.rows["f"], bias=np.full(32, 2**31 - 1000, np.int32))
    with pytest.raises(EdgeLstmError, match="32"):
        header(replace(watch, layers=(replace(layer, rows={**layer.rows, "f": row}), *watch.layers[1:])))


def with_biases(network, **biases):
    """The network with the biases of some rows replaced by one number."""
    layer = network.recurrent[0]
    rows = {**layer.rows, **{name: replace(layer.rows[name], bias=np.full(layer.units, value, np.int32)) for name, value in biases.items()}}
    return replace(network, layers=(replace(layer, rows=rows), *network.layers[1:]))


@pytest.mark.parametrize(
    ("biases", "gone"), [({"f": 10**7}, "f"), ({"o": 10**7}, "o"), ({"i": -(10**7)}, "ig"), ({"f": -(10**7), "i": 10**7}, "fi")]
)
def test_a_gate_that_is_proved_constant_is_folded_away_with_its_weights(watch, compiler, biases, gone):
    network = with_biases(watch, **biases)
    text = header(network, prefix="watch", strategy="rows")
    for row in "fiog":
        assert (f"watch_{row}_R" in text) == (row not in gone), row
    for name, bias in biases.items():
        assert f"gate {name} is proved to be {int(bias > 0)} always" in text
    raw = random_counts(np.random.default_rng(1), network, 3, 30)
    expected = reference.run(network, raw, states=True)
    for strategy in STRATEGIES:
        got = HostModel(network, compiler, (*WARNINGS, "-O1"), strategy=strategy).run(raw, states=True)
        assert np.array_equal(expected.scores, got.scores), strategy
        for state, values in expected.states[0].items():
            assert np.array_equal(values, got.states[0][state]), (strategy, state)


@pytest.mark.parametrize("read_out", ["last", "mean"])
def test_an_output_that_is_no_state_is_stored_beside_the_states(compiler, read_out):
    """No cell of the family needs it today: here the layer shows its gate o to the next layer instead of h."""
    network = random_integer(np.random.default_rng(3), "lstm", 3, 6, "threshold", read_out, layers=2)
    shown = [replace(layer, output=max(k for k, op in enumerate(layer.ops) if op.code == "positive")) for layer in network.recurrent]
    network = replace(network, layers=(*shown, *network.layers[2:]))
    raw = random_counts(np.random.default_rng(1), network, 3, 20)
    expected, got = reference.run(network, raw, states=True), HostModel(network, compiler, (*WARNINGS, "-O0")).run(raw, states=True)
    assert np.array_equal(expected.scores, got.scores)
    assert np.array_equal(expected.states[1]["c"], got.states[1]["c"])


def test_lines_of_numbers_break_where_textwrap_breaks_them():
    rng = np.random.default_rng(5)
    for _ in range(200):
        most = 10 ** int(rng.integers(1, 9))
        text = ", ".join(map(str, rng.integers(-most, most, int(rng.integers(1, 300))).tolist()))
        width = int(rng.integers(12, 120))
        assert filled(text, width) == textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
