"""Recordings: readers (.npz, .csv, .parquet), the bundled smart-watch set, windows, splits by person, and the
float reference of decimation and standardization."""

from edge_lstm.data.loading import load, watch
from edge_lstm.data.npz_file import write as save
from edge_lstm.data.people import person_folds, person_holdout, require_every_class
from edge_lstm.data.preprocessing import Standardization, decimate, standardize
from edge_lstm.data.recordings import UNLABELLED, Dataset, Recording, require_channels, select_channels, with_classes
from edge_lstm.data.windowing import DataWarning, Windows, windows

__all__ = [
    "UNLABELLED",
    "DataWarning",
    "Dataset",
    "Recording",
    "Standardization",
    "Windows",
    "decimate",
    "load",
    "person_folds",
    "person_holdout",
    "require_channels",
    "require_every_class",
    "save",
    "select_channels",
    "standardize",
    "watch",
    "windows",
    "with_classes",
]
