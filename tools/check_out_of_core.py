"""Does `edge-lstm run` label recordings that are larger than its memory? Generates them, limits the memory, and measures.

    python tools/check_out_of_core.py                                  2 GB of int16 counts, at most 500 MB
    python tools/check_out_of_core.py --gigabytes 0.2 --format parquet

The data segment of the process is limited (RLIMIT_DATA: what it allocates), and the peak of its resident memory (ru_maxrss, read files
included) is compared with the limit afterwards. The last and the first windows are checked against the NumPy reference.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from random_models import counts, hard_lstm

from edge_lstm import data, onnx_io
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.jobs import inputs

CHANNELS, UNITS, WINDOW = 6, 32, 128
MINUTES = 30  # of a recording at 50 Hz
FORMATS = ("npy", "npz", "compressed.npz", "parquet", "csv")


def recordings(count: int) -> Iterator[npt.NDArray[np.int16]]:
    """[1, samples, channels] each."""
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield counts(rng, 1, MINUTES * 3000, CHANNELS)


def generate(path: Path, kind: str, count: int) -> None:
    """Writes the recordings one by one."""
    shape = (count, MINUTES * 3000, CHANNELS)
    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
    if kind == "npy":
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for samples in recordings(count):
                file.write(samples.tobytes())
    elif kind.endswith("npz"):
        method = zipfile.ZIP_DEFLATED if kind.startswith("compressed") else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive, archive.open("x.npy", "w", force_zip64=True) as inside:
            np.lib.format.write_array_header_1_0(inside, header)
            for samples in recordings(count):
                inside.write(samples.tobytes())
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        names = [f"c{k}" for k in range(CHANNELS)]
        schema = pyarrow.schema([*((name, pyarrow.int16()) for name in names), ("take", pyarrow.string())])
        with parquet.ParquetWriter(path, schema) as writer:
            for number, samples in enumerate(recordings(count)):
                columns = [*samples[0].T, np.full(samples.shape[1], f"r{number}")]
                writer.write_table(pyarrow.table(dict(zip([*names, "take"], columns, strict=True)), schema))
    else:
        with path.open("w", encoding="utf-8") as file:
            file.write(",".join(f"c{k}" for k in range(CHANNELS)) + ",take\n")
            for number, samples in enumerate(recordings(count)):
                file.writelines(",".join(map(str, row)) + f",r{number}\n" for row in samples[0].tolist())


def check(network: IntegerNetwork, path: Path, options: dict[str, str], labels: Path) -> int:
    """Compares the first and the last windows with the reference; returns the number of windows."""
    with labels.open(newline="") as file:
        came = [row["label"] for row in csv.DictReader(file)]
    source = data.open_recordings(path, **options)  # type: ignore[arg-type]
    first = last = next(data.window_batches(source, WINDOW, WINDOW))
    for batch in data.window_batches(source, WINDOW, WINDOW):
        last = batch
    for batch, found in ((first, came[: len(first)]), (last, came[-len(last) :])):
        wanted = reference.run(network, inputs.counts(network, source, batch.x)).scores.argmax(1)
        if found != [str(label) for label in wanted]:
            raise SystemExit("the labels are not those of the reference")
    return len(came)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of int16 samples (a .csv file of them is four times as large)")
    parser.add_argument("--megabytes", type=int, default=500, help="memory limit")
    parser.add_argument("--format", choices=FORMATS, default="npy")
    parser.add_argument("--folder", type=Path, help="where to generate them (default: a temporary folder)")
    options = parser.parse_args()
    count = max(1, round(options.gigabytes * 2**30 / (MINUTES * 3000 * CHANNELS * 2)))
    limit = options.megabytes << 20
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        network, path, labels = hard_lstm(CHANNELS, UNITS, window=WINDOW), Path(folder, f"x.{options.format}"), Path(folder, "labels.csv")
        onnx_io.save_integer(network, Path(folder, "model.int.onnx"))
        generate(path, options.format, count)
        columns = ["--recording-column", "take"] if options.format in ("parquet", "csv") else []
        program = [sys.executable, "-c", "from edge_lstm.cli import main; main()"]
        command = [*program, "run", f"{folder}/model.int.onnx", str(path), "-o", str(labels), *columns]
        begin = time.perf_counter()
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise SystemExit(done.stderr or done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        windows = check(network, path, {"recording_column": "take"} if columns else {}, labels)
        size = path.stat().st_size / 2**20
        print(f"{platform.platform()}, {os.cpu_count()} processors")
        print(f"{options.format}: {size:,.0f} MB, {windows:,} windows of {WINDOW} samples, LSTM {CHANNELS}, {UNITS}")
        print(f"{seconds:.1f} s, {size / seconds:,.0f} MB/s; peak of resident memory {peak:.0f} MB, limit {options.megabytes} MB")
        if peak > options.megabytes:
            raise SystemExit("more than the limit")


if __name__ == "__main__":
    main()
