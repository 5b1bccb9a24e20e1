"""Scores of a model on every scan, from its stored evaluation: no model, no GPU, seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.bond_graph import atom_classes, bond_class
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.core.scans import Scan
from pesbench.files import provenance
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.integrity import check_alike, check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import read_split
from pesbench.metrics import curves, smoothness
from pesbench.metrics.aligned import self_aligned_deviation
from pesbench.tasks.bonds import breaks
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.bonds.task import TASK

if TYPE_CHECKING:
    import pandas as pd

    from pesbench.models.registry import ModelEntry

Array = NDArray[np.float64]

IDENTITY = ("model", "scan", "system", "bond", "seen", "n_atoms", "n_frames", "status", "message")
FORCE_METRICS = tuple(one.name for one in TASK.metrics if not one.needs_energy)
ENERGY_METRICS = tuple(one.name for one in TASK.metrics if one.needs_energy)
# where a model breaks, for `pesbench.tasks.bonds.faults`, and what explains a score; scores of
# earlier versions lack them
PLACES = (
    "missing_extrema",
    "missing_extrema_force",
    "fsd_windowed_coordinate",
    "fsd_below_ceiling",
    "fsd_below_ceiling_coordinate",
    "extremum",
    "extremum_coordinate",
    "extremum_depth",
    "wall_coordinate",
    "wall_energy",
    "wall_reference_energy",
    "bond_length",
    "bond_length_shift",
    "force_constant",
    "force_constant_shift",
    "bond_class",
    "fsd_aligned_reason",
    "step_angstrom",
)
WORDS = ("extremum", "bond_class", "fsd_aligned_reason")  # of those, text
_CURVE_PLACES = PLACES[PLACES.index("extremum") : PLACES.index("bond_class")]
REACHED_EV = (1, 2)  # energies above the minimum up to which errors are told, too
TRAINED_ON = "no test: the model was trained on this scan"
LARGEST_FORCE = 1e150  # eV/Å; the sum of squares of larger ones is infinite in float64
COLUMNS = (
    *IDENTITY,
    *FORCE_METRICS,
    *ENERGY_METRICS,
    *PLACES,
    "wall_s",
    "command_s",
    "worker_deaths",
)
TEXT = ("model", "scan", "system", "bond", "seen", "status", "message")


def score_scan(
    scan: Scan, evaluation: ScanEvaluation, ceiling_ev: float = BondSettings.energy_ceiling_ev
) -> dict[str, float | str]:
    """All metrics of one scan.

    Frames without a reference, and those on which a control is not defined, are left out, as the
    official code does. Metrics that need energies are NaN for a model that defines forces only.

    Args:
        scan: Scan with its reference.
        evaluation: Evaluation of the same scan, with status ok.
        ceiling_ev: How far above its minimum the reference may be where `fsd_below_ceiling` and
            `extremum` look, in eV.

    Returns:
        One value a metric (`FORCE_METRICS`, `ENERGY_METRICS` and `PLACES`).
    """
    used = np.isfinite(scan.energy) & (evaluation.frame_status == Status.OK.code)
    frames = np.flatnonzero(used)
    coordinate, positions = scan.coordinate[used], scan.positions[used]
    energy, forces = evaluation.energy[used], evaluation.forces[used]
    reference_energy, reference_forces = scan.energy[used], scan.forces[used]

    q = smoothness.equilibrium_index(reference_energy)
    below = smoothness.below_ceiling(reference_energy, q, ceiling_ev)
    fsd = smoothness.force_smoothness_deviation(
        coordinate, forces, reference_forces, q, below=below
    )
    work = curves.integrated_energy(positions, forces, q)
    reference_work = curves.integrated_energy(positions, reference_forces, q)
    sides, reached = _parts(reference_energy, q)
    aligned = self_aligned_deviation(coordinate, positions, forces, reference_forces, q)
    scores: dict[str, float | str] = {
        "fsd_full": fsd.full,
        "fsd_compress": fsd.compress,
        "fsd_stretch": fsd.stretch,
        "fsd_windowed": fsd.windowed,
        "fsd_windowed_coordinate": fsd.windowed_coordinate,
        "fsd_below_ceiling": fsd.below_ceiling,
        "fsd_below_ceiling_coordinate": fsd.below_ceiling_coordinate,
        "fsd_aligned": aligned.value,
        "fsd_aligned_reason": aligned.reason,
        "fsd_slope_p95": fsd.slope_p95,
        "fsd_peak_index": int(frames[fsd.peak_index]),
        "fsd_peak_index_next": int(frames[fsd.peak_index + 1]),
        "fsd_peak_coordinate": fsd.peak_coordinate,
        "fsd_peak_offset": fsd.peak_offset,
        **{
            f"force_mae{name}": smoothness.force_mae(forces[part], reference_forces[part])
            for name, part in (sides | reached).items()
        },
        "spurious_extrema_force": smoothness.count_spurious_extrema(
            coordinate, work, reference_work
        ),
        "missing_extrema_force": smoothness.count_missing_extrema(coordinate, work, reference_work),
        "compression_monotone_force": float(
            smoothness.is_compression_monotone(coordinate, work, q)
        ),
        "bond_class": bond_class(atom_classes(scan.numbers, scan.bonds), scan.atoms),
        "step_angstrom": smoothness.step_length(coordinate),
    }
    pairs = [(work, reference_work)]
    if np.isfinite(energy).all():
        pairs.insert(0, (energy, reference_energy))
    scores |= _places(coordinate, pairs, reference_energy, q, below)
    if len(pairs) == 1:
        return scores | dict.fromkeys((*ENERGY_METRICS, "missing_extrema"), float("nan"))
    own = smoothness.energy_force_inconsistency(positions, reference_forces, reference_energy)
    inconsistency = smoothness.energy_force_inconsistency(positions, forces, energy)
    return (
        scores
        | {"energy_force_inconsistency": inconsistency - own}
        | _of_energies(coordinate, energy, reference_energy, q)
    )


def _of_energies(
    coordinate: Array, energy: Array, reference_energy: Array, q: int
) -> dict[str, float]:
    """Scores from the energies alone; arrays in Å and eV of shape (F,), q the minimum."""
    sides, reached = _parts(reference_energy, q)
    return {
        **{
            f"energy_mae{name}": smoothness.energy_mae(energy[part], reference_energy[part])
            for name, part in sides.items()
        },
        **{
            f"energy_mae{name}": smoothness.energy_mae_aligned(energy, reference_energy, q, part)
            for name, part in ({"_aligned": slice(None)} | reached).items()
        },
        "spurious_extrema": smoothness.count_spurious_extrema(coordinate, energy, reference_energy),
        "missing_extrema": smoothness.count_missing_extrema(coordinate, energy, reference_energy),
        "compression_monotone": float(smoothness.is_compression_monotone(coordinate, energy, q)),
    }


def _parts(
    reference_energy: Array, q: int
) -> tuple[dict[str, slice], dict[str, NDArray[np.bool_]]]:
    """Frames of the scan and its sides, and those up to `REACHED_EV`, by the end of a name."""
    sides = {"": slice(None), "_compress": slice(0, q + 1), "_stretch": slice(q, None)}
    return sides, {
        f"_{limit}ev": smoothness.below_ceiling(reference_energy, q, limit) for limit in REACHED_EV
    }


def curve_faults(
    coordinate: Array,
    pairs: Sequence[tuple[Array, Array]],
    q: int,
    below: NDArray[np.bool_],
) -> list[breaks.ExtremumFault]:
    """False and missing extrema below the ceiling, the worst first.

    Args:
        coordinate: Å, shape (F,).
        pairs: Curves of the model and of the reference in eV, each shape (F,). The first pair
            that disagrees decides: forces show what energies, where there are any, do not.
        q: Index of the reference minimum.
        below: Frames below the ceiling, shape (F,).
    """
    for own, reference in pairs:
        faults = breaks.extremum_faults(coordinate, own, reference, q)
        if faults := [fault for fault in faults if below[fault.frame]]:
            return faults
    return []


def _places(
    coordinate: Array,
    pairs: Sequence[tuple[Array, Array]],
    reference_energy: Array,
    q: int,
    below: NDArray[np.bool_],
) -> dict[str, float | str]:
    """Places of the faults of a curve; the arguments are those of `curve_faults`."""
    nan = float("nan")
    found: dict[str, float | str] = {name: "" if name in WORDS else nan for name in _CURVE_PLACES}
    if faults := curve_faults(coordinate, pairs, q, below):
        worst = faults[0]
        found["extremum"] = worst.words
        found |= {"extremum_coordinate": worst.coordinate, "extremum_depth": worst.depth}
    walls = []
    for k, (own, reference) in enumerate(pairs):
        at, other = (
            curves.nearest_minimum(coordinate, curve, q, smoothness.MATCH_ANGSTROM)
            for curve in (own, reference)
        )
        if k == 0 and at is not None and other is not None:
            found |= {
                "bond_length": at.coordinate,
                "bond_length_shift": at.coordinate - other.coordinate,
                "force_constant": at.force_constant,
                "force_constant_shift": at.force_constant - other.force_constant,
            }
        rest = None if at is None else at.coordinate
        frame = breaks.wall_gives_way(coordinate, own, reference, q, rest)
        if frame is not None:
            walls.append((frame, float(own[frame] - own[q if at is None else at.frame])))
    if walls:
        frame, energy = max(walls)  # the first that is met on the way in
        found |= {
            "wall_coordinate": float(coordinate[frame]),
            "wall_energy": energy,
            "wall_reference_energy": float(reference_energy[frame] - reference_energy[q]),
        }
    return found


def _row(
    model: str,
    scan: Scan,
    evaluation: ScanEvaluation,
    seen: str,
    *,
    is_test: bool,
    ceiling_ev: float,
) -> dict[str, Any]:
    status, message = evaluation.status, evaluation.message
    if status is Status.OK and not is_test:
        status, message = Status.MASKED, TRAINED_ON
    if status is Status.OK and (largest := np.nanmax(np.abs(evaluation.forces))) > LARGEST_FORCE:
        status = Status.NONFINITE
        message = f"forces up to {largest:.0e} eV/Å, whose square is infinite"
    row: dict[str, Any] = {
        "model": model,
        "scan": scan.id,
        "system": scan.system,
        "bond": scan.bond,
        "seen": seen,
        "n_atoms": scan.n_atoms,
        "n_frames": scan.n_frames,
        "status": status.value,
        "message": message,
        "wall_s": evaluation.wall_s,
        "worker_deaths": evaluation.worker_deaths,
    }
    if status is Status.OK:
        return row | score_scan(scan, evaluation, ceiling_ev)
    missing = dict.fromkeys((*FORCE_METRICS, *ENERGY_METRICS, *PLACES), float("nan"))
    return row | missing | dict.fromkeys(WORDS, "")


def score_rows(
    scan_set: ScanSet,
    shards: Iterable[Path],
    split: Mapping[str, str] | None = None,
    entry: ModelEntry | None = None,
    seen_scans: Collection[str] = (),
    ceiling_ev: float = BondSettings.energy_ceiling_ev,
) -> list[dict[str, Any]]:
    """One row a scan of a model's evaluation, sorted by scan.

    `wall_s` is what the model took for the scan, `command_s` the scan's share of the seconds of
    the whole command, by frames times atoms. `worker_deaths` is how often the model's process was
    lost on the way, even where the scan has a score.

    Args:
        scan_set: What was evaluated.
        shards: The model's evaluation files.
        split: `seen` or `unseen` by system, of a model that tells what it was trained on.
        entry: Entry that the shards must be of; without one they must be of one model.
        seen_scans: Scans that the model was trained on: masked, with that reason. Ids that the
            scan set does not have are those of another one.
        ceiling_ev: Energy ceiling in eV, see `score_scan`.

    Raises:
        UserError: a shard is damaged, belongs to another scan set, entry or model than the first,
            or a scan occurs twice.
    """
    rows: dict[str, dict[str, Any]] = {}
    model = None
    for path in sorted(shards):
        with Evaluation(path) as evaluation:
            if entry is not None:
                check_owner(path, evaluation.attributes, entry.name, entry.deciding())
            model = model or evaluation.model
            if evaluation.model != model:
                raise UserError(f"{path}: belongs to model {evaluation.model!r}, not {model!r}")
            check_scan_set(path, evaluation.scan_set_sha256, scan_set.path, scan_set.sha256)
            work = {}
            for scan_id in evaluation.ids:
                if scan_id in rows:
                    raise UserError(f"{path}: scan {scan_id!r} is in another shard, too")
                scan = scan_set.scan(scan_id)
                seen = (split or {}).get(scan.system, "")
                answers = evaluation.scan(scan_id, (scan.n_frames, scan.n_atoms))
                try:
                    rows[scan_id] = _row(
                        model,
                        scan,
                        answers,
                        seen,
                        is_test=scan_id not in seen_scans,
                        ceiling_ev=ceiling_ev,
                    )
                except ValueError as error:  # no minimum within the scan; the gate drops such ones
                    raise UserError(
                        f"{path}: scan {scan_id!r} of {scan_set.path} cannot be scored ({error}); "
                        "make the one that is not of this workflow again"
                    ) from error
                work[scan_id] = scan.n_frames * scan.n_atoms
            seconds = float(evaluation.attributes["wall_s"])
            for scan_id, part in work.items():
                rows[scan_id]["command_s"] = seconds * part / sum(work.values())
    return [rows[scan_id] for scan_id in sorted(rows)]


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model on every selected scan.

    Args:
        job: `files` are evaluations; with an `entry`, they must be of it and made alike.

    Raises:
        UserError: see `score_rows`; or nothing is left to score.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    how = {}
    for path in sorted(job.files):
        with Evaluation(path) as evaluation:
            how[path] = provenance.summary(evaluation.attributes, "pesbench.tasks.bonds.run")
    if job.entry is not None:  # files of several groups that are merged may differ
        check_alike({path: {"code": made["code"]} for path, made in how.items()})
    ceiling_ev = job.settings.energy_ceiling_ev
    with ScanSet(job.scan_set) as scan_set:
        seen = read_split(job.split) if job.split else None
        rows = score_rows(scan_set, job.files, seen, job.entry, job.seen_scans, ceiling_ev)
        rows = [row for row in rows if job.selects(row["scan"])]
        if not rows:
            raise UserError(
                f"{job.scan_set}: the gate on references dropped every selected scan; "
                "select others, or see skipped.csv for the reasons"
            )
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        frame.attrs = {
            "scan_set_sha256": scan_set.sha256,
            "epsilon_ev_per_angstrom": smoothness.EPSILON_EV_PER_ANGSTROM,
            "energy_ceiling_ev": ceiling_ev,
            "made_from": list(how.values()),
        }
    return frame
