"""Parquet files as tables; needs the extra `parquet`, which is loaded only when such a file is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_lstm.data.tables import Table
from edge_lstm.errors import EdgeLstmError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


BLOCK_ROWS = 1 << 16


def read_table(path: Path) -> Table:
    """Every column in its own type. Raises EdgeLstmError: pyarrow is missing, the file is unreadable or holds no rows."""
    with _opened(path) as file:
        content = file.read()
    return _table(path, content, 0)


def read_blocks(path: Path) -> Iterator[Table]:
    """The same as successive tables, row group by row group; only a part of a row group is held at a time."""
    with _opened(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(BLOCK_ROWS, row_groups=[group]):
                if batch.num_rows:
                    yield _table(path, batch, first)
                    first += batch.num_rows
        if not first:
            raise EdgeLstmError(f"{path}: there is no sample in it")


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise EdgeLstmError(f"{path}: reading Parquet needs pyarrow; install it with: pip install 'edge-lstm[parquet]'") from error
    try:
        # ParquetFile, not read_table: the latter would guess more columns from the names of the folders above.
        with parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise EdgeLstmError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error


def _table(path: Path, content: Any, first: int) -> Table:
    """content: a pyarrow Table or RecordBatch; first: number of the rows before it."""
    if content.num_rows == 0 or content.num_columns == 0:
        raise EdgeLstmError(f"{path}: there is no sample in it")
    names = content.schema.names
    if len(set(names)) != len(names):
        raise EdgeLstmError(f"{path}: two columns have the same name ({', '.join(names)})")
    columns = {name: content.column(k).to_numpy(zero_copy_only=False) for k, name in enumerate(names)}
    return Table(path, columns, lambda row: f"row {first + row}")
