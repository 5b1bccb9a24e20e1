"""The scores of all detectors on the frames of scans, and the errors that they are to tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.engine.reference_frames import known_frames, minimum, near
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.metrics import geometry_sentinels as geometry
from pesbench.metrics import physics_sentinels as physics
from pesbench.metrics.descriptor_distances import ReferenceSpace, reference_space
from pesbench.tasks.alarms import several
from pesbench.tasks.alarms.detectors import COMPRESSION, STRETCH, TRIVIAL
from pesbench.tasks.alarms.gather import Gathered, one_per_item
from pesbench.tasks.alarms.labels import largest_error, wrong_frames
from pesbench.tasks.alarms.stored import SCANS

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def folds(systems: Iterable[str]) -> dict[str, int]:
    """Half of the molecules each, 0 or 1, in an order that follows from their names alone.

    The thresholds of each half are set on the other one.
    """
    order = sorted(set(systems), key=lambda one: hashlib.sha256(f"alarms {one}".encode()).digest())
    return {system: k % 2 for k, system in enumerate(order)}


@dataclass
class ScanFrames:
    """A scan as the ladder sees it.

    Attributes:
        scan: The scan with its reference.
        minimum: Frame of the lowest reference energy.
        answered: Frames with a reference and an answer of the model, shape (F,).
        evaluation: What the model says.
        pairs: Pairs of atoms.
        descriptors: Shape (F, N, D); None where there are none.
        not_described: How the model failed to give descriptors of this scan, or "".
        wrong: Whether the model is wrong, shape (F,); False where nothing is known.
        error: Largest error of a force in eV/Å, shape (F,); NaN where nothing is known.
        scores: By detector, shape (F,); NaN where a frame has none.
    """

    scan: Scan
    minimum: int
    answered: Mask
    evaluation: ScanEvaluation
    pairs: geometry.Pairs
    descriptors: NDArray[np.float32] | None
    not_described: str
    wrong: Mask
    error: Array
    scores: dict[str, Array] = field(default_factory=dict)

    def near(self, window: float) -> Mask:
        """Frames that stand for what the model knows, shape (F,)."""
        return near(self.scan, window)

    def side(self, domain: str) -> Mask:
        """Frames of a side of the minimum, without the minimum, shape (F,)."""
        off = self.scan.coordinate - self.scan.coordinate[self.minimum]
        return off < 0 if domain == COMPRESSION else off > 0 if domain == STRETCH else off == 0


def read_scans(found: Gathered) -> list[ScanFrames]:
    """The scans that both the model and the reference answered, with the scores that need no fit.

    Raises:
        UserError: a file is not what it should be.
    """
    read = []
    for scan_id in found.scan_set.ids:
        if found.scan_set.quality(scan_id)[0] == "dropped":
            continue
        held = one_per_item(found.evaluations[found.model], scan_id, "ids")
        if held is None:
            continue
        frames = _scan_frames(found, held, scan_id)
        if frames is not None:
            read.append(frames)
    return read


def _scan_frames(found: Gathered, held: Evaluation, scan_id: str) -> ScanFrames | None:
    scan = found.scan_set.scan(scan_id)
    known = known_frames(scan)
    if not known.any():
        return None
    evaluation = held.scan(scan_id, scan.forces.shape[:2])
    answered = known & (evaluation.frame_status == Status.OK.code)
    wrong, error = np.zeros(len(known), dtype=bool), np.full(len(known), np.nan)
    if answered.any():
        forces, reference = evaluation.forces[answered], scan.forces[answered]
        wrong[answered] = wrong_frames(forces, reference)
        error[answered] = largest_error(forces, reference)
    looked = None
    answers = one_per_item(found.answers[found.model], scan.system, "systems")
    if answers is not None:
        looked = answers.looked(scan.system, f"{SCANS}/{scan_id}", scan.n_atoms)
    described = looked.descriptors if looked is not None else None
    if described is not None and len(described) != scan.n_frames:
        described = None
    frames = ScanFrames(
        scan=scan,
        minimum=minimum(scan),
        answered=answered,
        evaluation=evaluation,
        pairs=geometry.Pairs.of(scan.numbers, scan.bonds),
        descriptors=described,
        not_described=looked.message if looked is not None else "",
        wrong=wrong,
        error=error,
    )
    frames.scores = _without_fit(found, frames)
    return frames


def _without_fit(found: Gathered, frames: ScanFrames) -> dict[str, Array]:
    scan, own = frames.scan, frames.evaluation
    ratios = frames.pairs.ratios(scan.positions, scan.numbers)
    scores = {
        "coordinate": np.abs(scan.coordinate - scan.coordinate[frames.minimum]),
        "largest_force": physics.largest_force(own.forces),
        "close_pair": geometry.close_pair(ratios),
        "long_bond": geometry.long_bond(ratios, frames.pairs.apart),
        "energy_force": physics.energy_force_mismatch(own.energy, own.forces, scan.positions),
    }
    forces = {
        name: said
        for name in {*found.committee, *found.others}
        if (said := _forces_of(found.evaluations.get(name, ()), scan)) is not None
    }
    if found.committee and all(name in forces for name in found.committee):
        scores["committee"] = several.committee_spread([forces[n] for n in found.committee])
    told = [several.difference(own.forces, forces[n]) for n in found.others if n in forces]
    # where one of the others has no answer at the minimum, nothing can be taken off
    told = [one for one in told if np.isfinite(one[frames.minimum]).all()]
    if told:
        scores["disagreement"] = several.disagreement(told, [one[frames.minimum] for one in told])
    return scores


def _forces_of(files: Sequence[Evaluation], scan: Scan) -> Array | None:
    """Forces of another model, NaN where it has none; None if it does not know the molecule."""
    held = one_per_item(files, scan.id, "ids")
    if held is None:
        return None
    said = held.scan(scan.id, scan.forces.shape[:2])
    ok = said.frame_status == Status.OK.code
    return np.where(ok[:, None, None], said.forces, np.nan) if ok.any() else None


@dataclass(frozen=True)
class Known:
    """The reference set: frames that stand for what the model knows.

    Attributes:
        ranges: Distances that occur, by kind of pair.
        space: The descriptors; None where there are none.
    """

    ranges: Mapping[geometry.Kind, tuple[float, float]]
    space: ReferenceSpace | None


def known_set(
    scans: Sequence[ScanFrames],
    window: float,
    reference: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> Known:
    """Fit the frames near the minima of scans. No error is looked at.

    Args:
        scans: Scans of all molecules.
        window: Distance from the minimum in Å.
        reference: Descriptors and atomic numbers of the frames that the model was trained on, which
            are fitted in their place.
    """
    ranges = geometry.distance_ranges(
        (one.pairs, one.pairs.distances(one.scan.positions[one.near(window)])) for one in scans
    )
    atoms, numbers = [], []
    if reference is not None:
        atoms, numbers = [reference[0].astype(np.float64)], [reference[1]]
    for one in scans:
        if one.descriptors is not None and reference is None:
            held = one.descriptors[one.near(window)].astype(np.float64)
            held = held[np.isfinite(held).all(axis=(1, 2))]
            atoms.append(held.reshape(-1, held.shape[2]))
            numbers.append(np.tile(one.scan.numbers, len(held)))
    if not atoms:
        return Known(ranges, None)
    try:
        return Known(ranges, reference_space(np.concatenate(atoms), np.concatenate(numbers)))
    except ValueError:  # too few atoms, or all alike
        return Known(ranges, None)


def fitted_scores(
    positions: Array,
    numbers: NDArray[np.int64],
    pairs: geometry.Pairs,
    descriptors: NDArray[np.float32] | None,
    known: Known,
) -> dict[str, Array]:
    """The scores that need a reference set, of some frames of one molecule.

    Args:
        positions: Å, shape (F, N, 3).
        numbers: Atomic numbers, shape (N,).
        pairs: Pairs of atoms.
        descriptors: Shape (F, N, D), or None.
        known: The reference set.

    Returns:
        By detector, shape (F,); of distances the atom that is farthest, of `cli` the share of atoms
        outside.
    """
    distances = pairs.distances(positions)
    found = {"pair_range": geometry.beyond_ranges(pairs, distances, known.ranges)}
    if descriptors is None or known.space is None:
        return found
    n_frames, n_atoms, width = descriptors.shape
    if width != next(iter(known.space.fits.values())).axes.shape[0]:
        return found
    atoms = descriptors.reshape(-1, width).astype(np.float64)
    measured = known.space.measured(atoms, np.tile(numbers, n_frames))
    by_frame = {name: values.reshape(n_frames, n_atoms) for name, values in measured.items()}
    outside = by_frame.pop("outside")
    found |= {name: values.max(axis=1) for name, values in by_frame.items()}
    return found | {"cli": outside.mean(axis=1)}


def add_fitted(scans: Sequence[ScanFrames], known: Known) -> None:
    """Add the scores that need a reference set to those of scans."""
    for one in scans:
        one.scores |= fitted_scores(
            one.scan.positions, one.scan.numbers, one.pairs, one.descriptors, known
        )


@dataclass(frozen=True)
class Side:
    """The frames of a side of some scans on which a detector has a score.

    Attributes:
        scores: Of the detector, shape (F,).
        wrong: Whether the model is wrong, shape (F,).
        error: Largest error of a force in eV/Å, shape (F,).
        trivial: Scores of the baselines on the same frames, by name, each of the shape (F,).
        n_unanswered: Frames of the side that are left out.
    """

    scores: Array
    wrong: Mask
    error: Array
    trivial: Mapping[str, Array]
    n_unanswered: int


def joined_side(scans: Sequence[ScanFrames], detector: str, domain: str) -> Side | None:
    """The frames of a side of some scans on which a detector and the baselines have a score.

    Args:
        scans: Scans with the scores of all detectors.
        detector: Name of the detector.
        domain: `compression` or `stretch`.

    Returns:
        None where there is no such frame.
    """
    needed = (detector, *TRIVIAL)  # compared on the same frames
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("wrong", "error", *needed)}
    n_frames = 0
    for one in scans:
        side = one.side(domain)
        n_frames += int(side.sum())
        if detector not in one.scores:
            continue
        held = {name: one.scores[name] for name in needed}
        here = side & one.answered & ~np.isnan(list(held.values())).any(axis=0)
        for name, values in (held | {"wrong": one.wrong, "error": one.error}).items():
            parts[name].append(values[here])
    found = {name: np.concatenate(some) for name, some in parts.items() if some}
    if not found or not len(found["wrong"]):
        return None
    return Side(
        scores=found[detector],
        wrong=found["wrong"],
        error=found["error"],
        trivial={name: found[name] for name in TRIVIAL},
        n_unanswered=n_frames - len(found["wrong"]),
    )
