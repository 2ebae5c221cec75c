"""The three sets of the studies, each split into training, validation and test so that nobody is in two parts.

watch    10 people in 5 folds: 2 are tested, 2 of the other 8 validate. 4 s windows every 2 s.
hapt     the set's own 9 test people; of the other 21, 4 validate. 2.56 s windows every 1.28 s, six activities; behind the integer IMU
         features, which run on from window to window, or raw.
vowels   nine speakers, who are the classes, so all are in every part; the published test part; a fifth of each speaker's training
         utterances validates.

Settings are chosen on the validation part. A test part is looked at once, by the final settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm import data, engine
from edge_lstm.data.hapt_recordings import ACTIVITIES, TEST_PEOPLE, activities
from edge_lstm.engine import reference
from edge_lstm.features import Imu, Memory, imu_features, memories
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.float_inference import preprocess, run
from edge_lstm.network import Network, Preprocess

Index = npt.NDArray[np.int64]
FOLDS = {"watch": 5, "hapt": 1, "vowels": 1}
SETS = tuple(FOLDS)
IMU = Imu()


@dataclass(frozen=True, eq=False)
class Part:
    """n sequences. x: [n, samples, channels] counts; y: [n]; person: [n]; lengths: [n] valid samples, None where all are; memory: what a
    front end with features remembers before each, None where there is none."""

    x: npt.NDArray[Any]
    y: Index
    person: npt.NDArray[np.str_]
    lengths: Index | None = None
    memory: Memory | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, which: Any) -> Part:
        lengths = None if self.lengths is None else self.lengths[which]
        memory = None if self.memory is None else {op: values[which] for op, values in self.memory.items()}
        return Part(self.x[which], self.y[which], self.person[which], lengths, memory)


@dataclass(frozen=True, eq=False)
class Split:
    """One fold of one set. front: decimation and standardization, learned on the training part."""

    classes: tuple[str, ...]
    front: Preprocess
    training: Part
    validation: Part
    test: Part
    noise: float = 0.1  # of the augmentation: what suits the set
    rotation: float = 0.0
    vectors: tuple[tuple[int, ...], ...] = ()


@cache
def split(name: str, fold: int, decimation: int = 0, every: int = 1, *, imu: bool = True) -> Split:
    """Fold `fold` of set `name`. decimation: samples of one step, 0 for the set's own; every: use each so many-th training window;
    imu: whether HAPT comes with the features of its sensor."""
    if name == "hapt":
        return _hapt(decimation, every, imu)
    return {"watch": _watch, "vowels": _vowels}[name](fold, decimation, every)


def front(part: Part, decimation: int, dataset: data.Dataset) -> Preprocess:
    if part.lengths is None:
        found = data.standardize(part.x, decimation, dataset.channels)
        return Preprocess(decimation, found.offset, 1 / found.scale, dataset.units_per_count)
    inside = part.x[np.arange(part.x.shape[1]) < part.lengths[:, None]].astype(np.float64)
    return Preprocess(1, inside.mean(0), 1 / inside.std(0), dataset.units_per_count)


def _by_people(windows: data.Windows, learn: Index, test: Index, apart: int, seed: int) -> tuple[Part, Part, Part]:
    whole = Part(windows.x, windows.y, windows.person)
    training, validation = data.person_holdout(windows.person, apart, seed, within=learn)
    return whole.take(training), whole.take(validation), whole.take(test)


def _watch(fold: int, decimation: int, every: int) -> Split:
    dataset = data.watch()
    windows = data.windows(dataset, 200, 100)
    learn, test = data.person_folds(windows.person, FOLDS["watch"], 0)[fold]
    training, validation, tested = _by_people(windows, learn, test, 2, fold)
    training = training.take(slice(None, None, every))
    return Split(dataset.classes, front(training, decimation or 4, dataset), training, validation, tested)


@cache
def _hapt_recordings() -> tuple[data.Dataset, data.Windows]:
    dataset = activities(data.hapt())
    return dataset, data.windows(dataset, 128, 64)


def _hapt(decimation: int, every: int, imu: bool) -> Split:
    dataset, windows = _hapt_recordings()
    block = decimation or 4
    whole = Part(windows.x, windows.y, windows.person)
    features = None
    if imu:
        units = dataset.units_per_count
        assert units is not None
        features = imu_features(IMU, units, block, dataset.rate_hz or 0.0)
        samples = [np.asarray(recording.samples, np.int16) for recording in dataset.recordings]
        whole = replace(whole, memory=memories(features, block, samples, windows.recording, windows.start))
    is_test = np.isin(windows.person, TEST_PEOPLE)
    learn, apart = data.person_holdout(windows.person, 4, 0, within=np.flatnonzero(~is_test))
    training = whole.take(learn).take(slice(None, None, every))
    parts = training, whole.take(apart), whole.take(is_test)
    if features is None:
        return Split(ACTIVITIES, front(training, block, dataset), *parts)
    plain = Preprocess(block, np.zeros(features.count), np.ones(features.count), dataset.units_per_count, features)
    values = preprocess(plain, training.x, training.memory).reshape(-1, features.count)
    return Split(
        ACTIVITIES, replace(plain, offset=values.mean(0), scale=1 / values.std(0)), *parts, rotation=0.1, vectors=IMU.vectors
    )


def _vowels(fold: int, decimation: int, every: int) -> Split:
    train, test = data.japanese_vowels()
    longest = max(len(r.samples) for dataset in (train, test) for r in dataset.recordings)

    def padded(dataset: data.Dataset) -> Part:
        lengths = np.array([len(r.samples) for r in dataset.recordings])
        x = np.zeros((len(lengths), longest, len(dataset.channels)), np.int16)
        for row, recording in zip(x, dataset.recordings, strict=True):
            row[: len(recording.samples)] = recording.samples
        y = np.array([r.label for r in dataset.recordings], np.int64)
        return Part(x, y, np.array([r.person for r in dataset.recordings]), lengths)

    known = padded(train)
    order = np.random.default_rng(0).permutation(len(known))
    rank = np.empty(len(known), np.int64)  # of an utterance among those of its speaker, in random order
    for label in range(len(train.classes)):
        own = order[known.y[order] == label]
        rank[own] = np.arange(len(own))
    apart = rank % 5 == 0
    training = known.take(~apart).take(slice(None, None, every))
    return Split(train.classes, front(training, 1, train), training, known.take(apart), padded(test), noise=0.3)


def labels(network: Network | IntegerNetwork, part: Part) -> Index:
    """Class of each sequence, computed by the engine (integers) or by float inference."""
    if isinstance(network, Network) and part.memory is not None and network.preprocess is not None:
        x = preprocess(network.preprocess, part.x, part.memory).astype(np.float32)
        return np.asarray(run(replace(network, preprocess=None), x).argmax(1), np.int64)
    if isinstance(network, Network):
        return np.asarray(run(network, part.x, part.lengths).argmax(1), np.int64)
    if part.memory is not None:
        normalized = reference.normalize(network.normalize, part.x, part.memory)
        return np.asarray(engine.run_normalized(network, normalized).scores.argmax(1), np.int64)
    if part.lengths is None:
        return np.asarray(engine.run(network, part.x).scores.argmax(1), np.int64)
    found = np.empty(len(part), np.int64)
    for length in np.unique(part.lengths):
        which = np.flatnonzero(part.lengths == length)
        found[which] = engine.run(network, np.ascontiguousarray(part.x[which, :length])).scores.argmax(1)
    return found


def hits_by_person(network: Network | IntegerNetwork, part: Part) -> dict[str, list[int]]:
    """Person -> [right, all]."""
    right = labels(network, part) == part.y
    return {str(who): [int(right[part.person == who].sum()), int((part.person == who).sum())] for who in np.unique(part.person)}


def accuracy(hits: dict[str, list[int]]) -> float:
    """Share of right ones over all people."""
    return sum(right for right, _ in hits.values()) / sum(all_ for _, all_ in hits.values())


def bootstrap(difference: npt.NDArray[np.float64], draws: int = 10_000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `difference` [people], people drawn with replacement."""
    rng = np.random.default_rng(0)
    means = difference[rng.integers(0, len(difference), (draws, len(difference)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


