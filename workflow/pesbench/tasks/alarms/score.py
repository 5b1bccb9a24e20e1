"""Scores of the detectors for one model, from stored files: no model, no GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance
from pesbench.tasks.alarms import labels, motion
from pesbench.tasks.alarms.detectors import (
    DESCRIPTORS,
    DETECTORS,
    DYNAMICS,
    MODELS,
    SCAN_DOMAINS,
    Detector,
)
from pesbench.tasks.alarms.gather import Gathered, gather, one_per_item
from pesbench.tasks.alarms.ladder import (
    ScanFrames,
    add_fitted,
    folds,
    joined_side,
    known_set,
    read_scans,
)
from pesbench.tasks.alarms.motion import Moving
from pesbench.tasks.alarms.settings import AlarmSettings
from pesbench.tasks.alarms.task import TASK

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
_NOTHING = {metric.name: float("nan") for metric in TASK.metrics}


def score(job: ScoreJob) -> pd.DataFrame:
    """Score the detectors for a model: a row a molecule, detector and domain.

    Args:
        job: `files` are of the model; `answers` are evaluations, trajectories and alarms of all
            models; `record` describes them.

    Raises:
        UserError: see `gather`; or there is no selected molecule.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    settings: AlarmSettings = job.settings or AlarmSettings()
    with ExitStack() as stack:
        found = gather(job, stack)
        own = found.answers[found.model]
        systems = sorted({name for one in own for name in one.systems if job.selects(name)})
        if not systems:
            raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
        scans = [one for one in read_scans(found) if one.scan.system in set(systems)]
        of = folds(one.scan.system for one in scans)
        reference = next((held for one in own if (held := one.reference()) is not None), None)
        known = known_set(scans, settings.reference_window_angstrom, reference)
        # frames of a scan are not in the set that they are measured from: it is of the other half
        for half in (0, 1):
            mine = [one for one in scans if of[one.scan.system] == half]
            others = [one for one in scans if of[one.scan.system] != half]
            add_fitted(mine, known_set(others, settings.reference_window_angstrom, reference))
        runs, left_out = motion.read_trajectories(found, set(of), known)
        scored = _Scored(found, settings, of, scans, runs)
        rows = [row for system in systems for row in scored.rows(system)]
        made_from = [provenance.summary(one.attributes, "pesbench.tasks.alarms.run") for one in own]
        told = {
            "scan_set_sha256": found.scan_set.sha256,
            "committee": list(found.committee),
            "others": list(found.others),
            "not_described": next((one.not_described for one in own if one.not_described), ""),
            "trajectories": bool(found.trajectories),
            "left_out": left_out,
            "shared_temperatures_k": sorted(scored.shared),
            "trained_atoms": 0 if reference is None else len(reference[1]),
        }
    frame = pd.DataFrame(rows, columns=list(TASK.columns))
    frame.attrs = {**told, "made_from": made_from, "settings": _as_mapping(settings)}
    return frame


