'''The part of a generated module that is the same for all networks: input, read-out, dense layers, and the functions that Python calls.

It is text, because the functions below are compiled anew for each structure: they call `advance_block`, `advance_single` and `trace`, which
`edge_lstm.engine.emit` writes, and use its constants AT_..., BYTES, MEAN and EVERY. `SIGNATURES` lists the entry points.
'''

from __future__ import annotations

from edge_lstm.engine.layout import DENSE_SLOTS, LANES, LINE, STREAM_MODEL, STREAM_SAMPLES, STREAM_STEPS, STREAM_SUMS

# Entry point -> Numba signature. All addresses are checked by the callers in Python; arrays have their length checked in the function.
SIGNATURES = {
    "run": "void(intp, intp, intp, intp, intp, intp, intp, intp, intp)",
    "run_with_states": "void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp)",
    "step": "int64(int8[::1], intp)",
    "push": "int64(int16[::1], intp)",
    "sequence": "int64(int8[:, ::1], intp, intp)",
    "decide": "void(intp, intp)",
    "snapshot": "void(intp, intp)",
}

_CONSTANTS = f"""
LINE, LANES = {LINE}, {LANES}
STREAM_STEPS, STREAM_SAMPLES, STREAM_MODEL, STREAM_SUMS = {STREAM_STEPS}, {STREAM_SAMPLES}, {STREAM_MODEL}, {STREAM_SUMS}
{', '.join(f'DENSE_{name.upper()}' for name in DENSE_SLOTS)} = {', '.join(str(8 * k) for k in range(len(DENSE_SLOTS)))}
DENSE_BYTES = {8 * len(DENSE_SLOTS)}
"""

