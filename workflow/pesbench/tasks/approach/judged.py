"""All numbers of one approaching pair, from what a model and the reference say of its frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.approach import metrics
from pesbench.tasks.approach.elsewhere import ARENA_METRICS, INNER_METRICS, arena, inner_passes
from pesbench.tasks.approach.pairs import (
    ARENA,
    BOND,
    CONTACT,
    DIATOMIC,
    INNER,
    NUMBERS,
    Approach,
)

Array = NDArray[np.float64]
OK, ERROR = Status.OK.code, Status.ERROR.code

OWN, REFERENCE, NOTHING = "own minimum", "reference", ""  # what a pair is judged by
WALL_METRICS = (
    "monotone", "hole_radius_angstrom", "barrier_ev", "n_spurious_minima", "spurious_depth_ev",
    "below_minimum_ev", "energy_end_ev",
)  # fmt: skip
METRICS = (
    *WALL_METRICS, "force_monotone", "force_hole_radius_angstrom", "above_minimum",
    "end_repulsive", "consistent", "consistency_gap", "wall_ratio_05", "wall_ratio_03",
    "zbl_ratio_05", "zbl_ratio_03", *INNER_METRICS, *ARENA_METRICS,
)  # fmt: skip
LEAST_KEPT = 0.5  # share of the frames that a pair is judged by which must be left
_AT_THE_END = ("energy_end_ev", "end_repulsive", "inner_repulsive")  # of the last frame alone
_RATIOS = dict(zip(metrics.WALLS_ANGSTROM, ("05", "03"), strict=True))


@dataclass(frozen=True)
class Judged:
    """Outcome of a pair.

    Attributes:
        status: `ok`; `masked` where too few frames are left to judge it by; or how the model
            failed on the first frame, in the order of the approach, that it must answer.
        message: What went wrong, or "".
        judged_by: `OWN`, `REFERENCE` or `NOTHING`.
        n_masked: Frames that are left out.
        values: One a metric of `METRICS`; NaN for what the pair does not have.
    """

    status: Status
    message: str
    judged_by: str
    n_masked: int
    values: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """One grid of a pair without the frames that are left out.

    Attributes:
        distance: Å, shape (F,), decreasing.
        energy: eV, shape (F,); NaN of a model without energies.
        force: Along the motion, eV/Å, shape (F,).
        first_gap: Number of frames before the first that was left out.
    """

    distance: Array
    energy: Array
    force: Array
    first_gap: int

    @property
    def height(self) -> Array:
        """The energy; of a model without energies the integrated force."""
        if np.isfinite(self.energy).all():
            return self.energy
        return metrics.integrated(self.distance, self.force)


def judge(
    pair: Approach,
    answer: ScanEvaluation,
    reference: ScanEvaluation | None = None,
    *,
    without_errors: bool = False,
) -> Judged:
    """Judge a pair.

    A bonded pair is judged by the model's own minimum and needs no reference, a contact and a
    diatomic by the reference, on the frames where that converges. A frame on which model and
    reference both end with an error, as methods that do not converge do, is left out everywhere;
    any other frame without a number is a failure of the pair. A pair of which less than half of
    the frames that it is judged by are left, or less than two, is masked: it has no numbers. What
    is told of the last frame is NaN where that is left out.

    Args:
        pair: The pair.
        answer: What the model says.
        reference: What the scan set's reference says; None for no reference.
        without_errors: Whether frames that end with an error are left out without a reference, too,
            as long as half of the frames are left.
    """
    nothing = dict.fromkeys(METRICS, float("nan"))
    grid = pair.grids.get(NUMBERS, pair.grids.get(INNER, slice(0, 0)))
    own = answer.frame_status[grid]
    other = np.full(len(own), ERROR) if reference is None else reference.frame_status[grid]
    by_reference = pair.kind not in (BOND, INNER) and reference is not None
    forgiven = without_errors and 2 * int((own == ERROR).sum()) <= len(own)
    left_out = (own == ERROR) & (other == ERROR) & (reference is not None or forgiven)
    left_out |= (other != OK) & by_reference
    n_masked = int(left_out.sum())

    def masked(said: str) -> Judged:
        return Judged(Status.MASKED, said, NOTHING, n_masked, nothing)

    if pair.kind in (CONTACT, DIATOMIC) and reference is None:
        return masked("there is no reference to judge it by")
    if left_out.all():
        return masked("the reference has no frame to judge it by")
    if (lost := np.flatnonzero((own != OK) & ~left_out)).size:
        return Judged(*_failure(pair, answer, grid, int(lost[0])), NOTHING, n_masked, nothing)
    curve = _curve(pair, answer, grid, ~left_out)
    asked = _judged_frames(pair, curve, pair.scan.coordinate[grid])
    n_left = int((~left_out[asked]).sum())
    if n_left < max(2, LEAST_KEPT * len(asked)):
        return masked(f"{n_left} of {len(asked)} frames are left to judge it by")
    if pair.kind == INNER:
        found = inner_passes(curve.energy, curve.force)
    else:
        known = None if reference is None else _known(pair, reference, grid)
        found = _wall_numbers(pair, curve, known, ~left_out, by_reference=by_reference)
        found |= _ratios(pair, answer, known, grid)
        if ARENA in pair.grids:
            found |= _arena(pair, answer)
    if left_out[-1]:
        found |= {name: float("nan") for name in _AT_THE_END if name in found}
    judged_by = REFERENCE if by_reference else OWN
    return Judged(Status.OK, "", judged_by, n_masked, nothing | found)


def _judged_frames(pair: Approach, curve: Curve, distance: Array) -> NDArray[np.intp]:
    """The frames that a pair is judged by, of those at some distances: of a bond below its minimum.

    The minimum is that of the frames that are left.
    """
    if pair.kind != BOND:
        return np.arange(len(distance))
    minimum = metrics.minimum_frame(curve.distance, curve.height, pair.distance)
    return metrics.judged_frames(distance, curve.distance[minimum])


def _failure(pair: Approach, answer: ScanEvaluation, grid: slice, frame: int) -> tuple[Status, str]:
    status = Status.from_code(int(answer.frame_status[grid][frame]))
    if answer.status is status and answer.message:
        return status, answer.message  # of the first frame that failed, of whatever grid
    return status, f"at {pair.scan.coordinate[grid][frame]:.3f} Å: {status.value}"


def _curve(pair: Approach, answer: ScanEvaluation, grid: slice, kept: NDArray[np.bool_]) -> Curve:
    positions, forces = pair.scan.positions[grid], answer.forces[grid]
    # of an atom that moves alone towards its neighbour the pair force is what is published
    moving = (0.5, 0.5) if pair.kind == INNER else pair.moving
    force = metrics.along_the_pair(forces[kept], positions[kept], pair.scan.atoms, moving)
    gaps = np.flatnonzero(~kept)
    first_gap = int(kept[: gaps[0]].sum()) if gaps.size else len(force)
    return Curve(pair.scan.coordinate[grid][kept], answer.energy[grid][kept], force, first_gap)


def _known(pair: Approach, reference: ScanEvaluation, grid: slice) -> Array:
    """Energy of the reference; NaN where it has none."""
    return np.where(reference.frame_status[grid] == OK, reference.energy[grid], np.nan)


def _wall_numbers(
    pair: Approach,
    curve: Curve,
    known: Array | None,
    kept: NDArray[np.bool_],
    *,
    by_reference: bool,
) -> dict[str, float]:
    from_force = metrics.integrated(curve.distance, curve.force)
    energy = curve.height
    other = known[kept] if by_reference and known is not None else None
    start, judged = 0, np.arange(len(energy))
    if pair.kind == BOND:
        start = metrics.minimum_frame(curve.distance, energy, pair.distance)
        judged = metrics.judged_frames(curve.distance, curve.distance[start])
    by_force = metrics.wall(
        curve.distance[judged], from_force[judged], float(from_force[start]),
        None if other is None else other[judged],
    )  # fmt: skip
    found = {
        "force_monotone": float(by_force.monotone),
        "force_hole_radius_angstrom": by_force.hole_radius_angstrom,
    }
    if not np.isfinite(curve.energy).all():
        return found
    by_energy = metrics.wall(
        curve.distance[judged], energy[judged], float(energy[start]),
        None if other is None else other[judged],
    )  # fmt: skip
    whole = judged[judged < curve.first_gap]
    gap = metrics.consistency_gap(curve.distance[whole], energy[whole], curve.force[whole])
    return found | {
        **{name: float(value) for name, value in asdict(by_energy).items()},
        "above_minimum": float("nan") if by_reference else float(by_energy.below_minimum_ev == 0),
        "end_repulsive": float(by_energy.energy_end_ev > 0),
        "consistency_gap": gap,
        "consistent": float(gap <= metrics.CONSISTENT) if np.isfinite(gap) else float("nan"),
    }


def _ratios(
    pair: Approach, answer: ScanEvaluation, known: Array | None, grid: slice
) -> dict[str, float]:
    """Height of the wall over that of the reference and that of universal ZBL.

    Heights of a bonded pair are counted from the minimum, each curve's own, and those of another
    pair from the first frame that model and reference have.
    """
    distance = pair.scan.coordinate[grid]
    own = np.where(answer.frame_status[grid] == OK, answer.energy[grid], np.nan)
    both = np.flatnonzero(np.isfinite(own if known is None else own + known))
    if not both.size:
        return {}

    def base(energy: Array) -> int:
        if pair.kind != BOND:
            return int(both[0])
        there = np.where(np.isfinite(energy), energy, np.inf)
        return metrics.minimum_frame(distance, there, pair.distance)

    first, second = (int(pair.scan.numbers[atom]) for atom in pair.scan.atoms)
    nuclear = metrics.zbl(distance, first, second)
    found = {}
    for place, name in _RATIOS.items():
        height = metrics.energy_at(distance, own, place) - own[base(own)]
        of_zbl = metrics.energy_at(distance, nuclear, place) - nuclear[base(own)]
        found[f"zbl_ratio_{name}"] = metrics.wall_ratio(height, of_zbl)
        if known is not None:
            other = metrics.energy_at(distance, known, place) - known[base(known)]
            found[f"wall_ratio_{name}"] = metrics.wall_ratio(height, other)
    return found


def _arena(pair: Approach, answer: ScanEvaluation) -> dict[str, float]:
    grid = pair.grids[ARENA]
    if not (answer.frame_status[grid] == OK).all():
        return {}
    curve = _curve(pair, answer, grid, np.ones(grid.stop - grid.start, dtype=bool))
    return arena(curve.energy, curve.force)


def largest_gap(pair: Approach, *answers: ScanEvaluation) -> float:
    """Largest distance at which one of some answers has no number, Å; NaN where all have.

    Of a pair that is scored these are the frames that are left out. Frames of the published figure
    do not count.
    """
    lost = np.any([one.frame_status[pair.grids[NUMBERS]] != OK for one in answers], axis=0)
    gaps = pair.scan.coordinate[pair.grids[NUMBERS]][lost]
    return float(gaps.max()) if gaps.size else float("nan")
