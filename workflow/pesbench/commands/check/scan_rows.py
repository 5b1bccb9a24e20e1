"""The part of the scans: scores of every scan, and the rows they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from pesbench.commands.check import ladders
from pesbench.commands.check.conformance import Elements
from pesbench.commands.check.frames import geometry
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.report import CheckRow, Verdict
from pesbench.commands.check.subset import reference_level
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import evaluate_scans, without_model
from pesbench.files.evaluation import ScanEvaluation
from pesbench.tasks.bonds.faults import fault_lists, headlines
from pesbench.tasks.bonds.score import score_scan

SECTION = "scans"
Track = Callable[[Sequence[Any], int, str], Iterable[Any]]
SCORES = (
    ("fsd_full", "Å⁻¹"),
    ("fsd_aligned", "Å⁻¹"),
    ("fsd_windowed", "Å⁻¹"),
    ("fsd_compress", "Å⁻¹"),
    ("fsd_stretch", "Å⁻¹"),
    ("force_mae", "eV/Å"),
    ("energy_mae_aligned", "eV"),
    ("spurious_extrema", "a scan"),
    ("missing_extrema", "a scan"),
)
OWN_LIMIT = ("fsd_full", "fsd_aligned", "fsd_windowed", "force_mae")  # where the caller sets one
BETTER_THAN_ZERO = ("fsd_aligned", "force_mae")  # than zero forces, by default
# where there is no energy, the integrated force tells
OF_FORCE = ("spurious_extrema", "missing_extrema", "compression_monotone")
N_WORST = 3


@dataclass(frozen=True)
class Scored:
    """A scan that a model was asked about.

    Attributes:
        scan: With its reference.
        answer: What the model said.
        row: Its id, status and message and, where it is ok, every score.
    """

    scan: Scan
    answer: ScanEvaluation
    row: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it has scores."""
        return self.answer.status is Status.OK

    def score(self, name: str) -> float:
        """A score; of the integrated force where the model has no energy."""
        value = float(self.row[name])
        if np.isnan(value) and name in OF_FORCE:
            return float(self.row[f"{name}_force"])
        return value

    def shown(self, frame: int, note: str) -> Atoms:
        """The geometry of a frame."""
        return geometry(
            self.scan.numbers,
            self.scan.positions[frame],
            f"{self.scan.id} frame {frame} at {self.scan.coordinate[frame]:.3f} Å: {note}",
            energy=float(self.answer.energy[frame]),
            forces=self.answer.forces[frame],
            charge=self.scan.charge,
            spin=self.scan.spin,
        )

    def shown_at(self, column: str, note: str) -> Atoms:
        """The geometry at a score that is a coordinate; where there is none, at the FSD's peak."""
        at = float(self.row[column])
        if np.isnan(at):
            return self.shown(int(self.row["fsd_peak_index"]), note)
        return self.shown(int(np.argmin(np.abs(self.scan.coordinate - at))), note)


def scored_scans(
    evaluator: Evaluator, scans: Sequence[Scan], elements: Elements, track: Track
) -> list[Scored]:
    """Ask a model about some scans and score what it says."""
    found = []
    for scan in track(scans, len(scans), "scans"):
        if refusal := elements.refusal(scan.numbers):
            answer = without_model(scan, Status.UNSUPPORTED, refusal)
        else:
            (answer,) = evaluate_scans(evaluator, [scan])
        row: dict[str, Any] = {
            "scan": scan.id,
            "system": scan.system,
            "n_atoms": scan.n_atoms,
            "wall_s": answer.wall_s,
            "status": answer.status.value,
            "message": answer.message,
        }
        if answer.status is Status.OK:
            row |= score_scan(scan, answer)
        found.append(Scored(scan, answer, row))
    return found


def score_rows(scored: Sequence[Scored], limits: Limits) -> tuple[list[CheckRow], dict[str, float]]:
    """The rows of some scans, and the mean of each of the `SCORES`."""
    ok = [one for one in scored if one.ok]
    rows = [
        CheckRow.info(SECTION, "reference", f"{reference_level()}; limits allow for other levels"),
        _count_row(scored, limits),
    ]
    scores = {"n_scored": float(len(ok)), "n_planned": float(len(scored))}
    for name, unit in SCORES:
        rows.append(_mean_row(name, unit, ok, limits, scores))
    rows.append(_wall_row(ok, limits))
    return rows + _worst_rows([one.row for one in scored]), scores


