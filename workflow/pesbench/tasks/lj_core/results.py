"""Content of a file of answers, for `pesbench merge`."""

from __future__ import annotations

from pathlib import Path

from pesbench.core.task import row_key
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.lj_core.cases import item_of
from pesbench.tasks.lj_core.stored import Answers


def results(path: Path) -> StoredResults:
    """A file of answers, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Answers(path)
    rows = {row_key((case,)): case for case in opened.cases}
    items = {key: item_of(case, opened.systems) for key, case in rows.items()}
    return StoredResults(opened, rows, items)
