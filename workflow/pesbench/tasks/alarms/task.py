"""Whether one can tell, without a reference, that a model has left what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pesbench.core.coordinates.bond import N_FRAMES
from pesbench.core.errors import UserError
from pesbench.core.section import Metric
from pesbench.core.task import Phase, Size, Task
from pesbench.tasks.alarms.detectors import BY_NAME, DOMAINS
from pesbench.tasks.alarms.settings import AlarmSettings

COARSEST = 2  # steps from one stored frame to the next, of trajectories that are scored
DESCRIPTORS = 128  # of an atom, typically


class Alarms(Task):
    """Detectors of extrapolation on scans, where errors are known, and in dynamics."""

    name = "alarms"
    title = "Alarms"
    summary = "Whether a detector tells, without a reference, that a model has become wrong."
    settings = AlarmSettings
    metrics = (
        Metric("auroc", "AUROC", "", "higher",
               help="Probability that a wrong frame has a higher score than a right one."),
        Metric("auroc_coordinate", "AUROC of the distance from the minimum", "", "higher",
               help="On the frames on which the detector has a score."),
        Metric("auroc_largest_force", "AUROC of the largest force", "", "higher",
               help="On the frames on which the detector has a score."),
        Metric("auprc", "AUPRC", "", "higher", help="Average precision."),
        Metric("spearman", "Spearman with the error", "", "higher",
               help="Rank correlation of the score with the largest error of a force."),
        Metric("n_frames", "frames"),
        Metric("n_wrong", "wrong frames"),
        Metric("n_unanswered", "frames without an answer",
               help="Without a reference, or on which the model or the detector has no number."),
        Metric("n_found", "wrong frames found",
               help="At the threshold that finds 95 % of those of the calibration molecules."),
        Metric("n_false", "false alarms", help="Right frames above that threshold."),
        Metric("threshold", "threshold", help="Of the detector, from the other half."),
        Metric("n_runs", "trajectories"),
        Metric("n_early", "failures in the first 20 fs",
               help="No alarm can be in time for them; they are in no other number of failures."),
        Metric("n_failed", "later failures"),
        Metric("n_warned", "failures with an alarm before"),
        Metric("n_in_time", "failures with an alarm in time",
               help="More than 20 fs before the failure."),
        Metric("n_failed_shared", "later failures at shared temperatures",
               help="Temperatures at which another trajectory of the model survives."),
        Metric("n_in_time_shared", "those with an alarm in time"),
        Metric("lead_fs", "lead time", "fs", "higher",
               help="Median over the failures of the time from the first alarm; 0 without one."),
        Metric("stable_ps", "stable time", "ps"),
        Metric("quiet_ps", "stable time without an alarm", "ps"),
        Metric("n_false_events", "false alarms in dynamics",
               help="Events in trajectories that survive."),
        Metric("quiet_ps_shared", "stable time without an alarm at shared temperatures", "ps"),
        Metric("n_false_shared", "false alarms in dynamics at shared temperatures"),
    )  # fmt: skip
    keys = ("system", "detector", "domain")
    identity = ("system", "detector", "domain", "n_atoms")
    text = ("model", "system", "detector", "domain", "status", "message")
    rows = "rows of a molecule and a detector"
    words = MappingProxyType({"detector": frozenset(BY_NAME), "domain": frozenset(DOMAINS)})
    unstable = (
        "n_found", "n_false", "n_warned", "n_in_time", "n_in_time_shared", "lead_fs", "quiet_ps",
        "n_false_events", "quiet_ps_shared", "n_false_shared",
    )  # fmt: skip
    shard_size = 1_000_000  # one job a model
    run_reads = ("dynamics",)
    score_reads = ("bonds", "dynamics", "alarms")

    def check_beside(self, others: Mapping[str, Any]) -> None:
        if getattr(others.get("dynamics"), "stop_on_alarm", False):
            raise UserError(
                "alarms: `dynamics.stop_on_alarm` ends the trajectories whose failures are to be "
                "warned of; leave it out of the block `dynamics`, or leave out `alarms`"
            )
        every = getattr(others.get("dynamics"), "store_every", 1)
        if every > COARSEST:
            raise UserError(
                f"alarms: `dynamics.store_every` is {every}, and alarms are scored on frames at "
                f"most {COARSEST} steps apart; write `store_every: {COARSEST}` in the block "
                "`dynamics`, or leave out `alarms`"
            )

    def phases(self, size: Size, settings: AlarmSettings) -> tuple[Phase, ...]:
        """The frames of the scans of a molecule with half as many bonds that are scanned as atoms.

        Those of trajectories depend on the settings of `dynamics` and are not counted: as many as
        are stored, of this model and, with `others`, of each other one.
        """
        return (Phase(copies=max(1, size.atoms // 2) * N_FRAMES, along_scan=True),)

    def stored_bytes(self, size: Size, settings: AlarmSettings) -> float:
        return 10_000 + 4 * DESCRIPTORS * self.atom_frames(size, settings)


TASK = Alarms()
