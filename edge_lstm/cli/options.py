"""Options that several commands share: how recordings are read, JSON, models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_lstm.errors import UsageError

if TYPE_CHECKING:
    from edge_lstm.data import Dataset, Source

BUNDLED = "watch"
_READING = "Reading .csv and .parquet"

Model = Annotated[Path, typer.Argument(help="A model: .onnx (float or integer) or .keras.", show_default=False)]
IntegerModel = Annotated[Path, typer.Argument(help="An integer model, as `edge-lstm convert` writes it.", show_default=False)]
Data = Annotated[
    Path,
    typer.Argument(
        help=f"Recordings: .npz, .npy, .csv, .parquet, a folder of tables, or the word `{BUNDLED}` for the bundled ones.",
        show_default=False,
    ),
]
Start = Annotated[str, typer.Option("--from", metavar="VALUE", help="Read an exporter's graph from this value on (default: its input).")]
End = Annotated[str, typer.Option("--to", metavar="VALUE", help="Read an exporter's graph up to this value (default: its output).")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for machines.")]

LabelColumn = Annotated[str | None, typer.Option(help="Column with the class of each sample.", rich_help_panel=_READING)]
Labels = Annotated[Path | None, typer.Option(help="CSV file with the columns file,label[,person].", rich_help_panel=_READING)]
PersonColumn = Annotated[str | None, typer.Option(help="Column that says who was recorded.", rich_help_panel=_READING)]
RecordingColumn = Annotated[str | None, typer.Option(help="Column that tells the recordings of one file apart.", rich_help_panel=_READING)]
Channels = Annotated[str | None, typer.Option(help="Columns to use as channels, in order: ax,ay,az.", rich_help_panel=_READING)]
UnitsPerCount = Annotated[
    float | None, typer.Option(help="Physical units of one sensor count, where samples are counts.", rich_help_panel=_READING)
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="NAME,...", help="Names of the outputs in their order, where the model names no classes."),
]
IgnoreRate = Annotated[
    bool, typer.Option("--ignore-rate", help="Take recordings of another rate than the model's, sample for sample.")
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME,...", help="Numbers to be learned, not classes: columns (or targets of an .npz), not inputs."),
]


@dataclass(frozen=True)
class Reading:
    """What the options above say of how a file is read."""

    label_column: str | None = None
    labels: Path | None = None
    person_column: str | None = None
    recording_column: str | None = None
    channels: str | None = None
    units_per_count: float | None = None


def read_data(path: Path, reading: Reading = Reading(), target: str | None = None) -> Dataset:
    """The recordings that the options name. Raises EdgeLstmError or UsageError as `edge_lstm.data.load` does."""
    from edge_lstm import data

    return data.load(**_arguments(path, reading), targets=names(target))


def open_data(path: Path, reading: Reading) -> Source:
    """The same recordings, to be read piece by piece: they may be larger than the memory."""
    from edge_lstm import data

    return data.open_recordings(**_arguments(path, reading))


def _arguments(path: Path, reading: Reading) -> dict[str, Any]:
    """For `edge_lstm.data`: the bundled recordings for their word, the names of channels one by one."""
    from edge_lstm import data

    channels = names(reading.channels)
    if str(path) == BUNDLED and not path.exists():
        if reading != Reading(channels=reading.channels):
            raise UsageError("the bundled recordings know their labels and people; leave out the options for .csv files")
        return {"path": data.BUNDLED, "channels": channels}
    return {"path": path, **vars(reading), "channels": channels}


def names(text: str | None) -> list[str] | None:
    """The names of a list with commas; None where the option is not given."""
    return None if text is None else [name.strip() for name in text.split(",")]
