"""Recordings: readers (.npz, .csv, .parquet), the bundled smart-watch set, sets of others that are fetched when first asked for,
windows, splits by person, the float reference of decimation and standardization, and (in `tasks`) the long-memory tasks of the papers."""

from edge_lstm.data.hapt_recordings import hapt, hapt_windows
from edge_lstm.data.loading import BUNDLED, load, open_recordings, watch
from edge_lstm.data.npz_file import write as save
from edge_lstm.data.people import person_folds, person_holdout, require_every_class
from edge_lstm.data.preprocessing import Standardization, decimate, standardize
from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording, require_channels, select_channels, with_classes
from edge_lstm.data.source import Piece, Source, with_source_classes
from edge_lstm.data.targets import known, window_targets, with_targets
from edge_lstm.data.vowel_recordings import japanese_vowels
from edge_lstm.data.window_source import BATCH_BYTES, window_batches
from edge_lstm.data.windowing import DataWarning, Windows, windows

__all__ = [
    "BATCH_BYTES",
    "BUNDLED",
    "UNLABELLED",
    "DataWarning",
    "Dataset",
    "Piece",
    "Recording",
    "Source",
    "Standardization",
    "Windows",
    "decimate",
    "hapt",
    "hapt_windows",
    "japanese_vowels",
    "known",
    "load",
    "open_recordings",
    "person_folds",
    "person_holdout",
    "require_channels",
    "require_every_class",
    "save",
    "select_channels",
    "standardize",
    "watch",
    "window_batches",
    "window_targets",
    "windows",
    "with_classes",
    "with_source_classes",
    "with_targets",
]
