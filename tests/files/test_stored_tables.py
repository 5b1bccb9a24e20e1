"""Tables of ours that are read back: what is damaged or something else is one line."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pesbench.core.errors import UserError
from pesbench.files.stored_tables import read_csv, read_scores, write_scores
from pesbench.report.page import read_skipped

TEXT = ("model", "scan", "message")
COLUMNS = (*TEXT, "fsd_full", "n_atoms", "relaxed")


def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "model": "m", "scan": [f"C-N/{k}" for k in range(40)], "message": "wie? – Å",
            "fsd_full": rng.normal(size=40), "n_atoms": np.arange(40), "relaxed": True,
            "extremum": [None] * 39 + ["missing"], "later": 1.5,
        }
    )  # fmt: skip
    frame.loc[3, "fsd_full"] = np.nan
    frame.attrs = {"scan_set_sha256": "x" * 64, "provenance": {"a": [1, None]}, "entry": None}
    return frame


def _read(path):
    return read_scores(path, COLUMNS, TEXT, ("extremum",))


def _one_line(error, path):
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_scores_come_back_and_others_read_them(tmp_path):
    path, frame = tmp_path / "s.parquet", _frame()
    write_scores(path, frame)
    for found in (_read(path), pd.read_parquet(path)):
        pd.testing.assert_frame_equal(found, frame, check_dtype=False)
        assert found.attrs == frame.attrs
        assert list(found.dtypes) == list(pd.read_parquet(path).dtypes)
    write_scores(tmp_path / "again.parquet", _read(path))
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_older_scores_without_a_seal_are_read(tmp_path):
    path, frame = tmp_path / "s.parquet", _frame()
    for checksums in (True, False):
        frame.to_parquet(path, index=False, write_page_checksum=checksums)
        pd.testing.assert_frame_equal(_read(path), frame, check_dtype=False)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path, sealed):
    path, frame, random_ = tmp_path / "s.parquet", _frame(), random.Random(5)
    if sealed:
        write_scores(path, frame)
    else:
        frame.to_parquet(path, index=False, write_page_checksum=True)
    whole, want, refused = path.read_bytes(), _read(path)[list(COLUMNS)], 0
    for bit in random_.sample(range(8 * len(whole)), 400):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(data))
        with contextlib.suppress(UserError):
            pd.testing.assert_frame_equal(_read(path)[list(COLUMNS)], want)
            continue
        refused += 1
    assert refused > (390 if sealed else 100)


def _table(**columns) -> pa.Table:
    table = pa.Table.from_pandas(_frame())
    for name, values in columns.items():
        where = table.column_names.index(name)
        if values is None:
            table = table.remove_column(where)
        else:
            table = table.set_column(where, name, pa.array(values))
    return table


BROKEN = {
    "a column less": lambda: _table(fsd_full=None),
    "numbers as text": lambda: _table(fsd_full=["1.0"] * 40),
    "text as numbers": lambda: _table(scan=range(40)),
    "a gap in a name": lambda: _table(scan=[None] + ["x"] * 39),
    "lists": lambda: _table(fsd_full=[[1.0]] * 40),
    "times": lambda: _table(n_atoms=pd.date_range("2020", periods=40)),
    "lists in a column of a later version": lambda: _table(later=[[1.0]] * 40),
    "twice the same column": lambda: _table().append_column("scan", pa.array(["x"] * 40)),
    "no notes": lambda: _table().replace_schema_metadata(None),
    "notes that are no JSON": lambda: _table().replace_schema_metadata({b"PANDAS_ATTRS": b"\xff"}),
    "notes nested without end": lambda: _table().replace_schema_metadata(
        {b"PANDAS_ATTRS": b"[" * 100_000}
    ),
    "notes of another kind": lambda: _table().replace_schema_metadata({b"PANDAS_ATTRS": b"[]"}),
    "no scan set": lambda: _table().replace_schema_metadata({b"PANDAS_ATTRS": b'{"a": 1}'}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_other_tables_are_one_line(tmp_path, what):
    path = tmp_path / "s.parquet"
    pq.write_table(BROKEN[what](), path)
    with pytest.raises(UserError) as error:
        _read(path)
    _one_line(error, path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_one_line(tmp_path, content):
    path = tmp_path / "s.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        _read(path)
    _one_line(error, path)


def test_a_table_that_unpacks_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pesbench.files.stored_tables.LARGEST_BYTES", 1_000_000)
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"fsd_full": pa.array(np.zeros(200_000, dtype=np.int8))}), path)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="larger than what is read"):
        read_scores(path)


OURS = {"skipped": (read_skipped, "scan,quality\na,b\n")}
OTHERS = [
    b"",
    b"\n",
    b"\xff\xfe\x00",
    b"a,b\n1,2,3\n4\n",
    b'"',
    b"role,verdict\n1,2\n",
    b"\x00" * 9,
]


@pytest.mark.parametrize("name", OURS)
def test_csv_files_of_ours_with_other_content_are_one_line(tmp_path, name):
    read, almost = OURS[name]
    path = tmp_path / "table.csv"
    for content in (*OTHERS, almost.encode()):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            read(path)
        _one_line(error, path)
    with pytest.raises(UserError):
        read(tmp_path / "none.csv")


def test_columns_and_numbers_of_a_csv_are_checked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n,\n")
    assert list(read_csv(path, ("a", "b"), ("a",)).columns) == ["a", "b"]
    for columns, numbers, said in ((("c",), (), "no column 'c'"), (("b",), ("b",), "no number")):
        with pytest.raises(UserError, match=said) as error:
            read_csv(path, columns, numbers)
        _one_line(error, path)
