"""Content of a file of times, for `pesbench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pesbench.core.task import Key, row_key
from pesbench.files.rounding import Rounding
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.cost.stored import Times


class CostResults(StoredResults):
    """Times of molecules."""

    opened: Times

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether the model could do a molecule here and there; no two runs take the same time."""
        a, b = self.opened.molecule(self.rows[key]), other.opened.molecule(other.rows[key])
        return a.status is b.status


def results(path: Path) -> CostResults:
    """A file of times, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Times(path)
    return CostResults(opened, {row_key((system,)): system for system in opened.systems})
