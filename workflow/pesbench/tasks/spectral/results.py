"""Content of a file of features, for `pesbench merge`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

import h5py

from pesbench.core.task import Key, row_key
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.spectral.probes import PROBES
from pesbench.tasks.spectral.stored import Features


class SpectralResults(StoredResults):
    """Features of molecules; a molecule has a row for every probe and injected degree."""

    opened: Features

    def remove(self, file: h5py.File, keys: Collection[Key]) -> None:
        """Remove the molecules of some rows, whose rows stay together."""
        for system in {self.rows[key] for key in keys}:
            del file[system]

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether status and features of a molecule are the same within rounding."""
        a, b = self.opened.molecule(self.rows[key]), other.opened.molecule(other.rows[key])
        if a.status is not b.status or a.layers != b.layers or a.designs.keys() != b.designs.keys():
            return False
        for name, one in a.designs.items():
            others = b.designs[name].features
            if one.features.keys() != others.keys():
                return False
            for layer, values in one.features.items():
                if values.shape != others[layer].shape:
                    return False
                if not rounding.within(values, others[layer], digits * largest(values), ""):
                    return False
        return True


def results(path: Path) -> SpectralResults:
    """A file of features, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Features(path)
    degrees = range(1, 1 + opened.highest_degree)
    rows = {
        row_key((system, probe.name, degree)): system
        for system in opened.systems
        for probe in PROBES
        for degree in degrees
    }
    return SpectralResults(opened, rows)