def _as_mapping(settings: AlarmSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


@dataclass
class _Scored:
    """The scans and trajectories of a model with the scores of all detectors.

    Attributes:
        found: Files.
        settings: Settings of the task.
        of: The half of each molecule.
        scans: Scans.
        runs: Trajectories.
    """

    found: Gathered
    settings: AlarmSettings
    of: Mapping[str, int]
    scans: Sequence[ScanFrames]
    runs: Sequence[Moving]

    def __post_init__(self) -> None:
        self.shared = motion.shared_temperatures(self.runs)
        self._thresholds: dict[tuple[str, str, int], float] = {}

    def rows(self, system: str) -> Iterator[dict[str, Any]]:
        """One row a detector and domain, with its reason where it has no score."""
        held = one_per_item(self.found.answers[self.found.model], system, "systems")
        status, message = held.outcome(system)
        mine = [one for one in self.scans if one.scan.system == system]
        if status is Status.OK:
            status, message = self._unanswered(mine)
        n_atoms = mine[0].scan.n_atoms if mine else held.n_atoms(system)
        domains = [*SCAN_DOMAINS, *([DYNAMICS] if self.found.trajectories else [])]
        for detector in DETECTORS:
            for domain in (one for one in domains if one in detector.domains):
                row = {
                    "model": self.found.model,
                    "system": system,
                    "n_atoms": n_atoms,
                    "detector": detector.name,
                    "domain": domain,
                    "status": Status.OK.value,
                    "message": "",
                } | _NOTHING
                if status is Status.OK:
                    row |= self._scored(detector, domain, system, mine)
                else:
                    row |= {"status": status.value, "message": message}
                yield row

    @staticmethod
    def _unanswered(mine: Sequence[ScanFrames]) -> tuple[Status, str]:
        """Why no scan of a molecule can be scored; `ok` if one can."""
        if any(one.answered.any() for one in mine):
            return Status.OK, ""
        failed = next((one.evaluation for one in mine), None)
        if failed is None or failed.status is Status.OK:
            return Status.UNSUPPORTED, "n/a: no scan has a reference"
        return failed.status, failed.message

    def _scored(
        self, detector: Detector, domain: str, system: str, mine: Sequence[ScanFrames]
    ) -> dict[str, Any]:
        if domain == DYNAMICS:
            return self._of_dynamics(detector, system)
        joined = joined_side(mine, detector.name, domain)
        if joined is None:
            failed = next((one.not_described for one in mine if one.not_described), "")
            return self._undefined(detector, failed if detector.kind == DESCRIPTORS else "")
        threshold = self._threshold(detector.name, domain, self.of[system])
        scores, wrong = joined.scores, joined.wrong
        above = scores >= threshold  # with a threshold of NaN none is, and none is counted
        known = np.isfinite(threshold)
        trivial = {f"auroc_{n}": labels.auroc(one, wrong) for n, one in joined.trivial.items()}
        return trivial | {
            "auroc": labels.auroc(scores, wrong),
            "auprc": labels.average_precision(scores, wrong),
            "spearman": _spearman(scores, joined.error),
            "n_frames": len(scores),
            "n_wrong": int(wrong.sum()),
            "n_unanswered": joined.n_unanswered,
            "threshold": threshold,
            "n_found": int((above & wrong).sum()) if known else np.nan,
            "n_false": int((above & ~wrong).sum()) if known else np.nan,
        }

    def _threshold(self, detector: str, domain: str, half: int) -> float:
        """The threshold of a half, from the molecules of the other one."""
        key = detector, domain, half
        if key not in self._thresholds:
            others = [one for one in self.scans if self.of[one.scan.system] != half]
            joined = joined_side(others, detector, domain)
            self._thresholds[key] = (
                float("nan")
                if joined is None
                else labels.threshold_at_recall(joined.scores, joined.wrong)
            )
        return self._thresholds[key]

    def _of_dynamics(self, detector: Detector, system: str) -> dict[str, Any]:
        mine = [one for one in self.runs if one.system == system]
        if not any(detector.name in one.scores for one in mine):
            reason = "" if mine else "n/a: no trajectory of it survived or failed"
            return self._undefined(detector, reason)
        half = self.of[system]
        key = detector.name, DYNAMICS, half
        if key not in self._thresholds:
            others = [one for one in self.runs if self.of[one.system] != half]
            self._thresholds[key] = motion.event_threshold(
                others, detector.name, self.settings.calibration_alarms_per_ps
            )
        threshold = self._thresholds[key]
        if np.isnan(threshold):
            return self._undefined(
                detector, "n/a: no stable trajectory of another molecule to set a threshold on"
            )
        said = motion.alarmed(mine, detector.name, threshold)
        at_shared = [one for one in mine if one.temperature_k in self.shared]
        shared = motion.alarmed(at_shared, detector.name, threshold)
        return {
            "threshold": threshold,
            "n_runs": said.n_runs,
            "n_early": said.n_early,
            "n_failed": len(said.leads_fs),
            "n_warned": said.n_warned,
            "n_in_time": said.n_in_time,
            "n_failed_shared": len(shared.leads_fs),
            "n_in_time_shared": shared.n_in_time,
            "lead_fs": float(np.median(said.leads_fs)) if said.leads_fs else np.nan,
            "stable_ps": said.stable_ps,
            "quiet_ps": said.quiet_ps,
            "n_false_events": said.n_false_events,
            "quiet_ps_shared": shared.quiet_ps,
            "n_false_shared": shared.n_false_events,
        }

    def _undefined(self, detector: Detector, reason: str = "") -> dict[str, Any]:
        """Why a detector has no score."""
        found = self.found
        held = found.answers[found.model]
        if not reason and detector.kind == DESCRIPTORS:
            why = next((one.not_described for one in held if one.not_described), "")
            reason = f"n/a: {why}" if why else "n/a: too little to fit a reference set on"
        if not reason and detector.name == "pair_range":
            reason = "n/a: the reference set holds none of its kinds of pairs"
        if not reason and detector.kind == MODELS:
            lacks = "no other seed" if detector.name == "committee" else "no other potential"
            has = found.committee if detector.name == "committee" else found.others
            reason = (
                "n/a: another model has no answer" if has else f"n/a: {lacks} is among the models"
            )
        return {
            "status": Status.UNSUPPORTED.value,
            "message": reason or "n/a: not defined for this molecule",
        }


def _spearman(scores: Array, error: Array) -> float:
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(error) == 0:
        return float("nan")
    return float(spearmanr(scores, error).statistic)