ENTRY_POINTS = (
    _CONSTANTS
    + '''

@inlined
def reset(model, records, count, stride):
    """Puts `count` records into the state before the first step."""
    initial = model + load_i64(model + AT_INITIAL)
    for s in range(count):
        for at in range(0, stride, LINE):
            store_lanes(records + s * stride + at, lanes_at(initial + at))


@inlined
def take_inputs(model, records, count, stride, x, x_stride, x_end):
    """Copies the int8 inputs of one step, `x_stride` bytes apart, into the records. No byte at or behind x_end is read."""
    channels = load_i64(model + AT_CHANNELS)
    to = records + load_i64(model + AT_INPUTS)
    for s in range(count):
        if BYTES:
            at = 0
            while at < channels and x + at + 4 <= x_end:  # four at a time; what lies behind the last channel meets zero weights
                store_i32(to + at, load_i32(x + at) ^ 0x80808080)
                at += 4
            while at < channels:
                store_i8(to + at, load_i8(x + at) ^ 0x80)
                at += 1
        else:
            for at in range(channels):
                store_i16(to + 2 * at, load_i8(x + at))
        x += x_stride
        to += stride


@inlined
def output_lanes(outputs, group):
    return lanes_of_bytes(outputs + group * LANES) if BYTES else lanes_of_words(outputs + group * 2 * LANES)


@inlined
def accumulate(model, records, count, stride, outputs):
    """Adds the last layer's outputs to the running sums."""
    groups = load_i64(model + AT_GROUPS)
    sums = records + load_i64(model + AT_SUM)
    for s in range(count):
        for group in range(groups):
            store_lanes(sums + LINE * group, add(lanes_at(sums + LINE * group), output_lanes(outputs, group)))
        sums += stride
        outputs += stride


@njit(error_model="numpy")
def dense(model, layer, values, results, steps):
    """results = W values + bias * steps, requantized where the layer has limits; int32, sixteen outputs at a time."""
    inputs, groups = load_i64(layer + DENSE_INPUTS), load_i64(layer + DENSE_GROUPS)
    weights, bias = model + load_i64(layer + DENSE_WEIGHTS), model + load_i64(layer + DENSE_BIAS)
    limit, multiplier = load_i64(layer + DENSE_LIMIT), model + load_i64(layer + DENSE_MULTIPLIER)
    for group in range(groups):
        total = multiply(lanes_at(bias + LINE * group), splat(steps))
        for k in range(inputs):
            total = add(total, multiply(lane_at(values + 4 * k), lanes_at(weights + LINE * k)))
        if limit != 0:
            bound = lanes_at(model + limit + LINE * group)
            clamped = minimum(maximum(total, subtract(splat(0), bound)), bound)
            product = add(multiply(clamped, lanes_at(multiplier + LINE * group)), splat(load_i64(layer + DENSE_HALF)))
            scaled = shift_right(product, splat(load_i64(layer + DENSE_SHIFT)))
            total = minimum(maximum(scaled, splat(load_i64(layer + DENSE_LOW))), splat(load_i64(layer + DENSE_HIGH)))
        store_lanes(results + LINE * group, total)
        weights += LINE * inputs


@njit(error_model="numpy")
def read_out(model, record, outputs, steps, scores):
    """Scores of one record: what was read out, through the dense layers. outputs: address of the last layer's output."""
    values, spare = record + load_i64(model + AT_VALUES), record + load_i64(model + AT_VALUES) + load_i64(model + AT_VALUES_BYTES)
    groups = load_i64(model + AT_GROUPS)
    for group in range(groups):
        lanes = lanes_at(record + load_i64(model + AT_SUM) + LINE * group) if MEAN else output_lanes(outputs, group)
        store_lanes(values + LINE * group, lanes)
    layer = model + load_i64(model + AT_DENSE)
    times = steps if MEAN else 1
    for _ in range(load_i64(model + AT_DENSE_LAYERS)):
        dense(model, layer, values, spare, times)
        values, spare = spare, values
        layer += DENSE_BYTES
        times = 1
    for k in range(load_i64(model + AT_OUTPUTS)):
        store_i32(scores + 4 * k, load_i32(values + 4 * k))


@inlined
def whole(model, x, x_end, first, last, steps, records, block, scores, table):
    """Sequences first ... last - 1 of int8 x [batch, steps, channels], `block` at a time; x_end: where x ends."""
    channels, stride, outputs = load_i64(model + AT_CHANNELS), load_i64(model + AT_RECORD), load_i64(model + AT_OUTPUTS)
    while first < last:
        count = min(block, last - first)
        reset(model, records, count, stride)
        output = records
        for t in range(steps):
            parity = t & 1
            take_inputs(model, records, count, stride, x + (first * steps + t) * channels, steps * channels, x_end)
            output = advance_block(model, records, count, stride, parity)
            if MEAN:
                accumulate(model, records, count, stride, output)
            if EVERY:
                for s in range(count):
                    read_out(model, records + s * stride, output + s * stride, 1, scores + 4 * outputs * ((first + s) * steps + t))
            if table != 0:
                trace(model, records, count, stride, parity, table, first, steps, t)
        if not EVERY:
            for s in range(count):
                read_out(model, records + s * stride, output + s * stride, steps, scores + 4 * outputs * (first + s))
        first += count


def run(model, x, x_end, first, last, steps, records, block, scores):
    """Scores of whole sequences."""
    whole(model, x, x_end, first, last, steps, records, block, scores, 0)


def run_with_states(model, x, x_end, first, last, steps, records, block, scores, table):
    """The same, and the states after every step."""
    whole(model, x, x_end, first, last, steps, records, block, scores, table)


@inlined
def advance_stream(model, record):
    """One step of a stream whose inputs are in place. Returns 1, or 0 and changes nothing when the window of a mean is full."""
    stride = load_i64(model + AT_RECORD)
    steps = load_i64(record + STREAM_STEPS)
    if MEAN:
        if steps >= load_i64(model + AT_WINDOW):
            return 0
    output = advance_single(model, record, 1, stride, steps & 1)
    if MEAN:
        accumulate(model, record, 1, stride, output)
    store_i64(record + STREAM_STEPS, steps + 1)
    return 1


@inlined
def last_output(model, record):
    """Address of the output of the last step of a stream."""
    parity = load_i64(record + STREAM_STEPS) & 1
    return record + output_place(model, parity)


def step(x, record):
    """One step of the stream in `record`; returns the steps made (0 or 1), or -1 for a wrong number of inputs."""
    model = load_i64(record + STREAM_MODEL)
    if x.shape[0] != load_i64(model + AT_CHANNELS):
        return -1
    take_inputs(model, record, 1, 0, x.ctypes.data, 0, x.ctypes.data + x.shape[0])
    return advance_stream(model, record)


def push(raw, record):
    """One sample of raw counts; returns the steps made (1 when it completes a block), or -1 for a wrong number of channels."""
    model = load_i64(record + STREAM_MODEL)
    channels = load_i64(model + AT_CHANNELS)
    if raw.shape[0] != channels:
        return -1
    for k in range(channels):
        store_i32(record + STREAM_SUMS + 4 * k, load_i32(record + STREAM_SUMS + 4 * k) + raw[k])
    samples = load_i64(record + STREAM_SAMPLES) + 1
    if samples < load_i64(model + AT_DECIMATION):
        store_i64(record + STREAM_SAMPLES, samples)
        return 0
    store_i64(record + STREAM_SAMPLES, 0)
    offset, to = model + load_i64(model + AT_NORMALIZE), record + load_i64(model + AT_INPUTS)
    limit, multiplier, shifts = offset + 4 * channels, offset + 8 * channels, offset + 12 * channels
    for k in range(channels):
        bound = load_i32(limit + 4 * k)
        centred = min(max(load_i32(record + STREAM_SUMS + 4 * k) - load_i32(offset + 4 * k), -bound), bound)
        scaled = (centred * load_i32(multiplier + 4 * k) + load_i32(shifts + 4)) >> load_i32(shifts)
        value = min(max(scaled, -127), 127)
        if BYTES:
            store_i8(to + k, value ^ 0x80)
        else:
            store_i16(to + 2 * k, value)
        store_i32(record + STREAM_SUMS + 4 * k, 0)
    return advance_stream(model, record)


def decide(record, scores):
    """Scores of the steps that a stream has made so far."""
    model = load_i64(record + STREAM_MODEL)
    read_out(model, record, last_output(model, record), load_i64(record + STREAM_STEPS), scores)


def snapshot(record, table):
    """The states of a stream as they are now, into the arrays that `table` lists."""
    model = load_i64(record + STREAM_MODEL)
    trace(model, record, 1, 0, 1 - (load_i64(record + STREAM_STEPS) & 1), table, 0, 1, 0)


def sequence(x, record, scores):
    """All steps of x on the stream in `record`, then its scores where scores is not 0; returns the steps made, or -1 for a wrong shape."""
    model = load_i64(record + STREAM_MODEL)
    channels = load_i64(model + AT_CHANNELS)
    if x.shape[1] != channels:
        return -1
    at = x.ctypes.data
    end = at + x.shape[0] * channels
    made = 0
    for _ in range(x.shape[0]):
        take_inputs(model, record, 1, 0, at, 0, end)
        made += advance_stream(model, record)
        at += channels
    if scores != 0:
        read_out(model, record, last_output(model, record), load_i64(record + STREAM_STEPS), scores)
    return made
'''
)
