"""Japanese vowels: the reader on lines made here, and the real utterances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_lstm import data
from edge_lstm.data import vowel_recordings
from edge_lstm.errors import EdgeLstmError

HEADER = "# a comment: with, signs\n@problemName X\n@classLabel true 1 2 3\n@data\n"


def line(values: np.ndarray, label: str) -> str:
    return ":".join(",".join(f"{value:.6f}" for value in channel) for channel in values.T) + f":{label}\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_sequences_of_different_lengths_come_back_to_half_a_count(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sequences = [random.uniform(-3.9, 3.9, (length, 12)) for length in (7, 29, 1, 15)]
    labels = ["3", "1", "3", "2"]
    text = HEADER + "".join(map(line, sequences, labels))
    read = vowel_recordings.read(write(tmp_path / "x.ts", text), "x")
    assert read.classes == ("1", "2", "3")
    assert [recording.label for recording in read.recordings] == [2, 0, 2, 1]
    assert read.units_per_count is not None
    for recording, values in zip(read.recordings, sequences, strict=True):
        assert recording.samples.shape == values.shape
        assert np.abs(recording.samples * read.units_per_count - values).max() <= 0.5 / 8192 + 1e-6


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (line(np.zeros((5, 12)), "4"), "line 6: label '4' is not one of 1, 2, 3"),
        (line(np.zeros((5, 11)), "1"), "line 6: 12 channels expected, 11 came"),
        (line(np.zeros((5, 12)), "1").replace("0.000000,0", "0.000000,,0", 1), "line 6: channels of equal length expected"),
        (line(np.zeros((5, 12)), "1").replace("0.000000,", "", 1), "line 6: channels of equal length expected"),
        (line(np.full((5, 12), 4.1), "1"), "line 6: a value is not within ±4"),
        (line(np.full((5, 12), np.nan), "1"), "line 6: a value is not within ±4"),
    ],
)
def test_a_line_of_another_form_is_refused_by_its_number(broken: str, message: str, tmp_path: Path) -> None:
    good = line(np.ones((3, 12)), "1")
    with pytest.raises(EdgeLstmError, match=message):
        vowel_recordings.read(write(tmp_path / "x.ts", HEADER + good + broken), "x")


@pytest.mark.network
def test_the_published_split_has_its_numbers() -> None:
    train, test = data.japanese_vowels()
    assert (len(train.recordings), len(test.recordings)) == (270, 370)
    lengths = [len(recording.samples) for part in (train, test) for recording in part.recordings]
    assert (min(lengths), max(lengths)) == (7, 29)
    for part, counts in ((train, [30] * 9), (test, [31, 35, 88, 44, 29, 24, 40, 50, 29])):  # the archive's own documentation
        assert np.bincount([recording.label for recording in part.recordings]).tolist() == counts
        assert part.classes == tuple("123456789")
        assert part.is_integer


@pytest.mark.network
def test_the_mean_frame_of_an_utterance_already_tells_the_speaker() -> None:
    """Nearest class centre, the simplest classifier there is: far above chance (24 %), so samples and labels belong together."""
    train, test = data.japanese_vowels()
    mean = {part.name: np.stack([r.samples.mean(axis=0) for r in part.recordings]) for part in (train, test)}
    label = {part.name: np.array([r.label for r in part.recordings]) for part in (train, test)}
    centres = np.stack([mean[train.name][label[train.name] == speaker].mean(axis=0) for speaker in range(9)])
    scale = mean[train.name].std(axis=0)
    distance = (((mean[test.name][:, None] - centres) / scale) ** 2).sum(axis=-1)
    assert (distance.argmin(axis=1) == label[test.name]).mean() > 0.8
