"""Content of a file of vibrations, for `pesbench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pesbench.core.task import Key, row_key
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.vibrations.stored import Vibrations


class VibrationResults(StoredResults):
    """Minima and Hessians of molecules."""

    opened: Vibrations

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether status, minimum and Hessian of a molecule are the same within rounding.

        Frequencies follow from them; those of translations and rotations are roots of what
        rounding alone leaves, and need not agree.
        """
        a, b = self.opened.molecule(self.rows[key]), other.opened.molecule(other.rows[key])
        return (
            a.status is b.status
            and rounding.within(a.positions, b.positions, digits * largest(a.positions), "Å")
            and rounding.within(a.hessian, b.hessian, digits * largest(a.hessian), "eV/Å²")
        )


def results(path: Path) -> VibrationResults:
    """A file of vibrations, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Vibrations(path)
    return VibrationResults(opened, {row_key((system,)): system for system in opened.systems})
