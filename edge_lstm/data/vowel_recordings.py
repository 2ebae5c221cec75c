"""Japanese vowels: nine men say /ae/; who speaks? The standard set of short sequences of different lengths.

M. Kudo, J. Toyama, M. Shimbo: Multidimensional curve classification using passing-through regions.
Pattern Recognition Letters 20 (1999) 1103-1111. From the UCI archive, in the text format of the UEA archive.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lstm.data.fetch import PackageFile, fetch
from edge_lstm.data.recordings import Dataset, Recording
from edge_lstm.errors import EdgeLstmError

_FOLDER = "aeon/datasets/data/JapaneseVowels"
_TRAIN, _TEST = f"{_FOLDER}/JapaneseVowels_TRAIN.ts", f"{_FOLDER}/JapaneseVowels_TEST.ts"
PACKAGE = PackageFile(
    name="aeon",
    version="1.6.0",
    file="aeon-1.6.0-py3-none-any.whl",
    sha256="d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
    members={
        _TRAIN: "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
        _TEST: "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    },
)
RATE_HZ = 1000 / 6.4  # one analysis frame every 6.4 ms
CHANNELS = tuple(f"c{index}" for index in range(1, 13))
# The values lie within +-2.3. The quietest channel's frame-to-frame noise (from second differences) is 0.012, or 102 counts, so rounding
# to whole counts (1/12 count squared) adds less than 1/100,000 to the variance of that noise.
UNITS_PER_COUNT = np.full(len(CHANNELS), 1 / 8192)
SOURCE = (
    "Japanese Vowels (UCI and UEA archives), from the Python package aeon 1.6.0 (BSD-3-Clause). M. Kudo, J. Toyama, M. Shimbo: "
    "Multidimensional curve classification using passing-through regions. Pattern Recognition Letters 20 (1999) 1103-1111."
)


def japanese_vowels() -> tuple[Dataset, Dataset]:
    """The published split, (train, test): 270 and 370 utterances of the same nine speakers (the classes), 7 to 29 frames each.

    Channels c1 to c12 are cepstral coefficients without a unit, as int16 counts of 1/8192; 156.25 frames per second. The test part is not
    balanced (24 to 88 utterances a speaker). A recording's person is its speaker: here a split by person makes no sense.

    Raises:
        EdgeLstmError: the package cannot be fetched (see `edge_lstm.data.fetch`).
    """
    paths = fetch(PACKAGE)
    return read(paths[_TRAIN], "japanese-vowels-train"), read(paths[_TEST], "japanese-vowels-test")


def read(path: Path, name: str) -> Dataset:
    """The dataset `name` from a .ts file: after a line @data, one sequence a line, channel:channel:...:label, values parted by commas.

    Raises:
        EdgeLstmError: a line that is not of this form, with its number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error})") from error
    classes: tuple[str, ...] = ()
    recordings: list[Recording] = []
    in_data = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if in_data:
            recordings.append(_recording(line, f"{path}: line {number}", classes, len(recordings)))
        elif line.lower().startswith("@classlabel true"):
            classes = tuple(line.split()[2:])
        in_data = in_data or line.lower() == "@data"
    return Dataset(name, tuple(recordings), CHANNELS, classes, RATE_HZ, UNITS_PER_COUNT, SOURCE)


def _recording(line: str, where: str, classes: tuple[str, ...], index: int) -> Recording:
    *channels, speaker = line.split(":")
    if speaker not in classes:
        raise EdgeLstmError(f"{where}: label {speaker!r} is not one of {', '.join(classes) or 'the classes, which are not declared'}")
    try:
        values = np.array([[float(value) for value in channel.split(",")] for channel in channels], dtype=np.float64)
    except ValueError as error:
        raise EdgeLstmError(f"{where}: channels of equal length expected, numbers parted by commas ({error})") from error
    if len(values) != len(CHANNELS):
        raise EdgeLstmError(f"{where}: {len(CHANNELS)} channels expected, {len(values)} came")
    counts = np.rint(values.T / UNITS_PER_COUNT)
    if not (np.abs(counts) < 2**15).all():  # refuses NaN too
        raise EdgeLstmError(f"{where}: a value is not within ±{2**15 / 8192:g}")
    return Recording(counts.astype(np.int16), classes.index(speaker), f"speaker {speaker}", f"{index:03d}")
