"""Whether two files hold the same results of one model: to the bit, or within rounding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from pesbench.commands.merge.contents import DAMAGED, REFERENCE, Piece, prepared
from pesbench.commands.merge.scores import read_scores, row_keys, settings_of
from pesbench.commands.scoring import write_scores
from pesbench.core.jobs import ScoreJob
from pesbench.core.task import Key
from pesbench.files.integrity import readable
from pesbench.files.rounding import Rounding, half_the_digits
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_results import stored_results

# in which equal results may differ
_APART = ("model", "seen", "message", "wall_s", "command_s", "worker_deaths")


def first_difference(
    one: Piece, other: Piece, keys: Sequence[Key], scan_set: ScanSet, found: Rounding
) -> Key | None:
    """The first of some rows whose results are not the same within rounding.

    Files of results are compared as their task says; where one is scores, the scores are.

    Args:
        one: A file.
        other: Another of the same model and task.
        keys: Keys of rows that both hold.
        scan_set: What they were made on.
        found: Receives the largest differences.

    Raises:
        UserError: a file is damaged.
    """
    digits = half_the_digits(
        how.get("dtype", "") for piece in (one, other) for how in piece.made_from
    )
    task = one.task
    if not (one.raw and other.raw):
        told = next((piece.settings[0] for piece in (one, other) if piece.settings), None)
        rows, others = (_rows_of(piece, scan_set, told) for piece in (one, other))
        apart = {*_APART, *task.unstable, *one.lacks, *other.lacks}
        columns = [c for c in rows[keys[0]] if c in others[keys[0]] and c not in apart]
        return next(
            (k for k in keys if not _same_row(rows[k], others[k], columns, digits, found)), None
        )
    with (
        readable(f"{one.path} or {other.path}", DAMAGED),
        stored_results(task, one.path) as a,
        stored_results(task, other.path) as b,
    ):
        return next((key for key in keys if not a.alike(b, key, digits, found)), None)


def _same_row(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    columns: Iterable[str],
    digits: float,
    found: Rounding,
) -> bool:
    for a, b in ((one[column], other[column]) for column in columns):
        if isinstance(a, str) or isinstance(b, str):
            alike = a == b
        elif pd.isna(a) or pd.isna(b):
            alike = bool(pd.isna(a) and pd.isna(b))
        else:
            alike = found.within(a, b, digits * max(1.0, abs(a), abs(b)), "")
        if not alike:
            return False
    return True


def _rows_of(
    piece: Piece, scan_set: ScanSet, told: Mapping[str, Any] | None
) -> dict[Key, dict[str, Any]]:
    """The scores of a file, by key: made here of files of results, else as they are.

    Raises:
        UserError: the file is damaged, or the reference that it is compared with is not there.
    """
    task = piece.task
    if not piece.raw:
        rows = read_scores(piece.path, task)
    else:
        results = piece.path.parents[2]
        job = ScoreJob(
            files=[piece.path],
            scan_set=scan_set.path,
            settings=settings_of(task, told),
            reference=sorted((results / REFERENCE / task.name).glob("*.h5")),
            prepared=prepared(results, task),
        )
        with TemporaryDirectory() as folder, readable(piece.path, DAMAGED):
            write_scores(task.name, job, Path(folder) / "scores.parquet")
            rows = read_scores(Path(folder) / "scores.parquet", task)
    return dict(zip(row_keys(rows, task), rows.to_dict("records"), strict=True))
