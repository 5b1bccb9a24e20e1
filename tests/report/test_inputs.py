"""Scores that a report reads: those of an older version lack a metric, and are no error."""

from __future__ import annotations

import numpy as np
import pytest
from test_tables import SCANS, rows

from examples import TOYS, toy_scan, write_part_of_scores, write_toys
from pesbench.core.errors import FileError
from pesbench.core.found import tasks
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_scores, write_scores
from pesbench.report.inputs import read_task_scores

BONDS = tasks()["bonds"]


@pytest.fixture
def stored(tmp_path):
    """Scores of all columns, and the scan set they are of."""
    write_toys(tmp_path / "toys.h5", [toy_scan(name, TOYS[name]) for name in ("a", "b")])
    path = tmp_path / "bonds.parquet"
    with ScanSet(tmp_path / "toys.h5") as scan_set:
        table = rows("a", SCANS)
        table.attrs = {"scan_set_sha256": scan_set.sha256}
        write_part_of_scores(path, table)
        yield path, scan_set


def test_whole_scores_lack_nothing(stored):
    path, scan_set = stored
    assert read_task_scores(path, scan_set, BONDS).attrs["lacks"] == []


def test_a_metric_that_an_older_version_did_not_write_has_no_value_and_is_named(stored):
    path, scan_set = stored
    whole = read_scores(path)
    write_scores(path, whole.drop(columns=["fsd_aligned", "force_mae_1ev"]))
    found = read_task_scores(path, scan_set, BONDS)
    assert found.attrs["lacks"] == ["fsd_aligned", "force_mae_1ev"]
    assert found[["fsd_aligned", "force_mae_1ev"]].isna().all(axis=None)
    assert found["fsd_full"].to_numpy() == pytest.approx(SCANS)


@pytest.mark.parametrize("column", ["bond", "n_frames", "status"])
def test_what_is_no_metric_may_not_be_missing(stored, column):
    path, scan_set = stored
    write_scores(path, read_scores(path).drop(columns=[column]))
    with pytest.raises(FileError, match=f"no column '{column}'"):
        read_task_scores(path, scan_set, BONDS)


def test_a_metric_that_holds_text_is_refused(stored):
    path, scan_set = stored
    write_scores(path, read_scores(path).assign(fsd_aligned="low"))
    with pytest.raises(FileError, match="'fsd_aligned' holds"):
        read_task_scores(path, scan_set, BONDS)


def test_scores_without_a_value_are_not_those_of_an_older_version(stored):
    path, scan_set = stored
    write_scores(path, read_scores(path).assign(fsd_aligned=np.nan))
    assert read_task_scores(path, scan_set, BONDS).attrs["lacks"] == []
