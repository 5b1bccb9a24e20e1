"""Tables that the workflow wrote, read back: scores (Parquet) and CSV files.

In the footer of a Parquet file stands the sha256 of the whole file, made while 64 zeros stood in
its place; other readers see one more key of metadata. An older file has none: its pages carry
checksums, which are compared.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pesbench.core.errors import FileError, UserError, reading
from pesbench.files.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

AGAIN = "remove it, and the same snakemake command makes it again"
LARGEST_BYTES = 1 << 30  # of a table, once it is unpacked
_ATTRIBUTES = b"PANDAS_ATTRS"  # where pandas keeps `DataFrame.attrs`, as JSON
_SEAL = b"pesbench.sha256"
_BLANK = b"0" * 64
_SEALED = re.compile(re.escape(_SEAL + b"\x18\x40") + rb"([0-9a-f]{64})")  # as Thrift writes it


def write_scores(path: Path, frame: pd.DataFrame) -> None:
    """Write scores with their `attrs` as Parquet, whole or not at all, and sealed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    notes = {_ATTRIBUTES: json.dumps(frame.attrs), _SEAL: _BLANK}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **notes})
    content = io.BytesIO()
    pq.write_table(table, content, write_page_checksum=True)
    whole = content.getvalue()
    place = [*_SEALED.finditer(whole)][-1]
    digest = hashlib.sha256(whole).hexdigest().encode()
    with atomic_path(path) as part:
        part.write_bytes(whole[: place.start(1)] + digest + whole[place.end(1) :])


def read_scores(
    path: Path,
    columns: Collection[str] = (),
    text: Collection[str] = (),
    words: Collection[str] = (),
    cure: str = AGAIN,
    numbers: Collection[str] = (),
) -> pd.DataFrame:
    """Scores with their `attrs`, compared with their seal, or with the checksums of their pages.

    Args:
        path: Parquet, of `write_scores` or an older version.
        columns: Columns that must be there, with numbers or truth values if not in `text`.
        text: Columns that hold text in every row.
        words: Text with gaps; need not be there.
        cure: What a message ends with.
        numbers: Columns that hold numbers or truth values where they are there.

    Raises:
        FileError: they are damaged or no scores, or a column is missing or holds something else.
        HostError: the system failed, and not the file.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{path}: no such scores; make them with the rules of the workflow")
    with reading(path, "not readable scores", cure):
        content = path.read_bytes()
        if (places := [*_SEALED.finditer(content)]) and not _intact(content, places[-1]):
            raise FileError(path, "damaged scores, their content has another sha256", cure)
        file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
        groups = (file.metadata.row_group(k) for k in range(file.metadata.num_row_groups))
        n_bytes = sum(group.total_byte_size for group in groups)
        n_values = file.metadata.num_rows * max(1, file.metadata.num_columns)
        if max(n_bytes, 8 * n_values) > LARGEST_BYTES:
            raise FileError(path, "declares a table larger than what is read", cure)
        table = file.read()
        notes = (table.schema.metadata or {}).get(_ATTRIBUTES, b"{}")
        attributes = json.loads(notes)
        if not isinstance(attributes, dict) or not isinstance(
            attributes.get("scan_set_sha256"), str
        ):
            raise FileError(path, "does not say which scan set it is of", cure)
        _check_columns(path, table, columns, (text, words, numbers), cure)
        # the rest of what pandas wrote of itself is not needed
        frame = table.replace_schema_metadata(None).to_pandas()
    frame.attrs = attributes
    return frame


def _intact(content: bytes, place: re.Match[bytes]) -> bool:
    digest = hashlib.sha256(content[: place.start(1)])
    digest.update(_BLANK)
    digest.update(content[place.end(1) :])
    return digest.hexdigest().encode() == place[1]


def _check_columns(
    path: Path,
    table: pa.Table,
    columns: Collection[str],
    kinds_of: tuple[Collection[str], Collection[str], Collection[str]],
    cure: str,
) -> None:
    import pyarrow.types as kinds

    text, words, numbers = kinds_of
    if missing := [name for name in columns if name not in table.column_names]:
        raise FileError(path, f"no column {missing[0]!r}", cure)
    if len(set(table.column_names)) < table.num_columns:
        raise FileError(path, "has two columns of one name", cure)
    for name in table.column_names:
        column = table.column(name)
        kind = column.type
        if name in text or name in words:
            right = kinds.is_string(kind) or kinds.is_large_string(kind)
            if column.null_count:
                right = name in words and (right or column.null_count == len(column))
        elif name in columns or name in numbers:
            right = kinds.is_floating(kind) or kinds.is_integer(kind) or kinds.is_boolean(kind)
            right = right or kinds.is_null(kind)
        else:
            right = not kinds.is_nested(kind) and not kinds.is_dictionary(kind)
        if not right:
            raise FileError(path, f"column {name!r} holds {kind}, with gaps perhaps", cure)


def read_csv(
    path: Path,
    columns: Collection[str],
    numbers: Collection[str] = (),
    cure: str = AGAIN,
    **options: Any,
) -> pd.DataFrame:
    """A table that the workflow wrote as CSV.

    Args:
        path: UTF-8; the first line names the columns.
        columns: Columns that must be there.
        numbers: Columns that hold numbers or nothing.
        cure: What a message ends with.
        options: Options of `pandas.read_csv`.

    Raises:
        FileError: it is no such table.
        HostError: the system failed, and not the file.
    """
    import pandas as pd

    with reading(path, "cannot be read as a table", cure):
        table = pd.read_csv(path, encoding="utf-8", **options)
    if missing := [name for name in columns if name not in table]:
        raise FileError(path, f"no column {missing[0]!r}", cure)
    for name in numbers:
        if not pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any():
            raise FileError(path, f"column {name!r} holds what is no number", cure)
    return table
