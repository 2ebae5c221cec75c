"""Accuracy, its spread and the confusion matrix, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lstm.report.metrics import Accuracy, accuracy, accuracy_by, confusion
from edge_lstm.report.units import seconds, size


def test_every_part_counts_once_however_many_cases_it_has() -> None:
    found = Accuracy(correct=(1, 90), cases=(2, 100))
    assert found.mean == pytest.approx(0.7)
    assert found.sd == pytest.approx(0.4 / np.sqrt(2))  # two values d apart: d / sqrt(2) with n - 1
    assert found.total == 102
    assert str(found) == "70.0 ± 28.3 %"


def test_one_part_has_no_spread() -> None:
    assert Accuracy((3,), (4,)).sd is None
    assert str(Accuracy((3,), (4,))) == "75.0 %"


def test_accuracy_counts_equal_labels_part_by_part() -> None:
    rng = np.random.default_rng(3)
    y, wrong = rng.integers(0, 5, 40), rng.permutation(40)[:9]
    predicted = y.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 5
    assert accuracy([(y[:25], predicted[:25]), (y[25:], predicted[25:])]).correct == (25 - (wrong < 25).sum(), 15 - (wrong >= 25).sum())


def test_accuracy_by_person_has_a_part_for_each_in_order() -> None:
    names, found = accuracy_by(["b", "a", "b", "b"], np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]))
    assert names == ("a", "b")
    assert (found.correct, found.cases) == ((1, 2), (1, 3))


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    counts = confusion(np.array([0, 0, 2, 2, 2]), np.array([1, 0, 2, 2, 0]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [1, 0, 2]])


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.1234e-7, "412 ns"), (9.994e-6, "9.99 µs"), (0.99996e-6, "1.00 µs"), (12.34e-6, "12.3 µs"), (1.5, "1.50 s"), (4.2e-9, "4.20 ns")],
)
def test_times_are_told_in_three_digits(value: float, text: str) -> None:
    assert seconds(value) == text


def test_sizes_are_bytes_below_a_kilobyte() -> None:
    assert (size(212), size(1024), size(7000)) == ("212 bytes", "1.0 KB", "6.8 KB")
