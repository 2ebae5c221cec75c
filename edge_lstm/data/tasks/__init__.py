"""The long-memory tasks of the papers, drawn at random: what a recurrent network must be able to learn.

Each is `name(n, length, rng) -> (x, y)`: x [n, time, inputs] float32; y [n] or [n, time], float32 for regression, int64 for classes.
The docstrings give the paper and its criterion of success. The networks of these papers met a new sequence at every step of training:
draw anew for every batch, and test on sequences drawn from another generator.

Hochreiter and Schmidhuber (1997), cited throughout: Long short-term memory. Neural Computation 9 (8), 1735-1780.
"""

from edge_lstm.data.tasks.lags import distracted_lag, noise_free_lag, two_sequences
from edge_lstm.data.tasks.lengths import of_random_lengths
from edge_lstm.data.tasks.marked_values import adding, adding_two_halves, multiplication
from edge_lstm.data.tasks.reber import SymbolStreams, embedded_reber, embedded_reber_strings, is_legal_most_active, stream_of
from edge_lstm.data.tasks.recall import copy, latch, temporal_order

__all__ = [
    "SymbolStreams",
    "adding",
    "adding_two_halves",
    "copy",
    "distracted_lag",
    "embedded_reber",
    "embedded_reber_strings",
    "is_legal_most_active",
    "latch",
    "multiplication",
    "noise_free_lag",
    "of_random_lengths",
    "stream_of",
    "temporal_order",
    "two_sequences",
]
