'''The functions of a generated module: the entry points that Python calls. How scores come out is the same for all: `common_parts`.

It is text, since each structure compiles it anew around its own `advance`, with the constants AT_..., SIGN, BYTES, MEAN, EVERY, WIDE,
IN_PAIRS, MANY and ADDRESSES that `edge_lstm.engine.emit` puts before it. `SIGNATURES` lists the entry points. All addresses are made by
Python code of this package; the arrays that users give are typed by Numba, and their length is checked in the function.
'''

from __future__ import annotations

from typing import Literal

from edge_lstm.engine.layout import LINE, STREAM_MODEL, STREAM_SAMPLES, STREAM_STEPS, STREAM_SUMS
from edge_lstm.fixed_point.integer_network import WIDE_LIMIT

Lists = Literal["", "tiles", "columns"]  # how a block leaves out zeros; "": it multiplies everything
LISTS: tuple[Lists, ...] = ("", "tiles", "columns")
# Entry points of their own for each, since few networks ever need more than one compiled.
ENTRIES = {entry: {lists: f"{entry}_{lists}" if lists else entry for lists in LISTS} for entry in ("run", "many")}
_RUN_SIGNATURE = "void(intp, Array(int8, 2, 'C', readonly=True), int64[:, ::1], intp, intp, intp, intp, intp, intp, int32[:, ::1], intp)"
_MANY_SIGNATURE = "int64(intp, int64, intp, intp, intp, intp)"
SIGNATURES = {
    **dict.fromkeys(ENTRIES["run"].values(), _RUN_SIGNATURE),
    "step": "int64(int8[::1], intp)",
    "push": "int64(int16[::1], intp)",
    "sequence": "int64(int8[:, ::1], intp)",
    **dict.fromkeys(ENTRIES["many"].values(), _MANY_SIGNATURE),
    "decide": "void(intp, intp, intp)",
    "snapshot": "void(intp, intp, intp)",
}

_CONSTANTS = f"""
LINE, WIDE_LIMIT = {LINE}, {WIDE_LIMIT}
STREAM_STEPS, STREAM_SAMPLES, STREAM_MODEL, STREAM_SUMS = {STREAM_STEPS}, {STREAM_SAMPLES}, {STREAM_MODEL}, {STREAM_SUMS}
LISTS = {LISTS}
"""

_FRONT = '''
batch_block, batch_tiles, batch_columns = (advance(STRUCTURE, TARGET, block=True, lists=lists, in_words=True) for lists in LISTS)
advance_block, advance_tiles, advance_columns = (advance(STRUCTURE, TARGET, block=True, lists=lists) for lists in LISTS)
advance_single = advance(STRUCTURE, TARGET, block=False, lists="either")
trace_batch, trace_states, output_at = trace(STRUCTURE, TARGET, in_words=True), trace(STRUCTURE, TARGET), output_place(STRUCTURE, TARGET)
SHARED = shared_weights(STRUCTURE, TARGET)
add_output, take_inputs, read_out = source_to_int32(TARGET, add=True), moving(SOURCE_BYTES, SIGN), reading_out(TARGET, MEAN)
'''

_RUN = '''

def run(model, x, sequences, first, last, records, block, inputs, chunk, results, table):
    """Scores of the sequences first ... last - 1, `block` records and `chunk` steps at a time; the longest sequences come first.

    x: int8 [rows, channels]. sequences: int64 [sequence, 4]: row of its first inputs in x, number of steps, its row in `results` (of its
    first step where every step is read out), its first row in the arrays of `table`. inputs: room for the inputs of `chunk` steps for each
    record, and a cache line each; what is read behind a step meets zero weights. table: 0, or addresses of arrays for the states after
    every step.
    """
    channels, stride, outputs = load_i64(model + AT_WIDTH), load_i64(model + AT_RECORD), load_i64(model + AT_OUTPUTS)
    initial, groups = model + load_i64(model + AT_INITIAL), load_i64(model + AT_GROUPS)
    input_stride = chunk * channels * SOURCE_BYTES + LINE
    all_inputs, all_sequences, scores = x.ctypes.data, sequences.ctypes.data, results.ctypes.data
    while first < last:
        count = smaller(block, last - first)
        at = all_sequences + 32 * first
        for s in range(count):
            copy(initial, stride, records + s * stride)
        output = records
        running = count
        for t in range(load_i64(at + 8)):
            while load_i64(at + 32 * (running - 1) + 8) == t:
                running -= 1
                if not EVERY:
                    s = running
                    read_out(model, records + s * stride, output + s * stride, t, scores + 4 * outputs * load_i64(at + 32 * s + 16))
            within = t % chunk
            if within == 0:
                for s in range(running):
                    taken = smaller(chunk, load_i64(at + 32 * s + 8) - t) * channels
                    take_inputs(all_inputs + (load_i64(at + 32 * s) + t) * channels, taken, inputs + s * input_stride)
            # Half a tile of sequences that are left takes as long as a whole one, whose others have ended or are none: there is room for
            # them, since SHARED divides the sequences of a block.
            stepping = larger(running, (running + SHARED // 2) // SHARED * SHARED)
            if IN_PAIRS:
                stepping += stepping & 1
            output = batch_block(model, records, stepping, stride, t & 1, inputs + within * channels * SOURCE_BYTES, input_stride)
            if MEAN:
                for s in range(running):
                    add_output(output + s * stride, records + s * stride + load_i64(model + AT_SUM), groups)
            if EVERY:
                for s in range(running):
                    row = load_i64(at + 32 * s + 16) + t
                    read_out(model, records + s * stride, output + s * stride, 1, scores + 4 * outputs * row)
            if table != 0:
                for s in range(running):
                    half = t & 1
                    if IN_PAIRS:
                        half += 2 * (s & 1)
                    trace_batch(model, records + s * stride, half, table, load_i64(at + 32 * s + 24) + t)
        if not EVERY:
            for s in range(running):
                steps, row = load_i64(at + 32 * s + 8), load_i64(at + 32 * s + 16)
                read_out(model, records + s * stride, output + s * stride, steps, scores + 4 * outputs * row)
        first += count

'''

