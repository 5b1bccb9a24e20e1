"""The quality gate on references: a reference that is not smooth itself can judge no model.

Thresholds are keys of the scan set in the config; the numbers behind the defaults are in
tasks/bonds/README.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pesbench.core.scans import Scan
from pesbench.metrics.curves import extrema, step_work
from pesbench.references.settings import QualityLimits

WALL_ENDS_AT = 1.2  # times the equilibrium bond length: beyond it the trapezoidal rule is accurate


def judge(scan: Scan, limits: QualityLimits) -> Scan:
    """The scan with `quality` and `reason` set.

    `dropped`: too many frames failed, the energy jumps, or the minimum lies at an end of the scan
    so that there is no equilibrium. `marked`: some frames failed, or there is more than one
    interior minimum (the metrics count in excess of those).
    """
    known = np.isfinite(scan.energy) & np.isfinite(scan.forces).all(axis=(1, 2))
    failed = int(np.count_nonzero(~known))
    if failed > limits.failed_frames or np.count_nonzero(known) < 3:
        reason = f"{failed} of {scan.n_frames} frames have no reference"
        return replace(scan, quality="dropped", reason=reason)
    coordinate, energy = scan.coordinate[known], scan.energy[known]
    q = int(np.argmin(energy))
    if q in (0, len(energy) - 1):
        reason = f"the energy is lowest at an end of the scan ({coordinate[q]:.3f} Å)"
        return replace(scan, quality="dropped", reason=reason)
    work = step_work(scan.positions[known], scan.forces[known])
    jump = np.abs(np.diff(energy) - work)
    frames = np.flatnonzero(known)
    jump[np.diff(frames) > 1] = 0.0  # over a gap the trapezoidal rule does not apply
    on_wall = coordinate[:-1] < WALL_ENDS_AT * coordinate[q]
    allowed = np.where(on_wall, limits.wall_jump_ev, limits.energy_jump_ev)
    if (jump > allowed).any():
        k = int(np.argmax(jump / allowed))
        middle = (coordinate[k] + coordinate[k + 1]) / 2
        reason = f"the energy jumps by {jump[k]:.3f} eV beside its forces at {middle:.3f} Å"
        return replace(scan, quality="dropped", reason=reason)
    found = extrema(coordinate, energy, limits.prominence_ev)
    minima = np.sort(found.coordinate[found.is_minimum])
    notes = []
    if failed:
        notes.append(f"{failed} of {scan.n_frames} frames have no reference")
    if len(minima) > 1:
        at = ", ".join(f"{c:.3f}" for c in minima)
        notes.append(f"{len(minima)} interior minima, at {at} Å")
    if notes:
        return replace(scan, quality="marked", reason="; ".join(notes))
    return scan
