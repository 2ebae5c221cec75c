"""Parquet files as tables; needs the extra `parquet`, which is loaded only when such a file is read."""

from __future__ import annotations

from pathlib import Path

from edge_lstm.data.tables import Table
from edge_lstm.errors import EdgeLstmError


def read_table(path: Path) -> Table:
    """Every column in its own type. Raises EdgeLstmError: pyarrow is missing, the file is unreadable or holds no rows."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise EdgeLstmError(f"{path}: reading Parquet needs pyarrow; install it with: pip install 'edge-lstm[parquet]'") from error
    try:
        # ParquetFile, not read_table: the latter would guess more columns from the names of the folders above.
        with parquet.ParquetFile(path) as file:
            content = file.read()
    except pyarrow.ArrowException as error:
        raise EdgeLstmError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    except OSError as error:
        raise EdgeLstmError(f"{path}: cannot be read ({error.strerror or error})") from error
    if content.num_rows == 0 or content.num_columns == 0:
        raise EdgeLstmError(f"{path}: there is no sample in it")
    if len(set(content.column_names)) != content.num_columns:
        raise EdgeLstmError(f"{path}: two columns have the same name ({', '.join(content.column_names)})")
    columns = {name: content.column(name).to_numpy(zero_copy_only=False) for name in content.column_names}
    return Table(path, columns, lambda row: f"row {row}")
