"""Splitting by person: what is learned on some people is judged on others, since windows of one person resemble each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_lstm.errors import EdgeLstmError, UsageError

Index = NDArray[np.int64]


def person_folds(person: ArrayLike, folds: int, seed: int) -> list[tuple[Index, Index]]:
    """Leave some people out, in turn: [(train_index, test_index)], each person tested in exactly one fold.

    person: [n] who each item is of. The people are shuffled by `seed`; folds differ by at most one person. Indices are ascending.

    Raises:
        UsageError: fewer than 2 folds.
        EdgeLstmError: fewer people than folds, or an item whose person is unknown ("").
    """
    if folds < 2:
        raise UsageError(f"at least 2 folds are needed, got {folds}")
    who, people = _who_and_people(person)
    if len(people) < folds:
        raise EdgeLstmError(f"{folds} folds need at least {folds} people, there are {len(people)} ({', '.join(people[:10])})")
    parts = np.array_split(_shuffled(people, seed), folds)
    return [_split(who, part) for part in parts]


def person_holdout(person: ArrayLike, people: int, seed: int, within: ArrayLike | None = None) -> tuple[Index, Index]:
    """Keep some people apart for validation: (train_index, validation_index), both into `person`.

    person: [n] who each item is of. people: how many to keep apart. within: [m] the items to split (a fold's training part);
    None = all.

    Raises:
        UsageError: people below 1.
        EdgeLstmError: nobody would be left to train on, or an item's person is unknown ("").
    """
    if people < 1:
        raise UsageError(f"at least 1 person must be kept apart, got {people}")
    items = np.arange(len(np.asarray(person))) if within is None else np.asarray(within, dtype=np.int64)
    who, names = _who_and_people(np.asarray(person)[items])
    if len(names) <= people:
        raise EdgeLstmError(f"keeping {people} people apart leaves nobody to train on: there are {len(names)} ({', '.join(names[:10])})")
    train, apart = _split(who, _shuffled(names, seed)[:people])
    return items[train], items[apart]


def require_every_class(y_train: ArrayLike, classes: Sequence[str]) -> None:
    """Refuse a training part that a class never occurs in, or that holds unlabelled items.

    y_train: [n] class indices. classes: name of each index. Raises EdgeLstmError naming the classes.
    """
    y = np.asarray(y_train)
    if not classes:
        raise EdgeLstmError("there are no labels to train on; name the label column or a labels file")
    if (y < 0).any():
        raise EdgeLstmError(f"{np.count_nonzero(y < 0)} of {len(y)} training items have no label")
    counts = np.bincount(y, minlength=len(classes))
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent:
        which = "class never occurs" if len(absent) == 1 else "classes never occur"
        raise EdgeLstmError(f"{which} in the training part: {', '.join(absent)}; give recordings of it or leave it out")


def _who_and_people(person: ArrayLike) -> tuple[NDArray[np.str_], list[str]]:
    who = np.asarray(person).astype(np.str_)
    if len(who) == 0:
        raise EdgeLstmError("there is nothing to split by person")
    if (who == "").any():
        count = np.count_nonzero(who == "")
        raise EdgeLstmError(f"cannot split by person: {count} of {len(who)} items have none; name a person column or give a labels file")
    return who, sorted(set(who.tolist()))


def _shuffled(people: list[str], seed: int) -> NDArray[np.str_]:
    return np.random.default_rng(seed).permutation(np.array(people))


def _split(who: NDArray[np.str_], apart: NDArray[np.str_]) -> tuple[Index, Index]:
    is_apart = np.isin(who, apart)
    return np.flatnonzero(~is_apart).astype(np.int64), np.flatnonzero(is_apart).astype(np.int64)
