"""A profile: every bit as in the reference on every core, the same figures each time, and figures that mean what they say."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
from random_features import random_featured
from random_networks import random_counts, random_deep, random_integer

from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import IntegerDense, IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from firmware_gen import emulation, toolchain
from firmware_gen.columns import STRATEGIES
from firmware_gen.emulation import cross, running
from firmware_gen.emulation.image import link
from firmware_gen.emulation.machine import start
from firmware_gen.emulation.timing import exactly
from firmware_gen.model import build


@pytest.fixture(scope="module")
def watch() -> tuple[IntegerNetwork, np.ndarray]:
    """A network as on a watch: blocks of 4 samples, threshold gates, the mean over the window; 3 sequences."""
    rng = np.random.default_rng(7)
    network = random_integer(rng, "lstm", 6, 16, "threshold", read_out="mean", decimation=4, steps=12, outputs=7)
    return network, random_counts(rng, network, 3, 12)


def networks() -> list[tuple[str, IntegerNetwork, np.ndarray]]:
    """Hard and soft gates, several cells, read-outs, stacks, a convolution; some of the inputs are the extremes of int16."""
    rng = np.random.default_rng(11)
    bits = {"gates": "ternary", "candidates": "4", "dense": "4"}  # several weights in a byte: this one's rows are summed one by one
    hidden = {"hidden": 5, "behind": "softsign"}
    soft = random_integer(rng, "lstm", 5, 7, "sigmoid", read_out="every", layers=2, decimation=3, bits=bits)
    made = [
        ("lstm, soft, every step, two layers", soft),
        ("gru, hard, a hidden layer", random_integer(rng, "gru_reset_before", 3, 9, "threshold", hidden=5, initial=True, input_bits=16)),
        ("lstm with peepholes, mixed gates", random_integer(rng, "lstm_peephole", 4, 8, "mixed", read_out="mean", cell_bits=32, **hidden)),
    ]
    deep = random_deep(rng, "lstm", "threshold", "last")
    made.append(("features in front", random_featured(rng, read_out="mean")))
    made.append(("convolution, pooling, lstm", quantize(deep, rng.normal(0, 1, (6, 24, deep.inputs)))))
    return [(what, net, random_counts(rng, net, 2, 14, extremes=k % 2 == 1)) for k, (what, net) in enumerate(made)]


def test_every_bit_is_that_of_the_reference(core):
    for number, (what, network, raw) in enumerate(networks()):
        strategy = STRATEGIES[number % len(STRATEGIES)]
        if number == 0:
            assert build(network, "model", strategy).tables.packed == {("dot", 2), ("dot", 4)}
        found = emulation.profile(network, raw, core, strategy=strategy)
        assert (found.differing, found.strategy) == (0, strategy), f"{what} on {core.name}"
        assert found.ram.stack <= build(network, "model", strategy).stack_bound, what
        units = sum(layer.units * len(layer.states) for layer in network.recurrent)
        assert found.values >= raw[..., 0].size // network.normalize.decimation * network.inputs + units, what


def test_every_compiler_and_every_target_gives_the_same_bits(any_target, watch):
    network, raw = watch
    for compiler in cross.compilers(any_target):
        found = emulation.profile(network, raw[:1, :16], any_target, compiler=compiler)
        assert (found.differing, found.steps) == (0, 4), compiler.name
        assert found.compiler == compiler.version


def test_wrong_bits_are_found_and_counted(core, watch, monkeypatch):
    original = running.render_header

    def damaged(model):
        text = original(model)
        changed = text.replace("-32767, 32767)", "-32767, 32)").replace("s32(32767)", "s32(32)")  # the range of the cell state
        assert changed != text
        return changed

    monkeypatch.setattr(running, "render_header", damaged)
    found = emulation.profile(*watch, core)
    assert 0 < found.differing < found.values


def test_counts_are_the_same_each_time_and_hang_together(core, watch):
    network, raw = watch
    first, again = (emulation.profile(network, raw, core, strategy="dense") for _ in range(2))
    assert first == again
    assert (first.step.calls, first.normalize.calls, first.decide.calls, first.sample.calls) == (36, 36, 3, 12)
    for cost in (first.step, first.normalize, first.sample, first.decide, first.reset):
        assert 0 < cost.instructions <= cost.worst_instructions
        assert cost.cycles.low <= cost.cycles.nominal <= cost.cycles.high
        assert cost.worst_cycles >= cost.cycles.nominal
        assert sum(cost.kinds.values()) == pytest.approx(cost.instructions)
    # A multiplication does one or, of 16 bits, half of four multiply-accumulates; candidate rows behind a closed gate need none.
    multiplies = sum(number for kind, number in first.step.kinds.items() if kind.startswith("multiply"))
    if core.emulator == "qemu":  # 16 at a time, of whole vectors
        assert first.step.kinds["vector"] >= 4 * 16 * 2
    elif core.architecture != "avr":  # where kinds are not told apart
        assert 3 * 16 * (6 + 16) / 2 <= multiplies <= 4 * 16 * (6 + 16) + 16 * 8
    # A threshold gate that is closed saves work, so steps differ; normalization and decision do the same work each time.
    # Vectors of 4 units take both ways, so there they may be alike.
    assert first.step.instructions < first.step.worst_instructions or core.emulator == "qemu"
    # What firmware calls for a block: a step, its normalization, and four sums over six channels, inlined and without calls between.
    parts = first.step.instructions + first.normalize.instructions
    of_a_sum = 12 if core.architecture != "avr" else 36  # there in bytes
    assert 0.9 * parts < first.sample.instructions < parts + 4 * 6 * of_a_sum


def test_flash_and_ram_are_those_of_the_linked_program(core, watch):
    network, raw = watch
    found = emulation.profile(network, raw[:1], core, strategy="dense")
    model = build(network, "model", "dense")
    (layer,) = network.recurrent
    dense = network.layers[-1]
    assert isinstance(dense, IntegerDense)
    weights = sum(row.W.size + sum(R.size for R in row.R) for row in layer.rows.values()) + dense.W.size
    biases = 4 * 16 + 7
    padding = 4 * 16 * 2 if core.emulator == "qemu" else 0  # x up to 8 elements
    assert weights + biases <= found.flash.weights <= weights + padding + 4 * biases
    if core.emulator != "qemu":  # which has curves of its own
        assert found.flash.weights + found.flash.tables <= sum(table.bytes for table in model.tables.tables) + 64
    assert 500 < found.flash.code < 8000
    assert found.flash.total == found.flash.code + found.flash.weights + found.flash.tables
    unaligned = 2 if core.architecture == "avr" else 0  # 8-bit cores align nothing
    assert found.ram.state == model.state_bytes - unaligned
    assert found.ram.static == 0
    own, any_core = build(network, "model", "dense", target=core.name), model.stack_bytes
    assert own.stack_bytes <= found.ram.stack <= own.stack_bound
    assert own.stack_bytes <= any_core
    small = emulation.profile(network, raw[:1, :4], core, strategy="dense", optimization="-Os")
    assert small.flash.code < found.flash.code
    assert small.optimization == "-Os"


def test_the_usual_network_by_event_fits_450_bytes_of_ram_1600_of_code_and_512_of_tables():
    """The figures of a Cortex-M4 with 6 inputs and 32 units, a mean over the window and 7 classes; stack and state together."""
    target = emulation.target("cortex-m4")
    if not cross.compilers(target):
        pytest.skip("no compiler for cortex-m4")
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 6, 32, "threshold", read_out="mean", decimation=4, steps=50, outputs=7)
    raw = random_counts(rng, network, 1, 6)
    for compiler in cross.compilers(target):
        found = emulation.profile(network, raw, target, strategy="event", compiler=compiler)
        assert found.differing == 0
        assert found.ram.state + found.ram.stack <= 450, compiler.name
        assert found.flash.code <= 1600, compiler.name
        assert found.flash.tables <= 512, compiler.name


def test_the_deepest_stack_is_seen_and_too_deep_a_stack_refused(core):
    source = """
    #if defined(__AVR__)
    int main(void) { for (;;) { } }
    #endif
    void fill(int count);
    __attribute__((noinline)) void fill(int count) { volatile char bytes[%d]; for (int k = 0; k < count; k++) { bytes[k] = 1; } }
    void deep(void);
    __attribute__((used, section(".text.entry.deep"))) void deep(void) { fill(%d); }
    """
    deep, too_deep = (1000, 16384) if core.architecture != "avr" else (1000, 2200)
    machine = start(core, link(cross.compiler(core), {"deep.c": source % (deep, deep)}, "-O2"))
    assert 1000 <= machine.call("deep").stack <= 1100
    machine.close()
    machine = start(core, link(cross.compiler(core), {"deep.c": source % (too_deep, too_deep)}, "-O2"))
    with pytest.raises(EdgeLstmError, match=r"more than \d+ bytes of stack"):
        machine.call("deep")
    machine.close()


def test_the_best_compiler_is_the_one_whose_step_takes_the_fewest_instructions(watch):
    target = emulation.target("cortex-m0plus")
    if len(cross.compilers(target)) < 2:
        pytest.skip("one compiler for cortex-m0plus, at most")
    network, raw = watch
    by_name = {name: emulation.profile(network, raw[:1, :16], target, compiler=name) for name in cross.NAMES}
    assert by_name["gcc"].compiler != by_name["clang"].compiler
    assert by_name["best"] == min((by_name["gcc"], by_name["clang"]), key=lambda found: found.step.instructions)


def test_several_targets_in_one_call(watch, all_cores):
    names = [core.name for core in all_cores]
    network, raw = watch
    together = emulation.profiles(network, raw[:1, :8], names)
    assert [found.target.name for found in together] == names
    assert together[-1] == emulation.profile(network, raw[:1, :8], all_cores[-1])


def test_energy_is_cycles_times_what_a_cycle_takes():
    cost = emulation.Cost(1, 1.0, 1, exactly(20000), 20000.0, {})
    assert cost.microjoules(50).nominal == pytest.approx(1.0)  # 20,000 cycles of 50 pJ


def test_an_unknown_target_is_refused_with_those_that_exist(watch):
    with pytest.raises(UsageError, match=r"no target 'cortex-m1'; choose one of cortex-m0plus, .*rv32imc"):
        emulation.profile(*watch, "cortex-m1")


@pytest.mark.parametrize("raw", [np.zeros((1, 8, 6), np.int32), np.zeros((1, 8, 5), np.int16), np.zeros((0, 8, 6), np.int16)])
def test_counts_of_another_type_or_shape_are_refused(watch, raw):
    with pytest.raises(EdgeLstmError, match=r"expected int16 counts \[sequences, samples, 6\]"):
        emulation.profile(watch[0], raw, "cortex-m4")


def test_without_a_compiler_the_message_says_how_to_get_one(watch, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain, "ziglang", lambda: None)
    with pytest.raises(EdgeLstmError, match=r"no compiler for cortex-m3: install arm-none-eabi-gcc, or run .*edge-lstm\[mcu\]"):
        emulation.profile(*watch, "cortex-m3")


def test_without_the_emulator_the_message_says_how_to_get_it(monkeypatch):
    from firmware_gen.emulation import packages

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EdgeLstmError, match=r"needs the package unicorn: run .*edge-lstm\[mcu\]"):
        packages.load("unicorn")
