"""Content of an evaluation of bond scans, for `pesbench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np

from pesbench.core.task import Key, row_key
from pesbench.files.evaluation import Evaluation
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored_results import StoredResults


class EvaluationResults(StoredResults):
    """Energies and forces on the frames of scans."""

    opened: Evaluation

    def work(self) -> dict[Key, float]:
        """Number of force components of each scan."""
        return {key: float(self.opened.scan(scan).forces.size) for key, scan in self.rows.items()}

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether statuses, energies and forces of a scan are the same within rounding."""
        a, b = self.opened.scan(self.rows[key]), other.opened.scan(other.rows[key])
        if a.status is not b.status or not np.array_equal(a.frame_status, b.frame_status):
            return False
        energies = a.energy[np.isfinite(a.energy)]
        spread = float(np.ptp(energies)) if energies.size else 0.0
        # total energies have fewer decimals: a few of their last digits are rounding
        limit = digits * max(1.0, spread) + 16 * digits**2 * largest(energies)
        return rounding.within(a.energy, b.energy, limit, "eV") and rounding.within(
            a.forces, b.forces, digits * largest(a.forces), "eV/Å"
        )


def results(path: Path) -> EvaluationResults:
    """An evaluation, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Evaluation(path)
    return EvaluationResults(opened, {row_key((scan,)): scan for scan in opened.ids})
