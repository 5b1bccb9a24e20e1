"""Where stored scores place faults, above or below 10 eV of the reference: see docs/atlas.md.

python tests/helpers/fault_energies.py SET.h5 RESULTS
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pesbench.compare.atlas.curves import CEILING_EV
from pesbench.files.scan_set import ScanSet

FAULTS = {"wall_coordinate": "wall gives way", "fsd_peak_coordinate": "largest slope"}


Curve = tuple[np.ndarray, np.ndarray]


def low_and_all(curves: Mapping[str, Curve], scores: pd.DataFrame, column: str) -> tuple[int, int]:
    """How many faults lie where the reference is at most 10 eV above its minimum, and how many."""
    placed = scores[(scores["status"] == "ok") & scores[column].notna()]
    pairs = zip(placed["scan"], placed[column].astype(float), strict=True)
    heights = [np.interp(at, *curves[scan_id]) for scan_id, at in pairs]
    return int((np.array(heights) <= CEILING_EV).sum()), len(heights)


def curves_of(path: Path) -> dict[str, Curve]:
    """Coordinate and energy above the minimum of every reference."""
    found = {}
    with ScanSet(path) as scan_set:
        for scan in map(scan_set.scan, scan_set.ids):
            known = np.isfinite(scan.energy)
            if known.any():
                energy = scan.energy[known]
                found[scan.id] = scan.coordinate[known], energy - energy.min()
    return found


def main() -> None:
    curves, results = curves_of(Path(sys.argv[1])), Path(sys.argv[2])
    print("| model |", " | ".join(FAULTS.values()), "|")
    print("|:--|", "|".join("--:" for _ in FAULTS), "|", sep="")
    total = dict.fromkeys(FAULTS, (0, 0))
    for file in sorted(results.glob("*/scores/bonds.parquet")):
        name = file.parts[-3]
        if not name.startswith("control-"):
            found = {one: low_and_all(curves, pd.read_parquet(file), one) for one in FAULTS}
            total = {one: tuple(np.add(total[one], found[one]).tolist()) for one in FAULTS}
            print(f"| {name} |", " | ".join(f"{k} of {n}" for k, n in found.values()), "|")
    print("| **all** |", " | ".join(f"{k} of {n}" for k, n in total.values()), "|")


if __name__ == "__main__":
    main()
