"""Meaning of an FSD: the doses of known defects that score the same on the same scans.

Controls are functions of the reference alone, and on the scans of a check they cost less than a
second, so that they are computed anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pesbench.core.scans import Scan
from pesbench.metrics import aggregate, smoothness
from pesbench.models.families import control as controls


@dataclass(frozen=True)
class Ladder:
    """A kind of control with its doses.

    Attributes:
        kind: Kind of the control.
        doses: Doses of config/models.yaml; both signs of a shift are averaged.
        no_defect: The dose that leaves the reference as it is.
        sentence: How a dose is said.
    """

    kind: str
    doses: tuple[float, ...]
    no_defect: float
    sentence: Callable[[float], str]


# As the leaderboard has them (report/tables.py, which needs pandas); a test compares the two.
LADDERS = (
    Ladder("step", (1.05, 1.1, 1.2, 1.5, 2.0), 1.0, lambda d: f"{d:.3g}-fold force step"),
    Ladder("shift", (0.005, 0.01, 0.02, 0.05), 0.0, lambda d: f"{d:.2g} Å bond-length shift"),
    Ladder("noise", (0.01, 0.02, 0.05, 0.1, 0.3, 1.0), 0.0, lambda d: f"{d:.2g} eV/Å noise"),
)


def fsd_of_control(kind: str, dose: float | None, scan: Scan) -> float:
    """`fsd_full` of a control on one scan in Å⁻¹."""
    prediction = controls.predict(kind, dose, scan)
    used = np.isfinite(scan.energy) & prediction.defined
    q = smoothness.equilibrium_index(scan.energy[used])
    return smoothness.force_smoothness_deviation(
        scan.coordinate[used], prediction.forces[used], scan.forces[used], q
    ).full


def ladder_scores(ladder: Ladder, scans: Sequence[Scan]) -> list[float]:
    """Mean FSD over some scans at each dose of a ladder, Å⁻¹."""

    def score(dose: float, scan: Scan) -> float:
        signs = (dose, -dose) if ladder.kind == "shift" else (dose,)
        return float(np.mean([fsd_of_control(ladder.kind, sign, scan) for sign in signs]))

    return [aggregate.mean([score(dose, scan) for scan in scans]) for dose in ladder.doses]


def zero_forces(scans: Sequence[Scan]) -> float:
    """Mean FSD of zero forces, Å⁻¹: what knowing nothing scores."""
    return aggregate.mean([fsd_of_control("zero", None, scan) for scan in scans])


def equivalent(fsd: float, scans: Sequence[Scan]) -> str:
    """A mean FSD in words, such as `1.3-fold force step; 0.012 Å bond-length shift; ...`.

    Args:
        fsd: Mean `fsd_full` of a model, Å⁻¹.
        scans: The scans it is the mean of, at least one.
    """
    words = []
    for ladder in LADDERS:
        found = aggregate.equivalent_dose(
            fsd, ladder.doses, ladder_scores(ladder, scans), ladder.no_defect
        )
        said = ladder.sentence(found.dose)
        words.append(f"beyond {said}" if found.beyond else said)
    return "; ".join(words)
