"""The part of the closest approach: does the energy rise when two bonded atoms come close?

Frames and numbers are those of the task (`pesbench.tasks.approach`); the molecules are those of the
part of dynamics. There is no reference, which bonded pairs do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import kB

from pesbench.commands.check.conformance import Elements
from pesbench.commands.check.dynamics import SETTINGS, check_systems
from pesbench.commands.check.frames import geometry
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.report import CheckRow
from pesbench.commands.check.scan_rows import Track
from pesbench.core.interface import Status
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import evaluate_scans, without_model
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.approach.judged import Judged, judge, largest_gap
from pesbench.tasks.approach.pairs import Approach, bonded

SECTION = "approach"
TEMPERATURE_K = SETTINGS.temperatures_k[0]  # of the part of dynamics


@dataclass(frozen=True)
class Answered:
    """A pair that a model was asked about.

    Attributes:
        pair: The pair.
        answer: What the model said.
        judged: Outcome.
    """

    pair: Approach
    answer: ScanEvaluation
    judged: Judged

    @property
    def unsupported(self) -> bool:
        """Whether the model does not know an element of the molecule."""
        return self.judged.status is Status.UNSUPPORTED

    @property
    def unjudged(self) -> bool:
        """Whether too few frames are left, because the others ended with an error."""
        return self.judged.status is Status.MASKED

    @property
    def scored(self) -> bool:
        """Whether it has numbers, of energies or of forces."""
        return self.judged.status is Status.OK and not np.isnan(self._monotone)

    @property
    def open(self) -> bool:
        """Whether it attracts, by its energy, else by its force."""
        return self.scored and not self._monotone

    @property
    def radius(self) -> float:
        """Hole radius in Å, by the energy, else by the force; NaN where it fails."""
        return self._value("hole_radius_angstrom", "force_hole_radius_angstrom")

    @property
    def barrier(self) -> float:
        """Energy before the hole in eV; NaN where there is none or it is not known."""
        return self.judged.values["barrier_ev"]

    @property
    def _monotone(self) -> float:
        return self._value("monotone", "force_monotone")

    def _value(self, of_energy: str, of_force: str) -> float:
        value = self.judged.values[of_energy]
        return self.judged.values[of_force] if np.isnan(value) else value

    @property
    def words(self) -> str:
        """Such as `C-O of ethanol (atoms 1 and 2)`."""
        i, j = self.pair.scan.atoms
        return f"{self.pair.scan.bond} of {self.pair.scan.system} (atoms {i} and {j})"

    @property
    def record(self) -> dict[str, Any]:
        """Its name, status, message and scores."""
        return {
            "pair": self.pair.id,
            "system": self.pair.scan.system,
            "status": self.judged.status.value,
            "message": self.judged.message,
            "n_masked": self.judged.n_masked,
            **self.judged.values,
        }

    def shown(self) -> list[Atoms]:
        """The geometry where it begins to attract, or on which the model fails."""
        scan = self.pair.scan
        bad = np.flatnonzero(self.answer.frame_status != Status.OK.code)
        note = f"attracts from {self.radius:.3f} Å on"
        if self.scored:
            frame = int(np.argmin(np.abs(scan.coordinate - self.radius)))
        elif bad.size:
            frame, note = int(bad[0]), self.judged.message
        else:
            return []
        return [
            geometry(
                scan.numbers,
                scan.positions[frame],
                f"{self.pair.id} at {scan.coordinate[frame]:.3f} Å: {note}",
                energy=float(self.answer.energy[frame]),
                forces=self.answer.forces[frame],
                charge=scan.charge,
                spin=scan.spin,
            )
        ]


def check_approach(
    evaluator: Evaluator, elements: Elements, limits: Limits, track: Track
) -> tuple[list[CheckRow], list[dict[str, Any]]]:
    """The rows of this part, and one mapping a pair.

    Args:
        evaluator: Evaluator with its model.
        elements: Elements that the model knows; molecules with others are not asked about.
        limits: What passes.
        track: Progress, as `pesbench.core.progress.track`.
    """
    pairs = [pair for system in check_systems() for pair in bonded(system, figure=False)]
    found = []
    for pair in track(pairs, len(pairs), "pairs"):
        if refusal := elements.refusal(pair.scan.numbers):
            answer = without_model(pair.scan, Status.UNSUPPORTED, refusal)
        else:
            (answer,) = evaluate_scans(evaluator, [pair.scan])
        found.append(Answered(pair, answer, judge(pair, answer, without_errors=True)))
    return approach_rows(found, limits), [one.record for one in found]


def approach_rows(found: Sequence[Answered], limits: Limits) -> list[CheckRow]:
    """The rows of some pairs: the share that attracts, the largest hole, the cheapest one.

    A pair that fails has no hole that could be measured, so that it is an error, whatever the limit
    of the share. One of which too few frames are left is no failure; that more of them are so than
    may attract is an error.
    """
    asked = [one for one in found if not one.unsupported]
    scored = [one for one in asked if one.scored]
    if not scored:
        lost = next((one for one in asked), None)
        why = "n/a: no pair was scored" + (f"; {lost.judged.message}" if lost else "")
        first = CheckRow.error if asked else CheckRow.info
        return [
            first(SECTION, "open_pairs", why),
            *(CheckRow.info(SECTION, name, "n/a") for name in ("hole_radius", "worst_pair")),
        ]
    holes = [one for one in scored if one.open]
    note = _count_note(found, asked, scored)
    shown = [frame for one in asked if one.open or not one.scored for frame in one.shown()]
    of_scored = ""
    unjudged = sum(one.unjudged for one in asked)
    if len(scored) < len(asked):
        of_scored = f" (of {len(scored)} scored pairs)"
    if len(scored) + unjudged < len(asked) or unjudged > limits.open_pairs * len(asked):
        count = CheckRow.error(SECTION, "open_pairs", note, shown)
    else:
        share = len(holes) / len(asked)
        count = CheckRow.measured(
            SECTION, "open_pairs", share, "", limits.open_pairs, note, shown
        )  # fmt: skip
    if not holes:
        none = f"no hole{of_scored}"
        return [
            count,
            CheckRow.measured(SECTION, "hole_radius", 0.0, "Å", limits.hole_radius, none),
            CheckRow.measured(SECTION, "worst_pair", 0.0, "", limits.hole_reach, none),
        ]
    widest = max(holes, key=lambda one: one.radius)
    radius = CheckRow.measured(
        SECTION, "hole_radius", widest.radius, "Å", limits.hole_radius, widest.words + of_scored,
        widest.shown(),
    )  # fmt: skip
    known = [one for one in holes if np.isfinite(one.barrier)]
    if not known:
        return [count, radius, CheckRow.info(SECTION, "worst_pair", f"n/a: no energy{of_scored}")]
    cheapest = min(known, key=lambda one: one.barrier)
    energy = kB * TEMPERATURE_K
    reach = energy / max(cheapest.barrier, 1e-3 * energy)
    note = f"{cheapest.words}: attracts from {cheapest.radius:.2f} Å on, "
    note += f"{cheapest.barrier:.3g} eV above its minimum{of_scored}"
    return [
        count,
        radius,
        CheckRow.measured(
            SECTION, "worst_pair", reach, "", limits.hole_reach, note, cheapest.shown()
        ),
    ]


def _count_note(
    found: Sequence[Answered], asked: Sequence[Answered], scored: Sequence[Answered]
) -> str:
    closed = sum(not one.open for one in scored)
    note = f"{closed} of {len(asked)} bonded pairs repel down to 0.1 Å"
    if len(asked) < len(found):
        note += f", {len(found) - len(asked)} unsupported"
    if left_out := sum(one.judged.n_masked for one in scored):
        furthest = np.nanmax([largest_gap(one.pair, one.answer) for one in scored])
        note += f"; {left_out} frames that ended with an error are left out, the first at "
        note += f"{furthest:.2f} Å"
    lost = sorted((one for one in asked if not one.scored), key=lambda one: one.unjudged)
    if lost:  # what failed first
        first = lost[0]
        note += f"; {len(lost)} without a score, {first.pair.id}: "
        note += f"{first.judged.status.value}: {first.judged.message}"
    return note
