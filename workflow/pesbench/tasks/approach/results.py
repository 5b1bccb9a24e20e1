"""Content of an evaluation of approaching pairs, for `pesbench merge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np

from pesbench.core.errors import FileError
from pesbench.core.task import Key, row_key
from pesbench.files.evaluation import Evaluation
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.approach.pairs import item_of


class ApproachResults(StoredResults):
    """Energies and forces on the frames of pairs."""

    opened: Evaluation

    def work(self) -> dict[Key, float]:
        """Number of force components of each pair."""
        return {key: float(self.opened.scan(pair).forces.size) for key, pair in self.rows.items()}

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether statuses, energies and forces of a pair are the same within rounding."""
        a, b = self.opened.scan(self.rows[key]), other.opened.scan(other.rows[key])
        if a.status is not b.status or not np.array_equal(a.frame_status, b.frame_status):
            return False
        return rounding.within(a.energy, b.energy, digits * largest(a.energy), "eV") and (
            rounding.within(a.forces, b.forces, digits * largest(a.forces), "eV/Å")
        )


def systems_of(opened: Evaluation) -> list[str]:
    """The molecules of a file, sorted.

    Raises:
        FileError: it does not name them.
    """
    told = opened.attributes["systems"]
    try:
        found = json.loads(told)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        found = None
    if found is None or (opened.ids and not found):
        raise FileError(opened.path, "`@systems` names no molecules", "make it with the rule `run`")
    return sorted(found)


def results(path: Path) -> ApproachResults:
    """An evaluation of pairs, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Evaluation(path)
    try:
        systems = systems_of(opened)
    except BaseException:
        opened.close()
        raise
    rows = {row_key((pair,)): pair for pair in opened.ids}
    items = {key: item_of(pair, systems) for key, pair in rows.items()}
    return ApproachResults(opened, rows, items)