_FUNCTIONS = '''

@inlined
def advance_stream(model, record):
    """One step of a stream whose inputs are in place. Returns 1, or 0 and changes nothing when the window of a mean is full."""
    steps = load_i64(record + STREAM_STEPS)
    if MEAN:
        if steps >= load_i64(model + AT_WINDOW):
            return 0
    output = advance_single(model, record, 1, 0, steps & 1, record + load_i64(model + AT_INPUTS), 0)
    if MEAN:
        add_output(output, record + load_i64(model + AT_SUM), load_i64(model + AT_GROUPS))
    store_i64(record + STREAM_STEPS, steps + 1)
    return 1


def step(x, record):
    """One step of the stream in `record`; returns the steps made (0 or 1), or -1 for a wrong number of inputs."""
    model = load_i64(record + STREAM_MODEL)
    channels = load_i64(model + AT_WIDTH)
    if x.shape[0] != channels:
        return -1
    take_inputs(x.ctypes.data, channels, record + load_i64(model + AT_INPUTS))
    return advance_stream(model, record)


@inlined
def store_input(value, to, k):
    if BYTES:
        store_i8(to + k, value ^ SIGN)
    else:
        store_i16(to + 2 * k, value)


@inlined
def take_sample(model, raw, record):
    """Adds one sample of int16 counts to the block of a stream. Returns 1 when the block is complete and its inputs are in place."""
    channels = load_i64(model + AT_CHANNELS)
    for k in range(channels):
        store_i32(record + STREAM_SUMS + 4 * k, load_i32(record + STREAM_SUMS + 4 * k) + load_i16(raw + 2 * k))
    samples = load_i64(record + STREAM_SAMPLES) + 1
    if samples < load_i64(model + AT_DECIMATION):
        store_i64(record + STREAM_SAMPLES, samples)
        return 0
    store_i64(record + STREAM_SAMPLES, 0)
    offsets, to = model + load_i64(model + AT_NORMALIZE), record + load_i64(model + AT_INPUTS)
    limits, multipliers, shift = offsets + 4 * channels, offsets + 8 * channels, offsets + 12 * channels
    for k in range(channels):
        limit = load_i32(limits + 4 * k)
        centred = smaller(larger(load_i32(record + STREAM_SUMS + 4 * k) - load_i32(offsets + 4 * k), -limit), limit)
        scaled = (centred * load_i32(multipliers + 4 * k) + load_i32(shift + 4)) >> load_i32(shift)
        if WIDE:
            value = smaller(larger(scaled, -WIDE_LIMIT), WIDE_LIMIT)
            high = (value + 64) >> 7
            store_input(high, to, k)
            store_input(value - (high << 7), to, channels + k)
        else:
            store_input(smaller(larger(scaled, -127), 127), to, k)
        store_i32(record + STREAM_SUMS + 4 * k, 0)
    return 1


def push(raw, record):
    """One sample of raw counts; returns the steps made (1 when it completes a block), or -1 for a wrong number of channels."""
    model = load_i64(record + STREAM_MODEL)
    if raw.shape[0] != load_i64(model + AT_CHANNELS):
        return -1
    if take_sample(model, raw.ctypes.data, record) == 0:
        return 0
    return advance_stream(model, record)


def sequence(x, record):
    """All steps of x on the stream in `record`; returns the steps made, or -1 for a wrong number of channels."""
    model = load_i64(record + STREAM_MODEL)
    channels = load_i64(model + AT_WIDTH)
    if x.shape[1] != channels:
        return -1
    at = x.ctypes.data
    made = 0
    for _ in range(x.shape[0]):
        take_inputs(at, channels, record + load_i64(model + AT_INPUTS))
        made += advance_stream(model, record)
        at += channels
    return made

'''