def _count_row(scored: Sequence[Scored], limits: Limits) -> CheckRow:
    ok = [one for one in scored if one.ok]
    unsupported = [one for one in scored if one.answer.status is Status.UNSUPPORTED]
    failed = [one for one in scored if one not in ok and one not in unsupported]
    note = f"{len(ok)} of {len(scored)} scored"
    note += f", {len(unsupported)} unsupported" if unsupported else ""
    if failed:
        first = failed[0].answer
        note += f"; {first.scan_id}: {first.status}: {first.message}"
    frames = []
    for one in failed:
        bad = np.flatnonzero(one.answer.frame_status != Status.OK.code)
        frames.append(one.shown(int(bad[0]), one.answer.message))
    count = CheckRow.measured(
        SECTION, "scans_failed", float(len(failed)), "", limits.failed_scans, note, frames
    )
    # for any limit: nothing was tested
    return count if ok else replace(count, verdict=Verdict.ERROR)


def _mean_row(
    name: str, unit: str, ok: Sequence[Scored], limits: Limits, scores: dict[str, float]
) -> CheckRow:
    """The row of a mean over the scored scans, which is also put into `scores`."""
    own: float | None = {
        "fsd_full": limits.fsd,
        "fsd_aligned": limits.fsd_aligned,
        "fsd_windowed": limits.fsd_windowed,
        "force_mae": limits.force_mae,
        "spurious_extrema": limits.spurious_extrema,
        "missing_extrema": limits.missing_extrema,
    }.get(name)
    known = [one for one in ok if np.isfinite(one.score(name))]
    scores[name] = float(np.mean([one.score(name) for one in known])) if known else float("nan")
    if not known:
        return _missing_row(name, ok, own if name in OWN_LIMIT else None)
    said = [f"{len(known)} of {len(ok)} scored scans"] if len(known) < len(ok) else []
    limit, scans = own, [one.scan for one in known]
    if name in BETTER_THAN_ZERO:
        of_zero = ladders.zero_force_mae if name == "force_mae" else ladders.zero_forces
        zero = of_zero(scans)
        said.append(f"zero forces {zero:.3g}" + ", no better than those" * (scores[name] >= zero))
        # one that is as good as knowing nothing fails, too
        limit = float(np.nextafter(zero, 0.0)) if own is None else own
    if name == "fsd_full":
        said.append(f"same FSD as {ladders.equivalent(scores[name], scans)}")
    note = "; ".join(said)
    return CheckRow.measured(
        SECTION, name, scores[name], unit, limit, note, _frames_of(name, known)
    )


def _missing_row(name: str, ok: Sequence[Scored], own: float | None) -> CheckRow:
    """The row of a score that no scan has: an error where a limit was set for it."""
    why = "n/a: no energy" if ok else "n/a: no scan was scored"
    if ok and name == "fsd_aligned":
        why = f"n/a: {ok[0].row['fsd_aligned_reason']}"
    return (CheckRow.info if own is None else CheckRow.error)(SECTION, name, why)


def _frames_of(name: str, known: Sequence[Scored]) -> list[Atoms]:
    """What the row of a mean shows: the faults, or the worst scans at the peak of their FSD."""
    if name in OF_FORCE:
        return [
            one.shown_at("extremum_coordinate", str(one.row["extremum"]) or name)
            for one in known if one.score(name) > 0
        ]  # fmt: skip
    worst = sorted(known, key=lambda one: -one.score(name))[:N_WORST]
    return [
        one.shown(int(one.row["fsd_peak_index"]), f"{name} {one.score(name):.3g}") for one in worst
    ]


def _wall_row(ok: Sequence[Scored], limits: Limits) -> CheckRow:
    name = "open_walls"
    if not ok:
        return CheckRow.info(SECTION, name, "n/a: no scan was scored")
    open_ones = [one for one in ok if not one.score("compression_monotone")]
    note = f"of {len(ok)} scans the energy falls where the bond is compressed"
    note += f"; first {open_ones[0].scan.id}" if open_ones else ""
    frames = [one.shown_at("wall_coordinate", "the wall gives way") for one in open_ones]
    return CheckRow.measured(
        SECTION, name, float(len(open_ones)), "scans", limits.open_walls, note, frames
    )


def _worst_rows(per_scan: Sequence[dict[str, Any]]) -> list[CheckRow]:
    """The bonds that break worst: where, and how; those of `worst.csv` of a run."""
    return [
        CheckRow(
            SECTION,
            f"worst_{k}",
            found[0].distance,
            "Å",
            None,
            Verdict.INFO,
            f"{found[0].scan}: {'; '.join(fault.sentence for fault in found)}",
        )
        for k, found in enumerate(headlines(fault_lists(per_scan), N_WORST), 1)
    ]
