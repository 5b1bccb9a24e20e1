"""Meaning of an FSD: the doses of known defects that score the same on the same scans.

Controls are functions of the reference alone, and on the scans of a check they cost less than a
second, so that they are computed anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pesbench.core.scans import Scan
from pesbench.metrics import aggregate, smoothness
from pesbench.models.families import control as controls
from pesbench.tasks.bonds.control_ladders import CONTROL_LADDERS

# doses of config/models.yaml by kind of control, as a test compares; a shift has both signs
DOSES = {
    "step": (1.05, 1.1, 1.2, 1.5, 2.0),
    "shift": (0.005, 0.01, 0.02, 0.05),
    "noise": (0.01, 0.02, 0.05, 0.1, 0.3, 1.0),
}


def fsd_of_control(kind: str, dose: float | None, scan: Scan) -> float:
    """`fsd_full` of a control on one scan in Å⁻¹."""
    prediction = controls.predict(kind, dose, scan)
    used = np.isfinite(scan.energy) & prediction.defined
    q = smoothness.equilibrium_index(scan.energy[used])
    return smoothness.force_smoothness_deviation(
        scan.coordinate[used], prediction.forces[used], scan.forces[used], q
    ).full


def dose_scores(kind: str, scans: Sequence[Scan]) -> list[float]:
    """Mean FSD over some scans at each of the `DOSES` of a kind of control, Å⁻¹."""

    def score(dose: float, scan: Scan) -> float:
        signs = (dose, -dose) if kind == "shift" else (dose,)
        return float(np.mean([fsd_of_control(kind, sign, scan) for sign in signs]))

    return [aggregate.mean([score(dose, scan) for scan in scans]) for dose in DOSES[kind]]


def zero_forces(scans: Sequence[Scan]) -> float:
    """Mean FSD of zero forces, Å⁻¹: what knowing nothing scores."""
    return aggregate.mean([fsd_of_control("zero", None, scan) for scan in scans])


def zero_force_mae(scans: Sequence[Scan]) -> float:
    """Mean force MAE of zero forces, eV/Å: the mean size of the reference's forces."""
    sizes = []
    for scan in scans:
        forces = scan.forces[np.isfinite(scan.energy)]
        sizes.append(smoothness.force_mae(np.zeros_like(forces), forces))
    return aggregate.mean(sizes)


def equivalent(fsd: float, scans: Sequence[Scan]) -> str:
    """A mean FSD in words, such as `1.3-fold force step; 0.012 Å bond-length shift; ...`.

    Args:
        fsd: Mean `fsd_full` of a model, Å⁻¹.
        scans: The scans it is the mean of, at least one.
    """
    words = []
    for ladder in CONTROL_LADDERS:
        found = aggregate.equivalent_dose(
            fsd, DOSES[ladder.kind], dose_scores(ladder.kind, scans), ladder.no_defect
        )
        said = ladder.sentence(found.dose)
        words.append(f"beyond {said}" if found.beyond else said)
    return "; ".join(words)