_MANY = '''

@inlined
def advance_due(model, due, count, scratch):
    """One step of the streams whose records are listed in `due`, their inputs in place; records that lie apart step in `scratch`.

    Streams have made different numbers of steps, so both halves of the segments are left alike: any step may then begin with the first.
    """
    stride, groups = load_i64(model + AT_RECORD), load_i64(model + AT_GROUPS)
    records = load_i64(due)
    together = True
    for s in range(1, count):
        together &= load_i64(due + 8 * s) == records + s * stride
    if not together:
        records = scratch
        for s in range(count):
            copy(load_i64(due + 8 * s), stride, records + s * stride)
    output = advance_block(model, records, count, stride, 0, records + load_i64(model + AT_INPUTS), stride)
    for s in range(count):
        record = records + s * stride
        if MEAN:
            add_output(output + s * stride, record + load_i64(model + AT_SUM), groups)
        for k in range(len(SEGMENTS)):
            segments, size = record + load_i64(model + SEGMENTS[k]), load_i64(model + HALVES[k])
            copy(segments + size, size, segments)
        store_i64(record + STREAM_STEPS, load_i64(record + STREAM_STEPS) + 1)
        if not together:
            copy(record, stride, load_i64(due + 8 * s))


def many(values, raw, records, count, made, scratch):
    """One step (int8 inputs) or, where raw is not 0, one sample (int16 counts) of `count` different streams; returns the steps made.

    values: [count, channels]; records: int64 [count], the address of each; made: [count] bytes, set to 1 where a step was made;
    scratch: room for the addresses of MANY records, ADDRESSES bytes, and for as many records.
    """
    model = load_i64(load_i64(records) + STREAM_MODEL)
    channels, width, waiting, total = load_i64(model + AT_CHANNELS), load_i64(model + AT_WIDTH), 0, 0
    for k in range(count):
        record = load_i64(records + 8 * k)
        full = False
        if MEAN:
            full = load_i64(record + STREAM_STEPS) >= load_i64(model + AT_WINDOW)
        due = 0
        if raw != 0:
            due = take_sample(model, values + 2 * k * channels, record)
        else:
            take_inputs(values + k * width, width, record + load_i64(model + AT_INPUTS))
            due = 1
        if due == 1 and not full:
            store_i8(made + k, 1)
            store_i64(scratch + 8 * waiting, record)
            waiting += 1
            total += 1
        else:
            store_i8(made + k, 0)
        if waiting == MANY or (waiting > 0 and k == count - 1):
            advance_due(model, scratch, waiting, scratch + ADDRESSES)
            waiting = 0
    return total

'''

_LOOKS = '''

def decide(records, count, scores):
    """Scores [count, outputs] of the steps that the streams have made so far."""
    model = load_i64(load_i64(records) + STREAM_MODEL)
    for k in range(count):
        record = load_i64(records + 8 * k)
        steps = load_i64(record + STREAM_STEPS)
        read_out(model, record, record + output_at(model, steps & 1), steps, scores + 4 * k * load_i64(model + AT_OUTPUTS))


def snapshot(records, count, table):
    """The states of the streams as they are now, into the arrays [count, padded units] that `table` lists."""
    model = load_i64(load_i64(records) + STREAM_MODEL)
    for k in range(count):
        record = load_i64(records + 8 * k)
        trace_states(model, record, 1 - (load_i64(record + STREAM_STEPS) & 1), table, k)
'''


def _variants(text: str, *names: str) -> str:
    """The functions of a text, `names`, once for each way to leave out zeros."""
    texts = [text]
    for lists in LISTS[1:]:
        texts.append(text.replace("advance_block(", f"advance_{lists}(").replace("batch_block(", f"batch_{lists}("))
        for name in names:
            texts[-1] = texts[-1].replace(f"{name}(", f"{name}_{lists}(")
    return "".join(texts)


ENTRY_POINTS = "".join([_CONSTANTS, _FRONT, _variants(_RUN, "run"), _FUNCTIONS, _variants(_MANY, "advance_due", "many"), _LOOKS])
