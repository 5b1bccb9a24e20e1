"""Processor time of one gradient of ethanol at some density functionals (docs/transfer.md).

python tests/helpers/price_levels.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "workflow"))

from ase import Atoms  # noqa: E402

from pesbench.files.molecules.reading import read_systems  # noqa: E402
from pesbench.models.as_calculator import atoms_batch  # noqa: E402
from pesbench.models.families.pyscf import KohnSham, PySCFModel  # noqa: E402

LEVELS = (
    ("wb97x", "6-31g*", 2),
    ("r2scan", "def2-svp", 3),
    ("pbe", "def2-svp", 2),
    ("wb97x", "6-31g*", 3),
)


def main() -> None:
    """Print a line for each level; the first includes the loading of PySCF."""
    systems = {one.id: one for one in read_systems(REPO / "resources/mini/molecules.extxyz")}
    batch = atoms_batch([Atoms(systems["ethanol"].numbers, systems["ethanol"].positions)])
    for functional, basis, grid in LEVELS:
        model = PySCFModel(KohnSham(functional, "none", basis, grid_level=grid, max_memory_mb=1000))
        start = time.process_time()
        (status,) = model.evaluate(batch).status
        spent = time.process_time() - start
        print(f"{functional}/{basis}, grid {grid}: {spent:.1f} s ({status.value})", flush=True)


if __name__ == "__main__":
    main()
